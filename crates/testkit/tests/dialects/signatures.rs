//! Thought signatures, which clients bring back or do not.

use code_assist_testkit::script::{Received, Reply};
use serde_json::Value;

use crate::fixture::{Api, Fixture};

const CALLS: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"SIG=="},{"functionCall":{"name":"f","args":{"a":2}}}]},"finishReason":"STOP"}]},"traceId":"t1"}"#;

const TOOL: &str = r#","tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}]"#;

fn history(calls: &Value) -> String {
    let ids = [&calls[0]["id"], &calls[1]["id"]];
    format!(
        r#"{{"model":"gemini-3-pro-preview","messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":null,"tool_calls":{calls}}},{{"role":"tool","tool_call_id":{},"content":"2"}},{{"role":"tool","tool_call_id":{},"content":"1"}}]{TOOL}}}"#,
        ids[1], ids[0]
    )
}

/// The signatures of the calls in the last request.
fn signatures(fixture: &Fixture) -> Vec<Option<String>> {
    let sent = fixture.bodies().pop().expect("a call");
    let parts = sent["contents"][1]["parts"].as_array().expect("the model's content").clone();
    parts.iter().map(|part| part["thoughtSignature"].as_str().map(str::to_owned)).collect()
}

fn first_calls(fixture: &Fixture) -> Value {
    let body = Api::Chat.body("gemini-3-pro-preview", TOOL);
    let answer = fixture.ask(Api::Chat.path(), &body);
    let body: Value = serde_json::from_str(&answer.text()).expect("the test's own data is good");
    body["choices"][0]["message"]["tool_calls"].clone()
}

#[test]
fn a_signature_comes_back_with_its_call_or_from_memory_or_as_the_placeholder() {
    let fixture = Fixture::with(&[("SIGNATURE_CACHE_BYTES", "1MiB")], |request| {
        request.line.contains("enerateContent").then(|| Reply::ok(CALLS))
    });
    let mut calls = first_calls(&fixture);
    assert_eq!(calls[0]["extra_content"]["google"]["thought_signature"], "SIG==", "{calls}");
    fixture.ask(Api::Chat.path(), &history(&calls));
    assert_eq!(signatures(&fixture), [Some("SIG==".to_owned()), None]);
    calls[0].as_object_mut().unwrap().remove("extra_content");
    fixture.ask(Api::Chat.path(), &history(&calls));
    assert_eq!(signatures(&fixture), [Some("SIG==".to_owned()), None], "from memory");
    calls[0]["id"] = "call_unknown".into();
    fixture.ask(Api::Chat.path(), &history(&calls));
    let placeholder = "skip_thought_signature_validator".to_owned();
    assert_eq!(signatures(&fixture), [Some(placeholder), None]);
}

#[test]
fn refused_signatures_are_left_out_once() {
    let refused = r#"{"error":{"code":400,"message":"Corrupted thought signature.","status":"INVALID_ARGUMENT"}}"#;
    let fixture = Fixture::with(&[], move |request: &Received| {
        let is_call = request.line.contains("enerateContent");
        let body = request.body.clone();
        is_call.then(|| match body.contains("SIG==") {
            true => Reply::status(400, refused),
            false => Reply::ok(CALLS),
        })
    });
    let calls = first_calls(&fixture);
    let before = fixture.bodies().len();
    let answer = fixture.ask(Api::Chat.path(), &history(&calls));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fixture.bodies().len(), before + 2);
    assert_eq!(signatures(&fixture), [Some("skip_thought_signature_validator".to_owned()), None]);
}

#[test]
fn a_refusal_that_repeats_is_the_clients_error() {
    let refused = r#"{"error":{"code":400,"message":"Invalid thought_signature.","status":"INVALID_ARGUMENT"}}"#;
    let fixture = Fixture::with(&[], move |request| {
        request.line.contains("enerateContent").then(|| Reply::status(400, refused))
    });
    let answer = fixture.ask(Api::Chat.path(), &Api::Chat.body("gemini-3-pro-preview", ""));
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(fixture.bodies().len(), 2);
}
