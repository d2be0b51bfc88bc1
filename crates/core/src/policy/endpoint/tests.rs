use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(secs)
}

fn endpoints(count: usize) -> Endpoints {
    Endpoints::new(count, 2, TIMEOUT)
}

fn choose(endpoints: &mut Endpoints, now: Monotonic, tried: &[usize]) -> EndpointChoice {
    endpoints.choose(now, tried).unwrap()
}

/// Opens the breaker of this endpoint, which takes two failures.
fn open(endpoints: &mut Endpoints, index: usize, now: Monotonic) {
    let others: Vec<_> = (0..endpoints.all.len()).filter(|other| *other != index).collect();
    for _ in 0..2 {
        let choice = choose(endpoints, now, &others);
        assert_eq!(choice.index, index);
        let _ = endpoints.end(choice, breaker::CallOutcome::Failure, &[], now);
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
        let _ = endpoints.end(choice, breaker::CallOutcome::Success, &[], at(0));
    }
    assert!(!endpoints.may_call_other_than(at(0), &[0]));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn equal_endpoints_are_chosen_round_robin() {
    let mut endpoints = endpoints(3);
    let mut chosen = Vec::new();
    for _ in 0..6 {
        let choice = choose(&mut endpoints, at(0), &[]);
        chosen.push(choice.index);
        let _ = endpoints.end(choice, breaker::CallOutcome::Success, &[], at(0));
    }
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_endpoint_with_the_fewest_calls_in_flight_is_chosen() {
    let mut endpoints = endpoints(3);
    let mut held: Vec<_> = (0..30).map(|_| choose(&mut endpoints, at(0), &[])).collect();
    assert_eq!(in_flight(&endpoints), [10, 10, 10]);
    let second = held.iter().position(|choice| choice.index == 1).unwrap();
    let _ = endpoints.end(held.swap_remove(second), breaker::CallOutcome::Success, &[], at(0));
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
    let _ = endpoints.end(first, breaker::CallOutcome::Failure, &[], at(0));
    // The second has a call in flight, but the first has been tried.
    let busy = choose(&mut endpoints, at(0), &[0]);
    assert!(endpoints.may_call_other_than(at(0), &[0]));
    assert_eq!(choose(&mut endpoints, at(0), &[0]).index, 1);
    assert!(!endpoints.may_call_other_than(at(0), &[0, 1]));
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
        let _ = endpoints.end(choice, breaker::CallOutcome::Success, &[], at(1));
    }
    assert!(
        !endpoints.may_call_other_than(at(1), &[1]),
        "the breaker of the other endpoint is open"
    );
    // The second has been tried, but it is the only one that may be called.
    let back = choose(&mut endpoints, at(1), &[1]);
    assert_eq!(back.index, 1);
    let _ = endpoints.end(back, breaker::CallOutcome::Failure, &[], at(2));
    let last = choose(&mut endpoints, at(2), &[]);
    let _ = endpoints.end(last, breaker::CallOutcome::Failure, &[], at(20));
    let error = endpoints.choose(at(30), &[]).unwrap_err();
    assert_eq!(error, NoEndpointError { after: Duration::from_secs(30) });
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
        let _ = endpoints.end(choice, breaker::CallOutcome::Success, &[], at(61));
    }
    assert_eq!(states(&endpoints, at(61)), [breaker::State::Closed, breaker::State::Closed]);
}

#[test]
fn a_stream_counts_as_in_flight_until_it_ends() {
    let mut endpoints = endpoints(1);
    let stream = choose(&mut endpoints, at(0), &[]);
    endpoints.alive(&stream, at(1));
    assert_eq!(in_flight(&endpoints), [1]);
    let _ = endpoints.end(stream, breaker::CallOutcome::Failure, &[], at(2));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn the_end_of_a_call_says_whether_another_endpoint_may_be_called_at_once() {
    let mut endpoints = endpoints(2);
    let first = choose(&mut endpoints, at(0), &[]);
    let after = endpoints.end(first, breaker::CallOutcome::Failure, &[0], at(0));
    let expected = AfterCall {
        state: breaker::State::Closed,
        more_endpoints: true,
        all_open_for: Duration::ZERO,
    };
    assert_eq!(after, expected);
    open(&mut endpoints, 1, at(0));
    let last = choose(&mut endpoints, at(10), &[]);
    let after = endpoints.end(last, breaker::CallOutcome::Failure, &[0], at(10));
    let expected = AfterCall {
        state: breaker::State::Open,
        more_endpoints: false,
        all_open_for: Duration::from_secs(50),
    };
    assert_eq!(after, expected);
}

#[test]
fn without_endpoints_the_error_has_the_breakers_timeout() {
    let mut none = Endpoints::new(0, 2, TIMEOUT);
    assert_eq!(none.choose(at(0), &[]).unwrap_err(), NoEndpointError { after: TIMEOUT });
}
