use super::*;

const NOW: Monotonic = Monotonic(1_000_000);
const GENERATE: &str = "generateContent";
const COUNT: &str = "countTokens";

fn unable(reason: FailoverReason, error: &'static str) -> RoutingVerdict<&'static str> {
    RoutingVerdict::Unable(reason, error)
}

fn seconds(count: u64) -> Monotonic {
    NOW + Duration::from_secs(count)
}

#[test]
fn a_refused_account_is_left_alone_by_every_request_for_minutes() {
    let mut memory = InabilityMemory::default();
    assert!(memory.note(FailoverReason::Account, GENERATE, "pro", "refused", NOW));
    for (method, model) in [(GENERATE, "pro"), (GENERATE, "flash"), (COUNT, "pro")] {
        let verdict = memory.ask(method, model, seconds(299));
        assert_eq!(verdict, unable(FailoverReason::Account, "refused"));
    }
    assert_eq!(memory.ask(GENERATE, "pro", seconds(300)), RoutingVerdict::Probe);
}

#[test]
fn a_model_that_is_not_found_is_left_alone_for_an_hour_and_no_other_model_is() {
    let mut memory = InabilityMemory::default();
    memory.note(FailoverReason::NotFound, GENERATE, "pro", "no pro", NOW);
    let verdict = memory.ask(GENERATE, "pro", seconds(3599));
    assert_eq!(verdict, unable(FailoverReason::NotFound, "no pro"));
    assert_eq!(memory.ask(GENERATE, "flash", NOW), RoutingVerdict::Ask);
    // A model may be there and lack a method.
    assert_eq!(memory.ask(COUNT, "pro", NOW), RoutingVerdict::Ask);
    assert_eq!(memory.ask(GENERATE, "pro", seconds(3600)), RoutingVerdict::Probe);
}

#[test]
fn one_probe_at_a_time_asks_again_and_a_failure_renews_the_memory() {
    let mut memory = InabilityMemory::default();
    memory.note(FailoverReason::Billing, GENERATE, "pro", "no money", NOW);
    assert_eq!(memory.ask(GENERATE, "pro", seconds(600)), RoutingVerdict::Probe);
    let meanwhile = memory.ask(GENERATE, "flash", seconds(601));
    assert_eq!(meanwhile, unable(FailoverReason::Billing, "no money"));
    assert!(!memory.note(FailoverReason::Billing, GENERATE, "pro", "still none", seconds(602)));
    let after = memory.ask(GENERATE, "pro", seconds(1201));
    assert_eq!(after, unable(FailoverReason::Billing, "still none"));
    // The next probe's client goes away: another one follows after a minute.
    assert_eq!(memory.ask(GENERATE, "pro", seconds(1202)), RoutingVerdict::Probe);
    assert_ne!(memory.ask(GENERATE, "pro", seconds(1261)), RoutingVerdict::Probe);
    assert_eq!(memory.ask(GENERATE, "pro", seconds(1262)), RoutingVerdict::Probe);
}

#[test]
fn a_success_ends_what_it_disproves() {
    let mut memory = InabilityMemory::default();
    memory.note(FailoverReason::Account, GENERATE, "pro", "refused", NOW);
    memory.note(FailoverReason::NotFound, GENERATE, "pro", "no pro", NOW);
    memory.note(FailoverReason::NotFound, GENERATE, "nano", "no nano", NOW);
    assert!(memory.served(GENERATE, "pro"));
    assert!(!memory.served(GENERATE, "pro"));
    assert_eq!(memory.ask(GENERATE, "pro", NOW), RoutingVerdict::Ask);
    assert_eq!(memory.ask(GENERATE, "nano", NOW), unable(FailoverReason::NotFound, "no nano"));
}

#[test]
fn a_changed_credential_ends_the_memory_of_the_account_alone() {
    let mut memory = InabilityMemory::default();
    memory.note(FailoverReason::Account, GENERATE, "pro", "refused", NOW);
    memory.note(FailoverReason::NotFound, GENERATE, "pro", "no pro", NOW);
    memory.forget_account();
    assert_eq!(memory.ask(GENERATE, "flash", NOW), RoutingVerdict::Ask);
    assert_eq!(memory.ask(GENERATE, "pro", NOW), unable(FailoverReason::NotFound, "no pro"));
    memory.clear();
    assert!(memory.is_empty());
}

#[test]
fn what_breakers_and_the_quota_memory_know_is_not_remembered_twice() {
    let mut memory = InabilityMemory::default();
    for reason in [FailoverReason::Capacity, FailoverReason::Quota, FailoverReason::Unreachable] {
        assert!(!memory.note(reason, GENERATE, "pro", "error", NOW));
    }
    let long = "x".repeat(LONGEST_NAME + 1);
    assert!(!memory.note(FailoverReason::NotFound, GENERATE, &long, "error", NOW));
    assert!(memory.is_empty());
}

#[test]
fn clients_that_invent_models_do_not_push_out_what_is_known_of_the_account() {
    let mut memory = InabilityMemory::default();
    memory.note(FailoverReason::Account, GENERATE, "pro", "refused", NOW);
    for number in 0..2 * MOST {
        memory.note(FailoverReason::NotFound, GENERATE, &format!("m{number}"), "none", NOW);
    }
    assert_eq!(memory.known.len(), MOST);
    assert_eq!(memory.ask(COUNT, "pro", NOW), unable(FailoverReason::Account, "refused"));
}
