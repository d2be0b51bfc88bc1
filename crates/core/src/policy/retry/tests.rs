//! The table of `docs/RESILIENCE.md` and `docs/reference/protocol.md` 7.2, row by row.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::google::error;

const LIMITS: RetryLimits =
    RetryLimits { max_retries: 3, base: Duration::from_secs(1), max: Duration::from_secs(30) };
const AT_ONCE: RetryVerdict = RetryVerdict::Again { after: Duration::ZERO };

/// The failure that Google's error with these parts is classified as.
fn failure(http: u16, message: &str, details: &str) -> Failure {
    let body = format!(
        r#"{{"error":{{"code":{http},"message":"{message}","status":"X","details":[{details}]}}}}"#
    );
    let http = StatusCode::from_u16(http).unwrap();
    error::read(http, &HeaderMap::new(), &Bytes::from(body)).failure()
}

fn reason(reason: &str) -> String {
    format!(r#"{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}"#)
}

fn delay(delay: &str) -> String {
    format!(r#"{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}"#)
}

fn quota(id: &str) -> String {
    format!(
        r#"{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}}"#
    )
}

fn first(failure: Failure) -> Try {
    Try { number: 0, failure, reauthorized: false, more_endpoints: false }
}

/// The verdict after `number` retries, with the longest jitter.
fn nth(number: u32, failure: Failure) -> RetryVerdict {
    judge(&Try { number, ..first(failure) }, &LIMITS, u64::MAX, None)
}

fn again(secs: f64) -> RetryVerdict {
    RetryVerdict::Again { after: Duration::from_secs_f64(secs) }
}

#[test]
fn a_401_is_replayed_once_with_another_token_even_without_retries() {
    let failure = failure(401, "Request had invalid authentication credentials.", "");
    let once = first(failure);
    let none = RetryLimits { max_retries: 0, ..LIMITS };
    assert_eq!(judge(&once, &none, 0, None), RetryVerdict::Reauthorize);
    assert_eq!(judge(&Try { number: 3, ..once }, &LIMITS, 0, None), RetryVerdict::Reauthorize);
    let twice = Try { reauthorized: true, more_endpoints: true, ..once };
    assert_eq!(judge(&twice, &LIMITS, 0, None), RetryVerdict::Deliver);
}

#[test]
fn a_stated_delay_is_waited_exactly() {
    for http in [429, 503] {
        for (stated, secs) in [("0.539477544s", 0.539_477_544), ("12.5s", 12.5), ("30s", 30.0)] {
            let details = [reason("RATE_LIMIT_EXCEEDED"), delay(stated)].join(",");
            let failure = failure(http, "m", &details);
            for random in [0, u64::MAX] {
                let verdict = judge(&first(failure), &LIMITS, random, None);
                assert_eq!(verdict, again(secs), "{http} {stated}");
            }
            assert_eq!(nth(2, failure), again(secs));
            assert_eq!(nth(3, failure), RetryVerdict::Deliver);
        }
    }
}

#[test]
fn a_stated_delay_beyond_the_maximum_is_delivered() {
    for http in [429, 500, 503] {
        let failure = failure(http, "m", &delay("30.001s"));
        assert_eq!(nth(0, failure), RetryVerdict::Deliver);
    }
}

#[test]
fn a_stated_delay_of_zero_counts_once() {
    let failure = failure(429, "Your quota will reset after 0s.", &reason("RATE_LIMIT_EXCEEDED"));
    assert_eq!(nth(0, failure), AT_ONCE);
    assert_eq!(nth(1, failure), again(2.0));
}

#[test]
fn a_429_without_a_reason_or_a_delay_is_retried_twice() {
    let failure = failure(429, "Resource has been exhausted (e.g. check quota).", "");
    assert_eq!(nth(0, failure), again(1.0));
    assert_eq!(nth(1, failure), again(2.0));
    assert_eq!(nth(2, failure), RetryVerdict::Deliver);
}

#[test]
fn a_rate_limit_without_a_stated_delay_is_delivered() {
    let failure = failure(429, "m", &reason("RATE_LIMIT_EXCEEDED"));
    assert_eq!(nth(0, failure), RetryVerdict::Deliver);
}

#[test]
fn a_lack_of_capacity_is_retried_twice() {
    for http in [429, 503] {
        let bare = failure(http, "No capacity available", &reason("MODEL_CAPACITY_EXHAUSTED"));
        assert_eq!(nth(0, bare), again(1.0));
        assert_eq!(nth(1, bare), again(2.0));
        assert_eq!(nth(2, bare), RetryVerdict::Deliver);
        let details = [reason("MODEL_CAPACITY_EXHAUSTED"), delay("9s")].join(",");
        let stated = failure(http, "No capacity available", &details);
        assert_eq!(nth(1, stated), again(9.0));
        assert_eq!(nth(2, stated), RetryVerdict::Deliver);
    }
}

#[test]
fn server_errors_and_connection_errors_back_off() {
    let mut failures = [500, 502, 503].map(|http| failure(http, "m", "")).to_vec();
    failures.push(Failure::new(FailureClass::Unreachable));
    failures.push(Failure::new(FailureClass::NotProcessed));
    for failure in failures {
        for (number, ceiling) in [(0, 1.0), (1, 2.0), (2, 4.0)] {
            assert_eq!(nth(number, failure), again(ceiling), "{failure:?}");
            let attempt = Try { number, ..first(failure) };
            assert_eq!(judge(&attempt, &LIMITS, 0, None), AT_ONCE, "full jitter begins at zero");
            assert_eq!(judge(&attempt, &LIMITS, 1 << 63, None), again(ceiling / 2.0));
        }
        assert_eq!(nth(3, failure), RetryVerdict::Deliver, "{failure:?}");
    }
}

#[test]
fn the_backoff_ceiling_doubles_up_to_the_maximum_and_never_overflows() {
    let many = RetryLimits { max_retries: u32::MAX, ..LIMITS };
    let failure = failure(500, "m", "");
    for (number, ceiling) in [(4, 16.0), (5, 30.0), (31, 30.0), (32, 30.0), (u32::MAX - 1, 30.0)] {
        let attempt = Try { number, ..first(failure) };
        assert_eq!(judge(&attempt, &many, u64::MAX, None), again(ceiling));
    }
}

#[test]
fn a_500_with_a_stated_delay_is_not_retried_before_it() {
    let failure = failure(500, "m", &delay("5s"));
    let attempt = first(failure);
    assert_eq!(judge(&attempt, &LIMITS, 0, None), again(5.0));
}

#[test]
fn a_504_is_retried_twice_at_most() {
    let failure = failure(504, "m", "");
    assert_eq!(nth(1, failure), again(2.0));
    assert_eq!(nth(2, failure), RetryVerdict::Deliver);
}

#[test]
fn failures_that_a_retry_cannot_cure_are_delivered_even_with_more_endpoints() {
    let short = delay("1s");
    let failures = [
        failure(400, "m", ""),
        failure(403, "m", &short),
        failure(403, "disabled in this account for violation of Terms of Service", ""),
        failure(403, "m", &reason("VALIDATION_REQUIRED")),
        failure(404, "m", ""),
        failure(408, "m", &short),
        failure(409, "m", ""),
        failure(413, "m", ""),
        failure(429, "m", &[reason("QUOTA_EXHAUSTED"), short.clone()].join(",")),
        failure(429, "m", &[quota("GenerateRequestsPerDayPerProject"), short.clone()].join(",")),
        failure(429, "m", &[quota("DailyRequests"), short.clone()].join(",")),
        failure(429, "m", &[reason("INSUFFICIENT_G1_CREDITS_BALANCE"), short.clone()].join(",")),
        failure(429, "Quota exceeded, limit: 0", &short),
        failure(429, "m", &delay("301s")),
        failure(499, "m", &short),
        failure(501, "m", &short),
        failure(503, "m", &[reason("QUOTA_EXHAUSTED"), short.clone()].join(",")),
    ];
    for failure in &failures {
        let attempt = Try { more_endpoints: true, ..first(*failure) };
        assert_eq!(judge(&attempt, &LIMITS, 0, None), RetryVerdict::Deliver, "{failure:?}");
    }
}

#[test]
fn a_request_that_timed_out_is_not_retried() {
    let late = Failure::new(FailureClass::TimedOut);
    let attempt = Try { more_endpoints: true, ..first(late) };
    assert_eq!(judge(&attempt, &LIMITS, 0, None), RetryVerdict::Deliver);
}

#[test]
fn failures_of_the_proxy_itself_are_not_retried() {
    for class in [FailureClass::ShuttingDown, FailureClass::Local, FailureClass::Malformed] {
        assert_eq!(nth(0, Failure::new(class)), RetryVerdict::Deliver);
    }
}

#[test]
fn a_retry_goes_to_an_untried_endpoint_at_once() {
    let failures = [
        failure(500, "m", ""),
        failure(503, "m", &delay("3600s")),
        failure(504, "m", ""),
        Failure::new(FailureClass::NotProcessed),
    ];
    for failure in failures {
        let attempt = Try { more_endpoints: true, ..first(failure) };
        assert_eq!(judge(&attempt, &LIMITS, u64::MAX, None), AT_ONCE, "{failure:?}");
        let last = Try { number: 3, ..attempt };
        assert_eq!(judge(&last, &LIMITS, 0, None), RetryVerdict::Deliver);
    }
}

#[test]
fn a_request_that_may_have_been_carried_out_is_not_sent_again() {
    for class in [FailureClass::Disconnected, FailureClass::BrokenAnswer] {
        for more_endpoints in [false, true] {
            let attempt = Try { more_endpoints, ..first(Failure::new(class)) };
            assert_eq!(
                judge(&attempt, &LIMITS, u64::MAX, None),
                RetryVerdict::Deliver,
                "{class:?}"
            );
        }
    }
}

#[test]
fn a_lack_of_local_resources_pauses_and_does_not_move_to_another_endpoint() {
    let attempt = Try { more_endpoints: true, ..first(Failure::new(FailureClass::LocalResources)) };
    assert_eq!(judge(&attempt, &LIMITS, u64::MAX, None), again(1.0));
    let last = Try { number: 3, ..attempt };
    assert_eq!(judge(&last, &LIMITS, u64::MAX, None), RetryVerdict::Deliver);
}

#[test]
fn a_429_does_not_move_to_another_endpoint() {
    let failure = failure(429, "m", &delay("5s"));
    let attempt = Try { more_endpoints: true, ..first(failure) };
    assert_eq!(judge(&attempt, &LIMITS, 0, None), again(5.0));
}

#[test]
fn without_retry_attempts_a_failure_is_delivered() {
    let none = RetryLimits { max_retries: 0, ..LIMITS };
    for failure in [failure(503, "m", &delay("1s")), failure(500, "m", ""), failure(429, "m", "")] {
        let attempt = Try { more_endpoints: true, ..first(failure) };
        assert_eq!(judge(&attempt, &none, 0, None), RetryVerdict::Deliver);
    }
}

#[test]
fn a_retry_that_cannot_end_before_the_deadline_is_not_begun() {
    let (stated, expired) = (failure(503, "m", &delay("5s")), failure(401, "m", ""));
    let attempt = first(stated);
    let left = |secs| Some(Duration::from_secs_f64(secs));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(5.05)), again(5.0));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(5.04)), RetryVerdict::Deliver);
    let moving = Try { more_endpoints: true, ..attempt };
    assert_eq!(judge(&moving, &LIMITS, 0, left(0.06)), AT_ONCE);
    assert_eq!(judge(&moving, &LIMITS, 0, left(0.01)), RetryVerdict::Deliver);
    let attempt = first(expired);
    assert_eq!(judge(&attempt, &LIMITS, 0, left(0.0)), RetryVerdict::Deliver);
}
