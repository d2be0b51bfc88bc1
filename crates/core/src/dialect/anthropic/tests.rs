//! Answers that come back within the next request.

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::part::AnswerEvent;
use crate::dialect::translate::target::Target;
use crate::google::ProviderKind;

/// The model's content in the request that follows a request with `thinking` and this answer.
fn returned(thinking: &Value, parts: &str) -> Value {
    let target = Target::new("gemini-3-pro-preview", ProviderKind::Vertex);
    let mut request = json!({
        "model": "claude-opus-5-5", "max_tokens": 100, "thinking": thinking,
        "messages": [{"role": "user", "content": "hi"}],
    });
    let read = |request: &Value| read::read(&Bytes::from(request.to_string()), &target).unwrap();
    let (_, plan) = read(&request);
    let birth = Birth { seed: [7; 32], now: 1, signatures: target.signatures.clone() };
    let event =
        format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}"#);
    let writer = write::MessagesWriter::new(plan, birth);
    let message = writer.whole(&AnswerEvent::read(event.as_bytes()).unwrap()).unwrap();
    let message: Value = serde_json::from_slice(&message).unwrap();
    let calls = message["content"].as_array().unwrap().iter();
    let calls = calls.filter(|block| block["type"] == "tool_use");
    let mut results: Vec<Value> = calls
        .map(|call| json!({"type": "tool_result", "tool_use_id": call["id"], "content": "ok"}))
        .collect();
    results.reverse();
    request["messages"] = json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": results},
    ]);
    let (written, _) = read(&request);
    let written: Value = serde_json::from_slice(&written.body).unwrap();
    let answers = written["contents"][2]["parts"].as_array().unwrap();
    let names = |parts: &[Value], kind: &str| -> Vec<Value> {
        parts.iter().map(|part| part[kind]["name"].clone()).filter(|name| !name.is_null()).collect()
    };
    let model = written["contents"][1]["parts"].as_array().unwrap();
    assert_eq!(names(answers, "functionResponse"), names(model, "functionCall"));
    Value::Array(model.clone())
}

#[test]
fn a_call_comes_back_with_its_signature_whether_or_not_thinking_was_asked_for() {
    let parts = r#"{"text":"hm","thought":true},{"text":"So."},{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"Sg+/=="},{"functionCall":{"id":"b","name":"g","args":{}}}"#;
    let expected = json!([
        {"text": "So."},
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "Sg+/=="},
        {"functionCall": {"id": "b", "name": "g", "args": {}}},
    ]);
    for thinking in [
        json!(null),
        json!({"type": "disabled"}),
        json!({"type": "adaptive"}),
        json!({"type": "adaptive", "display": "omitted"}),
        json!({"type": "enabled", "budget_tokens": 2000}),
    ] {
        assert_eq!(returned(&thinking, parts), expected, "{thinking}");
    }
}

#[test]
fn a_signed_text_comes_back_with_its_signature_where_thinking_was_asked_for() {
    let parts = r#"{"text":"a","thoughtSignature":"T"},{"functionCall":{"id":"a","name":"f","args":{}},"thoughtSignature":"S"}"#;
    let call =
        json!({"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "S"});
    let signed = json!([{"text": "a", "thoughtSignature": "T"}, call]);
    assert_eq!(returned(&json!({"type": "adaptive"}), parts), signed);
    assert_eq!(returned(&json!(null), parts), json!([{"text": "a"}, call]));
}
