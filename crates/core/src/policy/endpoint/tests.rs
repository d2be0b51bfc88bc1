use super::*;

const REST: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(secs)
}

fn endpoints(count: usize) -> Endpoints {
    Endpoints::new((0..count).map(|n| format!("https://{n}.example")), 2, REST)
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
        endpoints.end(choice, Outcome::Failure, now);
    }
}

fn in_flight(endpoints: &Endpoints) -> Vec<usize> {
    endpoints.health(at(0)).map(|health| health.in_flight).collect()
}

#[test]
fn one_endpoint_is_always_the_choice() {
    let mut endpoints = endpoints(1);
    for tried in [&[][..], &[0], &[0, 0]] {
        let choice = choose(&mut endpoints, at(0), tried);
        assert_eq!((choice.index, &*choice.url), (0, "https://0.example"));
        endpoints.end(choice, Outcome::Success, at(0));
    }
    assert!(!endpoints.elsewhere(at(0), &[0]));
    assert_eq!(in_flight(&endpoints), [0]);
}

#[test]
fn equals_take_turns() {
    let mut endpoints = endpoints(3);
    let mut chosen = Vec::new();
    for _ in 0..6 {
        let choice = choose(&mut endpoints, at(0), &[]);
        chosen.push(choice.index);
        endpoints.end(choice, Outcome::Success, at(0));
    }
    assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_one_with_the_fewest_in_flight_is_chosen() {
    let mut endpoints = endpoints(3);
    let mut held: Vec<_> = (0..30).map(|_| choose(&mut endpoints, at(0), &[])).collect();
    assert_eq!(in_flight(&endpoints), [10, 10, 10]);
    let of_the_second = held.iter().position(|choice| choice.index == 1).unwrap();
    endpoints.end(held.swap_remove(of_the_second), Outcome::Success, at(0));
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
    endpoints.end(first, Outcome::Failure, at(0));
    // The second is busier, but the first has been tried.
    let busy = choose(&mut endpoints, at(0), &[0]);
    assert!(endpoints.elsewhere(at(0), &[0]));
    assert_eq!(choose(&mut endpoints, at(0), &[0]).index, 1);
    assert!(!endpoints.elsewhere(at(0), &[0, 1]));
    assert_eq!(choose(&mut endpoints, at(0), &[0, 1]).index, 0);
    endpoints.leave(busy);
}

#[test]
fn a_resting_one_is_passed_over_and_when_all_rest_the_shortest_rest_is_told() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 0, at(0));
    for _ in 0..5 {
        let choice = choose(&mut endpoints, at(1), &[]);
        assert_eq!(choice.index, 1);
        endpoints.end(choice, Outcome::Success, at(1));
    }
    assert!(!endpoints.elsewhere(at(1), &[1]), "the other one rests");
    // Tried, but the only one that may be called.
    let back = choose(&mut endpoints, at(1), &[1]);
    assert_eq!(back.index, 1);
    endpoints.end(back, Outcome::Failure, at(2));
    let last = choose(&mut endpoints, at(2), &[]);
    endpoints.end(last, Outcome::Failure, at(20));
    let resting = endpoints.choose(at(30), &[]).unwrap_err();
    assert_eq!(resting, NoEndpointError { after: Duration::from_secs(30) });
    assert_eq!(in_flight(&endpoints), [0, 0]);
}

#[test]
fn one_call_probes_a_rested_endpoint_and_the_others_go_elsewhere() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 0, at(0));
    let chosen: Vec<_> = (0..10).map(|_| choose(&mut endpoints, at(60), &[])).collect();
    assert_eq!(chosen.iter().filter(|choice| choice.index == 0).count(), 1);
    assert_eq!(endpoints.worst(at(60)), State::HalfOpen);
    for choice in chosen {
        endpoints.end(choice, Outcome::Success, at(61));
    }
    assert_eq!(endpoints.worst(at(61)), State::Closed);
}

#[test]
fn a_stream_counts_as_in_flight_until_it_ends() {
    let mut endpoints = endpoints(1);
    let stream = choose(&mut endpoints, at(0), &[]);
    endpoints.alive(&stream, at(1));
    assert_eq!(in_flight(&endpoints), [1]);
    endpoints.end(stream, Outcome::Failure, at(2));
    let health: Vec<_> = endpoints.health(at(2)).collect();
    assert_eq!((health[0].in_flight, health[0].failures), (0, 1));
    assert_eq!(health[0].last, Some((Outcome::Failure, at(2))));
}

#[test]
fn health_tells_each_one_apart() {
    let mut endpoints = endpoints(2);
    open(&mut endpoints, 1, at(0));
    let stays = choose(&mut endpoints, at(1), &[]);
    let gone = choose(&mut endpoints, at(1), &[]);
    endpoints.end(gone, Outcome::Neutral, at(1));
    let health: Vec<_> = endpoints.health(at(10)).collect();
    let closed = Health {
        url: "https://0.example",
        state: State::Closed,
        transitions: Transitions::default(),
        resting: None,
        in_flight: 1,
        failures: 0,
        last: None,
    };
    let open = Health {
        url: "https://1.example",
        state: State::Open,
        transitions: Transitions { opened: 1, ..Transitions::default() },
        resting: Some(Duration::from_secs(50)),
        in_flight: 0,
        failures: 2,
        last: Some((Outcome::Failure, at(0))),
    };
    assert_eq!(health, [closed, open]);
    assert_eq!(endpoints.worst(at(10)), State::Open);
    endpoints.leave(stays);
}

#[test]
fn no_endpoint_at_all_is_like_all_resting() {
    let mut none = Endpoints::new(Vec::<String>::new(), 2, REST);
    assert_eq!(none.choose(at(0), &[]).unwrap_err(), NoEndpointError { after: REST });
}
