use super::*;

const NOW: Timestamp = Timestamp(1_750_000_000_000);

fn after(secs: u64) -> Timestamp {
    NOW + Duration::from_secs(secs)
}

fn secs(secs: u64) -> Option<Duration> {
    Some(Duration::from_secs(secs))
}

/// Upstream's answer and the time left, if upstream is not asked. A probe that is due goes first.
fn ask<'a>(
    quotas: &mut QuotaMemory<&'a str>,
    model: &str,
    clock: Timestamp,
) -> Option<(&'a str, Duration)> {
    match quotas.ask(model, false, clock) {
        QuotaVerdict::Exhausted(answer, left) => Some((answer, left)),
        QuotaVerdict::Probe => ask(quotas, model, clock),
        QuotaVerdict::Ask => None,
    }
}

fn count(quotas: &QuotaMemory<&str>, clock: Timestamp) -> usize {
    quotas.entries(clock).count()
}

#[test]
fn upstreams_answer_is_repeated_with_the_time_left_until_the_reset() {
    let mut quotas = QuotaMemory::default();
    assert!(quotas.note("pro", "exhausted", secs(7200), NOW));
    assert_eq!(
        ask(&mut quotas, "pro", after(3599)),
        Some(("exhausted", Duration::from_secs(3601)))
    );
}

#[test]
fn an_answer_holds_for_its_model_until_the_reset() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(100), NOW);
    assert!(ask(&mut quotas, "flash", NOW).is_none());
    assert!(ask(&mut quotas, "pro", after(99)).is_some());
    assert_eq!((count(&quotas, after(99)), count(&quotas, after(100))), (1, 0));
    assert!(ask(&mut quotas, "pro", after(100)).is_none());
    assert!(ask(&mut quotas, "pro", after(99)).is_none(), "an entry that has ended is dropped");
}

#[test]
fn an_answer_without_a_delay_holds_for_a_minute() {
    let mut quotas = QuotaMemory::default();
    assert!(quotas.note("pro", "exhausted", None, NOW));
    assert_eq!(ask(&mut quotas, "pro", after(59)), Some(("exhausted", Duration::from_secs(1))));
    assert!(ask(&mut quotas, "pro", after(60)).is_none());
}

#[test]
fn upstream_is_asked_again_after_a_day_and_the_reset_stays_as_stated() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(2 * 86_400), NOW);
    let left = ask(&mut quotas, "pro", after(86_399)).map(|(_, left)| left);
    assert_eq!(left, secs(86_401));
    assert!(ask(&mut quotas, "pro", after(86_400)).is_none());
}

#[test]
fn a_quota_with_a_delay_of_zero_is_not_kept() {
    let mut quotas = QuotaMemory::default();
    assert!(!quotas.note("pro", "exhausted", secs(0), NOW));
    assert!(ask(&mut quotas, "pro", NOW).is_none());
}

#[test]
fn a_quota_holds_for_a_thread_or_a_machine_whose_clock_is_a_little_behind() {
    let a_little_before = Timestamp(NOW.0 - 3);
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(100), NOW);
    assert!(ask(&mut quotas, "pro", a_little_before).is_some());
    let mut other = QuotaMemory::default();
    for (model, exhausted) in quotas.entries(a_little_before) {
        other.learn(model.to_owned(), exhausted.clone(), a_little_before);
    }
    assert!(ask(&mut other, "pro", a_little_before).is_some());
}

#[test]
fn a_wall_clock_that_was_set_back_or_ahead_does_not_lock_a_model() {
    let set_back = Timestamp(NOW.0 - CLOCKS_DIFFER.as_millis() as u64 - 1);
    for clock in [set_back, after(1_000_000)] {
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", "exhausted", secs(7200), NOW);
        assert!(ask(&mut quotas, "pro", clock).is_none());
    }
}

#[test]
fn a_later_answer_replaces_an_earlier_one() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "first", secs(7200), NOW);
    quotas.note("pro", "second", secs(400), NOW);
    assert_eq!(ask(&mut quotas, "pro", NOW), Some(("second", Duration::from_secs(400))));
}

#[test]
fn a_process_takes_over_the_quotas_of_another_unless_they_are_older() {
    let (mut one, mut other) = (QuotaMemory::default(), QuotaMemory::default());
    one.note("pro", "exhausted", secs(100), NOW);
    let entries: Vec<_> =
        one.entries(after(10)).map(|(model, it)| (model.to_owned(), it.clone())).collect();
    for (model, exhausted) in entries.clone() {
        other.learn(model, exhausted, after(10));
    }
    assert_eq!(ask(&mut other, "pro", after(40)), Some(("exhausted", Duration::from_secs(60))));
    other.note("pro", "newer", secs(100), after(50));
    for (model, exhausted) in entries.clone() {
        other.learn(model, exhausted, after(50));
    }
    assert_eq!(ask(&mut other, "pro", after(60)), Some(("newer", Duration::from_secs(90))));
    let mut late = QuotaMemory::default();
    for (model, exhausted) in entries {
        late.learn(model, exhausted, after(100));
    }
    assert_eq!(count(&late, after(100)), 0, "the entry no longer holds");
}

#[test]
fn the_number_of_models_is_bounded_and_the_quota_that_ends_first_is_dropped() {
    let mut quotas = QuotaMemory::default();
    quotas.note("brief", "exhausted", secs(400), NOW);
    for n in 0..MOST_MODELS + 50 {
        assert!(quotas.note(&format!("m{n}"), "exhausted", secs(7200), NOW));
    }
    assert_eq!(count(&quotas, NOW), MOST_MODELS);
    assert!(ask(&mut quotas, "brief", NOW).is_none());
    assert!(!quotas.note(&"x".repeat(257), "exhausted", None, NOW));
    quotas.clear(NOW);
    assert_eq!(count(&quotas, NOW), 0);
}

#[test]
fn one_request_in_ten_minutes_asks_whether_the_quota_is_back() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(166 * 3600), NOW);
    let mut probes = Vec::new();
    for second in 0..36_000 {
        if quotas.ask("pro", false, after(second)) == QuotaVerdict::Probe {
            probes.push(second);
            quotas.note("pro", "exhausted", secs(166 * 3600 - second), after(second));
        }
    }
    let expected: Vec<u64> = (1..60).map(|n| n * 600).collect();
    assert_eq!(probes, expected);
}

#[test]
fn a_probe_without_a_result_is_followed_by_another_after_a_minute() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(7200), NOW);
    let probes: Vec<u64> = (0..800)
        .filter(|second| quotas.ask("pro", false, after(*second)) == QuotaVerdict::Probe)
        .collect();
    assert_eq!(probes, [600, 660, 720, 780]);
}

#[test]
fn a_client_may_ask_anew_at_any_time() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(7200), NOW);
    for second in 1..5 {
        assert_eq!(quotas.ask("pro", true, after(second)), QuotaVerdict::Probe);
    }
    assert!(ask(&mut quotas, "pro", after(5)).is_some());
}

#[test]
fn a_model_that_works_again_is_free_for_all() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(7200), NOW);
    assert!(quotas.recovered("pro", after(10)));
    assert_eq!(quotas.ask("pro", false, after(10)), QuotaVerdict::Ask);
    assert!(!quotas.recovered("pro", after(11)), "nothing is known of it any more");
    let old = Exhausted::new("exhausted", after(5), after(7200), after(7200));
    quotas.learn("pro".to_owned(), old, after(12));
    assert_eq!(count(&quotas, after(12)), 0, "another process knows something older");
    let new = Exhausted::new("exhausted", after(11), after(7200), after(7200));
    quotas.learn("pro".to_owned(), new, after(12));
    assert_eq!(count(&quotas, after(12)), 1);
}

#[test]
fn a_recovery_that_another_process_has_seen_counts_unless_it_is_older() {
    let mut quotas = QuotaMemory::default();
    quotas.note("pro", "exhausted", secs(7200), NOW);
    quotas.learn_recovery("pro", Timestamp(NOW.0 - 1), after(10));
    assert_eq!(count(&quotas, after(10)), 1);
    quotas.learn_recovery("pro", after(20), after(10));
    assert_eq!(count(&quotas, after(10)), 1, "a time that is yet to come");
    quotas.learn_recovery("pro", after(5), after(10));
    assert_eq!(count(&quotas, after(10)), 0);
    assert_eq!(quotas.recoveries().collect::<Vec<_>>(), [("pro", after(5))]);
}

#[test]
fn a_memory_that_was_cleared_takes_nothing_older_from_other_processes() {
    let mut quotas = QuotaMemory::default();
    quotas.clear(after(10));
    for (since, known) in [(10, 0), (11, 1)] {
        let entry = Exhausted::new("exhausted", after(since), after(7200), after(7200));
        quotas.learn("pro".to_owned(), entry, after(12));
        assert_eq!(count(&quotas, after(12)), known);
    }
}
