//! A client's body is either refused or adapted to one JSON object that fits into the envelope.
#![no_main]

use bytes::Bytes;
use code_assist_core::internals::provider::code_assist::adapt::{count, generate};
use code_assist_core::internals::provider::code_assist::envelope::{Envelope, wrap_count};
use code_assist_core::internals::request_texts::RequestTexts;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let valid = serde_json::from_slice::<Map<String, Value>>(data).is_ok();

    if let Ok(adapted) = generate(&body) {
        assert!(valid || is_beyond_serde(data), "accepted what is not one JSON object");
        let again = generate(&adapted.request.to_bytes()).expect("its own output is accepted");
        assert_eq!(again.request.to_bytes(), adapted.request.to_bytes(), "a second pass edits");
        assert!(again.dropped.is_empty(), "a second pass drops {:?}", again.dropped);
        if valid {
            let sent = Envelope { model: "m", project: &"p".into(), prompt_id: "i" }
                .wrap(adapted.request, &mut RequestTexts::default())
                .to_bytes();
            let sent: Map<String, Value> = serde_json::from_slice(&sent).expect("is JSON");
            let keys: Vec<&str> = sent.keys().map(String::as_str).collect();
            assert_eq!(keys, ["model", "project", "user_prompt_id", "request"]);
        }
    }

    if let Ok(adapted) = count(&body, "m") {
        assert!(valid || is_beyond_serde(data), "accepted what is not one JSON object");
        if valid {
            let sent = wrap_count(adapted.request).to_bytes();
            let sent: Map<String, Value> = serde_json::from_slice(&sent).expect("is JSON");
            let keys: Vec<&str> = sent.keys().map(String::as_str).collect();
            assert_eq!(keys, ["request"]);
            assert_eq!(sent["request"]["model"], "models/m");
        }
    }
});

/// True for JSON that serde_json does not read: deeper than 128 levels, with lone surrogates, or with
/// bytes that are no UTF-8. The scanner may accept it and pass it on as it is.
fn is_beyond_serde(data: &[u8]) -> bool {
    let deep = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
    let surrogate =
        data.windows(3).any(|w| w[0] == b'\\' && w[1] == b'u' && matches!(w[2], b'd' | b'D'));
    deep || surrogate || std::str::from_utf8(data).is_err()
}
