use super::*;
use crate::caller::KeyDigest;

const ADA: Caller = Caller::Key(KeyDigest([1; 32]));
const BOB: Caller = Caller::Key(KeyDigest([2; 32]));

#[test]
fn what_is_reserved_is_given_back_when_the_guard_is_dropped() {
    let budget = MemoryBudget::new(100);
    let first = budget.try_reserve(ADA, 60).unwrap();
    assert!(budget.try_reserve(BOB, 41).is_none());
    let second = budget.try_reserve(BOB, 40).unwrap();
    assert_eq!(budget.used(), 100);
    drop(first);
    assert_eq!(budget.used(), 40);
    drop(second);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_reservation_grows_within_the_limit_and_shrinks() {
    let budget = MemoryBudget::new(100);
    let mut it = budget.try_reserve(ADA, 60).unwrap();
    assert!(it.try_grow(40));
    assert!(!it.try_grow(1));
    assert!(!it.try_grow(usize::MAX), "no overflow");
    assert_eq!(it.bytes(), 100);
    it.shrink_to(30);
    it.shrink_to(50);
    assert_eq!((it.bytes(), budget.used()), (30, 30));
}

#[test]
fn with_several_keys_a_caller_holds_at_most_half() {
    let budget = MemoryBudget::new(100);
    assert_eq!(budget.most_for_one(), 100);
    budget.set_keys(2);
    assert_eq!(budget.most_for_one(), 50);
    assert!(budget.try_reserve(ADA, 51).is_none());
    let mut hers = budget.try_reserve(ADA, 30).unwrap();
    assert!(!hers.try_grow(21));
    assert!(hers.try_grow(20));
    assert!(budget.try_reserve(ADA, 1).is_none());
    let his = budget.try_reserve(BOB, 50).unwrap();
    drop(hers);
    assert!(budget.try_reserve(ADA, 50).is_some());
    drop(his);
    assert!(budget.held().callers.is_empty(), "callers that hold nothing are forgotten");
}

#[test]
fn a_reservation_from_before_the_shares_counts_for_no_caller() {
    let budget = MemoryBudget::new(100);
    let before = budget.try_reserve(ADA, 60).unwrap();
    budget.set_keys(2);
    let hers = budget.try_reserve(ADA, 40).unwrap();
    budget.set_keys(1);
    drop((before, hers));
    assert_eq!(budget.used(), 0);
    assert!(budget.held().callers.is_empty());
}

#[test]
fn the_budget_is_exhausted_when_no_ordinary_request_fits() {
    let budget = MemoryBudget::new(2 * REQUEST_BASE);
    let _one = budget.try_reserve(ADA, REQUEST_BASE).unwrap();
    assert!(!budget.is_exhausted());
    let two = budget.try_reserve(ADA, 1).unwrap();
    assert!(budget.is_exhausted());
    drop(two);
    assert!(!budget.is_exhausted());
}

#[test]
fn large_reservations_get_their_memory_in_the_order_in_which_they_came() {
    const LARGE: usize = 4 * REQUEST_BASE;
    let budget = MemoryBudget::new(LARGE);
    let first = budget.try_reserve(ADA, REQUEST_BASE).unwrap();
    let older = budget.wait(ADA, LARGE).unwrap();
    let younger = budget.wait(BOB, 2 * REQUEST_BASE).unwrap();
    assert!(older.try_take().is_none() && younger.try_take().is_none());
    assert!(budget.try_reserve(BOB, 2 * REQUEST_BASE).is_none(), "it would pass those that wait");
    drop(budget.try_reserve(BOB, REQUEST_BASE).expect("an ordinary request does not wait"));
    drop(first);
    assert!(younger.try_take().is_none(), "the older one is first");
    let taken = older.try_take().unwrap();
    drop(older);
    drop(taken);
    assert!(younger.try_take().is_some());
    drop(younger);
    assert!(budget.held().tickets.is_empty());
}

#[test]
fn a_ticket_whose_caller_has_its_share_delays_no_other_caller() {
    let budget = MemoryBudget::new(8 * REQUEST_BASE);
    budget.set_keys(2);
    let _all_of_hers = budget.try_reserve(ADA, 4 * REQUEST_BASE).unwrap();
    let hers = budget.wait(ADA, 4 * REQUEST_BASE).unwrap();
    assert!(hers.try_take().is_none());
    assert!(budget.try_reserve(BOB, 4 * REQUEST_BASE).is_some());
}

#[test]
fn the_waiting_tickets_of_one_caller_claim_no_more_than_its_share() {
    let budget = MemoryBudget::new(8 * REQUEST_BASE);
    budget.set_keys(2);
    let hers = [(); 3].map(|()| budget.wait(ADA, 3 * REQUEST_BASE).unwrap());
    let his = budget.try_reserve(BOB, 4 * REQUEST_BASE);
    assert!(his.is_some(), "she may have three eighths of the budget");
    let taken = hers[0].try_take().unwrap();
    assert!(hers[1].try_take().is_none() && hers[2].try_take().is_none());
    drop(taken);
}

#[test]
fn one_caller_leaves_tickets_to_the_others() {
    let budget = MemoryBudget::new(REQUEST_BASE);
    let wait = |caller| std::iter::from_fn(|| budget.wait(caller, 1)).take(2000).collect();
    let hers: Vec<MemoryTicket> = wait(ADA);
    let his: Vec<MemoryTicket> = wait(BOB);
    assert_eq!((hers.len(), his.len()), (500, 125));
    drop(hers);
    assert!(budget.wait(ADA, 1).is_some() && budget.wait(BOB, 1).is_some());
}

#[test]
fn reservations_wait_to_grow_unless_they_would_wait_for_each_other() {
    let budget = MemoryBudget::new(100);
    let [first, second, third] = [30, 30, 20].map(|bytes| budget.try_reserve(ADA, bytes).unwrap());
    let _ends_sometime = budget.try_reserve(BOB, 20).unwrap();
    let first_waits = first.wait_to_grow(30);
    assert!(first_waits.is_some());
    assert!(second.wait_to_grow(41).is_none(), "it needs what the first one holds");
    let second_waits = second.wait_to_grow(40);
    assert!(second_waits.is_some(), "others hold 40, which they give back");
    assert!(third.wait_to_grow(21).is_none());
    drop(second_waits);
    assert!(third.wait_to_grow(21).is_some());
    drop(first_waits);
    assert!(budget.held().growing.is_empty());
}

#[test]
fn with_shares_a_callers_reservations_wait_for_its_own_share() {
    let budget = MemoryBudget::new(100);
    budget.set_keys(2);
    let [first, second] = [20, 20].map(|bytes| budget.try_reserve(ADA, bytes).unwrap());
    let _first_waits = first.wait_to_grow(30).unwrap();
    assert!(second.wait_to_grow(11).is_none());
    assert!(second.wait_to_grow(10).is_some());
    let his = budget.try_reserve(BOB, 50).unwrap();
    assert!(his.wait_to_grow(1).is_none());
}

#[test]
fn a_sixteenth_beyond_the_limit_is_kept_for_the_proxys_own_answers() {
    let budget = MemoryBudget::new(160);
    let _all = budget.try_reserve(ADA, 160).unwrap();
    let own = budget.try_reserve_own(BOB, 10).unwrap();
    assert!(budget.try_reserve_own(BOB, 1).is_none());
    drop(own);
    assert!(budget.try_reserve_own(BOB, 10).is_some());
}

#[test]
fn what_is_given_back_serves_the_next_reservation_without_the_lock_and_counts_as_free() {
    let budget = MemoryBudget::new(1 << 30);
    drop(budget.try_reserve(ADA, REQUEST_BASE));
    assert_eq!((budget.used(), budget.held().used), (0, REQUEST_BASE));
    let state = Arc::clone(budget.0.own());
    let locked = state.held();
    let it = budget.try_reserve(ADA, REQUEST_BASE).unwrap();
    drop(locked);
    assert_eq!((budget.used(), budget.held().used), (REQUEST_BASE, REQUEST_BASE));
    drop(it);
    assert_eq!(budget.used(), 0);
}

#[test]
fn credit_that_other_threads_have_is_taken_back_before_anything_is_refused() {
    let budget = MemoryBudget::new(1 << 30);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| drop(budget.try_reserve(ADA, REQUEST_BASE)));
        }
    });
    assert!(budget.held().used > 0 && budget.used() == 0);
    let all = budget.try_reserve(ADA, budget.limit()).unwrap();
    assert!(budget.try_reserve(ADA, 1).is_none());
    drop(all);
    assert_eq!(budget.used(), 0);
}

#[test]
fn credit_is_bounded_and_is_not_taken_before_a_ticket_or_beside_a_share() {
    let budget = MemoryBudget::new(64 << 20);
    let many: Vec<_> = (0..100).map(|_| budget.try_reserve(ADA, REQUEST_BASE)).collect();
    drop(many);
    assert!((1..=budget.limit() / 4).contains(&budget.held().used));
    let ticket = budget.wait(BOB, budget.limit()).unwrap();
    assert!(budget.try_reserve(ADA, REQUEST_BASE + 1).is_none(), "it would overtake the ticket");
    let all = ticket.try_take().unwrap();
    drop((ticket, all));
    budget.set_keys(2);
    let hers = budget.try_reserve(ADA, REQUEST_BASE).unwrap();
    assert_eq!(budget.held().of_caller(ADA), REQUEST_BASE);
    drop(hers);
    assert_eq!(budget.used(), 0);
}

#[test]
fn beside_shares_no_credit_is_taken_and_what_a_caller_gives_back_counts_for_it_no_longer() {
    let budget = MemoryBudget::new(100);
    drop(budget.try_reserve(ADA, 20));
    budget.set_keys(2);
    let hers = budget.try_reserve(ADA, 20).unwrap();
    assert!(budget.try_reserve(ADA, 31).is_none(), "it would be more than half");
    drop(hers);
    assert!(budget.try_reserve(ADA, 50).is_some());
}

#[test]
fn what_the_proxy_itself_gives_back_beyond_the_limit_goes_to_no_client() {
    let budget = MemoryBudget::new(16 << 20);
    let _clients = budget.try_reserve(Caller::Unknown, 16 << 20).unwrap();
    drop(budget.try_reserve_own(Caller::Unknown, 1 << 20).unwrap());
    assert!(budget.try_reserve(Caller::Unknown, 1 << 20).is_none());
    assert!(budget.try_reserve_own(Caller::Unknown, 1 << 20).is_some());
}
