use std::net::{IpAddr, Ipv4Addr};

use super::*;

fn address(last: u8) -> Caller {
    Caller::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
}

/// Takes places for new addresses, one each second.
fn fill(places: &Arc<Places>, count: u8) -> Vec<PlaceGuard> {
    let take = |n: u8| {
        let at = places.epoch + Duration::from_secs(u64::from(n));
        places.take(address(n), at).unwrap()
    };
    (0..count).map(take).collect()
}

fn is_closing(guard: &PlaceGuard) -> bool {
    guard.place.requests.load(Ordering::Relaxed) & CLOSING != 0
}

/// Takes 20 places for new addresses, each with a request in flight.
fn fill_with_requests(places: &Arc<Places>) -> Vec<PlaceGuard> {
    let take = |n: u8| {
        let guard = places.take(address(n), places.epoch).unwrap();
        assert!(guard.place.begin_request());
        guard
    };
    (0..20).map(take).collect()
}

#[test]
fn at_nine_tenths_the_longest_idle_connection_makes_way() {
    let places = Places::new(20, None);
    let guards = fill(&places, 17);
    assert!(guards.iter().all(|guard| !is_closing(guard)));
    assert!(guards[0].place.begin_request(), "the oldest one is busy");
    let at = places.epoch + Duration::from_secs(100);
    let newest = places.take(address(100), at).unwrap();
    let closing: Vec<usize> = (0..17).filter(|n| is_closing(&guards[*n])).collect();
    assert_eq!(closing, [1]);
    assert!(!is_closing(&newest));
    assert!(!guards[1].place.begin_request(), "a request that comes too late is not processed");
}

#[test]
fn a_connection_with_a_request_in_flight_is_never_closed() {
    let places = Places::new(20, None);
    let mut guards = fill_with_requests(&places);
    assert!(places.take(address(20), places.epoch).is_none());
    assert!(!guards.iter().any(is_closing));
    guards[5].place.end_request();
    assert!(places.take(address(20), places.epoch).is_none());
    assert!(is_closing(&guards[5]), "now one is idle");
    drop(guards.remove(5));
    assert!(places.take(address(20), places.epoch).is_some());
    assert!(!guards.iter().any(is_closing));
}

#[test]
fn the_last_places_are_for_probes_while_all_others_have_requests_in_flight() {
    let places = Places::new(20, None);
    let mut guards = fill_with_requests(&places);
    let spare: Vec<usize> = (0..20).filter(|n| guards[*n].is_spare()).collect();
    assert_eq!(spare, [18, 19]);
    drop(guards.drain(..4));
    assert!(!guards.iter().any(PlaceGuard::is_spare), "there are places again");
}

#[test]
fn an_answer_that_the_socket_has_not_taken_is_in_flight() {
    let places = Places::new(20, None);
    let guards = fill(&places, 17);
    guards[0].place.admitted();
    guards[0].place.writes.blocked.store(true, Ordering::Relaxed);
    let at = places.epoch + Duration::from_secs(100);
    let _newest = places.take(address(100), at).unwrap();
    assert!(!is_closing(&guards[0]) && is_closing(&guards[1]));
}

#[test]
fn a_new_connection_makes_way_only_after_all_others() {
    let places = Places::new(20, None);
    let at = |ms: u64| places.epoch + Duration::from_millis(ms);
    let new = places.take(address(0), at(0)).unwrap();
    let mut guards: Vec<_> = (1..17).map(|n| places.take(address(n), at(0)).unwrap()).collect();
    for guard in &guards {
        assert!(guard.place.begin_request());
    }
    guards[3].place.end_request();
    guards.push(places.take(address(17), at(900)).unwrap());
    assert!(!is_closing(&new) && is_closing(&guards[3]), "one that has had its chance");
    guards.push(places.take(address(18), at(901)).unwrap());
    assert!(is_closing(&new), "there is no other");
}

#[test]
fn a_stranger_makes_way_before_a_connection_with_an_admitted_request() {
    let places = Places::new(20, None);
    let guards = fill(&places, 17);
    guards[0].place.admitted();
    let at = places.epoch + Duration::from_secs(100);
    let _newest = places.take(address(100), at).unwrap();
    assert!(!is_closing(&guards[0]) && is_closing(&guards[1]));
}

#[test]
fn an_address_with_more_than_its_share_makes_way_first() {
    let places = Places::new(20, None);
    let one = address(1);
    let other = places.take(address(2), places.epoch).unwrap();
    let at = |n: u64| places.epoch + Duration::from_secs(n);
    let guards: Vec<_> = (1..=16).map(|n| places.take(one, at(n)).unwrap()).collect();
    let newest = places.take(address(3), at(17)).unwrap();
    assert!(is_closing(&guards[0]) && !is_closing(&other), "the longest idle one is another's");
    for guard in guards.iter().skip(1).chain([&newest]) {
        assert!(guard.place.begin_request());
    }
    drop(places.take(one, at(18)).unwrap());
    assert!(is_closing(&other), "an address within its share");
}

#[test]
fn an_address_whose_connections_are_all_busy_gets_no_more_than_nine_tenths() {
    let places = Places::new(20, None);
    let one = address(1);
    let guards: Vec<_> = (0..17).map(|_| places.take(one, places.epoch).unwrap()).collect();
    for guard in &guards {
        assert!(guard.place.begin_request());
    }
    assert!(places.take(one, places.epoch).unwrap().is_spare());
    assert!(!places.take(address(3), places.epoch).unwrap().is_spare(), "another address");
}

#[test]
fn places_are_given_back() {
    let places = Places::new(20, None);
    for _ in 0..3 {
        let guards = fill(&places, 19);
        drop(guards);
    }
    let taken = places.taken();
    assert!(taken.places.is_empty() && taken.addresses.is_empty());
    assert_eq!(taken.closing, 0);
}
