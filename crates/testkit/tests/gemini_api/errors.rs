//! Errors of Google's on their way to the client.

use std::time::Duration;

use code_assist_core::SendError;
use code_assist_testkit::client::{get, post};
use code_assist_testkit::script::Reply;

use crate::{ARRAY, GENERATE, HELLO, OPERATORS_KEY, STREAM, answering, run};

const BAD: &str = "{\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"Unknown name \\\"x\\\" at 'contents': Cannot find field.\",\n    \"status\": \"INVALID_ARGUMENT\",\n    \"details\": [ {\"@type\": \"type.googleapis.com/google.rpc.BadRequest\", \"n\": 1.50} ]\n  }\n}\n";

#[test]
fn an_error_keeps_its_bytes_as_an_object_and_as_an_array_of_one() {
    for text in [BAD.to_owned(), format!("[{BAD}]\n")] {
        for path in [GENERATE, STREAM, ARRAY, "/v1beta/models/m:embedContent", "/v1beta/files/x:do"]
        {
            let text = text.clone();
            let sent = text.clone();
            let (script, proxy) = answering(move || Reply::status(400, sent.clone()));
            let answer = run(&script, &proxy, post(path, HELLO));
            assert_eq!((answer.status.as_u16(), answer.text()), (400, text), "{path}");
            assert_eq!(script.all_received().len(), 1, "{path}");
        }
    }
}

#[test]
fn a_refused_key_of_the_operators_is_a_503_on_every_path() {
    let invalid = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}"#;
    let unauthenticated = r#"{"error":{"code":401,"message":"Request had invalid authentication credentials.","status":"UNAUTHENTICATED"}}"#;
    for (status, text) in [(400, invalid), (401, unauthenticated)] {
        for request in [
            post(GENERATE, HELLO),
            post(STREAM, HELLO),
            get("/v1beta/files"),
            get("/v1beta/models"),
            post("/v1beta/cachedContents", HELLO),
        ] {
            let path = request.uri().to_string();
            let (script, proxy) = answering(move || Reply::status(status, text));
            let answer = run(&script, &proxy, request);
            assert_eq!(answer.status, 503, "{path}");
            assert_eq!(answer.reason(), "CREDENTIALS_REJECTED", "{path}");
            let shown = answer.text();
            assert!(
                shown.contains("API key not valid") || shown.contains("invalid authentication")
            );
            assert_eq!(
                shown.contains("API_KEY_INVALID"),
                status == 400,
                "{path}: Google's details"
            );
            assert_eq!(script.all_received().len(), 1);
        }
    }
}

#[test]
fn no_key_is_shown_whatever_google_writes() {
    let text = format!(
        r#"{{"error":{{"code":403,"message":"Permission denied: Consumer 'api_key:{OPERATORS_KEY}' has been suspended.","status":"PERMISSION_DENIED","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_SUSPENDED","metadata":{{"containerInfo":"{OPERATORS_KEY}","k":"AIzaSyA0123456789abcdefghijklmnopqrst"}}}}]}}}}"#
    );
    for path in [GENERATE, STREAM, "/v1beta/files:x"] {
        let sent = text.clone();
        let (script, proxy) = answering(move || Reply::status(403, sent.clone()));
        let answer = run(&script, &proxy, post(path, HELLO));
        assert_eq!(answer.status, 403);
        assert!(
            answer.text().contains("api_key:[redacted]' has been suspended"),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains("AIza"));
    }
}

fn quota(id: &str) -> String {
    format!(
        r#"{{"error":{{"code":429,"message":"You exceeded your current quota. Please retry in 3s.","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"3s"}}]}}}}"#
    )
}

#[test]
fn a_quota_by_the_minute_is_waited_for() {
    let text = quota("GenerateRequestsPerMinutePerProjectPerModel");
    let (script, proxy) = answering(move || Reply::status(429, text.clone()));
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "3"));
    assert_eq!(script.all_received().len(), 3, "two retries");
}

#[test]
fn a_days_quota_is_remembered_for_its_model_and_its_seconds_are_not_believed() {
    let text = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    let sent = text.clone();
    let (script, proxy) = answering(move || Reply::status(429, sent.clone()));
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.text(), answer.header("retry-after")), (text.clone(), ""));
    script.advance(Duration::from_secs(60));
    let again = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(again.text(), text);
    assert!(again.header("retry-after").parse::<u64>().unwrap() > 600);
    assert_eq!(script.all_received().len(), 1, "the second one is answered from memory");
    run(&script, &proxy, post("/v1beta/models/other:generateContent", HELLO));
    assert_eq!(script.all_received().len(), 2, "another model is asked");
    script.advance(Duration::from_secs(600));
    run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(script.all_received().len(), 3, "a probe");
}

#[test]
fn a_spent_account_is_remembered_for_every_model() {
    let text = r#"{"error":{"code":429,"message":"Your prepayment credits are depleted.","status":"RESOURCE_EXHAUSTED"}}"#;
    let (script, proxy) = answering(move || Reply::status(429, text));
    for path in [GENERATE, "/v1beta/models/other:generateContent"] {
        let answer = run(&script, &proxy, post(path, HELLO));
        assert_eq!((answer.status.as_u16(), &*answer.text()), (429, text));
    }
    assert_eq!(script.all_received().len(), 1);
    script.advance(Duration::from_secs(660));
    run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(script.all_received().len(), 2);
}

#[test]
fn a_broken_connection_is_repaired_only_where_that_costs_nothing() {
    let broken = || Reply::unreachable(SendError::Disconnected("reset".to_owned()));
    let refused = || Reply::unreachable(SendError::Connect("refused".to_owned()));
    for (request, sent_if_broken, sent_if_refused) in [
        (post(GENERATE, HELLO), 1, 3),
        (get("/v1beta/files/x"), 3, 3),
        (post("/v1beta/models/m:embedContent", HELLO), 3, 3),
        (post("/v1beta/cachedContents", HELLO), 1, 1), // the scripted platform takes the body first
        (post("/v1beta/batches/b:cancel", ""), 1, 3),
        (post("/v1beta/models/m:predict", HELLO), 1, 1),
        (post("/v1/interactions", HELLO), 1, 1),
        (post("/upload/v1beta/files", HELLO), 1, 1),
    ] {
        for (reply, expected) in [(broken(), sent_if_broken), (refused(), sent_if_refused)] {
            let mut copy = http::Request::new(request.body().clone());
            *copy.uri_mut() = request.uri().clone();
            *copy.method_mut() = request.method().clone();
            *copy.headers_mut() = request.headers().clone();
            let (script, proxy) = answering(move || reply.clone());
            let answer = run(&script, &proxy, copy);
            assert!(answer.status.is_server_error());
            assert_eq!(script.all_received().len(), expected, "{}", request.uri());
        }
    }
}
