//! The samples are those of `docs/reference/protocol.md` 7.3 and of captures.

use http::{HeaderValue, header};

use super::delay::LONGEST_DELAY;
use super::*;

const PER_MINUTE: &str = r#"{"error":{"code":429,"message":"You have exhausted your capacity on this model. Your quota will reset after 0s.","status":"RESOURCE_EXHAUSTED","details":[
 {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","domain":"cloudcode-pa.googleapis.com",
  "metadata":{"uiMessage":"true","model":"gemini-2.5-pro","quotaResetDelay":"539.477544ms","quotaResetTimeStamp":"2026-08-20T10:00:01Z"}},
 {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.539477544s"}]}}"#;

const DAILY: &str = r#"{"error":{"code":429,"message":"You have exhausted your capacity on this model. Your quota will reset after 19h14m47s.","status":"RESOURCE_EXHAUSTED","details":[
 {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED","domain":"cloudcode-pa.googleapis.com","metadata":{"uiMessage":"true","model":"gemini-3.1-pro-preview","quotaResetDelay":"19h14m47.2s","quotaResetTimeStamp":"2026-08-21T07:00:00Z"}},
 {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"69287.2s"}]}}"#;

const VALIDATION: &str = r#"{"error":{"code":403,"message":"Verify your account to continue.","status":"PERMISSION_DENIED","details":[
 {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"VALIDATION_REQUIRED","domain":"cloudcode-pa.googleapis.com",
  "metadata":{"validation_error_message":"Verify your account to continue.","validation_url":"https://accounts.google.com/from-metadata","validation_url_link_text":"Verify your account"}},
 {"@type":"type.googleapis.com/google.rpc.Help","links":[{"description":"Verify your account","url":"https://accounts.google.com/signin/continue?sarp=1&scc=1"},{"description":"Learn more","url":"https://support.google.com/accounts?p=al_alert"}]}]}}"#;

const SERVICE_DISABLED: &str = r#"{"error":{"code":403,"message":"Cloud Code Private API has not been used in project 123456789 before or it is disabled.","status":"PERMISSION_DENIED",
 "errors":[{"message":"m","domain":"usageLimits","reason":"accessNotConfigured"}],
 "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED","domain":"googleapis.com","metadata":{"activationUrl":"https://console.developers.google.com/apis/api/x?project=123456789"}}]}}"#;

const EXPIRED: &str = r#"{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED","details":[
 {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_EXPIRED","domain":"googleapis.com"}]}}"#;

fn upstream_error(http: u16, body: &str) -> UpstreamError {
    let body = Bytes::copy_from_slice(body.as_bytes());
    read(StatusCode::from_u16(http).unwrap(), &HeaderMap::new(), &body)
}

#[test]
fn a_well_formed_error_keeps_its_own_bytes() {
    for sample in [PER_MINUTE, DAILY, VALIDATION, SERVICE_DISABLED, EXPIRED] {
        assert_eq!(upstream_error(429, sample).body, sample);
        // The streaming form is an array of one, pretty printed, with white space around.
        assert_eq!(upstream_error(429, &format!(" [\r\n{sample}\n]\n\n")).body, sample);
        assert_eq!(upstream_error(429, &format!("\u{feff}[{sample}\n,\r\n{{}}]")).body, sample);
        assert_eq!(upstream_error(429, &format!("[{sample}")).body, sample, "a cut array");
    }
}

#[test]
fn a_well_formed_error_is_not_copied() {
    let body = Bytes::from(format!("[{DAILY}]"));
    let error = read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &body);
    assert_eq!(error.body.as_ptr(), body[1..].as_ptr());
}

#[test]
fn the_parts_of_an_error_are_read() {
    let error = upstream_error(429, DAILY);
    assert_eq!(error.http, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(error.status, "RESOURCE_EXHAUSTED");
    assert!(error.message.ends_with("reset after 19h14m47s."));
    assert_eq!(error.reasons, ["QUOTA_EXHAUSTED"]);
    assert_eq!(error.retry_delay, Some(Duration::from_millis(69_287_200)));
}

#[test]
fn a_malformed_error_is_put_into_googles_shape() {
    let page = "<!DOCTYPE html><html><head><title>Error 404 (Not Found)!!1</title>\
                <style>a{b:c}</style></head><body><p>The requested URL <code>/x</code> was not\n \
                found.</p></body></html>";
    for (http, body, expected) in [
        (
            404,
            page,
            r#"{"error":{"code":404,"message":"Error 404 (Not Found)!!1 The requested URL /x was not found.","status":"NOT_FOUND"}}"#,
        ),
        (
            502,
            "",
            r#"{"error":{"code":502,"message":"Google answered HTTP 502 (Bad Gateway) without saying why.","status":"UNAVAILABLE"}}"#,
        ),
        (
            503,
            " \n\0 ",
            r#"{"error":{"code":503,"message":"Google answered HTTP 503 (Service Unavailable) without saying why.","status":"UNAVAILABLE"}}"#,
        ),
        (
            500,
            "upstream\tconnect\nerror",
            r#"{"error":{"code":500,"message":"upstream connect error","status":"INTERNAL"}}"#,
        ),
        (
            400,
            r#"{"error":"invalid_grant"}"#,
            r#"{"error":{"code":400,"message":"{\"error\":\"invalid_grant\"}","status":"INVALID_ARGUMENT"}}"#,
        ),
        (429, "{}", r#"{"error":{"code":429,"message":"{}","status":"RESOURCE_EXHAUSTED"}}"#),
        (500, "[]", r#"{"error":{"code":500,"message":"[]","status":"INTERNAL"}}"#),
        (
            503,
            r#"{"error":{}}"#,
            r#"{"error":{"code":503,"message":"Google answered HTTP 503 (Service Unavailable) without saying why.","status":"UNAVAILABLE"}}"#,
        ),
        (
            503,
            r#"{"error":{"code":"503","message":"busy","details":[{"b": 1.0,"a":2}]}}"#,
            r#"{"error":{"code":503,"message":"busy","status":"UNAVAILABLE","details":[{"b": 1.0,"a":2}]}}"#,
        ),
    ] {
        assert_eq!(upstream_error(http, body).body, expected, "{body}");
    }
}

#[test]
fn stray_commas_fall_back_to_the_status_and_keep_the_delay() {
    // Old captures of `docs/reference/protocol.md` 4.3.
    let error =
        upstream_error(429, "{\"error\":{\"code\":429,\n ,\"message\":\"reset after 7s.\"}}");
    assert_eq!(error.status, "RESOURCE_EXHAUSTED");
    assert_eq!(error.retry_delay, Some(Duration::from_secs(7)));
}

#[test]
fn a_long_page_is_cut_to_a_readable_length() {
    let message = upstream_error(502, &"é".repeat(100_000)).message;
    assert_eq!(message.chars().count(), 151);
    assert!(message.ends_with('…'));
}

#[test]
fn stray_spaces_in_a_type_do_not_hide_it() {
    let body = r#"{"error":{"code":429,"message":"m","status":"S","details":[
      {" @type ":"type.googleapis.com/ google.rpc.RetryInfo","retryDelay":"3s"},
      {"@type":" type.googleapis.com/google.rpc.ErrorInfo","reason ":"A"},
      {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"B"}, 7, null]}}"#;
    let error = upstream_error(429, body);
    assert_eq!(error.retry_delay, Some(Duration::from_secs(3)));
    assert_eq!(error.reasons, ["A", "B"]);
    assert_eq!(error.body, body);
}

#[test]
fn an_event_brings_its_own_status() {
    let event = Bytes::from_static(PER_MINUTE.as_bytes());
    assert_eq!(from_event(&event).http, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(from_event(&Bytes::from_static(b"{}")).http, StatusCode::BAD_GATEWAY);
}

#[test]
fn an_events_status_comes_from_its_http_code_else_its_name_else_its_number_else_its_text() {
    for (members, http, status) in [
        // An HTTP status.
        (r#""code":429,"status":"RESOURCE_EXHAUSTED""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":429"#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":"429""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":" 503 ""#, 503, "UNAVAILABLE"),
        (r#""code":400,"status":"FAILED_PRECONDITION""#, 400, "FAILED_PRECONDITION"),
        (r#""code":409"#, 409, "ABORTED"),
        (r#""status":429"#, 429, "RESOURCE_EXHAUSTED"),
        (r#""status":"429""#, 429, "RESOURCE_EXHAUSTED"),
        // A name.
        (r#""status":"RESOURCE_EXHAUSTED""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":8,"status":"RESOURCE_EXHAUSTED""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":3,"status":"RESOURCE_EXHAUSTED""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":200,"status":"UNAVAILABLE""#, 503, "UNAVAILABLE"),
        (r#""code":0,"status":"UNAVAILABLE""#, 503, "UNAVAILABLE"),
        (r#""code":null,"status":"INVALID_ARGUMENT""#, 400, "INVALID_ARGUMENT"),
        (r#""code":"RESOURCE_EXHAUSTED""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":"ResourceExhausted","status":"""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""status":"resource_exhausted""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""status":"Canceled""#, 499, "CANCELLED"),
        (r#""status":"StatusCode.RESOURCE_EXHAUSTED""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":"rate_limit_exceeded""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":9,"status":"OK""#, 400, "FAILED_PRECONDITION"),
        // The number of a code.
        (r#""code":8"#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":"8""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":8.0"#, 429, "RESOURCE_EXHAUSTED"),
        (r#""status":8"#, 429, "RESOURCE_EXHAUSTED"),
        (r#""code":7,"status":"S""#, 403, "PERMISSION_DENIED"),
        (r#""code":1"#, 499, "CANCELLED"),
        (r#""code":2"#, 500, "UNKNOWN"),
        (r#""code":3"#, 400, "INVALID_ARGUMENT"),
        (r#""code":4"#, 504, "DEADLINE_EXCEEDED"),
        (r#""code":5"#, 404, "NOT_FOUND"),
        (r#""code":6"#, 409, "ALREADY_EXISTS"),
        (r#""code":7"#, 403, "PERMISSION_DENIED"),
        (r#""code":9"#, 400, "FAILED_PRECONDITION"),
        (r#""code":10"#, 409, "ABORTED"),
        (r#""code":11"#, 400, "OUT_OF_RANGE"),
        (r#""code":12"#, 501, "UNIMPLEMENTED"),
        (r#""code":13"#, 500, "INTERNAL"),
        (r#""code":14"#, 503, "UNAVAILABLE"),
        (r#""code":15"#, 500, "DATA_LOSS"),
        (r#""code":16"#, 401, "UNAUTHENTICATED"),
        // The text.
        (r#""message":"The model is overloaded.""#, 503, "UNAVAILABLE"),
        (r#""message":"RESOURCE_EXHAUSTED: later""#, 429, "RESOURCE_EXHAUSTED"),
        (r#""message":"rpc error: code = InvalidArgument desc = x""#, 400, "INVALID_ARGUMENT"),
        (r#""message":"Quota exceeded for quota metric"  "#, 429, "RESOURCE_EXHAUSTED"),
        (r#""message":"Requested entity was not found.""#, 404, "NOT_FOUND"),
        // Nothing that is known.
        (r#""code":17,"message":"m""#, 502, "UNAVAILABLE"),
        (r#""code":-8,"message":"m""#, 502, "UNAVAILABLE"),
        (r#""code":true,"status":[]"#, 502, "UNAVAILABLE"),
        (r#""message":"unknown internal things""#, 502, "UNAVAILABLE"),
        ("", 502, "UNAVAILABLE"),
    ] {
        let event = Bytes::from(format!(r#"{{"error":{{{members}}}}}"#));
        for event in [event.clone(), Bytes::from([b"[", &*event, b"]"].concat())] {
            let error = from_event(&event);
            assert_eq!((error.http.as_u16(), &*error.status), (http, status), "{members}");
            let body: serde_json::Value = serde_json::from_slice(&error.body).unwrap();
            assert_eq!(body["error"]["code"], http, "{members}");
            assert_eq!(body["error"]["status"], status, "{members}");
            assert_eq!(body["error"]["message"], error.message.as_str(), "{members}");
        }
    }
}

#[test]
fn a_wrong_code_is_put_right_and_the_rest_stays_as_it_was_written() {
    let rest = r#""details":[ {"@type":"type.googleapis.com/google.rpc.RetryInfo", "retryDelay":"3s"} ],"errors":[{"reason":"x"}]"#;
    let message = r#""message":"\u00e9 é\/""#;
    let right =
        format!(r#"{{"error":{{"code":429,{message},"status":"RESOURCE_EXHAUSTED",{rest}}}}}"#);
    for (http, code, status) in [
        (200, r#""code":8,"#, r#","status":"RESOURCE_EXHAUSTED""#),
        (200, r#""code":"429","#, r#","status":"RESOURCE_EXHAUSTED""#),
        (200, r#""code":429,"#, ""),
        (200, "", r#","status":"resource_exhausted""#),
        (429, r#""code":8,"#, r#","status":"RESOURCE_EXHAUSTED""#),
        (429, r#""code":8,"#, ""),
        (429, r#""code":3,"#, ""),
        (429, "", ""),
    ] {
        let wrong = format!(r#"{{"error":{{{code}{message}{status},{rest}}}}}"#);
        let error = upstream_error(http, &wrong);
        assert_eq!(error.body, right, "{wrong}");
        assert_eq!(error.retry_delay, Some(Duration::from_secs(3)));
    }
    let own = r#"{"error":{"code":429,"message":"m","status":"A_NEW_NAME"}}"#;
    assert_eq!(upstream_error(429, own).body, own);
    assert_eq!(upstream_error(200, own).body, own);
    // The HTTP status counts, whatever the body says.
    for body in
        [r#"{"error":{"code":8,"status":"RESOURCE_EXHAUSTED"}}"#, "{\"error\":{\"code\":8}}"]
    {
        assert_eq!(upstream_error(403, body).http, StatusCode::FORBIDDEN);
    }
}

#[test]
fn an_error_in_an_array_or_as_a_text_is_read() {
    let array = r#"{"error":[{"code":8,"message":"m"}]}"#;
    let error = upstream_error(200, array);
    assert_eq!(error.body, r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#);
    let flat = upstream_error(200, r#"{"error":"overloaded"}"#);
    assert_eq!((flat.http.as_u16(), &*flat.status), (503, "UNAVAILABLE"));
    assert!(flat.message.contains("overloaded"));
    assert_eq!(upstream_error(200, r#"{"error":"odd"}"#).http, StatusCode::BAD_GATEWAY);
    assert_eq!(upstream_error(200, r#"{"error":[]}"#).http, StatusCode::BAD_GATEWAY);
    assert_eq!(upstream_error(200, "<p>not found</p>").http, StatusCode::BAD_GATEWAY);

    let overloaded = from_string(br#" "The model is overloaded. Retry in 3s." "#).unwrap();
    assert_eq!(overloaded.http, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(overloaded.retry_delay, Some(Duration::from_secs(3)));
    assert_eq!(from_string(br#""od\u0064""#), Err(Some("odd".to_owned())));
    for payload in [&b"overloaded"[..], b"", b"{}", b"\"\"", b"7", b"\"cut"] {
        assert_eq!(from_string(payload), Err(None));
    }
}

#[test]
fn a_redirect_is_never_a_clients_status() {
    assert_eq!(upstream_error(302, "<a href=x>moved</a>").http, StatusCode::BAD_GATEWAY);
    assert_eq!(upstream_error(200, PER_MINUTE).http, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(upstream_error(503, PER_MINUTE).http, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn the_delay_comes_from_the_most_exact_source() {
    let body = |message: &str, details: &str| {
        format!(
            r#"{{"error":{{"code":429,"message":"{message}","status":"S","details":[{details}]}}}}"#
        )
    };
    let retry_info = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"4s"}"#;
    let zero = r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0s"}"#;
    let reset = r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","metadata":{"quotaResetDelay":"3m2.5s"}}"#;
    let both = format!("{reset},{retry_info}");
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("120"));
    for (message, details, millis) in [
        ("Please retry in 56.18s.", both.as_str(), 4_000),
        ("Please retry in 56.18s.", reset, 182_500),
        ("Please retry in 56.18s.", zero, 0),
        ("Please retry in 56.18s.", "", 56_180),
        ("Please retry in 250ms", "", 250),
        ("Your quota will reset after 19h14m47s.", "", 69_287_000),
        ("Individual quota reached. Resets in 9h22m20s.", "", 33_740_000),
        ("Please retry in a while.", "", 120_000),
        ("Please retry in 5 minutes.", "", 120_000),
        ("Please retry in 5sheep.", "", 120_000),
        ("no word of it", "", 120_000),
    ] {
        let body = Bytes::from(body(message, details));
        let error = read(StatusCode::TOO_MANY_REQUESTS, &headers, &body);
        assert_eq!(error.retry_delay, Some(Duration::from_millis(millis)), "{message} {details}");
    }
    assert_eq!(upstream_error(429, &body("no word of it", "")).retry_delay, None);
}

#[test]
fn durations_in_both_syntaxes_are_read_and_bounded() {
    for (text, nanos) in [
        ("0s", Some(0)),
        ("12.5s", Some(12_500_000_000)),
        ("539.477544ms", Some(539_477_544)),
        ("1h", Some(3_600_000_000_000)),
        ("1m0.5s", Some(60_500_000_000)),
        ("10us", Some(10_000)),
        ("10µs", Some(10_000)),
        ("7ns", Some(7)),
        ("", None),
        ("s", None),
        ("5", None),
        ("-5s", None),
        ("5 s", None),
        ("NaNs", None),
        ("1e9s", None),
        (".5s", None),
        ("5s and more", None),
        ("5d", None),
    ] {
        assert_eq!(duration(text), nanos.map(Duration::from_nanos), "{text}");
    }
    for absurd in ["99999999h", &format!("{}s", "9".repeat(400))] {
        assert_eq!(duration(absurd), Some(LONGEST_DELAY), "{absurd}");
    }
}

#[test]
fn retry_after_is_read_in_seconds_and_a_date_is_ignored() {
    for (value, seconds) in [
        ("0", Some(0)),
        (" 7 ", Some(7)),
        ("99999999999999999999", Some(31 * 86_400)),
        ("-1", None),
        ("", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
        let error = read(StatusCode::SERVICE_UNAVAILABLE, &headers, &Bytes::new());
        assert_eq!(error.retry_delay, seconds.map(Duration::from_secs), "{value}");
    }
}

#[test]
fn each_predicate_holds_for_its_own_errors_only() {
    let project = |body: &str| upstream_error(403, body).is_project_problem();
    assert!(project(SERVICE_DISABLED));
    assert!(project(&SERVICE_DISABLED.replace("SERVICE_DISABLED", "X")), "by the older shape");
    assert!(project(&SERVICE_DISABLED.replace("SERVICE_DISABLED", "CONSUMER_INVALID")));
    assert!(!project(VALIDATION));
    assert!(!project(""));

    assert!(upstream_error(401, EXPIRED).is_unauthenticated());
    assert!(upstream_error(401, "").is_unauthenticated());
    assert!(!upstream_error(403, VALIDATION).is_unauthenticated());

    assert!(upstream_error(403, VALIDATION).is_validation_required());
    assert!(!upstream_error(403, SERVICE_DISABLED).is_validation_required());

    let suspended = r#"{"error":{"code":403,"message":"This service has been disabled in this account for violation of Terms of Service. x","status":"PERMISSION_DENIED"}}"#;
    assert!(upstream_error(403, suspended).is_suspended());
    assert!(!upstream_error(403, SERVICE_DISABLED).is_suspended());
}

#[test]
fn the_link_comes_from_help_else_from_metadata() {
    let signin = "https://accounts.google.com/signin/continue?sarp=1&scc=1";
    assert_eq!(upstream_error(403, VALIDATION).link(), Some(signin));
    let without_help = VALIDATION.replace("rpc.Help", "rpc.Other");
    assert_eq!(
        upstream_error(403, &without_help).link(),
        Some("https://accounts.google.com/from-metadata")
    );
    let other_key = without_help.replace("validation_url\"", "validation_link\"");
    assert_eq!(
        upstream_error(403, &other_key).link(),
        Some("https://accounts.google.com/from-metadata")
    );
    assert!(upstream_error(403, SERVICE_DISABLED).link().unwrap().starts_with("https://console."));
    let script = VALIDATION.replace("https://", "javascript:");
    assert_eq!(upstream_error(403, &script).link(), None);
    assert_eq!(upstream_error(401, EXPIRED).link(), None);
}

#[test]
fn a_quota_is_terminal_only_when_a_short_wait_cannot_help() {
    let with = |reason: &str, delay: &str| {
        PER_MINUTE.replace("RATE_LIMIT_EXCEEDED", reason).replace("0.539477544s", delay)
    };
    let violated = |quota: &str| {
        format!(
            r#"{{"error":{{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{quota}"}}]}}]}}}}"#
        )
    };
    let says = |message: &str| {
        format!(r#"{{"error":{{"code":429,"message":"{message}","status":"RESOURCE_EXHAUSTED"}}}}"#)
    };
    for (body, terminal) in [
        (DAILY.to_owned(), true),
        (PER_MINUTE.to_owned(), false),
        (with("RATE_LIMIT_EXCEEDED", "0s"), false),
        (with("RATE_LIMIT_EXCEEDED", "300s"), false),
        (with("RATE_LIMIT_EXCEEDED", "301s"), true),
        (with("QUOTA_EXHAUSTED", "1s"), true),
        (with("INSUFFICIENT_G1_CREDITS_BALANCE", "1s"), true),
        (with("MODEL_CAPACITY_EXHAUSTED", "9s"), false),
        (violated("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), true),
        (violated("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), false),
        (says("Quota exceeded, limit: 0, model: x"), true),
        (says("Quota exceeded, limit: 0.5"), false),
        (says("Quota exceeded, limit: 10"), false),
        (says("Individual quota reached. Resets in 9h22m20s."), true),
        (says("Resource has been exhausted (e.g. check quota)."), false),
        (String::new(), false),
    ] {
        assert_eq!(upstream_error(429, &body).is_terminal_quota(), terminal, "{body}");
    }
}

#[test]
fn no_body_of_upstream_causes_a_panic() {
    let samples =
        [PER_MINUTE, DAILY, VALIDATION, SERVICE_DISABLED, "[[[[", "{\"error\":{\"code\":1e99}}"];
    for sample in samples {
        for end in 0..sample.len() {
            let body = Bytes::copy_from_slice(&sample.as_bytes()[..end]);
            let error = read(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &body);
            assert!(serde_json::from_slice::<serde_json::Value>(&error.body).is_ok());
            assert!(!error.message.is_empty());
        }
    }
    for body in [&b"\xff\xfe\xef\xbb\xbf<"[..], b"<style", b"<script>", b"<", &[b'['; 70_000]] {
        let body = Bytes::copy_from_slice(body);
        assert!(!read(StatusCode::BAD_GATEWAY, &HeaderMap::new(), &body).message.is_empty());
    }
}
