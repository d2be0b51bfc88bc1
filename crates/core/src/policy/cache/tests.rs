use http::HeaderValue;

use super::*;
use crate::payload::Payload;

const LIMITS: Limits = Limits {
    window: Duration::from_secs(1),
    ttl: Duration::from_secs(300),
    bytes: 64 << 20,
    lease: Duration::from_secs(600),
};
const NO_KEEPING: Limits = Limits { ttl: Duration::ZERO, ..LIMITS };
const NO_SHARING: Limits = Limits { window: Duration::ZERO, ..LIMITS };

fn at(millis: u64) -> Monotonic {
    Monotonic(0) + Duration::from_millis(millis)
}

fn question(body: &str) -> CacheKey {
    let body = Payload::from(Bytes::copy_from_slice(body.as_bytes()));
    CacheKey::new(Some("alice"), "generateContent", "pro", &body, None)
}

fn keyed(key: &str, body: &str) -> CacheKey {
    let body = Payload::from(Bytes::copy_from_slice(body.as_bytes()));
    CacheKey::new(Some("alice"), "generateContent", "pro", &body, Some(key.as_bytes()))
}

fn answer(body: &str) -> CachedAnswer {
    let headers = HeaderMap::from_iter([(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    )]);
    CachedAnswer { status: StatusCode::OK, headers, body: Bytes::copy_from_slice(body.as_bytes()) }
}

/// Asks for the first time.
fn ask(repeats: &mut ResponseCache, question: &CacheKey, now: Monotonic) -> Option<Verdict> {
    repeats.ask(question, CacheDirective::Any, now, now)
}

fn lead(repeats: &mut ResponseCache, question: &CacheKey, now: Monotonic) -> FlightLease {
    match ask(repeats, question, now) {
        Some(Verdict::Lead(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

fn x_cache(verdict: &Option<Verdict>) -> &'static str {
    match verdict {
        None => "wait",
        Some(Verdict::Bypass | Verdict::Refresh(_)) => "BYPASS",
        Some(Verdict::Coalesced(_)) => "COALESCED",
        Some(Verdict::Conflict) => "conflict",
        Some(Verdict::Hit(_)) => "HIT",
        Some(Verdict::Lead(_)) => "MISS",
    }
}

/// The body that a verdict brings.
fn body(verdict: Option<Verdict>) -> Bytes {
    match verdict {
        Some(Verdict::Hit(answer) | Verdict::Coalesced(answer)) => answer.body,
        other => panic!("{other:?}"),
    }
}

/// A room that has this answer since second zero.
fn knowing(limits: Limits) -> (ResponseCache, CacheKey) {
    let (mut repeats, question) = (ResponseCache::new(limits), question("q"));
    let lease = lead(&mut repeats, &question, at(0));
    repeats.settle(lease, answer("a"), at(0));
    (repeats, question)
}

#[test]
fn of_equal_requests_one_leads_and_the_others_get_its_answer() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    let lease = lead(&mut repeats, &q, at(0));
    for _ in 0..99 {
        assert_eq!(x_cache(&ask(&mut repeats, &q, at(10))), "wait");
    }
    repeats.settle(lease, answer("a"), at(500));
    for _ in 0..99 {
        let verdict = repeats.ask(&q, CacheDirective::Any, at(10), at(510));
        assert_eq!(x_cache(&verdict), "COALESCED");
        assert_eq!(body(verdict), "a");
    }
}

#[test]
fn who_comes_after_the_answer_gets_it_from_the_cache_until_its_time_is_up() {
    let (mut repeats, q) = knowing(LIMITS);
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(0))), "HIT");
    let Some(Verdict::Hit(kept)) = ask(&mut repeats, &q, at(299_999)) else { panic!("not kept") };
    assert_eq!(kept, answer("a"));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(300_000))), "MISS");
}

#[test]
fn without_a_cache_an_answer_is_shared_for_the_window() {
    let (mut repeats, q) = knowing(NO_KEEPING);
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(999))), "COALESCED");
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(1000))), "MISS");
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(1001))), "wait");
}

#[test]
fn however_short_the_window_who_waited_gets_the_answer() {
    let limits = Limits { window: Duration::from_millis(1), ..NO_KEEPING };
    let (mut repeats, q) = (ResponseCache::new(limits), question("q"));
    let lease = lead(&mut repeats, &q, at(0));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(1))), "wait");
    repeats.settle(lease, answer("a"), at(100));
    assert_eq!(body(repeats.ask(&q, CacheDirective::Any, at(1), at(600))), "a");
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(600))), "MISS");
}

#[test]
fn without_sharing_everybody_leads_until_there_is_an_answer_to_keep() {
    let (mut repeats, q) = (ResponseCache::new(NO_SHARING), question("q"));
    let leases: Vec<_> = (0..3).map(|_| lead(&mut repeats, &q, at(0))).collect();
    for lease in leases {
        repeats.settle(lease, answer("a"), at(1));
    }
    assert_eq!(repeats.answers.len(), 1);
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(2))), "HIT");
}

#[test]
fn with_both_off_or_no_bytes_nothing_happens_here() {
    let none = Limits { window: Duration::ZERO, ..NO_KEEPING };
    for limits in [none, Limits { bytes: 0, ..LIMITS }] {
        let mut repeats = ResponseCache::new(limits);
        assert!(!repeats.is_on());
        assert_eq!(x_cache(&ask(&mut repeats, &question("q"), at(0))), "BYPASS");
    }
    assert!(ResponseCache::new(NO_KEEPING).is_on() && ResponseCache::new(NO_SHARING).is_on());
}

#[test]
fn an_idempotency_key_stands_for_one_request() {
    let mut repeats = ResponseCache::new(LIMITS);
    let lease = lead(&mut repeats, &keyed("k", "q"), at(0));
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k", "other"), at(1))), "conflict");
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k", "q"), at(1))), "wait");
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k2", "q"), at(1))), "MISS");
    repeats.settle(lease, answer("a"), at(2));
    for freshness in [CacheDirective::Any, CacheDirective::NoCache, CacheDirective::NoStore] {
        let verdict = repeats.ask(&keyed("k", "other"), freshness, at(3), at(3));
        assert_eq!(x_cache(&verdict), "conflict");
    }
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k", "q"), at(3))), "HIT");
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k", "other"), at(300_002))), "MISS");
}

#[test]
fn a_key_whose_request_failed_is_free_again() {
    let mut repeats = ResponseCache::new(LIMITS);
    let lease = lead(&mut repeats, &keyed("k", "q"), at(0));
    repeats.give_up(lease, Abandoned::Failed, at(1));
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k", "corrected"), at(2))), "MISS");
    assert_eq!(x_cache(&ask(&mut repeats, &keyed("k", "q"), at(2))), "conflict");
}

#[test]
fn when_the_leaders_client_goes_the_next_leads_and_the_others_still_get_an_answer() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    let first = lead(&mut repeats, &q, at(0));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(1))), "wait");
    repeats.give_up(first, Abandoned::Gone, at(10));
    let Some(Verdict::Lead(second)) = repeats.ask(&q, CacheDirective::Any, at(1), at(11)) else {
        panic!("nobody leads")
    };
    assert_eq!(x_cache(&repeats.ask(&q, CacheDirective::Any, at(2), at(12))), "wait");
    repeats.settle(second, answer("a"), at(20));
    assert_eq!(body(repeats.ask(&q, CacheDirective::Any, at(2), at(21))), "a");
}

#[test]
fn when_the_leader_fails_those_who_waited_ask_for_themselves_at_once() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    let first = lead(&mut repeats, &q, at(0));
    repeats.give_up(first, Abandoned::Failed, at(10));
    let mut leases = Vec::new();
    for _ in 0..19 {
        match repeats.ask(&q, CacheDirective::Any, at(1), at(11)) {
            Some(Verdict::Lead(lease)) => leases.push(lease),
            other => panic!("{other:?}"),
        }
    }
    // A newcomer leads as ever, and other newcomers wait for it; those of before still do not.
    let new = lead(&mut repeats, &q, at(12));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(13))), "wait");
    assert_eq!(x_cache(&repeats.ask(&q, CacheDirective::Any, at(1), at(13))), "MISS");
    // Their failures are nobody's business but their own.
    repeats.give_up(leases.pop().unwrap(), Abandoned::Failed, at(14));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(14))), "wait");
    // Their success is everybody's.
    repeats.settle(leases.pop().unwrap(), answer("a"), at(15));
    assert_eq!(body(repeats.ask(&q, CacheDirective::Any, at(13), at(16))), "a");
    repeats.give_up(new, Abandoned::Failed, at(17));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(18))), "HIT");
}

#[test]
fn a_leader_that_leaves_after_a_failure_does_not_make_those_of_before_wait() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    let first = lead(&mut repeats, &q, at(0));
    repeats.give_up(first, Abandoned::Failed, at(10));
    let second = lead(&mut repeats, &q, at(11));
    repeats.give_up(second, Abandoned::Gone, at(12));
    let third = lead(&mut repeats, &q, at(13));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(14))), "wait");
    assert_eq!(x_cache(&repeats.ask(&q, CacheDirective::Any, at(1), at(14))), "MISS");
    drop(third);
}

#[test]
fn a_lost_leader_is_replaced_and_its_late_answer_is_as_good_as_any() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    let lost = lead(&mut repeats, &q, at(0));
    assert_eq!(x_cache(&repeats.ask(&q, CacheDirective::Any, at(1), at(599_999))), "wait");
    let Some(Verdict::Lead(second)) = repeats.ask(&q, CacheDirective::Any, at(1), at(600_000))
    else {
        panic!("wedged")
    };
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(600_001))), "wait");
    repeats.settle(lost, answer("late"), at(600_002));
    let waited = repeats.ask(&q, CacheDirective::Any, at(600_001), at(600_003));
    assert_eq!(body(waited), "late");
    repeats.settle(second, answer("newer"), at(600_004));
    assert_eq!(body(ask(&mut repeats, &q, at(600_005))), "newer");
    assert_eq!(repeats.answers.len(), 1);
}

#[test]
fn a_lost_leader_does_not_give_up_what_is_anothers() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    let lost = lead(&mut repeats, &q, at(0));
    let second = lead(&mut repeats, &q, at(600_000));
    repeats.give_up(lost, Abandoned::Gone, at(600_001));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(600_002))), "wait");
    repeats.give_up(second, Abandoned::Gone, at(600_003));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(600_004))), "MISS");
}

#[test]
fn no_cache_asks_anew_and_keeps_the_answer() {
    let (mut repeats, q) = knowing(LIMITS);
    let verdict = repeats.ask(&q, CacheDirective::NoCache, at(1), at(1));
    assert_eq!(x_cache(&verdict), "BYPASS");
    let Some(Verdict::Refresh(lease)) = verdict else { panic!("nothing to keep it by") };
    assert_eq!(body(ask(&mut repeats, &q, at(2))), "a", "until then the old one serves");
    repeats.settle(lease, answer("new"), at(3));
    assert_eq!(body(ask(&mut repeats, &q, at(4))), "new");
}

#[test]
fn no_store_leaves_no_trace() {
    let (mut repeats, q) = (ResponseCache::new(LIMITS), question("q"));
    assert!(matches!(
        repeats.ask(&q, CacheDirective::NoStore, at(0), at(0)),
        Some(Verdict::Bypass)
    ));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(1))), "MISS");
}

#[test]
fn answers_stay_within_the_budget_and_the_oldest_goes_first() {
    let limits = Limits { bytes: 100_000, ..LIMITS };
    let mut repeats = ResponseCache::new(limits);
    let text = "x".repeat(10_000);
    for n in 0..50 {
        let lease = lead(&mut repeats, &question(&n.to_string()), at(n));
        repeats.settle(lease, answer(&text), at(n));
        assert!(repeats.bytes <= limits.bytes);
    }
    let kept = u64::try_from(repeats.answers.len()).unwrap();
    assert_eq!(kept, 9);
    for n in 0..50 {
        let found =
            matches!(ask(&mut repeats, &question(&n.to_string()), at(60)), Some(Verdict::Hit(_)));
        assert_eq!(found, n >= 50 - kept, "{n}");
    }
}

#[test]
fn an_answer_that_is_too_great_is_not_kept_and_nobody_waits_in_vain() {
    let limits = Limits { bytes: 8000, ..LIMITS };
    let (mut repeats, q) = (ResponseCache::new(limits), question("q"));
    let lease = lead(&mut repeats, &q, at(0));
    assert_eq!(x_cache(&ask(&mut repeats, &q, at(1))), "wait");
    repeats.settle(lease, answer(&"x".repeat(1000)), at(10));
    assert_eq!((repeats.answers.len(), repeats.bytes), (0, 0));
    for _ in 0..3 {
        assert_eq!(x_cache(&repeats.ask(&q, CacheDirective::Any, at(1), at(11))), "MISS");
    }
}

#[test]
fn everything_is_forgotten_in_its_time() {
    let (mut repeats, _) = knowing(LIMITS);
    drop(lead(&mut repeats, &question("lost"), at(0)));
    let failed = lead(&mut repeats, &question("failed"), at(0));
    repeats.give_up(failed, Abandoned::Failed, at(0));
    assert_eq!((repeats.answers.len(), repeats.slots.len()), (1, 3));
    for (millis, left) in [(1999, 3), (2000, 2), (299_999, 2), (300_000, 1), (600_000, 0)] {
        repeats.expire(at(millis));
        assert_eq!(repeats.slots.len(), left, "{millis}");
        assert_eq!(repeats.expiries.len(), left, "{millis}");
    }
    assert_eq!((repeats.answers.len(), repeats.bytes), (0, 0));
}

#[test]
fn an_answer_counts_with_its_headers_and_prints_without_its_body() {
    let answer = answer("secret");
    assert_eq!(answer.size(), PER_ANSWER + PER_HEADER + "content-typeapplication/jsonsecret".len());
    assert_eq!(format!("{answer:?}"), "CachedAnswer { status: 200, bytes: 6, .. }");
}
