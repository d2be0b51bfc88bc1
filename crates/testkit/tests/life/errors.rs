//! Errors, and requests that ask upstream for nothing.

use std::time::Duration;

use code_assist_testkit::client::{get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;

use crate::{GENERATE, HELLO, login, run, signed_in};

#[test]
fn health_checks_call_no_upstream_and_write_nothing() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    for _ in 0..10 {
        assert_eq!(run(&script, &proxy, get("/health")).status, 200);
    }
    assert_eq!((script.all_received().len(), script.saves()), (0, 0));
}

#[test]
fn a_response_head_that_does_not_come_is_a_504() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":generateContent").then(|| google()(request).after(Duration::from_secs(301)))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (504, "UPSTREAM_TIMEOUT"));
    assert_eq!(script.received(":generateContent").len(), 1, "a slow answer is not started twice");
}

#[test]
fn a_body_beyond_the_limit_is_a_413_before_anything_is_sent() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login(3000));
    let proxy = proxy_with(&script, &[("MAX_REQUEST_BODY_BYTES", "1024")]);
    let body = format!(r#"{{"contents":[],"x":"{}"}}"#, "y".repeat(2000));
    let answer = run(&script, &proxy, post(GENERATE, &body));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "BODY_TOO_LARGE"));
    assert!(script.all_received().is_empty());
}

#[test]
fn an_operation_that_is_not_offered_is_a_404_that_says_so() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post("/v1beta/models/m:embedContent", "{}"));
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (404, "NOT_OFFERED_BY_CODE_ASSIST")
    );
    let answer = run(&script, &proxy, get(GENERATE));
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    let answer = run(&script, &proxy, get("/nowhere"));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (404, "NOT_FOUND"));
}

#[test]
fn code_assists_own_errors_are_passed_on_as_they_are_to_its_own_clients() {
    let error = "[{\n  \"error\": {\"code\": 429, \"message\": \"slow\", \"status\": \"X\"}\n}\n]";
    let script = ScriptedPlatform::new(google_but(move |request| {
        request.is("?alt=sse").then(|| {
            Reply::status(429, error).with_header("content-type", "application/json; charset=UTF-8")
        })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post("/v1internal:streamGenerateContent?alt=sse", "{}"));
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (429, error));
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
}

#[test]
fn a_panic_fails_its_own_request_and_no_other() {
    let mut first = true;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if request.is(":generateContent") && std::mem::replace(&mut first, false) {
            panic!("the test's own bug");
        }
        None
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (500, "INTERNAL"));
    assert!(!answer.text().contains("own bug"), "the panic message is only for the log");
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(proxy.metrics().in_flight(), 0);
}
