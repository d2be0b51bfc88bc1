//! Whatever upstream sends: refused, or taken apart into JSON; and what was wrapped comes out again.
#![no_main]

use bytes::Bytes;
use code_assist_core::provider::code_assist::envelope::{Form, unwrap};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    for form in [Form::AsWritten, Form::Compact] {
        let Ok(parts) = unwrap(&Bytes::copy_from_slice(data), form, Some("t")) else {
            continue;
        };
        if form == Form::Compact {
            for written in [&parts.response, &parts.error].into_iter().flatten() {
                assert!(!written.contains(&b'\n') && !written.contains(&b'\r'), "two lines");
            }
        }
        if serde_json::from_slice::<Map<String, Value>>(data).is_ok() {
            for written in [&parts.response, &parts.error].into_iter().flatten() {
                serde_json::from_slice::<Value>(written).expect("a part of JSON is JSON");
            }
        }
    }

    // An object with a response id of its own, wrapped, is the same object again, unless it holds
    // one of the few things that the contract edits.
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(data) else {
        return;
    };
    let has_id = object.get("responseId").and_then(Value::as_str).is_some_and(|id| !id.is_empty());
    if !has_id || is_edited(data) {
        return;
    }
    let text = Value::Object(object).to_string();
    let wrapper = Bytes::from(format!("{{\"traceId\":\"t\",\"response\":{text}}}"));
    for form in [Form::AsWritten, Form::Compact] {
        let parts = unwrap(&wrapper, form, None).expect("a valid wrapper");
        assert_eq!(parts.response.as_deref(), Some(text.as_bytes()), "unwrap of wrap changed it");
        assert_eq!(parts.trace_id.as_deref(), Some("t"));
    }
});

/// Spec 5, response: line separators and citations. Keys may be escaped, so any escape counts.
fn is_edited(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    text.contains(['\u{2028}', '\u{2029}', '\u{85}', '\\']) || text.contains("citations")
}
