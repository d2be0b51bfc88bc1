use std::net::Ipv4Addr;

use tokio::time::Instant;

use super::*;

const KIB: usize = 1 << 10;

fn connections<const N: usize>(
    budget: usize,
    addresses: [u8; N],
) -> (Arc<MemoryBudget>, [ConnectionMemory; N]) {
    let budget = MemoryBudget::new(budget);
    let shared = ListenerMemory::new(Arc::clone(&budget));
    let now = Instant::now();
    let connect = |last| {
        let address = address(last);
        ConnectionMemory::new(&shared, address, Arc::new(Place::new(address, 0, now, now)))
    };
    (budget, addresses.map(connect))
}

fn address(last: u8) -> Caller {
    Caller::Address(Ipv4Addr::new(10, 0, 0, last).into())
}

fn is_closed(connection: &ConnectionMemory) -> bool {
    connection.place.is_out_of_memory()
}

#[test]
fn a_little_is_free_and_the_rest_is_reserved_in_steps_and_given_back() {
    let (budget, [one]) = connections(1024 * KIB, [1]);
    assert!(one.try_hold(16 * KIB));
    assert_eq!(budget.used(), 0);
    assert!(one.try_hold(1));
    assert_eq!(budget.used(), 16 * KIB);
    assert!(one.try_hold(40 * KIB));
    assert_eq!(budget.used(), 48 * KIB);
    one.release(40 * KIB);
    assert_eq!(budget.used(), 32 * KIB, "a step more than needed");
    one.release(1);
    assert_eq!(budget.used(), 0);
}

#[test]
fn strangers_share_an_eighth_and_all_others_a_quarter() {
    let (budget, [one, two, three]) = connections(1024 * KIB, [1, 1, 1]);
    assert!(one.try_hold(16 * KIB + 96 * KIB));
    assert!(!one.try_hold(48 * KIB), "it holds most itself");
    one.admitted(address(1));
    assert!(two.try_hold(16 * KIB + 128 * KIB));
    assert!(one.try_hold(160 * KIB));
    assert!(one.place.begin_request());
    assert!(!one.try_hold(1));
    drop((one, two));
    assert_eq!(budget.used(), 0);
    assert!(three.try_hold(16 * KIB + 128 * KIB));
    assert!(!three.try_hold(1));
}

#[test]
fn the_stranger_that_holds_most_is_closed_for_a_new_one() {
    let (_budget, [small, large, new]) = connections(1024 * KIB, [1, 1, 1]);
    assert!(small.try_hold(16 * KIB + 48 * KIB) && large.try_hold(16 * KIB + 80 * KIB));
    assert!(new.try_hold(16 * KIB + 32 * KIB));
    assert!(is_closed(&large) && !is_closed(&small) && !is_closed(&new));
    drop(large);
    assert!(new.try_hold(48 * KIB), "what was closed counts no more");
}

#[test]
fn an_address_that_holds_more_than_half_makes_way_for_another() {
    let (_budget, [one, two, other]) = connections(1024 * KIB, [1, 1, 2]);
    assert!(one.try_hold(16 * KIB + 64 * KIB) && two.try_hold(16 * KIB + 64 * KIB));
    assert!(other.try_hold(16 * KIB + 64 * KIB));
    assert!(is_closed(&one) != is_closed(&two));
    assert!(!other.try_hold(16 * KIB), "each has half");
}

#[test]
fn a_key_holds_half_of_the_quarter_where_there_are_several() {
    let (budget, [one, two]) = connections(1024 * KIB, [1, 1]);
    budget.set_keys(2);
    one.admitted(address(7));
    two.admitted(address(8));
    assert!(one.try_hold(16 * KIB + 128 * KIB));
    assert!(!one.try_hold(1));
    assert!(two.try_hold(16 * KIB + 128 * KIB));
}

#[test]
fn idle_connections_that_hold_memory_are_closed_when_it_is_short() {
    let (_budget, [idle, busy, new]) = connections(1024 * KIB, [1, 1, 1]);
    for connection in [&idle, &busy, &new] {
        connection.admitted(address(1));
    }
    assert!(busy.place.begin_request());
    assert!(idle.try_hold(16 * KIB + 96 * KIB) && busy.try_hold(16 * KIB + 160 * KIB));
    assert!(new.try_hold(16 * KIB + 16 * KIB));
    assert!(is_closed(&idle) && !is_closed(&busy));
    assert!(!idle.place.begin_request(), "a request that comes too late is not processed");
}

#[test]
fn what_the_core_has_reserved_counts_for_the_strangers_share_only() {
    let (budget, [one, two]) = connections(1024 * KIB, [1, 1]);
    let answer = one.count_reserved(100 * KIB).unwrap();
    assert_eq!(budget.used(), 0);
    assert!(two.count_reserved(126 * KIB).is_none());
    assert!(!two.try_hold(16 * KIB + 112 * KIB));
    drop(answer);
    let _answer = two.count_reserved(128 * KIB).unwrap();
    one.admitted(address(1));
    assert!(one.count_reserved(500 * KIB).is_some());
}

#[test]
fn no_connection_gets_more_than_the_budget_has() {
    let (budget, [one]) = connections(256 * KIB, [1]);
    one.admitted(address(1));
    let _bodies = budget.try_reserve(address(1), 208 * KIB).unwrap();
    assert!(one.try_hold(64 * KIB));
    assert!(!one.try_hold(1));
    one.release(16 * KIB);
    assert!(one.try_hold(16 * KIB));
}
