use super::*;
use crate::failure::{Failure, FailureClass};

const TIMEOUT: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(secs)
}

fn permit(breaker: &mut Breaker, now: Monotonic) -> Permit {
    match breaker.ask(now) {
        BreakerVerdict::Permit(permit) => permit,
        BreakerVerdict::Open { after } => panic!("open for {after:?}"),
    }
}

fn run(breaker: &mut Breaker, outcome: CallOutcome, now: Monotonic) {
    let permit = permit(breaker, now);
    breaker.record(permit, outcome, None, now);
}

/// The failures in a row of a closed breaker.
fn failures(breaker: &Breaker) -> u32 {
    match breaker.circuit {
        Circuit::Closed { failures, .. } => failures,
        Circuit::Open { .. } => panic!("{breaker:?} is open"),
    }
}

fn of_class(class: FailureClass) -> CallOutcomes {
    CallOutcomes::of(Failure::new(class))
}

fn of_status(status: u16) -> CallOutcomes {
    of_class(FailureClass::of_status(http::StatusCode::from_u16(status).unwrap()))
}

/// A breaker that opened at second zero.
fn open() -> Breaker {
    let mut breaker = Breaker::new(3, TIMEOUT);
    for _ in 0..3 {
        run(&mut breaker, CallOutcome::Failure, at(0));
    }
    breaker
}

#[test]
fn failures_in_a_row_open_the_breaker_for_the_timeout() {
    let mut breaker = Breaker::new(3, TIMEOUT);
    for count in 0..3 {
        assert_eq!((breaker.state(at(0)), failures(&breaker)), (State::Closed, count));
        run(&mut breaker, CallOutcome::Failure, at(0));
    }
    assert_eq!(breaker.state(at(0)), State::Open);
    assert_eq!(breaker.ask(at(0)), BreakerVerdict::Open { after: TIMEOUT });
    assert_eq!(breaker.ask(at(59)), BreakerVerdict::Open { after: Duration::from_secs(1) });
    assert_eq!(breaker.open_for(at(59)), Some(Duration::from_secs(1)));
    assert_eq!(breaker.open_for(at(60)), None);
    assert_eq!(breaker.state(at(60)), State::HalfOpen);
}

#[test]
fn a_success_between_failures_resets_their_count() {
    let mut breaker = Breaker::new(3, TIMEOUT);
    for _ in 0..10 {
        run(&mut breaker, CallOutcome::Failure, at(0));
        run(&mut breaker, CallOutcome::Failure, at(0));
        run(&mut breaker, CallOutcome::Success, at(0));
    }
    assert_eq!(breaker.state(at(0)), State::Closed);
}

#[test]
fn neutral_and_unfinished_calls_do_not_change_the_count_of_failures() {
    let mut breaker = Breaker::new(3, TIMEOUT);
    for _ in 0..2 {
        run(&mut breaker, CallOutcome::Failure, at(0));
        for _ in 0..10 {
            run(&mut breaker, CallOutcome::Neutral, at(0));
            run(&mut breaker, CallOutcome::Alive, at(0));
        }
    }
    assert_eq!(failures(&breaker), 2);
    run(&mut breaker, CallOutcome::Failure, at(0));
    assert_eq!(breaker.state(at(0)), State::Open);
}

#[test]
fn an_error_of_the_api_proves_that_the_endpoint_works() {
    for status in [200, 204, 302, 400, 401, 403, 404, 408, 429, 499] {
        assert_eq!(of_status(status), CallOutcomes::SUCCESS, "{status}");
    }
    // A client of the Gemini API gets it as an answer.
    assert_eq!(of_class(FailureClass::NoAnswer), CallOutcomes::SUCCESS);
    for status in [500, 502, 503, 504] {
        let of_model = CallOutcomes { endpoint: CallOutcome::Success, model: CallOutcome::Failure };
        assert_eq!(of_status(status), of_model, "{status}");
    }
    let unknown = CallOutcomes { endpoint: CallOutcome::Success, model: CallOutcome::Neutral };
    assert_eq!(of_status(501), unknown, "a method that does not exist says nothing of a model");
}

#[test]
fn what_the_endpoint_fails_at_is_not_the_models_failure() {
    let of_endpoint = CallOutcomes { endpoint: CallOutcome::Failure, model: CallOutcome::Neutral };
    for class in [FailureClass::Disconnected, FailureClass::Unreachable] {
        assert_eq!(of_class(class), of_endpoint, "{class:?}");
    }
    for class in [FailureClass::Malformed, FailureClass::ServerError, FailureClass::Unavailable] {
        let page = Failure { is_page: true, ..Failure::new(class) };
        assert_eq!(CallOutcomes::of(page), of_endpoint, "a page with {class:?}");
    }
}

#[test]
fn time_outs_refused_streams_and_broken_answers_are_the_models_failures() {
    let silent = CallOutcomes { endpoint: CallOutcome::Neutral, model: CallOutcome::Failure };
    assert_eq!(of_class(FailureClass::TimedOut), silent);
    assert_eq!(of_class(FailureClass::NotProcessed), silent, "shed streams");
    for class in [FailureClass::BrokenAnswer, FailureClass::Malformed, FailureClass::NoEvents] {
        let of_model = CallOutcomes { endpoint: CallOutcome::Success, model: CallOutcome::Failure };
        assert_eq!(of_class(class), of_model, "{class:?}");
    }
}

#[test]
fn what_the_proxy_itself_refuses_counts_for_nothing() {
    for class in [FailureClass::Local, FailureClass::LocalResources, FailureClass::ShuttingDown] {
        assert_eq!(of_class(class), CallOutcomes::NEUTRAL, "{class:?}");
    }
}

#[test]
fn equal_bodies_count_once_until_a_success() {
    let mut breaker = Breaker::new(3, TIMEOUT);
    let fail = |breaker: &mut Breaker, body| {
        let permit = permit(breaker, at(0));
        breaker.record(permit, CallOutcome::Failure, Some(body), at(0));
    };
    for _ in 0..10 {
        fail(&mut breaker, 1);
        fail(&mut breaker, 2);
    }
    assert_eq!(failures(&breaker), 2);
    run(&mut breaker, CallOutcome::Success, at(0));
    fail(&mut breaker, 1);
    fail(&mut breaker, 2);
    assert_eq!(failures(&breaker), 2);
    fail(&mut breaker, 3);
    assert_eq!(breaker.state(at(0)), State::Open);
}

#[test]
fn a_half_open_breaker_permits_one_of_a_hundred_calls() {
    let mut breaker = open();
    let _ = permit(&mut breaker, at(60));
    for _ in 0..99 {
        assert_eq!(breaker.ask(at(60)), BreakerVerdict::Open { after: TIMEOUT });
    }
    assert_eq!(breaker.state(at(60)), State::HalfOpen);
}

#[test]
fn a_successful_probe_closes_the_breaker() {
    for outcome in [CallOutcome::Success, CallOutcome::Alive] {
        let mut breaker = open();
        run(&mut breaker, outcome, at(60));
        assert_eq!((breaker.state(at(60)), failures(&breaker)), (State::Closed, 0));
        for _ in 0..100 {
            let _ = permit(&mut breaker, at(60));
        }
    }
}

#[test]
fn a_failed_probe_opens_the_breaker_for_another_timeout() {
    let mut breaker = open();
    let probe = permit(&mut breaker, at(60));
    breaker.record(probe, CallOutcome::Failure, None, at(70));
    assert_eq!(breaker.state(at(70)), State::Open);
    assert_eq!(breaker.ask(at(71)), BreakerVerdict::Open { after: Duration::from_secs(59) });
    let _ = permit(&mut breaker, at(130));
}

#[test]
fn a_probe_without_a_result_is_replaced_after_the_timeout() {
    let mut breaker = open();
    let _ = permit(&mut breaker, at(60));
    assert_eq!(breaker.ask(at(119)), BreakerVerdict::Open { after: Duration::from_secs(1) });
    let _ = permit(&mut breaker, at(120));
    assert_eq!(breaker.ask(at(120)), BreakerVerdict::Open { after: TIMEOUT });
}

#[test]
fn after_a_neutral_probe_the_next_call_is_the_probe() {
    let mut breaker = open();
    let first = permit(&mut breaker, at(60));
    assert!(matches!(breaker.ask(at(61)), BreakerVerdict::Open { .. }));
    breaker.record(first, CallOutcome::Neutral, None, at(62));
    assert_eq!(breaker.state(at(62)), State::HalfOpen);
    let second = permit(&mut breaker, at(62));
    assert!(matches!(breaker.ask(at(63)), BreakerVerdict::Open { .. }), "one probe at a time");
    // A probe that was replaced does not make way for another one.
    breaker.record(first, CallOutcome::Neutral, None, at(63));
    assert!(matches!(breaker.ask(at(63)), BreakerVerdict::Open { .. }));
    breaker.record(second, CallOutcome::Success, None, at(64));
    assert_eq!(breaker.state(at(64)), State::Closed);
}

#[test]
fn a_replaced_probes_success_closes_the_breaker_and_its_failure_is_ignored() {
    let mut breaker = open();
    let slow = permit(&mut breaker, at(60));
    let second = permit(&mut breaker, at(120));
    breaker.record(slow, CallOutcome::Failure, None, at(130));
    assert_eq!(breaker.state(at(130)), State::HalfOpen);
    breaker.record(second, CallOutcome::Failure, None, at(140));
    assert_eq!(breaker.state(at(140)), State::Open);

    let mut breaker = open();
    let slow = permit(&mut breaker, at(60));
    let second = permit(&mut breaker, at(120));
    breaker.record(slow, CallOutcome::Success, None, at(130));
    assert_eq!(breaker.state(at(130)), State::Closed);
    breaker.record(second, CallOutcome::Failure, None, at(140));
    assert_eq!(failures(&breaker), 0, "a probe from before the closing is ignored");
}

#[test]
fn calls_permitted_before_an_opening_are_ignored_after_it() {
    let mut breaker = Breaker::new(3, TIMEOUT);
    let early: Vec<_> = (0..10).map(|_| permit(&mut breaker, at(0))).collect();
    for permit in &early[..3] {
        breaker.record(*permit, CallOutcome::Failure, None, at(1));
    }
    assert_eq!(breaker.state(at(1)), State::Open);
    breaker.record(early[3], CallOutcome::Failure, None, at(30));
    breaker.record(early[4], CallOutcome::Success, None, at(30));
    assert_eq!(breaker.ask(at(30)), BreakerVerdict::Open { after: Duration::from_secs(31) });
    let probe = permit(&mut breaker, at(61));
    breaker.record(early[5], CallOutcome::Success, None, at(62));
    breaker.record(early[6], CallOutcome::Failure, None, at(62));
    assert_eq!(breaker.state(at(62)), State::HalfOpen);
    breaker.record(probe, CallOutcome::Success, None, at(62));
    for permit in &early[7..] {
        breaker.record(*permit, CallOutcome::Failure, None, at(63));
    }
    assert_eq!((breaker.state(at(63)), failures(&breaker)), (State::Closed, 0));
}

#[test]
fn a_probe_whose_stream_begins_and_then_breaks_counts_as_one_failure() {
    let mut breaker = open();
    let probe = permit(&mut breaker, at(60));
    breaker.record(probe, CallOutcome::Alive, None, at(61));
    breaker.record(probe, CallOutcome::Failure, None, at(62));
    assert_eq!((breaker.state(at(62)), failures(&breaker)), (State::Closed, 1));
}

#[test]
fn streams_that_begin_and_then_break_open_the_breaker() {
    let mut breaker = Breaker::new(3, TIMEOUT);
    for _ in 0..3 {
        let permit = permit(&mut breaker, at(0));
        breaker.record(permit, CallOutcome::Alive, None, at(0));
        breaker.record(permit, CallOutcome::Failure, None, at(0));
    }
    assert_eq!(breaker.state(at(0)), State::Open);
}
