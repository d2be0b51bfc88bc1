use super::*;

const DAY: u64 = 86_400_000;

/// A moment of June 2025: so many milliseconds after the 15th has begun.
fn at(millis: u64) -> Moment {
    let day: Day = "2025-06-15".parse().unwrap();
    Moment { now: Monotonic((DAY + millis) * 1000), clock: Timestamp(day.begin().0 + millis) }
}

fn ledger() -> Ledger {
    Ledger::new(&"ada".into())
}

fn tokens(output: u64) -> Charge {
    Charge { output_tokens: output, cost: Cost(output), ..Charge::default() }
}

fn reserved(tokens: u64) -> Reserved {
    Reserved { tokens, cost: Cost(tokens), calls: 1 }
}

fn charge(ledger: &mut Ledger, output: u64, at: Moment) {
    ledger.charge(&"m".into(), 1, tokens(output), at);
}

fn used(ledger: &mut Ledger, at: Moment) -> (u64, u64, u64) {
    let counts = ledger.counts(at);
    (counts.day_tokens, counts.month_tokens, counts.month_cost.0)
}

#[test]
fn a_day_begins_anew_at_midnight_and_a_month_on_its_first_day() {
    let mut ledger = ledger();
    charge(&mut ledger, 10, at(DAY - 1));
    assert_eq!(used(&mut ledger, at(DAY - 1)), (10, 10, 10));
    assert_eq!(used(&mut ledger, at(DAY)), (0, 10, 10));
    charge(&mut ledger, 5, at(DAY));
    assert_eq!(used(&mut ledger, at(DAY)), (5, 15, 15));
    assert_eq!(used(&mut ledger, at(16 * DAY)), (0, 0, 0));
    let days: Vec<_> = ledger.take_usage().rows.iter().map(|row| row.day.to_string()).collect();
    assert_eq!(days, ["2025-06-15", "2025-06-16"]);
}

#[test]
fn a_clock_that_steps_back_over_midnight_gives_no_budget_twice() {
    let mut ledger = ledger();
    charge(&mut ledger, 10, at(DAY + 5));
    assert_eq!(used(&mut ledger, at(DAY - 1000)), (10, 10, 10));
    // A clock that was wrong by days is not believed for ever.
    assert_eq!(used(&mut ledger, at(0)), (0, 10, 10));
}

#[test]
fn requests_begin_in_the_order_of_arrival_and_none_overtakes() {
    let limits = Limits { max_concurrent: Some(1), ..Limits::default() };
    let mut ledger = ledger();
    let mut places = [None; 3];
    let first = ledger.reserve(&limits, reserved(1), &mut places[0], at(0)).unwrap();
    for place in &mut places[1..] {
        assert!(ledger.reserve(&limits, reserved(1), place, at(0)).unwrap_err().waits());
    }
    ledger.release(first);
    let [_, second, third] = &mut places;
    assert!(ledger.is_first(&limits, *second) && !ledger.is_first(&limits, *third));
    assert!(ledger.reserve(&limits, reserved(1), third, at(1)).is_err(), "it overtakes");
    let mut newcomer = None;
    assert!(ledger.reserve(&limits, reserved(1), &mut newcomer, at(1)).is_err());
    // Another table of the same person has limits of its own.
    let free = ledger.reserve(&Limits::default(), reserved(1), &mut None, at(1)).unwrap();
    ledger.release(free);
    let second = ledger.reserve(&limits, reserved(1), second, at(1)).unwrap();
    ledger.release(second);
    // One that leaves the line does not block it.
    ledger.leave(third);
    assert!(ledger.reserve(&limits, reserved(1), &mut newcomer, at(2)).is_ok());
    assert!(ledger.line.is_empty() && newcomer.is_none());
}

#[test]
fn a_request_that_cannot_begin_leaves_the_line() {
    let limits = Limits { tokens_per_day: Some(10), ..Limits::default() };
    let mut ledger = ledger();
    let first = ledger.reserve(&limits, reserved(10), &mut None, at(0)).unwrap();
    let mut place = None;
    assert!(ledger.reserve(&limits, reserved(1), &mut place, at(0)).unwrap_err().may_pass);
    assert!(place.is_some());
    ledger.release(first);
    charge(&mut ledger, 10, at(0));
    assert!(!ledger.reserve(&limits, reserved(1), &mut place, at(0)).unwrap_err().may_pass);
    assert!(place.is_none() && ledger.line.is_empty());
}

#[test]
fn what_was_reserved_an_hour_ago_is_given_back() {
    let limits = Limits { max_concurrent: Some(1), ..Limits::default() };
    let mut ledger = ledger();
    let lost = ledger.reserve(&limits, reserved(7), &mut None, at(0)).unwrap();
    assert!(ledger.reserve(&limits, reserved(7), &mut Some(lost), at(0)).is_err());
    ledger.release_lost(at(3_599_999).now);
    assert_eq!(ledger.counts(at(0)).reserved, reserved(7));
    ledger.release_lost(at(3_600_000).now);
    assert_eq!(ledger.counts(at(0)).reserved, Reserved::default());
    ledger.release(lost);
    assert_eq!(ledger.counts(at(0)).reserved, Reserved::default());
}

#[test]
fn what_the_shared_store_has_said_holds_on_with_what_follows() {
    let mut ledger = ledger();
    charge(&mut ledger, 10, at(0));
    let counts = Counts { day_tokens: 100, month_tokens: 200, ..Counts::default() };
    let standing = SharedStanding { is_granted: true, counts, minute_frees_in: Duration::ZERO };
    ledger.note(&standing, at(0));
    assert_eq!(used(&mut ledger, at(0)), (110, 210, 10), "with what the store has not yet");
    charge(&mut ledger, 1, at(1));
    assert_eq!(used(&mut ledger, at(1)), (111, 211, 11));
    assert_eq!(used(&mut ledger, at(DAY)), (0, 211, 11));
}

#[test]
fn what_is_loaded_is_added_to_what_the_store_has_not() {
    let mut ledger = ledger();
    charge(&mut ledger, 10, at(0));
    let row = |day: &str, output| UsageRow {
        key: "ada".into(),
        model: "m".into(),
        day: day.parse().unwrap(),
        requests: 1,
        charge: tokens(output),
    };
    let rows = [row("2025-06-01", 100), row("2025-06-15", 1000), row("2025-05-31", 9)];
    let month = rows[0].day;
    let mark = ledger.begin_load().unwrap();
    assert!(ledger.loaded(mark, &rows, month, at(1)));
    assert_eq!(used(&mut ledger, at(1)), (1010, 1110, 1110));
    // Usage that is on its way may be in what is loaded, or not.
    let _ = ledger.take_usage();
    assert_eq!(ledger.begin_load(), None);
    assert!(!ledger.loaded(mark, &rows, month, at(1)));
    ledger.flushed();
    let mark = ledger.begin_load().unwrap();
    assert!(!ledger.loaded(mark, &rows, month, at(20 * DAY)), "the month is over");
}

#[test]
fn reservations_and_usage_that_the_store_has_not_are_the_processes_own() {
    let mut ledger = ledger();
    let _ = ledger.reserve(&Limits::default(), reserved(3), &mut None, at(0)).unwrap();
    charge(&mut ledger, 10, at(0));
    let all = Reserved { tokens: 13, cost: Cost(13), calls: 1 };
    assert_eq!(ledger.outside_the_store(), all);
    let taken = ledger.take_usage();
    assert_eq!((taken.rows.len(), taken.reserved), (1, Some(reserved(3))));
    assert_eq!(ledger.outside_the_store(), all);
    ledger.flushed();
    assert_eq!(ledger.outside_the_store(), reserved(3));
}

#[test]
fn the_end_of_reservations_is_said_once() {
    let mut ledger = ledger();
    let ticket = ledger.reserve(&Limits::default(), reserved(3), &mut None, at(0)).unwrap();
    ledger.release(ticket);
    assert_eq!(ledger.take_usage().reserved, Some(Reserved::default()));
    assert_eq!(ledger.take_usage().reserved, None);
}

#[test]
fn more_models_than_are_counted_apart_are_counted_together() {
    let mut ledger = ledger();
    for number in 0..100 {
        ledger.charge(&format!("m{number}").into(), 1, tokens(1), at(0));
    }
    let rows = ledger.take_usage().rows;
    assert_eq!((rows.len(), rows[63].requests), (64, 37));
    assert_eq!(&*rows[63].model, "other");
    let total: u64 = ledger.totals().iter().map(|total| total.charge.output_tokens).sum();
    assert_eq!((ledger.totals().len(), total), (64, 100));
}

#[test]
fn the_tightest_budget_is_the_one_with_the_smallest_share_left() {
    let limits = Limits {
        tokens_per_minute: Some(1000),
        tokens_per_day: Some(100),
        tokens_per_month: Some(10_000),
        ..Limits::default()
    };
    let mut ledger = ledger();
    charge(&mut ledger, 50, at(0));
    let _ = ledger.reserve(&limits, reserved(30), &mut None, at(0)).unwrap();
    let (row, left) = ledger.tightest(&limits, at(0)).unwrap();
    assert_eq!((row.budget, row.limit, row.used, left), (Budget::TokensPerDay, 100, 50, 20));
    assert_eq!(row.resets_at, at(DAY).clock);
    assert_eq!(ledger.tightest(&Limits::default(), at(0)), None);
    let standings: Vec<_> =
        ledger.standings(&limits, at(500)).iter().map(|row| row.resets_at).collect();
    let month: Day = "2025-07-01".parse().unwrap();
    assert_eq!(standings, [month.begin(), at(DAY).clock, at(61_000).clock]);
}
