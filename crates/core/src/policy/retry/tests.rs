//! The table of `spec.md` 10 and `protocol.md` 7.2, row by row.

use bytes::Bytes;
use http::HeaderValue;

use super::*;
use crate::error::Awaited;
use crate::google::error;

const LIMITS: Limits =
    Limits { max_retries: 3, base: Duration::from_secs(1), max: Duration::from_secs(30) };
const AT_ONCE: Verdict = Verdict::Again { after: Duration::ZERO, elsewhere: false };
const ELSEWHERE: Verdict = Verdict::Again { after: Duration::ZERO, elsewhere: true };

fn fault(http: u16, message: &str, details: &str) -> UpstreamError {
    let body = format!(
        r#"{{"error":{{"code":{http},"message":"{message}","status":"X","details":[{details}]}}}}"#
    );
    let http = StatusCode::from_u16(http).unwrap();
    error::read(http, &HeaderMap::new(), &Bytes::from(body))
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

fn first(failure: Failure<'_>) -> Try<'_> {
    Try { number: 0, failure, reauthorized: false, more_endpoints: false }
}

/// The verdict on the `number`th try with the longest jitter.
fn nth(number: u32, failure: Failure<'_>) -> Verdict {
    judge(&Try { number, ..first(failure) }, &LIMITS, u64::MAX, None)
}

fn again(secs: f64) -> Verdict {
    Verdict::Again { after: Duration::from_secs_f64(secs), elsewhere: false }
}

#[test]
fn a_401_is_replayed_once_with_another_token_even_without_retries() {
    let fault = fault(401, "Request had invalid authentication credentials.", "");
    let once = first(Failure::Fault(&fault));
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
                let verdict = judge(&first(Failure::Fault(&fault)), &LIMITS, random, None);
                assert_eq!(verdict, again(secs), "{http} {stated}");
            }
            assert_eq!(nth(2, Failure::Fault(&fault)), again(secs));
            assert_eq!(nth(3, Failure::Fault(&fault)), Verdict::Deliver);
        }
    }
}

#[test]
fn a_stated_delay_beyond_the_longest_is_the_clients_to_wait() {
    for http in [429, 500, 503] {
        let fault = fault(http, "m", &delay("30.001s"));
        assert_eq!(nth(0, Failure::Fault(&fault)), Verdict::Deliver);
    }
}

#[test]
fn at_once_is_believed_once() {
    let fault = fault(429, "Your quota will reset after 0s.", &reason("RATE_LIMIT_EXCEEDED"));
    assert_eq!(nth(0, Failure::Fault(&fault)), AT_ONCE);
    assert_eq!(nth(1, Failure::Fault(&fault)), again(2.0));
}

#[test]
fn a_429_that_only_says_exhausted_is_tried_twice_more() {
    let fault = fault(429, "Resource has been exhausted (e.g. check quota).", "");
    assert_eq!(nth(0, Failure::Fault(&fault)), again(1.0));
    assert_eq!(nth(1, Failure::Fault(&fault)), again(2.0));
    assert_eq!(nth(2, Failure::Fault(&fault)), Verdict::Deliver);
}

#[test]
fn a_rate_limit_that_does_not_say_for_how_long_is_delivered() {
    let fault = fault(429, "m", &reason("RATE_LIMIT_EXCEEDED"));
    assert_eq!(nth(0, Failure::Fault(&fault)), Verdict::Deliver);
}

#[test]
fn exhausted_capacity_gets_a_few_short_retries() {
    for http in [429, 503] {
        let bare = fault(http, "No capacity available", &reason("MODEL_CAPACITY_EXHAUSTED"));
        assert_eq!(nth(0, Failure::Fault(&bare)), again(1.0));
        assert_eq!(nth(1, Failure::Fault(&bare)), again(2.0));
        assert_eq!(nth(2, Failure::Fault(&bare)), Verdict::Deliver);
        let details = [reason("MODEL_CAPACITY_EXHAUSTED"), delay("9s")].join(",");
        let stated = fault(http, "No capacity available", &details);
        assert_eq!(nth(1, Failure::Fault(&stated)), again(9.0));
        assert_eq!(nth(2, Failure::Fault(&stated)), Verdict::Deliver);
    }
}

#[test]
fn server_errors_and_connection_errors_back_off() {
    let faults = [500, 502, 503].map(|http| fault(http, "m", ""));
    let unreachable = Error::UpstreamUnreachable { why: "refused".to_owned() };
    let mut failures: Vec<_> = faults.iter().map(Failure::Fault).collect();
    failures.push(Failure::Error(&unreachable));
    failures.push(Failure::Error(&Error::UpstreamDisconnected));
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
        let attempt = Try { number, ..first(Failure::Fault(&fault)) };
        assert_eq!(judge(&attempt, &many, u64::MAX, None), again(ceiling));
    }
}

#[test]
fn a_500_with_a_stated_delay_is_not_tried_before_it() {
    let fault = fault(500, "m", &delay("5s"));
    let attempt = first(Failure::Fault(&fault));
    assert_eq!(judge(&attempt, &LIMITS, 0, None), again(5.0));
}

#[test]
fn a_504_is_tried_twice_more_at_most() {
    let fault = fault(504, "m", "");
    assert_eq!(nth(1, Failure::Fault(&fault)), again(2.0));
    assert_eq!(nth(2, Failure::Fault(&fault)), Verdict::Deliver);
}

#[test]
fn what_waiting_cannot_mend_is_delivered_whatever_endpoints_there_are() {
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
        let attempt = Try { more_endpoints: true, ..first(Failure::Fault(fault)) };
        assert_eq!(judge(&attempt, &LIMITS, 0, None), Verdict::Deliver, "{fault:?}");
    }
}

#[test]
fn a_slow_answer_is_never_started_again() {
    for awaited in [Awaited::FirstByte, Awaited::NextChunk] {
        let late = Error::UpstreamTimeout { awaited, after: Duration::from_secs(300) };
        let attempt = Try { more_endpoints: true, ..first(Failure::Error(&late)) };
        assert_eq!(judge(&attempt, &LIMITS, 0, None), Verdict::Deliver);
    }
}

#[test]
fn our_own_refusals_are_not_retried() {
    let after = Duration::from_secs(1);
    let malformed = Error::UpstreamMalformed { what: String::new() };
    for refusal in [Error::ShuttingDown, Error::CircuitOpen { after }, malformed] {
        assert_eq!(nth(0, Failure::Error(&refusal)), Verdict::Deliver);
    }
}

#[test]
fn a_failed_endpoint_is_left_at_once_for_one_that_is_untried() {
    let broken = Error::UpstreamDisconnected;
    let faults = [fault(500, "m", ""), fault(503, "m", &delay("3600s")), fault(504, "m", "")];
    let failures = faults.iter().map(Failure::Fault).chain([Failure::Error(&broken)]);
    for failure in failures {
        let attempt = Try { more_endpoints: true, ..first(failure) };
        assert_eq!(judge(&attempt, &LIMITS, u64::MAX, None), ELSEWHERE, "{failure:?}");
        let last = Try { number: 3, ..attempt };
        assert_eq!(judge(&last, &LIMITS, 0, None), Verdict::Deliver);
    }
}

#[test]
fn a_429_is_the_accounts_wherever_it_asks() {
    let fault = fault(429, "m", &delay("5s"));
    let attempt = Try { more_endpoints: true, ..first(Failure::Fault(&fault)) };
    assert_eq!(judge(&attempt, &LIMITS, 0, None), again(5.0));
}

#[test]
fn without_retries_there_is_one_try() {
    let none = Limits { max_retries: 0, ..LIMITS };
    for fault in [fault(503, "m", &delay("1s")), fault(500, "m", ""), fault(429, "m", "")] {
        let attempt = Try { more_endpoints: true, ..first(Failure::Fault(&fault)) };
        assert_eq!(judge(&attempt, &none, 0, None), Verdict::Deliver);
    }
}

#[test]
fn a_retry_that_cannot_end_in_time_is_not_begun() {
    let (stated, expired) = (fault(503, "m", &delay("5s")), fault(401, "m", ""));
    let attempt = first(Failure::Fault(&stated));
    let left = |secs| Some(Duration::from_secs_f64(secs));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(5.05)), again(5.0));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(5.04)), Verdict::Deliver);
    let moving = Try { more_endpoints: true, ..attempt };
    assert_eq!(judge(&moving, &LIMITS, 0, left(0.06)), ELSEWHERE);
    assert_eq!(judge(&moving, &LIMITS, 0, left(0.01)), Verdict::Deliver);
    let attempt = first(Failure::Fault(&expired));
    assert_eq!(judge(&attempt, &LIMITS, 0, left(0.0)), Verdict::Deliver);
}

#[test]
fn the_client_says_how_long_it_waits() {
    for (text, patience) in [
        ("60", Some(60.0)),
        (" 2.5 ", Some(2.5)),
        ("0", None),
        ("-1", None),
        ("NaN", None),
        ("inf", None),
        ("1e300", None),
        ("soon", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("X-Server-Timeout", HeaderValue::from_static(text));
        assert_eq!(client_patience(&headers), patience.map(Duration::from_secs_f64), "{text:?}");
    }
    assert_eq!(client_patience(&HeaderMap::new()), None);
}
