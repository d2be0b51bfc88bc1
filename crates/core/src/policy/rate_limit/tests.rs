use super::*;
use crate::caller::KeyDigest;

const MINUTE: Duration = Duration::from_secs(60);

fn at(secs: u64) -> Monotonic {
    Monotonic(0) + Duration::from_secs(secs)
}

fn key(label: &str) -> Caller {
    Caller::new(Some(KeyDigest::of(label)), None)
}

fn address(text: &str) -> Caller {
    Caller::new(None, Some(text.parse().unwrap()))
}

fn nth_address(n: u32) -> Caller {
    Caller::Address(IpAddr::from(n.to_be_bytes()))
}

fn passes(limiter: &mut RateLimiter, caller: &Caller, now: Monotonic) -> bool {
    limiter.ask(caller, now).refused.is_none()
}

#[test]
fn a_limit_of_a_hundred_lets_a_hundred_requests_through_in_each_window() {
    let mut limiter = RateLimiter::new(100, MINUTE).unwrap();
    let caller = key("alice");
    for round in [0, 60, 120] {
        for n in 0..100 {
            let standing = limiter.ask(&caller, at(round));
            let expected =
                RateStanding { limit: 100, remaining: 99 - n, reset: MINUTE, refused: None };
            assert_eq!(standing, expected);
        }
        assert_eq!(limiter.ask(&caller, at(round)).refused, Some(MINUTE));
        let last = limiter.ask(&caller, at(round + 59));
        assert_eq!(last.refused, Some(Duration::from_secs(1)));
    }
}

#[test]
fn a_refused_request_does_not_lengthen_the_wait_for_the_oldest_to_leave() {
    let mut limiter = RateLimiter::new(3, MINUTE).unwrap();
    let caller = key("alice");
    for second in [0, 10, 20] {
        assert!(passes(&mut limiter, &caller, at(second)));
    }
    for second in 20..60 {
        let standing = limiter.ask(&caller, at(second));
        assert_eq!(standing.refused, Some(Duration::from_secs(60 - second)));
        assert_eq!((standing.remaining, standing.reset), (0, Duration::from_secs(80 - second)));
    }
    assert!(passes(&mut limiter, &caller, at(60)));
    assert_eq!(limiter.ask(&caller, at(60)).refused, Some(Duration::from_secs(10)));
}

#[test]
fn the_stated_wait_is_exact_to_the_microsecond() {
    let mut limiter = RateLimiter::new(1, MINUTE).unwrap();
    let caller = key("alice");
    assert!(passes(&mut limiter, &caller, Monotonic(7)));
    let after = limiter.ask(&caller, Monotonic(1_000_003)).refused.unwrap();
    assert!(!passes(&mut limiter, &caller, Monotonic(1_000_002) + after));
    assert!(passes(&mut limiter, &caller, Monotonic(1_000_003) + after));
}

#[test]
fn a_limit_of_zero_turns_the_limiter_off() {
    assert!(RateLimiter::new(0, MINUTE).is_none());
}

#[test]
fn each_key_and_each_address_has_its_own_allowance() {
    let mut limiter = RateLimiter::new(1, MINUTE).unwrap();
    let callers = [
        key("alice"),
        key("bob"),
        key("192.0.2.1"),
        address("192.0.2.1"),
        address("192.0.2.2"),
        address("2001:db8:0:1::1"),
        address("2001:db8:0:2::1"),
        Caller::new(None, None),
    ];
    for caller in &callers {
        assert!(passes(&mut limiter, caller, at(0)), "{caller:?}");
        assert!(!passes(&mut limiter, caller, at(0)), "{caller:?}");
    }
}

#[test]
fn all_addresses_of_an_ipv6_host_and_a_mapped_ipv4_address_are_one_caller() {
    assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:0:0:2"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    let with_key = Caller::new(Some(KeyDigest::of("alice")), Some("192.0.2.1".parse().unwrap()));
    assert_eq!(with_key, key("alice"));
}

#[test]
fn the_rate_limit_headers_are_whole_numbers() {
    let standing = RateStanding {
        limit: 100,
        remaining: 7,
        reset: Duration::from_millis(1001),
        refused: None,
    };
    let headers = standing.headers();
    assert_eq!(headers["x-ratelimit-limit"], "100");
    assert_eq!(headers["x-ratelimit-remaining"], "7");
    assert_eq!(headers["x-ratelimit-reset"], "2");
}

#[test]
fn addresses_without_their_own_log_share_one_allowance_and_affect_no_other_caller() {
    let mut limiter = RateLimiter::new(2, MINUTE).unwrap();
    let (alice, first) = (key("alice"), nth_address(0));
    assert!(passes(&mut limiter, &alice, at(0)));
    assert!(passes(&mut limiter, &first, at(0)));
    let most = u32::try_from(MOST_ADDRESSES).unwrap();
    for n in 1..most {
        assert!(passes(&mut limiter, &nth_address(n), at(1)));
    }
    let passed = (most..10 * most).filter(|n| passes(&mut limiter, &nth_address(*n), at(2)));
    assert_eq!(passed.count(), 2);
    assert_eq!(limiter.addresses.len(), MOST_ADDRESSES);
    for caller in [&alice, &first] {
        assert!(passes(&mut limiter, caller, at(3)), "the second request");
        assert!(!passes(&mut limiter, caller, at(3)), "the third request");
    }
    assert!(passes(&mut limiter, &key("bob"), at(3)), "a key always has its own log");
}

#[test]
fn an_address_that_moves_from_the_shared_log_to_its_own_keeps_its_count() {
    let mut limiter = RateLimiter::new(2, MINUTE).unwrap();
    let most = u32::try_from(MOST_ADDRESSES).unwrap();
    for n in 0..most {
        assert!(passes(&mut limiter, &nth_address(n), at(0)));
    }
    let late = nth_address(most);
    assert!(passes(&mut limiter, &late, at(59)));
    assert!(passes(&mut limiter, &late, at(59)));
    // The requests of the other addresses have left the window, so their logs are free.
    assert!(!passes(&mut limiter, &late, at(70)));
    assert!(limiter.addresses.len() < MOST_ADDRESSES);
    assert!(passes(&mut limiter, &late, at(119)));
    // An address that comes when the shared log is empty has its whole allowance.
    assert!(passes(&mut limiter, &nth_address(most + 1), at(200)));
}

#[test]
fn a_large_limit_is_kept_with_few_entries() {
    let mut limiter = RateLimiter::new(100_000, MINUTE).unwrap();
    let caller = key("alice");
    for n in 0..100_000 {
        assert!(passes(&mut limiter, &caller, Monotonic(n * 500)), "{n}");
    }
    let now = Monotonic(50_000_000);
    let after = limiter.ask(&caller, now).refused.unwrap();
    let exact = Duration::from_secs(10);
    assert!(exact <= after && after <= exact + MINUTE / GRAINS, "{after:?}");
    assert!(passes(&mut limiter, &caller, now + after));
    let entries = limiter.keys.values().map(|log| log.entries.len()).sum::<usize>();
    assert!(entries <= GRAINS as usize + 1, "{entries}");
}

#[test]
fn a_callers_log_frees_the_memory_of_an_old_burst() {
    let mut limiter = RateLimiter::new(1000, MINUTE).unwrap();
    let caller = address("192.0.2.1");
    for n in 0..1000 {
        assert!(passes(&mut limiter, &caller, Monotonic(n)));
    }
    assert!(passes(&mut limiter, &caller, at(100)));
    let log = limiter.addresses.values().next().unwrap();
    assert!(log.entries.capacity() < 16);
}

#[test]
fn times_out_of_order_are_counted_as_the_newest() {
    let mut limiter = RateLimiter::new(2, MINUTE).unwrap();
    let caller = key("alice");
    assert!(passes(&mut limiter, &caller, at(10)));
    assert!(passes(&mut limiter, &caller, at(9)));
    assert_eq!(limiter.ask(&caller, at(10)).refused, Some(MINUTE));
}

#[test]
fn a_request_that_is_taken_back_does_not_count_and_moves_no_other_request() {
    let mut limiter = RateLimiter::new(3, MINUTE).unwrap();
    let caller = key("alice");
    assert!(passes(&mut limiter, &caller, at(0)));
    for second in 1..50 {
        assert!(passes(&mut limiter, &caller, at(second)));
        limiter.take_back(&caller, at(second));
    }
    assert_eq!(limiter.ask(&caller, at(50)).remaining, 1);
    assert_eq!(limiter.ask(&caller, at(60)).remaining, 1, "the first one has left the window");
    limiter.take_back(&key("bob"), at(60));
    limiter.take_back(&address("192.0.2.1"), at(60));

    // With entries that several requests share.
    let mut limiter = RateLimiter::new(5000, MINUTE).unwrap();
    assert!(passes(&mut limiter, &caller, at(0)));
    for millis in 0..50_000 {
        let now = at(1) + Duration::from_millis(millis);
        assert!(passes(&mut limiter, &caller, now));
        limiter.take_back(&caller, now);
    }
    assert_eq!(limiter.ask(&caller, at(60)).remaining, 4999);
}
