//! A client's body in another dialect is either refused, or becomes a Gemini request that the adapt step
//! takes: roles alternate, each call has a result, and names are legal.
#![no_main]

use bytes::Bytes;
use code_assist_core::internals::dialect::openai::embeddings::{self, EmbeddingsMethod};
use code_assist_core::internals::dialect::translate::fault::Fault;
use code_assist_core::internals::dialect::translate::request::Written;
use code_assist_core::internals::dialect::translate::target::Target;
use code_assist_core::internals::dialect::{Dialect, anthropic, openai};
use code_assist_core::internals::google::ProviderKind;
use code_assist_core::internals::provider::code_assist::adapt::{count, generate};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else {
        return;
    };
    let target = target(first / 8);
    let body = Bytes::copy_from_slice(body);
    let (read, dialect, is_count) = match first % 8 {
        0 => (openai::chat::read::read(&body, &target).map(|it| it.0), Dialect::OpenAi, false),
        1 => {
            (openai::completions::read::read(&body, &target).map(|it| it.0), Dialect::OpenAi, false)
        }
        2 => (openai::responses::read::read(&body, &target).map(|it| it.0), Dialect::OpenAi, false),
        3 => (openai::responses::read::read_tokens(&body, &target), Dialect::OpenAi, true),
        4 => (anthropic::read::read(&body, &target).map(|it| it.0), Dialect::Anthropic, false),
        5 => (anthropic::read::read_count(&body, &target), Dialect::Anthropic, true),
        _ => return embed(&body),
    };
    match read {
        Ok(written) => check(&written, is_count, is_beyond_serde(&body)),
        Err(error) => {
            let fault = Fault::of(&error, dialect);
            let printed = match dialect {
                Dialect::Anthropic => anthropic::error::body(&fault, "req_1"),
                _ => openai::error::body(&fault),
            };
            serde_json::from_slice::<Value>(&printed).expect("an error is JSON");
        }
    }
});

fn target(bits: u8) -> Target {
    let models = ["gemini-2.5-pro", "gemini-3-pro-preview", "gemini-2.5-flash-lite", "gemma-3"];
    let providers = [ProviderKind::CodeAssist, ProviderKind::GeminiApi, ProviderKind::Vertex];
    let mut target =
        Target::new(models[usize::from(bits) % 4], providers[usize::from(bits / 4) % 3]);
    target.without_signatures = bits >= 24;
    target
}

fn check(written: &Written, is_count: bool, is_beyond_serde: bool) {
    let body = &written.body;
    if is_beyond_serde {
        // What the adapt step does not take either is refused there.
        let _ = if is_count { count(body, "m").is_ok() } else { generate(body).is_ok() };
        return;
    }
    let parsed: Map<String, Value> = serde_json::from_slice(body).expect("it is a JSON object");
    let request = if is_count {
        assert!(count(body, "m").is_ok(), "a count is not adapted");
        parsed["generateContentRequest"].clone()
    } else {
        assert!(generate(body).is_ok(), "a request is not adapted");
        Value::Object(parsed)
    };
    let contents = request["contents"].as_array().expect("there are contents");
    let number = |content: &Value, key: &str| {
        let parts = content["parts"].as_array().expect("there are parts");
        parts.iter().filter(|part| part.get(key).is_some()).count()
    };
    for (at, content) in contents.iter().enumerate() {
        let next = contents.get(at + 1);
        assert_ne!(next.map(|next| &next["role"]), Some(&content["role"]), "{request}");
        let calls = number(content, "functionCall");
        let results = next.map_or(0, |next| number(next, "functionResponse"));
        assert_eq!(calls, results, "{request}");
    }
    let declared = request["tools"].as_array().into_iter().flatten();
    for tool in
        declared.flat_map(|tool| tool["functionDeclarations"].as_array().into_iter().flatten())
    {
        assert!(is_legal(tool["name"].as_str().expect("a name")), "{request}");
    }
}

fn is_legal(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte))
}

fn embed(body: &Bytes) {
    let Ok(request) = embeddings::read(body) else { return };
    for method in [EmbeddingsMethod::BatchEmbedContents, EmbeddingsMethod::Predict] {
        for batch in request.batches(method) {
            let body = request.body(method, "gemini-embedding-001", batch);
            if !is_beyond_serde(&body) {
                serde_json::from_slice::<Map<String, Value>>(&body).expect("it is a JSON object");
            }
        }
    }
}

/// True for JSON that serde_json does not read: deeper than 128 levels, with lone surrogates, with numbers
/// out of its range, or with bytes that are no UTF-8.
fn is_beyond_serde(data: &[u8]) -> bool {
    let deep = data.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() > 100;
    let surrogate =
        data.windows(3).any(|w| w[0] == b'\\' && w[1] == b'u' && matches!(w[2], b'd' | b'D'));
    deep || surrogate || std::str::from_utf8(data).is_err()
}
