use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(secs)
}

fn endpoints(count: usize) -> Endpoints {
    Endpoints::new(count, 2, TIMEOUT)
}

const FLASH: BreakerScope<'static> =
    BreakerScope::Model(ModelOperation { model: "flash", operation: "generateContent" });
const PRO: BreakerScope<'static> =
    BreakerScope::Model(ModelOperation { model: "pro", operation: "generateContent" });
const PRO_STREAM: BreakerScope<'static> =
    BreakerScope::Model(ModelOperation { model: "pro", operation: "streamGenerateContent" });

/// The endpoint has failed.
const DEAD: CallOutcomes =
    CallOutcomes { endpoint: CallOutcome::Failure, model: CallOutcome::Neutral };
/// The model has failed.
const OVERLOADED: CallOutcomes =
    CallOutcomes { endpoint: CallOutcome::Success, model: CallOutcome::Failure };

/// The tries of a request that has tried these endpoints, and for which nothing was counted.
fn tries(tried: &[usize]) -> Tries {
    let mut tries = Tries::default();
    tried.iter().for_each(|index| tries.failed(*index, CallOutcomes::NEUTRAL));
    tries
}

fn choose(endpoints: &mut Endpoints, now: Monotonic, tried: &[usize]) -> EndpointChoice {
    endpoints.choose(FLASH, &tries(tried), now).unwrap()
}

fn end(
    endpoints: &mut Endpoints,
    choice: EndpointChoice,
    outcomes: CallOutcomes,
    tried: &[usize],
    now: Monotonic,
) -> AfterCall {
    endpoints.end(choice, FLASH, outcomes, 0, &tries(tried), now)
}

/// One request of one try, with this body.
fn call(
    endpoints: &mut Endpoints,
    scope: BreakerScope<'_>,
    outcomes: CallOutcomes,
    body: u64,
    now: Monotonic,
) -> AfterCall {
    let choice = endpoints.choose(scope, &Tries::default(), now).unwrap();
    let mut tries = Tries::default();
    tries.failed(choice.index, outcomes);
    endpoints.end(choice, scope, outcomes, body, &tries, now)
}

fn is_open(endpoints: &Endpoints, scope: BreakerScope<'_>, now: Monotonic) -> bool {
    endpoints.all_open(scope, now).is_some()
}

/// Opens the breaker of this endpoint, which takes two failures.
fn open(endpoints: &mut Endpoints, index: usize, now: Monotonic) {
    let others: Vec<_> = (0..endpoints.all.len()).filter(|other| *other != index).collect();
    for _ in 0..2 {
        let choice = choose(endpoints, now, &others);
        assert_eq!(choice.index, index);
        let _ = end(endpoints, choice, DEAD, &[], now);
    }
}

fn in_flight(endpoints: &Endpoints) -> Vec<usize> {
    endpoints.all.iter().map(|endpoint| endpoint.in_flight).collect()
}

fn states(endpoints: &Endpoints, now: Monotonic) -> Vec<breaker::State> {
    endpoints.states(now).collect()
}

#[test]
fn a_single_endpoint_is_always_chosen() {
    let mut endpoints = endpoints(1);
    for tried in [&[][..], &[0], &[0, 0]] {
        let choice = choose(&mut endpoints, at(0), tried);
        assert_eq!((choice.index, choice.is_probe), (0, false));
        let _ = end(&mut endpoints, choice, CallOutcomes::SUCCESS, &[], at(0));
    }
    assert!(!endpoints.may_call_other_than(&tries(&[0]), FLASH, at(0)));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn equal_endpoints_are_chosen_round_robin() {
    let mut endpoints = endpoints(3);
    let mut chosen = Vec::new();
    for _ in 0..6 {
        let choice = choose(&mut endpoints, at(0), &[]);
        chosen.push(choice.index);
        let _ = end(&mut endpoints, choice, CallOutcomes::SUCCESS, &[], at(0));
    }
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_endpoint_with_the_fewest_calls_in_flight_is_chosen() {
    let mut endpoints = endpoints(3);
    let mut held: Vec<_> = (0..30).map(|_| choose(&mut endpoints, at(0), &[])).collect();
    assert_eq!(in_flight(&endpoints), [10, 10, 10]);
    let second = held.iter().position(|choice| choice.index == 1).unwrap();
    let _ = end(&mut endpoints, held.swap_remove(second), CallOutcomes::SUCCESS, &[], at(0));
    assert_eq!(in_flight(&endpoints), [10, 9, 10]);
    held.push(choose(&mut endpoints, at(0), &[]));
    assert_eq!(in_flight(&endpoints), [10, 10, 10]);
    for choice in held {
        endpoints.leave(choice);
    }
    assert_eq!(in_flight(&endpoints), [0, 0, 0]);
}

#[test]
fn untried_endpoints_are_chosen_before_tried_ones() {
    let mut endpoints = endpoints(2);
    let first = choose(&mut endpoints, at(0), &[]);
    assert_eq!(first.index, 0);
    let _ = end(&mut endpoints, first, DEAD, &[], at(0));
    // The second has a call in flight, but the first has been tried.
    let busy = choose(&mut endpoints, at(0), &[0]);
    assert!(endpoints.may_call_other_than(&tries(&[0]), FLASH, at(0)));
    assert_eq!(choose(&mut endpoints, at(0), &[0]).index, 1);
    assert!(!endpoints.may_call_other_than(&tries(&[0, 1]), FLASH, at(0)));
    assert_eq!(choose(&mut endpoints, at(0), &[0, 1]).index, 0);
    endpoints.leave(busy);
}

#[test]
fn an_endpoint_with_an_open_breaker_is_not_chosen_and_the_error_has_the_shortest_wait() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 0, at(0));
    for _ in 0..5 {
        let choice = choose(&mut endpoints, at(1), &[]);
        assert_eq!(choice.index, 1);
        let _ = end(&mut endpoints, choice, CallOutcomes::SUCCESS, &[], at(1));
    }
    assert!(
        !endpoints.may_call_other_than(&tries(&[1]), FLASH, at(1)),
        "the breaker of the other endpoint is open"
    );
    // The second has been tried, but it is the only one that may be called.
    let back = choose(&mut endpoints, at(1), &[1]);
    assert_eq!(back.index, 1);
    let _ = end(&mut endpoints, back, DEAD, &[], at(2));
    let last = choose(&mut endpoints, at(2), &[]);
    let _ = end(&mut endpoints, last, DEAD, &[], at(20));
    let error = endpoints.choose(FLASH, &Tries::default(), at(30)).unwrap_err();
    let expected = NoEndpointError { after: Duration::from_secs(30), only_the_model: false };
    assert_eq!(error, expected);
    assert_eq!(in_flight(&endpoints), [0, 0]);
}

#[test]
fn one_call_probes_a_half_open_endpoint_and_the_other_calls_go_elsewhere() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 0, at(0));
    let chosen: Vec<_> = (0..10).map(|_| choose(&mut endpoints, at(60), &[])).collect();
    assert_eq!(chosen.iter().filter(|choice| choice.index == 0).count(), 1);
    assert_eq!(states(&endpoints, at(60)), [breaker::State::HalfOpen, breaker::State::Closed]);
    for choice in chosen {
        let _ = end(&mut endpoints, choice, CallOutcomes::SUCCESS, &[], at(61));
    }
    assert_eq!(states(&endpoints, at(61)), [breaker::State::Closed, breaker::State::Closed]);
}

#[test]
fn a_stream_counts_as_in_flight_until_it_ends() {
    let mut endpoints = endpoints(1);
    let stream = choose(&mut endpoints, at(0), &[]);
    endpoints.alive(&stream, FLASH, at(1));
    assert_eq!(in_flight(&endpoints), [1]);
    let _ = end(&mut endpoints, stream, DEAD, &[], at(2));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn the_end_of_a_call_says_whether_another_endpoint_may_be_called_at_once() {
    let mut endpoints = endpoints(2);
    let first = choose(&mut endpoints, at(0), &[]);
    let after = end(&mut endpoints, first, DEAD, &[0], at(0));
    let expected = AfterCall {
        state: breaker::State::Closed,
        model_opened: false,
        more_endpoints: true,
        all_open_for: Duration::ZERO,
    };
    assert_eq!(after, expected);
    open(&mut endpoints, 1, at(0));
    let last = choose(&mut endpoints, at(10), &[]);
    let after = end(&mut endpoints, last, DEAD, &[0], at(10));
    let expected = AfterCall {
        state: breaker::State::Open,
        model_opened: false,
        more_endpoints: false,
        all_open_for: Duration::from_secs(50),
    };
    assert_eq!(after, expected);
}

#[test]
fn without_endpoints_the_error_has_the_breakers_timeout() {
    let mut none = Endpoints::new(0, 2, TIMEOUT);
    let expected = NoEndpointError { after: TIMEOUT, only_the_model: false };
    assert_eq!(none.choose(FLASH, &Tries::default(), at(0)).unwrap_err(), expected);
}

#[test]
fn a_failing_model_rests_for_one_operation_and_leaves_everything_else_alone() {
    let mut endpoints = endpoints(1);
    assert!(!call(&mut endpoints, PRO, OVERLOADED, 1, at(0)).model_opened);
    let after = call(&mut endpoints, PRO, OVERLOADED, 2, at(0));
    assert_eq!((after.model_opened, after.all_open_for), (true, TIMEOUT));
    assert_eq!(after.state, breaker::State::Closed);
    let error = endpoints.choose(PRO, &Tries::default(), at(1)).unwrap_err();
    let expected = NoEndpointError { after: Duration::from_secs(59), only_the_model: true };
    assert_eq!(error, expected);
    for scope in [FLASH, PRO_STREAM, BreakerScope::Endpoint, BreakerScope::Nothing] {
        assert!(!is_open(&endpoints, scope, at(1)), "{scope:?}");
    }
    let resting: Vec<_> = endpoints.resting(at(1)).collect();
    let BreakerScope::Model(of) = PRO else { unreachable!() };
    let open_for = Duration::from_secs(59);
    assert_eq!(resting, [(0, RestingModel { of, state: breaker::State::Open, open_for })]);
}

#[test]
fn one_probe_for_a_resting_model_closes_its_breaker() {
    let mut endpoints = endpoints(1);
    call(&mut endpoints, PRO, OVERLOADED, 1, at(0));
    call(&mut endpoints, PRO, OVERLOADED, 2, at(0));
    let probe = endpoints.choose(PRO, &Tries::default(), at(60)).unwrap();
    assert!(is_open(&endpoints, PRO, at(60)));
    let none = Tries::default();
    let _ = endpoints.end(probe, PRO, CallOutcomes::SUCCESS, 3, &none, at(61));
    assert!(!is_open(&endpoints, PRO, at(61)));
    assert_eq!(endpoints.resting(at(61)).count(), 0);
}

#[test]
fn equal_bodies_count_once_for_the_model_and_each_time_for_the_endpoint() {
    let mut endpoints = endpoints(1);
    for _ in 0..10 {
        call(&mut endpoints, PRO, OVERLOADED, 1, at(0));
    }
    assert!(!is_open(&endpoints, PRO, at(0)), "a poisoned prompt");
    call(&mut endpoints, PRO, DEAD, 1, at(0));
    call(&mut endpoints, PRO, DEAD, 1, at(0));
    assert!(is_open(&endpoints, FLASH, at(0)));
}

#[test]
fn a_request_counts_once_for_each_breaker_whatever_its_retries() {
    for (outcomes, bodies) in [(DEAD, 0), (OVERLOADED, 1)] {
        let mut endpoints = endpoints(1);
        let mut tries = Tries::default();
        for number in 0..5 {
            let choice = endpoints.choose(PRO, &tries, at(0)).unwrap();
            tries.failed(choice.index, outcomes);
            // A body that differs between tries would count each time.
            let _ = endpoints.end(choice, PRO, outcomes, number * bodies, &tries, at(0));
        }
        assert!(!is_open(&endpoints, PRO, at(0)), "{outcomes:?}");
        call(&mut endpoints, PRO, outcomes, 99, at(0));
        assert!(is_open(&endpoints, PRO, at(0)), "{outcomes:?}");
    }
}

#[test]
fn a_call_that_counts_for_nothing_changes_no_breaker_and_is_no_probe() {
    let mut endpoints = endpoints(1);
    for body in 0..10 {
        call(&mut endpoints, BreakerScope::Nothing, DEAD, body, at(0));
        call(&mut endpoints, BreakerScope::Nothing, OVERLOADED, body, at(0));
    }
    assert!(!is_open(&endpoints, FLASH, at(0)));
    open(&mut endpoints, 0, at(0));
    assert!(is_open(&endpoints, BreakerScope::Nothing, at(59)));
    let passed = endpoints.choose(BreakerScope::Nothing, &Tries::default(), at(60)).unwrap();
    assert!(!passed.is_probe);
    assert!(choose(&mut endpoints, at(60), &[]).is_probe);
    endpoints.leave(passed);
}

#[test]
fn a_model_that_rests_at_one_endpoint_is_asked_for_at_another() {
    let mut endpoints = endpoints(2);
    for body in 0..2 {
        let choice = endpoints.choose(PRO, &tries(&[1]), at(0)).unwrap();
        assert_eq!(choice.index, 0);
        let _ = endpoints.end(choice, PRO, OVERLOADED, body, &tries(&[]), at(0));
    }
    for _ in 0..4 {
        let choice = endpoints.choose(PRO, &Tries::default(), at(1)).unwrap();
        assert_eq!(choice.index, 1);
        endpoints.leave(choice);
    }
    let chosen: Vec<_> = (0..2).map(|_| choose(&mut endpoints, at(1), &[]).index).collect();
    assert!(chosen.contains(&0), "other models are asked for at both");
}

#[test]
fn a_model_that_is_not_asked_for_is_forgotten() {
    let mut endpoints = endpoints(1);
    call(&mut endpoints, PRO, OVERLOADED, 1, at(0));
    call(&mut endpoints, PRO, OVERLOADED, 2, at(0));
    assert_eq!(endpoints.resting(at(659)).count(), 1);
    assert_eq!(endpoints.resting(at(660)).count(), 0, "ten timeouts after the first one");
    assert!(!is_open(&endpoints, PRO, at(660)));
}

#[test]
fn a_401_does_not_make_a_request_count_twice() {
    let mut endpoints = endpoints(1);
    let mut tries = Tries::default();
    for outcomes in [OVERLOADED, CallOutcomes::NEUTRAL, OVERLOADED] {
        let choice = endpoints.choose(PRO, &tries, at(0)).unwrap();
        tries.failed(choice.index, outcomes);
        let index = choice.index;
        let _ = endpoints.end(choice, PRO, outcomes, 1, &tries, at(0));
        tries.excuse(index);
    }
    assert!(!is_open(&endpoints, PRO, at(0)));
}

#[test]
fn the_number_of_models_with_a_breaker_is_bounded() {
    let mut endpoints = endpoints(1);
    call(&mut endpoints, PRO, OVERLOADED, 1, at(0));
    call(&mut endpoints, PRO, OVERLOADED, 2, at(0));
    for n in 0..1000 {
        let model = format!("made-up-{n}");
        let scope = BreakerScope::Model(ModelOperation { model: &model, operation: "countTokens" });
        call(&mut endpoints, scope, OVERLOADED, 1, at(1));
    }
    assert!(is_open(&endpoints, PRO, at(1)), "a closed breaker makes way before an open one");
    for n in 0..1000 {
        let model = format!("made-up-{n}");
        let scope = BreakerScope::Model(ModelOperation { model: &model, operation: "countTokens" });
        for body in 0..2 {
            if !is_open(&endpoints, scope, at(1)) {
                call(&mut endpoints, scope, OVERLOADED, body, at(1));
            }
        }
    }
    assert_eq!(endpoints.resting(at(1)).count(), 64);
}
