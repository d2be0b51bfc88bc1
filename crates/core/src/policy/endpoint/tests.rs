use super::*;

const REST: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(secs)
}

fn endpoints(count: usize) -> Endpoints {
    Endpoints::new(count, 2, REST)
}

fn choose(endpoints: &mut Endpoints, now: Monotonic, tried: &[usize]) -> EndpointChoice {
    endpoints.choose(now, tried).unwrap()
}

/// Two failures open the breaker of this one.
fn open(endpoints: &mut Endpoints, index: usize, now: Monotonic) {
    let others: Vec<_> = (0..endpoints.all.len()).filter(|other| *other != index).collect();
    for _ in 0..2 {
        let choice = choose(endpoints, now, &others);
        assert_eq!(choice.index, index);
        let _ = endpoints.end(choice, Outcome::Failure, &[], now);
    }
}

fn in_flight(endpoints: &Endpoints) -> Vec<usize> {
    endpoints.all.iter().map(|endpoint| endpoint.in_flight).collect()
}

fn states(endpoints: &Endpoints, now: Monotonic) -> Vec<State> {
    endpoints.states(now).collect()
}

#[test]
fn one_endpoint_is_always_the_choice() {
    let mut endpoints = endpoints(1);
    for tried in [&[][..], &[0], &[0, 0]] {
        let choice = choose(&mut endpoints, at(0), tried);
        assert_eq!((choice.index, choice.is_probe), (0, false));
        let _ = endpoints.end(choice, Outcome::Success, &[], at(0));
    }
    assert!(!endpoints.takes_calls(at(0), &[0]));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn equal_endpoints_are_chosen_round_robin() {
    let mut endpoints = endpoints(3);
    let mut chosen = Vec::new();
    for _ in 0..6 {
        let choice = choose(&mut endpoints, at(0), &[]);
        chosen.push(choice.index);
        let _ = endpoints.end(choice, Outcome::Success, &[], at(0));
    }
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_endpoint_with_the_fewest_calls_in_flight_is_chosen() {
    let mut endpoints = endpoints(3);
    let mut held: Vec<_> = (0..30).map(|_| choose(&mut endpoints, at(0), &[])).collect();
    assert_eq!(in_flight(&endpoints), [10, 10, 10]);
    let of_the_second = held.iter().position(|choice| choice.index == 1).unwrap();
    let _ = endpoints.end(held.swap_remove(of_the_second), Outcome::Success, &[], at(0));
    assert_eq!(in_flight(&endpoints), [10, 9, 10]);
    held.push(choose(&mut endpoints, at(0), &[]));
    assert_eq!(in_flight(&endpoints), [10, 10, 10]);
    for choice in held {
        endpoints.leave(choice);
    }
    assert_eq!(in_flight(&endpoints), [0, 0, 0]);
}

#[test]
fn a_failed_try_moves_on_and_comes_back_when_all_have_been_tried() {
    let mut endpoints = endpoints(2);
    let first = choose(&mut endpoints, at(0), &[]);
    assert_eq!(first.index, 0);
    let _ = endpoints.end(first, Outcome::Failure, &[], at(0));
    // The second is busier, but the first has been tried.
    let busy = choose(&mut endpoints, at(0), &[0]);
    assert!(endpoints.takes_calls(at(0), &[0]));
    assert_eq!(choose(&mut endpoints, at(0), &[0]).index, 1);
    assert!(!endpoints.takes_calls(at(0), &[0, 1]));
    assert_eq!(choose(&mut endpoints, at(0), &[0, 1]).index, 0);
    endpoints.leave(busy);
}

#[test]
fn an_open_endpoint_is_passed_over_and_when_all_are_open_the_error_has_the_shortest_wait() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 0, at(0));
    for _ in 0..5 {
        let choice = choose(&mut endpoints, at(1), &[]);
        assert_eq!(choice.index, 1);
        let _ = endpoints.end(choice, Outcome::Success, &[], at(1));
    }
    assert!(!endpoints.takes_calls(at(1), &[1]), "the other one rests");
    // Tried, but the only one that may be called.
    let back = choose(&mut endpoints, at(1), &[1]);
    assert_eq!(back.index, 1);
    let _ = endpoints.end(back, Outcome::Failure, &[], at(2));
    let last = choose(&mut endpoints, at(2), &[]);
    let _ = endpoints.end(last, Outcome::Failure, &[], at(20));
    let resting = endpoints.choose(at(30), &[]).unwrap_err();
    assert_eq!(resting, NoEndpointError { after: Duration::from_secs(30) });
    assert_eq!(in_flight(&endpoints), [0, 0]);
}

#[test]
fn one_call_probes_a_half_open_endpoint_and_the_others_go_to_the_other_one() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 0, at(0));
    let chosen: Vec<_> = (0..10).map(|_| choose(&mut endpoints, at(60), &[])).collect();
    assert_eq!(chosen.iter().filter(|choice| choice.index == 0).count(), 1);
    assert_eq!(states(&endpoints, at(60)), [State::HalfOpen, State::Closed]);
    for choice in chosen {
        let _ = endpoints.end(choice, Outcome::Success, &[], at(61));
    }
    assert_eq!(states(&endpoints, at(61)), [State::Closed, State::Closed]);
}

#[test]
fn a_stream_counts_as_in_flight_until_it_ends() {
    let mut endpoints = endpoints(1);
    let stream = choose(&mut endpoints, at(0), &[]);
    endpoints.alive(&stream, at(1));
    assert_eq!(in_flight(&endpoints), [1]);
    let _ = endpoints.end(stream, Outcome::Failure, &[], at(2));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn the_end_of_a_call_says_whether_another_try_may_go_at_once() {
    let mut endpoints = endpoints(2);
    let first = choose(&mut endpoints, at(0), &[]);
    let after = endpoints.end(first, Outcome::Failure, &[0], at(0));
    let expected =
        AfterCall { state: State::Closed, more_endpoints: true, all_open_for: Duration::ZERO };
    assert_eq!(after, expected);
    open(&mut endpoints, 1, at(0));
    let last = choose(&mut endpoints, at(10), &[]);
    let after = endpoints.end(last, Outcome::Failure, &[0], at(10));
    let expected = AfterCall {
        state: State::Open,
        more_endpoints: false,
        all_open_for: Duration::from_secs(50),
    };
    assert_eq!(after, expected);
}

#[test]
fn without_any_endpoint_the_error_has_the_breakers_timeout() {
    let mut none = Endpoints::new(0, 2, REST);
    assert_eq!(none.choose(at(0), &[]).unwrap_err(), NoEndpointError { after: REST });
}
