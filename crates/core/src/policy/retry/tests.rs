//! The table of `docs/RESILIENCE.md` and `docs/reference/protocol.md` 7.2, row by row.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::*;
use crate::google::error;

const LIMITS: Limits =
    Limits { max_retries: 3, base: Duration::from_secs(1), max: Duration::from_secs(30) };
const AT_ONCE: Verdict = Verdict::Again { after: Duration::ZERO };

fn fault(http: u16, message: &str, details: &str) -> Failure {
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

/// The verdict on the `number`th try with the longest jitter.
fn nth(number: u32, failure: Failure) -> Verdict {
    judge(&Try { number, ..first(failure) }, &LIMITS, u64::MAX, None)
}

fn again(secs: f64) -> Verdict {
    Verdict::Again { after: Duration::from_secs_f64(secs) }
}

#[test]
fn a_401_is_replayed_once_with_another_token_even_without_retries() {
    let fault = fault(401, "Request had invalid authentication credentials.", "");
    let once = first(fault);
    let none = Limits { max_retries: 0, ..LIMITS };
    assert_eq!(judge(&once, &none, 0, None), Verdict::Reauthorize);
    assert_eq!(judge(&Try { number: 3, ..once }, &LIMITS, 0, None), Verdict::Reauthorize);
    let twice = Try { reauthorized: true, more_endpoints: true, ..once };
    assert_eq!(judge(&twice, &LIMITS, 0, None), Verdict::Deliver);
}

#[test]
fn a_stated_delay_is_waited_exactly() {
    for http in [429, 503] {
        for (stated, secs) in [("0.539477544s", 0.539_477_544), ("12.5s", 12.5), ("30s", 30.0)] {
            let details = [reason("RATE_LIMIT_EXCEEDED"), delay(stated)].join(",");
            let fault = fault(http, "m", &details);
            for random in [0, u64::MAX] {
                let verdict = judge(&first(fault), &LIMITS, random, None);
                assert_eq!(verdict, again(secs), "{http} {stated}");
            }
            assert_eq!(nth(2, fault), again(secs));
            assert_eq!(nth(3, fault), Verdict::Deliver);
        }
    }
}

#[test]
fn a_stated_delay_beyond_the_longest_is_the_clients_to_wait() {
    for http in [429, 500, 503] {
        let fault = fault(http, "m", &delay("30.001s"));
        assert_eq!(nth(0, fault), Verdict::Deliver);
    }
}

#[test]
fn at_once_is_believed_once() {
    let fault = fault(429, "Your quota will reset after 0s.", &reason("RATE_LIMIT_EXCEEDED"));
    assert_eq!(nth(0, fault), AT_ONCE);
    assert_eq!(nth(1, fault), again(2.0));
}

#[test]
fn a_429_that_only_says_exhausted_is_tried_twice_more() {
    let fault = fault(429, "Resource has been exhausted (e.g. check quota).", "");
    assert_eq!(nth(0, fault), again(1.0));
    assert_eq!(nth(1, fault), again(2.0));
    assert_eq!(nth(2, fault), Verdict::Deliver);
}

#[test]
fn a_rate_limit_that_does_not_say_for_how_long_is_delivered() {
    let fault = fault(429, "m", &reason("RATE_LIMIT_EXCEEDED"));
    assert_eq!(nth(0, fault), Verdict::Deliver);
}

#[test]
fn exhausted_capacity_gets_a_few_short_retries() {
    for http in [429, 503] {
        let bare = fault(http, "No capacity available", &reason("MODEL_CAPACITY_EXHAUSTED"));
        assert_eq!(nth(0, bare), again(1.0));
        assert_eq!(nth(1, bare), again(2.0));
        assert_eq!(nth(2, bare), Verdict::Deliver);
        let details = [reason("MODEL_CAPACITY_EXHAUSTED"), delay("9s")].join(",");
        let stated = fault(http, "No capacity available", &details);
        assert_eq!(nth(1, stated), again(9.0));
        assert_eq!(nth(2, stated), Verdict::Deliver);
    }
}

#[test]
fn server_errors_and_connection_errors_back_off() {
    let mut failures = [500, 502, 503].map(|http| fault(http, "m", "")).to_vec();
    failures.push(Failure::new(FailureClass::Unreachable));
    failures.push(Failure::new(FailureClass::Disconnected));
    for failure in failures {
        for (number, ceiling) in [(0, 1.0), (1, 2.0), (2, 4.0)] {
            assert_eq!(nth(number, failure), again(ceiling), "{failure:?}");
            let attempt = Try { number, ..first(failure) };
            assert_eq!(judge(&attempt, &LIMITS, 0, None), AT_ONCE, "full jitter begins at zero");
            assert_eq!(judge(&attempt, &LIMITS, 1 << 63, None), again(ceiling / 2.0));
        }
        assert_eq!(nth(3, failure), Verdict::Deliver, "{failure:?}");
    }
}

#[test]
fn the_ceiling_doubles_up_to_the_longest_delay_and_never_overflows() {
    let many = Limits { max_retries: u32::MAX, ..LIMITS };
    let fault = fault(500, "m", "");
    for (number, ceiling) in [(4, 16.0), (5, 30.0), (31, 30.0), (32, 30.0), (u32::MAX - 1, 30.0)] {
        let attempt = Try { number, ..first(fault) };
        assert_eq!(judge(&attempt, &many, u64::MAX, None), again(ceiling));
    }
}

#[test]
fn a_500_with_a_stated_delay_is_not_tried_before_it() {
    let fault = fault(500, "m", &delay("5s"));
    let attempt = first(fault);
    assert_eq!(judge(&attempt, &LIMITS, 0, None), again(5.0));
}

#[test]
fn a_504_is_tried_twice_more_at_most() {
    let fault = fault(504, "m", "");
    assert_eq!(nth(1, fault), again(2.0));
    assert_eq!(nth(2, fault), Verdict::Deliver);
}

#[test]
fn what_waiting_cannot_help_is_delivered_whatever_endpoints_there_are() {
    let short = delay("1s");
    let faults = [
        fault(400, "m", ""),
        fault(403, "m", &short),
        fault(403, "disabled in this account for violation of Terms of Service", ""),
        fault(403, "m", &reason("VALIDATION_REQUIRED")),
        fault(404, "m", ""),
        fault(408, "m", &short),
        fault(409, "m", ""),
        fault(413, "m", ""),
        fault(429, "m", &[reason("QUOTA_EXHAUSTED"), short.clone()].join(",")),
        fault(429, "m", &[quota("GenerateRequestsPerDayPerProject"), short.clone()].join(",")),
        fault(429, "m", &[quota("DailyRequests"), short.clone()].join(",")),
        fault(429, "m", &[reason("INSUFFICIENT_G1_CREDITS_BALANCE"), short.clone()].join(",")),
        fault(429, "Quota exceeded, limit: 0", &short),
        fault(429, "m", &delay("301s")),
        fault(499, "m", &short),
        fault(501, "m", &short),
        fault(503, "m", &[reason("QUOTA_EXHAUSTED"), short.clone()].join(",")),
    ];
    for fault in &faults {
        let attempt = Try { more_endpoints: true, ..first(*fault) };
        assert_eq!(judge(&attempt, &LIMITS, 0, None), Verdict::Deliver, "{fault:?}");
    }
}

#[test]
fn a_request_that_timed_out_is_never_sent_again() {
    let late = Failure::new(FailureClass::TimedOut);
    let attempt = Try { more_endpoints: true, ..first(late) };
    assert_eq!(judge(&attempt, &LIMITS, 0, None), Verdict::Deliver);
}

#[test]
fn failures_of_the_proxy_itself_are_not_retried() {
    for class in [FailureClass::ShuttingDown, FailureClass::Local, FailureClass::Malformed] {
        assert_eq!(nth(0, Failure::new(class)), Verdict::Deliver);
    }
}

#[test]
fn a_failed_endpoint_is_left_at_once_for_one_that_is_untried() {
    let failures = [
        fault(500, "m", ""),
        fault(503, "m", &delay("3600s")),
        fault(504, "m", ""),
        Failure::new(FailureClass::Disconnected),
    ];
    for failure in failures {
        let attempt = Try { more_endpoints: true, ..first(failure) };
        assert_eq!(judge(&attempt, &LIMITS, u64::MAX, None), AT_ONCE, "{failure:?}");
        let last = Try { number: 3, ..attempt };
        assert_eq!(judge(&last, &LIMITS, 0, None), Verdict::Deliver);
    }
}

#[test]
fn a_429_is_the_accounts_wherever_it_asks() {
    let fault = fault(429, "m", &delay("5s"));
    let attempt = Try { more_endpoints: true, ..first(fault) };
    assert_eq!(judge(&attempt, &LIMITS, 0, None), again(5.0));
}

#[test]
fn without_retries_there_is_one_try() {
    let none = Limits { max_retries: 0, ..LIMITS };
    for fault in [fault(503, "m", &delay("1s")), fault(500, "m", ""), fault(429, "m", "")] {
        let attempt = Try { more_endpoints: true, ..first(fault) };
        assert_eq!(judge(&attempt, &none, 0, None), Verdict::Deliver);
    }
}

#[test]
fn a_retry_that_cannot_end_in_time_is_not_begun() {
    let (stated, expired) = (fault(503, "m", &delay("5s")), fault(401, "m", ""));
    let attempt = first(stated);
    let left = |secs| Some(Duration::from_secs_f64(secs));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(5.05)), again(5.0));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(5.04)), Verdict::Deliver);
    let moving = Try { more_endpoints: true, ..attempt };
    assert_eq!(judge(&moving, &LIMITS, 0, left(0.06)), AT_ONCE);
    assert_eq!(judge(&moving, &LIMITS, 0, left(0.01)), Verdict::Deliver);
    let attempt = first(expired);
    assert_eq!(judge(&attempt, &LIMITS, 0, left(0.0)), Verdict::Deliver);
}
