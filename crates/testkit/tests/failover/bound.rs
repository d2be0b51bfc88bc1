//! What binds a request to its upstream.

use code_assist_core::settings::FailoverSignatures;
use code_assist_testkit::client::post;

use crate::fixture::{Fixture, google_error, on, quota};

const PATH: &str = "/v1beta/models/gemini-2.5-flash:generateContent";

fn with_part(part: &str) -> String {
    format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"hi"}},{part}]}}]}}"#)
}

fn signed(signature: &str) -> String {
    with_part(&format!(
        r#"{{"functionCall":{{"name":"f","args":{{}}}},"thoughtSignature":"{signature}"}}"#
    ))
}

#[test]
fn a_resource_of_one_account_keeps_a_request_there() {
    let bodies = [
        r#"{"contents":[],"cachedContent":"cachedContents/1"}"#.to_owned(),
        with_part(r#"{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/1"}}"#),
        with_part(r#"{"fileData":{"fileUri":"gs://bucket/file"}}"#),
        r#"{"contents":[],"tools":[{"fileSearch":{"fileSearchStoreNames":["fileSearchStores/1"]}}]}"#
            .to_owned(),
        // What is no JSON might hold anything.
        r#"{"contents":[],"#.to_owned(),
    ];
    for body in bodies {
        let fixture = Fixture::new(&["gemini-api", "second"]);
        fixture.answers("gemini-api", quota());
        let answer = fixture.ask(post(PATH, &body));
        assert_eq!(answer.status, 429, "{body}");
        assert_eq!(answer.header("x-proxy-tried"), "", "{body}");
        assert_eq!(fixture.calls("second"), 0, "{body}");
    }
}

#[test]
fn a_bound_request_asks_its_upstream_even_if_that_is_known_to_be_unable() {
    let fixture = Fixture::new(&["gemini-api", "second"]);
    fixture
        .answers("gemini-api", google_error(403, "PERMISSION_DENIED", "No.", "SERVICE_DISABLED"));
    fixture.generate();
    fixture.recovers("gemini-api");
    let answer = fixture.ask(post(PATH, r#"{"contents":[],"cachedContent":"cachedContents/1"}"#));
    assert_eq!((answer.status.as_u16(), answer.header("x-proxy-upstream")), (200, "gemini-api"));
}

#[test]
fn a_signed_body_stays_with_its_provider() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.answers("gemini-api", quota());
    let answer = fixture.ask(post(PATH, &signed("c2lnbmF0dXJl")));
    assert_eq!((answer.status.as_u16(), fixture.calls("vertex")), (429, 0));
    assert_eq!(answer.header("x-proxy-signatures"), "");

    // Two accounts of one provider exchange signatures.
    let fixture = Fixture::new(&["gemini-api", "vertex", "second"]);
    fixture.answers("gemini-api", quota());
    let answer = fixture.ask(post(PATH, &signed("c2lnbmF0dXJl")));
    assert_eq!(answer.header("x-proxy-upstream"), "second");
    assert_eq!(answer.header("x-proxy-signatures"), "");
    let sent = fixture.script.received(":generateContent").pop().unwrap();
    assert!(sent.body.contains("c2lnbmF0dXJl"), "{}", sent.body);
}

#[test]
fn a_remembered_failure_does_not_answer_for_an_upstream_that_a_signed_body_cannot_leave() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture
        .answers("gemini-api", google_error(403, "PERMISSION_DENIED", "No.", "SERVICE_DISABLED"));
    fixture.generate();
    fixture.recovers("gemini-api");
    let answer = fixture.ask(post(PATH, &signed("c2lnbmF0dXJl")));
    assert_eq!((answer.status.as_u16(), answer.header("x-proxy-upstream")), (200, "gemini-api"));
}

#[test]
fn foreign_signatures_are_replaced_if_the_operator_allows_it() {
    let fixture = Fixture::with(&["gemini-api", "vertex"], |settings| {
        settings.failover = on();
        settings.failover_signatures = FailoverSignatures::Placeholder;
    });
    fixture.answers("gemini-api", quota());
    let answer = fixture.ask(post(PATH, &signed("c2lnbmF0dXJl")));
    assert_eq!(answer.header("x-proxy-upstream"), "vertex");
    assert_eq!(answer.header("x-proxy-signatures"), "replaced");
    let sent = fixture.script.received(":generateContent").pop().unwrap();
    assert!(sent.body.contains(r#""skip_thought_signature_validator""#), "{}", sent.body);
    assert!(!sent.body.contains("c2lnbmF0dXJl"), "{}", sent.body);
    // Without a signature there is nothing to tell.
    let answer = fixture.generate();
    assert_eq!(answer.header("x-proxy-signatures"), "");
}

#[test]
fn a_later_upstream_of_the_signatures_own_provider_gets_them_unchanged() {
    let fixture = Fixture::with(&["gemini-api", "vertex", "second"], |settings| {
        settings.failover = on();
        settings.failover_signatures = FailoverSignatures::Placeholder;
    });
    fixture.answers("gemini-api", quota()).answers("vertex", quota());
    let answer = fixture.ask(post(PATH, &signed("c2lnbmF0dXJl")));
    assert_eq!(answer.header("x-proxy-upstream"), "second");
    assert_eq!(answer.header("x-proxy-signatures"), "");
    let sent = fixture.script.received(":generateContent").pop().unwrap();
    assert!(sent.body.contains("c2lnbmF0dXJl"), "{}", sent.body);
}

#[test]
fn one_body_with_placeholders_has_memory_however_many_upstreams_stand_in() {
    let fixture = Fixture::with(&["gemini-api", "vertex", "code-assist"], |settings| {
        settings.failover = on();
        settings.failover_signatures = FailoverSignatures::Placeholder;
        settings.memory_budget_bytes = 8 << 20;
    });
    fixture.answers("gemini-api", quota()).answers("vertex", quota());
    let long = "x".repeat(3 << 20);
    let body = format!(
        r#"{{"contents":[{{"role":"user","parts":[{{"text":"{long}"}}]}},{{"role":"model","parts":[{{"text":"x","thoughtSignature":"c2ln"}}]}},{{"role":"user","parts":[{{"text":"go on"}}]}}]}}"#
    );
    let answer = fixture.ask(post(PATH, &body));
    assert_eq!(answer.header("x-proxy-upstream"), "code-assist", "{}", answer.text());
}
