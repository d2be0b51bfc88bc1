use super::*;
use crate::policy::budget::Limits;

const ADA: &str = "ada";
const MODEL: &str = "gemini-2.5-flash";
const NOON: Timestamp = Timestamp(1_795_694_400_000);

fn after(seconds: u64) -> Timestamp {
    NOON + Duration::from_secs(seconds)
}

fn today() -> Day {
    Day::of(NOON)
}

fn ledger() -> SharedLedger {
    let mut ledger = SharedLedger::default();
    ledger.restore_month(today(), []).unwrap();
    ledger
}

fn row(day: Day, tokens: u64) -> UsageRow {
    let charge = Charge { prompt_tokens: tokens, cost: Cost(tokens * 3), ..Charge::default() };
    UsageRow { key: ADA.into(), model: MODEL.into(), day, requests: 1, charge }
}

fn batch(process: u64, number: u64, tokens: u64) -> UsageBatch {
    let rows = vec![row(today(), tokens)];
    UsageBatch { process: ProcessId(process), number, rows, reserved: Vec::new() }
}

fn reserved(tokens: u64, calls: u64) -> Reserved {
    Reserved { tokens, cost: Cost(0), calls }
}

/// A request for ten tokens of a hundred a day.
fn request(process: u64, own: Reserved) -> SharedReservation {
    SharedReservation {
        process: ProcessId(process),
        key: ADA.into(),
        limits: Limits { tokens_per_day: Some(100), ..Limits::default() },
        estimate: reserved(10, 1),
        own,
        day: today(),
    }
}

#[test]
fn of_thirty_requests_of_three_processes_a_budget_for_ten_grants_ten() {
    let mut ledger = ledger();
    let mut own = [Reserved::default(); 3];
    let mut granted = 0;
    for n in 0..30_u64 {
        let own = &mut own[usize::try_from(n % 3).unwrap()];
        if ledger.reserve(&request(n % 3, *own), NOON).is_granted {
            *own = *own + reserved(10, 1);
            granted += 1;
        }
    }
    assert_eq!(granted, 10);
    let standing = ledger.reserve(&request(0, own[0]), NOON);
    assert_eq!(standing.counts.reserved, reserved(100, 10));
}

#[test]
fn usage_takes_the_place_of_what_was_reserved() {
    let mut ledger = ledger();
    assert!(ledger.reserve(&request(1, Reserved::default()), NOON).is_granted);
    let mut settled = batch(1, 1, 7);
    settled.reserved = vec![(ADA.into(), Reserved::default())];
    ledger.add(&settled, after(1));
    let counts = ledger.reserve(&request(2, Reserved::default()), after(1)).counts;
    assert_eq!((counts.day_tokens, counts.month_tokens, counts.minute_tokens), (7, 7, 7));
    assert_eq!(counts.month_cost, Cost(21));
    assert_eq!(counts.reserved, Reserved::default());
}

#[test]
fn a_process_that_is_silent_for_ten_seconds_does_not_count() {
    let mut ledger = ledger();
    ledger.reserve(&request(1, reserved(80, 8)), NOON);
    let refused = ledger.reserve(&request(2, reserved(10, 1)), after(9));
    assert!(!refused.is_granted);
    assert_eq!(refused.counts.reserved, reserved(100, 10));
    let granted = ledger.reserve(&request(2, reserved(10, 1)), after(10));
    assert!(granted.is_granted);
    assert_eq!(granted.counts.reserved, reserved(10, 1));
}

#[test]
fn a_process_that_repeats_its_reservations_counts_for_longer() {
    let mut ledger = ledger();
    ledger.reserve(&request(1, reserved(80, 8)), NOON);
    let mut beat = batch(1, 1, 0);
    beat.reserved = vec![(ADA.into(), reserved(90, 9))];
    ledger.add(&beat, after(8));
    assert_eq!(
        ledger.reserve(&request(2, Reserved::default()), after(15)).counts.reserved,
        reserved(90, 9)
    );
}

#[test]
fn a_batch_is_added_once() {
    let mut ledger = ledger();
    for (process, number) in [(1, 1), (1, 1), (2, 1), (1, 2), (1, 1), (1, 2)] {
        ledger.add(&batch(process, number, 5), NOON);
    }
    let rows: Vec<_> = ledger.rows(today()..=today(), None).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].requests, rows[0].charge.prompt_tokens), (3, 15));
}

#[test]
fn tokens_count_for_a_minute_and_then_not() {
    let mut ledger = ledger();
    ledger.add(&batch(1, 1, 30), NOON);
    ledger.add(&batch(1, 2, 20), after(40));
    let mut ask = |seconds| {
        let standing = ledger.reserve(&request(1, Reserved::default()), after(seconds));
        (standing.counts.minute_tokens, standing.minute_frees_in.as_secs())
    };
    assert_eq!(ask(45), (50, 15));
    assert_eq!(ask(60), (20, 40));
    assert_eq!(ask(100), (0, 0));
}

#[test]
fn tokens_that_come_within_a_second_count_for_no_less_than_a_minute() {
    let mut ledger = ledger();
    let came = NOON + Duration::from_millis(400);
    ledger.add(&batch(1, 1, 7), came);
    let mut minute_at =
        |clock| ledger.reserve(&request(2, Reserved::default()), clock).counts.minute_tokens;
    assert_eq!(minute_at(came + Duration::from_millis(59_999)), 7);
    assert_eq!(minute_at(came + Duration::from_secs(61)), 0);
}

#[test]
fn what_is_written_is_restored() {
    let mut first = ledger();
    first.add(&batch(1, 1, 30), NOON);
    let days = first.unwritten(NOON);
    first.wrote(&days);
    assert!(first.unwritten(NOON).is_empty());
    let mut second = SharedLedger::default();
    assert!(!second.has_month(today()));
    second.restore_month(today(), days.iter().map(|(day, text)| (*day, text.as_str()))).unwrap();
    // The batch may have been carried out just before the restart.
    second.add(&batch(1, 1, 30), after(20));
    let counts = second.reserve(&request(2, Reserved::default()), after(20)).counts;
    assert_eq!((counts.day_tokens, counts.month_tokens, counts.minute_tokens), (30, 30, 30));
    let rows = SharedLedger::rows_in(today(), &days[0].1, Some(ADA)).unwrap();
    assert_eq!(rows, second.rows(today()..=today(), Some(ADA)).collect::<Vec<_>>());
    assert!(SharedLedger::rows_in(today(), &days[0].1, Some("bob")).unwrap().is_empty());
}

#[test]
fn usage_of_yesterday_is_written_with_what_concerns_no_day() {
    let mut first = ledger();
    let mut late = batch(1, 1, 30);
    late.rows[0].day = today().before(1);
    first.add(&late, NOON);
    let days = first.unwritten(NOON);
    let names: Vec<_> = days.iter().map(|(day, _)| *day).collect();
    assert_eq!(names, [today().before(1), today()]);
    let mut second = SharedLedger::default();
    second.restore_month(today(), days.iter().map(|(day, text)| (*day, text.as_str()))).unwrap();
    second.add(&late, NOON);
    let counts = second.reserve(&request(1, Reserved::default()), NOON).counts;
    assert_eq!((counts.day_tokens, counts.month_tokens), (0, 30));
}

#[test]
fn a_day_that_cannot_be_read_hides_no_other_day() {
    let mut first = ledger();
    first.add(&batch(1, 1, 30), NOON);
    let days = first.unwritten(NOON);
    let mut second = SharedLedger::default();
    let texts = [(today().before(1), "{"), (today(), days[0].1.as_str())];
    assert!(second.restore_month(today(), texts).is_err());
    assert_eq!(second.rows(today()..=today(), None).count(), 1);
}

#[test]
fn a_day_has_a_bounded_number_of_rows_and_loses_no_tokens() {
    let mut ledger = ledger();
    for n in 0..2 * MOST_ROWS {
        let mut batch = batch(1, n as u64 + 1, 1);
        batch.rows[0].model = format!("model-{n}").into();
        ledger.add(&batch, NOON);
    }
    let rows: Vec<_> = ledger.rows(today()..=today(), None).collect();
    assert_eq!(rows.len(), MOST_ROWS + 1);
    assert_eq!(rows.iter().map(|row| row.charge.tokens()).sum::<u64>(), 2 * MOST_ROWS as u64);
    let (_, text) = &ledger.unwritten(NOON)[0];
    assert!(text.len() < 100_000, "{}", text.len());
}

#[test]
fn what_a_thousand_processes_leave_behind_is_bounded() {
    let mut ledger = ledger();
    for process in 0..3 * MOST_PROCESSES as u64 {
        ledger.add(&batch(process, 1, 1), after(process));
    }
    assert_eq!(ledger.batches.len(), MOST_PROCESSES);
    assert!(ledger.minutes[ADA].len() <= 61);
}

#[test]
fn removed_days_are_gone_and_two_months_stay_in_memory() {
    let mut ledger = ledger();
    for month in ["2026-08-05", "2026-09-05", "2026-10-05"] {
        let day: Day = month.parse().unwrap();
        ledger.restore_month(day, []).unwrap();
        let mut batch = batch(1, 1, 1);
        batch.number = ledger.batches.get(&ProcessId(1)).map_or(1, |last| last.0 + 1);
        batch.rows[0].day = day;
        ledger.add(&batch, NOON);
    }
    let days = ledger.unwritten(NOON);
    assert_eq!(days.len(), 4);
    ledger.wrote(&days);
    assert_eq!(ledger.months.len(), MOST_MONTHS);
    let september: Day = "2026-09-05".parse().unwrap();
    assert!(!ledger.has_month(september));
    let old = r#"{"rows":[["ada","m",1,5,0,0,0,0]],"at":1,"batches":[[1,1,1]]}"#;
    ledger.restore_month(september, [(september, old)]).unwrap();
    assert_eq!(ledger.batches[&ProcessId(1)].0, 3, "what is newer stays");
    ledger.remove(september.next_month());
    assert_eq!(ledger.rows(today().before(300)..=today(), None).count(), 1);
    ledger.remove(today());
    assert_eq!(ledger.rows(today().before(300)..=today(), None).count(), 0);
}
