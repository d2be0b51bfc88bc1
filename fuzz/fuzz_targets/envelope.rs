//! Any answer of upstream is either refused or opened into JSON. A wrapped object comes out unchanged.
#![no_main]

use bytes::{Bytes, BytesMut};
use code_assist_core::internals::provider::code_assist::envelope::{Form, OpenedResponse, open};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let envelope = Bytes::copy_from_slice(data);
    let is_object = serde_json::from_slice::<Map<String, Value>>(data).is_ok();
    let check = |written: &[u8]| {
        if is_object {
            serde_json::from_slice::<Value>(written).expect("a part of JSON is JSON");
        }
    };
    if let Ok(opened) = open(&envelope, Some("t")) {
        let lines = [opened.response.map(line), opened.error];
        for line in lines.iter().flatten() {
            assert!(!line.contains(&b'\n') && !line.contains(&b'\r'), "two lines");
            check(line);
        }
    }
    if let Ok(opened) = open(&envelope, Some("t")) {
        opened.response.map(whole).iter().for_each(|text| check(text));
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
    for write in WAYS {
        let opened = open(&wrapper, None).expect("a valid envelope");
        assert_eq!(opened.trace_id.as_deref(), Some("t"));
        let written = opened.response.map(write);
        assert_eq!(written.as_deref(), Some(text.as_bytes()), "the object was changed");
    }
});

/// The two ways in which the proxy writes a response: a unary answer and a stream event.
const WAYS: [fn(OpenedResponse<'_>) -> Bytes; 2] = [whole, line];

fn whole(response: OpenedResponse<'_>) -> Bytes {
    response.into_bytes(Form::AsWritten)
}

fn line(response: OpenedResponse<'_>) -> Bytes {
    let mut line = BytesMut::new();
    response.write_line(&mut line);
    line.freeze()
}

/// True where the contract edits a response: line separators and citations. Keys may be escaped, so any
/// escape counts.
fn is_edited(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    text.contains(['\u{2028}', '\u{2029}', '\u{85}', '\\']) || text.contains("citations")
}
