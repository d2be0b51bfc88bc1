use http::HeaderValue;

use super::*;
use crate::caller::KeyDigest;
use crate::payload::Payload;

const LIMITS: CacheLimits = CacheLimits {
    window: Duration::from_secs(1),
    ttl: Duration::from_secs(300),
    bytes: 64 << 20,
    lease: Duration::from_secs(600),
};
const KEEP_NONE: CacheLimits = CacheLimits { ttl: Duration::ZERO, ..LIMITS };
const SHARE_NONE: CacheLimits = CacheLimits { window: Duration::ZERO, ..LIMITS };

fn at(millis: u64) -> Monotonic {
    Monotonic(0) + Duration::from_millis(millis)
}

fn key(body: &str) -> CacheKey {
    let body = Payload::from(Bytes::copy_from_slice(body.as_bytes()));
    CacheKey::new(Some(KeyDigest::of("alice")), "generateContent", "pro", &body, None)
}

fn with_idempotency_key(idempotency_key: &str, body: &str) -> CacheKey {
    let body = Payload::from(Bytes::copy_from_slice(body.as_bytes()));
    CacheKey::new(
        Some(KeyDigest::of("alice")),
        "generateContent",
        "pro",
        &body,
        Some(idempotency_key.as_bytes()),
    )
}

fn answer(body: &str) -> CachedAnswer {
    let headers = HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )]);
    CachedAnswer { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

/// Asks for a request that arrives now.
fn ask(cache: &mut ResponseCache, key: &CacheKey, now: Monotonic) -> Option<CacheVerdict> {
    cache.ask(key, CacheDirective::Any, now, now)
}

fn lead(cache: &mut ResponseCache, key: &CacheKey, now: Monotonic) -> FlightLease {
    match ask(cache, key, now) {
        Some(CacheVerdict::Lead(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

fn x_cache(verdict: Option<&CacheVerdict>) -> &'static str {
    match verdict {
        None => "wait",
        Some(CacheVerdict::Bypass | CacheVerdict::Refresh(_)) => "BYPASS",
        Some(CacheVerdict::Coalesced(_)) => "COALESCED",
        Some(CacheVerdict::Conflict) => "conflict",
        Some(CacheVerdict::Hit(_)) => "HIT",
        Some(CacheVerdict::Lead(_)) => "MISS",
    }
}

/// The body of the answer that a verdict carries.
fn body(verdict: Option<CacheVerdict>) -> Bytes {
    match verdict {
        Some(CacheVerdict::Hit(answer) | CacheVerdict::Coalesced(answer)) => answer.body,
        other => panic!("{other:?}"),
    }
}

/// A cache that got an answer at second zero.
fn cache_with_answer(limits: CacheLimits) -> (ResponseCache, CacheKey) {
    let (mut cache, key) = (ResponseCache::new(limits), key("request"));
    let lease = lead(&mut cache, &key, at(0));
    cache.settle(lease, answer("a"), at(0));
    (cache, key)
}

#[test]
fn of_equal_requests_one_leads_and_the_waiters_get_its_answer() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    let lease = lead(&mut cache, &key, at(0));
    for _ in 0..99 {
        assert_eq!(x_cache(ask(&mut cache, &key, at(10)).as_ref()), "wait");
    }
    cache.settle(lease, answer("a"), at(500));
    for _ in 0..99 {
        let verdict = cache.ask(&key, CacheDirective::Any, at(10), at(510));
        assert_eq!(x_cache(verdict.as_ref()), "COALESCED");
        assert_eq!(body(verdict), "a");
    }
}

#[test]
fn a_cached_answer_is_a_hit_until_its_time_to_live_ends() {
    let (mut cache, key) = cache_with_answer(LIMITS);
    assert_eq!(x_cache(ask(&mut cache, &key, at(0)).as_ref()), "HIT");
    let Some(CacheVerdict::Hit(kept)) = ask(&mut cache, &key, at(299_999)) else {
        panic!("the answer was not kept")
    };
    assert_eq!(kept, answer("a"));
    assert_eq!(x_cache(ask(&mut cache, &key, at(300_000)).as_ref()), "MISS");
}

#[test]
fn without_keeping_an_answer_is_shared_for_the_window() {
    let (mut cache, key) = cache_with_answer(KEEP_NONE);
    assert_eq!(x_cache(ask(&mut cache, &key, at(999)).as_ref()), "COALESCED");
    assert_eq!(x_cache(ask(&mut cache, &key, at(1000)).as_ref()), "MISS");
    assert_eq!(x_cache(ask(&mut cache, &key, at(1001)).as_ref()), "wait");
}

#[test]
fn a_waiter_gets_the_answer_however_short_the_window_is() {
    let limits = CacheLimits { window: Duration::from_millis(1), ..KEEP_NONE };
    let (mut cache, key) = (ResponseCache::new(limits), key("request"));
    let lease = lead(&mut cache, &key, at(0));
    assert_eq!(x_cache(ask(&mut cache, &key, at(1)).as_ref()), "wait");
    cache.settle(lease, answer("a"), at(100));
    assert_eq!(body(cache.ask(&key, CacheDirective::Any, at(1), at(600))), "a");
    assert_eq!(x_cache(ask(&mut cache, &key, at(600)).as_ref()), "MISS");
}

#[test]
fn without_sharing_every_request_leads_until_an_answer_is_cached() {
    let (mut cache, key) = (ResponseCache::new(SHARE_NONE), key("request"));
    let leases: Vec<_> = (0..3).map(|_| lead(&mut cache, &key, at(0))).collect();
    for lease in leases {
        cache.settle(lease, answer("a"), at(1));
    }
    assert_eq!(cache.answers.len(), 1);
    assert_eq!(x_cache(ask(&mut cache, &key, at(2)).as_ref()), "HIT");
}

#[test]
fn a_cache_without_sharing_and_keeping_or_without_bytes_is_bypassed() {
    let none = CacheLimits { window: Duration::ZERO, ..KEEP_NONE };
    for limits in [none, CacheLimits { bytes: 0, ..LIMITS }] {
        let mut cache = ResponseCache::new(limits);
        assert!(!cache.is_on());
        assert_eq!(x_cache(ask(&mut cache, &key("request"), at(0)).as_ref()), "BYPASS");
    }
    assert!(ResponseCache::new(KEEP_NONE).is_on() && ResponseCache::new(SHARE_NONE).is_on());
}

#[test]
fn an_idempotency_key_belongs_to_one_request() {
    let mut cache = ResponseCache::new(LIMITS);
    let lease = lead(&mut cache, &with_idempotency_key("k", "request"), at(0));
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k", "other"), at(1)).as_ref()),
        "conflict"
    );
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k", "request"), at(1)).as_ref()),
        "wait"
    );
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k2", "request"), at(1)).as_ref()),
        "MISS"
    );
    cache.settle(lease, answer("a"), at(2));
    for directive in [CacheDirective::Any, CacheDirective::NoCache, CacheDirective::NoStore] {
        let verdict = cache.ask(&with_idempotency_key("k", "other"), directive, at(3), at(3));
        assert_eq!(x_cache(verdict.as_ref()), "conflict");
    }
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k", "request"), at(3)).as_ref()),
        "HIT"
    );
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k", "other"), at(300_002)).as_ref()),
        "MISS"
    );
}

#[test]
fn an_idempotency_key_whose_request_failed_may_be_used_again() {
    let mut cache = ResponseCache::new(LIMITS);
    let lease = lead(&mut cache, &with_idempotency_key("k", "request"), at(0));
    cache.give_up(lease, Abandoned::Failed, at(1));
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k", "corrected"), at(2)).as_ref()),
        "MISS"
    );
    assert_eq!(
        x_cache(ask(&mut cache, &with_idempotency_key("k", "request"), at(2)).as_ref()),
        "conflict"
    );
}

#[test]
fn when_the_leaders_client_leaves_one_waiter_leads_and_the_others_get_its_answer() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    let first = lead(&mut cache, &key, at(0));
    assert_eq!(x_cache(ask(&mut cache, &key, at(1)).as_ref()), "wait");
    cache.give_up(first, Abandoned::Gone, at(10));
    let Some(CacheVerdict::Lead(second)) = cache.ask(&key, CacheDirective::Any, at(1), at(11))
    else {
        panic!("no waiter became the leader")
    };
    assert_eq!(x_cache(cache.ask(&key, CacheDirective::Any, at(2), at(12)).as_ref()), "wait");
    cache.settle(second, answer("a"), at(20));
    assert_eq!(body(cache.ask(&key, CacheDirective::Any, at(2), at(21))), "a");
}

#[test]
fn when_the_leader_fails_every_waiter_asks_upstream_at_once() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    let first = lead(&mut cache, &key, at(0));
    cache.give_up(first, Abandoned::Failed, at(10));
    let mut leases = Vec::new();
    for _ in 0..19 {
        match cache.ask(&key, CacheDirective::Any, at(1), at(11)) {
            Some(CacheVerdict::Lead(lease)) => leases.push(lease),
            other => panic!("{other:?}"),
        }
    }
    // A request that arrives after the failure leads, and later ones wait for it. Requests from
    // before the failure still do not wait.
    let new = lead(&mut cache, &key, at(12));
    assert_eq!(x_cache(ask(&mut cache, &key, at(13)).as_ref()), "wait");
    assert_eq!(x_cache(cache.ask(&key, CacheDirective::Any, at(1), at(13)).as_ref()), "MISS");
    // The failure of an earlier request affects no other request.
    cache.give_up(leases.pop().unwrap(), Abandoned::Failed, at(14));
    assert_eq!(x_cache(ask(&mut cache, &key, at(14)).as_ref()), "wait");
    // The answer of an earlier request is shared.
    cache.settle(leases.pop().unwrap(), answer("a"), at(15));
    assert_eq!(body(cache.ask(&key, CacheDirective::Any, at(13), at(16))), "a");
    cache.give_up(new, Abandoned::Failed, at(17));
    assert_eq!(x_cache(ask(&mut cache, &key, at(18)).as_ref()), "HIT");
}

#[test]
fn a_leader_that_leaves_after_a_failure_does_not_make_earlier_requests_wait() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    let first = lead(&mut cache, &key, at(0));
    cache.give_up(first, Abandoned::Failed, at(10));
    let second = lead(&mut cache, &key, at(11));
    cache.give_up(second, Abandoned::Gone, at(12));
    let third = lead(&mut cache, &key, at(13));
    assert_eq!(x_cache(ask(&mut cache, &key, at(14)).as_ref()), "wait");
    assert_eq!(x_cache(cache.ask(&key, CacheDirective::Any, at(1), at(14)).as_ref()), "MISS");
    drop(third);
}

#[test]
fn a_leader_without_a_result_is_replaced_and_its_late_answer_still_counts() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    let lost = lead(&mut cache, &key, at(0));
    assert_eq!(x_cache(cache.ask(&key, CacheDirective::Any, at(1), at(599_999)).as_ref()), "wait");
    let Some(CacheVerdict::Lead(second)) = cache.ask(&key, CacheDirective::Any, at(1), at(600_000))
    else {
        panic!("no waiter replaced the lost leader")
    };
    assert_eq!(x_cache(ask(&mut cache, &key, at(600_001)).as_ref()), "wait");
    cache.settle(lost, answer("late"), at(600_002));
    let waited = cache.ask(&key, CacheDirective::Any, at(600_001), at(600_003));
    assert_eq!(body(waited), "late");
    cache.settle(second, answer("newer"), at(600_004));
    assert_eq!(body(ask(&mut cache, &key, at(600_005))), "newer");
    assert_eq!(cache.answers.len(), 1);
}

#[test]
fn a_leader_whose_lease_is_void_cannot_give_up_another_leaders_lease() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    let lost = lead(&mut cache, &key, at(0));
    let second = lead(&mut cache, &key, at(600_000));
    cache.give_up(lost, Abandoned::Gone, at(600_001));
    assert_eq!(x_cache(ask(&mut cache, &key, at(600_002)).as_ref()), "wait");
    cache.give_up(second, Abandoned::Gone, at(600_003));
    assert_eq!(x_cache(ask(&mut cache, &key, at(600_004)).as_ref()), "MISS");
}

#[test]
fn no_cache_asks_upstream_again_and_keeps_the_answer() {
    let (mut cache, key) = cache_with_answer(LIMITS);
    let verdict = cache.ask(&key, CacheDirective::NoCache, at(1), at(1));
    assert_eq!(x_cache(verdict.as_ref()), "BYPASS");
    let Some(CacheVerdict::Refresh(lease)) = verdict else {
        panic!("no lease to keep the answer with")
    };
    assert_eq!(
        body(ask(&mut cache, &key, at(2))),
        "a",
        "the old answer serves until the new one comes"
    );
    cache.settle(lease, answer("new"), at(3));
    assert_eq!(body(ask(&mut cache, &key, at(4))), "new");
}

#[test]
fn no_store_keeps_nothing_in_the_cache() {
    let (mut cache, key) = (ResponseCache::new(LIMITS), key("request"));
    assert!(matches!(
        cache.ask(&key, CacheDirective::NoStore, at(0), at(0)),
        Some(CacheVerdict::Bypass)
    ));
    assert_eq!(x_cache(ask(&mut cache, &key, at(1)).as_ref()), "MISS");
}

#[test]
fn answers_stay_within_the_byte_limit_and_the_oldest_is_dropped_first() {
    let limits = CacheLimits { bytes: 104_000, ..LIMITS };
    let mut cache = ResponseCache::new(limits);
    let text = "x".repeat(10_000);
    for n in 0..50 {
        let lease = lead(&mut cache, &key(&n.to_string()), at(n));
        cache.settle(lease, answer(&text), at(n));
        assert!(cache.bytes <= limits.bytes);
    }
    let kept = u64::try_from(cache.answers.len()).unwrap();
    assert_eq!(kept, 9);
    for n in 0..50 {
        let found =
            matches!(ask(&mut cache, &key(&n.to_string()), at(60)), Some(CacheVerdict::Hit(_)));
        assert_eq!(found, n >= 50 - kept, "{n}");
    }
}

#[test]
fn an_answer_that_is_too_large_is_not_kept_and_its_waiters_ask_upstream() {
    let limits = CacheLimits { bytes: 8000, ..LIMITS };
    let (mut cache, key) = (ResponseCache::new(limits), key("request"));
    let lease = lead(&mut cache, &key, at(0));
    assert_eq!(x_cache(ask(&mut cache, &key, at(1)).as_ref()), "wait");
    cache.settle(lease, answer(&"x".repeat(1000)), at(10));
    assert_eq!((cache.answers.len(), cache.bytes), (0, 0));
    for _ in 0..3 {
        assert_eq!(x_cache(cache.ask(&key, CacheDirective::Any, at(1), at(11)).as_ref()), "MISS");
    }
}

#[test]
fn an_answer_that_is_not_kept_goes_to_those_who_waited_and_to_no_later_request() {
    for limits in [LIMITS, KEEP_NONE] {
        let (mut cache, key) = (ResponseCache::new(limits), key("request"));
        let lease = lead(&mut cache, &key, at(0));
        assert_eq!(x_cache(ask(&mut cache, &key, at(1)).as_ref()), "wait");
        cache.share_in_flight(lease, answer("cut"), at(10));
        // A later request leads, and the first waiters still get the first answer.
        let second = lead(&mut cache, &key, at(10));
        let waited = cache.ask(&key, CacheDirective::Any, at(1), at(40));
        assert_eq!(x_cache(waited.as_ref()), "COALESCED");
        assert_eq!(body(waited), "cut");
        assert_eq!(x_cache(cache.ask(&key, CacheDirective::Any, at(11), at(40)).as_ref()), "wait");
        cache.settle(second, answer("whole"), at(50));
        assert_eq!(body(cache.ask(&key, CacheDirective::Any, at(11), at(51))), "whole");
        assert_eq!(body(ask(&mut cache, &key, at(51))), "whole");
        cache.expire(at(400_000));
        assert_eq!((cache.bytes, cache.answers.len(), cache.expiries.len()), (0, 0, 0));
        assert!(cache.slots.is_empty() && cache.unkept.is_empty());
    }
}

#[test]
fn an_idempotency_key_is_bound_until_an_answer_that_is_not_kept_comes() {
    let (named, other) = (with_idempotency_key("k", "request"), with_idempotency_key("k", "other"));
    let mut cache = ResponseCache::new(LIMITS);
    let lease = lead(&mut cache, &named, at(0));
    assert_eq!(x_cache(ask(&mut cache, &named, at(1)).as_ref()), "wait");
    assert_eq!(x_cache(ask(&mut cache, &other, at(1)).as_ref()), "conflict");
    cache.share_in_flight(lease, answer("cut"), at(10));
    let _other = lead(&mut cache, &other, at(11));
    let waited = cache.ask(&named, CacheDirective::Any, at(1), at(12));
    assert_eq!(body(waited), "cut", "the waiter is no conflict");
    assert_eq!(x_cache(ask(&mut cache, &named, at(12)).as_ref()), "conflict");
}

#[test]
fn an_answer_that_is_not_kept_replaces_no_kept_one_and_ends_no_other_flight() {
    let (mut cache, key) = cache_with_answer(LIMITS);
    let refresh = cache.ask(&key, CacheDirective::NoCache, at(1), at(1));
    let Some(CacheVerdict::Refresh(lease)) = refresh else { panic!("{refresh:?}") };
    cache.share_in_flight(lease, answer("cut"), at(2));
    assert_eq!(body(ask(&mut cache, &key, at(3))), "a");
    let _leader = lead(&mut cache, &key, at(300_000));
    let refresh = cache.ask(&key, CacheDirective::NoCache, at(300_001), at(300_001));
    let Some(CacheVerdict::Refresh(lease)) = refresh else { panic!("{refresh:?}") };
    cache.share_in_flight(lease, answer("cut"), at(300_002));
    assert_eq!(x_cache(ask(&mut cache, &key, at(300_003)).as_ref()), "wait");
}

#[test]
fn answers_that_are_not_kept_stay_within_the_byte_limit_for_two_seconds() {
    let limits = CacheLimits { bytes: 104_000, ..LIMITS };
    let mut cache = ResponseCache::new(limits);
    let text = "x".repeat(10_000);
    for n in 0..50 {
        let lease = lead(&mut cache, &key(&n.to_string()), at(n));
        cache.share_in_flight(lease, answer(&text), at(n));
        assert!(cache.bytes <= limits.bytes);
    }
    assert_eq!((cache.unkept.len(), cache.answers.len(), cache.slots.len()), (9, 9, 0));
    let lease = lead(&mut cache, &key("large"), at(60));
    assert_eq!(x_cache(ask(&mut cache, &key("large"), at(60)).as_ref()), "wait");
    cache.share_in_flight(lease, answer(&text.repeat(2)), at(61));
    assert_eq!(
        x_cache(cache.ask(&key("large"), CacheDirective::Any, at(60), at(62)).as_ref()),
        "MISS"
    );
    cache.expire(at(2062));
    assert_eq!((cache.unkept.len(), cache.answers.len(), cache.bytes), (0, 0, 0));
}

#[test]
fn every_slot_expires() {
    let (mut cache, _) = cache_with_answer(LIMITS);
    drop(lead(&mut cache, &key("lost"), at(0)));
    let failed = lead(&mut cache, &key("failed"), at(0));
    cache.give_up(failed, Abandoned::Failed, at(0));
    assert_eq!((cache.answers.len(), cache.slots.len()), (1, 3));
    for (millis, left) in [(1999, 3), (2000, 2), (299_999, 2), (300_000, 1), (600_000, 0)] {
        cache.expire(at(millis));
        assert_eq!(cache.slots.len(), left, "{millis}");
        assert_eq!(cache.expiries.len(), left, "{millis}");
    }
    assert_eq!((cache.answers.len(), cache.bytes), (0, 0));
}

#[test]
fn an_answers_size_includes_its_headers_and_its_debug_form_omits_the_body() {
    let answer = answer("secret");
    assert_eq!(answer.size(), PER_ANSWER + PER_HEADER + "content-typeapplication/jsonsecret".len());
    assert_eq!(format!("{answer:?}"), "CachedAnswer { status: 200, bytes: 6, .. }");
}

#[test]
fn a_kept_answer_holds_its_own_bytes_and_no_read_buffer() {
    let buffer = Bytes::from(vec![b'x'; 8192]);
    let headers = HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_maybe_shared(buffer.slice(100..110)).unwrap(),
    )]);
    let answer = CachedAnswer { status: StatusCode::OK, headers, body: buffer.slice(..40) };
    let copy = answer.copied();
    assert_eq!((&copy.body, &copy.headers), (&answer.body, &answer.headers));
    drop(answer);
    assert!(buffer.is_unique(), "the copy refers to the buffer");
}
