//! Properties of the JSON functions, over generated texts.

use bytes::{Bytes, BytesMut};
use code_assist_core::internals::json::Cursor;
use code_assist_core::internals::provider::code_assist::adapt;
use code_assist_core::internals::provider::code_assist::envelope::{
    Envelope, Form, open, wrap_count,
};
use code_assist_core::internals::request_texts::RequestTexts;
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::IgnoredAny;
use serde_json::Value;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_object_with_nothing_to_adapt_passes_byte_for_byte(body in object(plain_key())) {
        let body = Bytes::from(body);
        let adapted = adapt::generate(&body).unwrap();
        prop_assert_eq!(adapted.request.pieces().collect::<Vec<_>>(), [&body]);
        prop_assert!(adapted.dropped.is_empty());
    }

    #[test]
    fn an_adapted_object_is_json(body in object(any_key())) {
        let body = Bytes::from(body);
        prop_assert!(is_accepted(&body), "the generator makes JSON");
        let generated = adapt::generate(&body).unwrap().request.to_bytes();
        prop_assert!(is_object(&generated), "{:?}", generated);
        // A generateContentRequest that is no object is the one thing that cannot be counted.
        if let Ok(counted) = adapt::count(&body, "m") {
            let counted = wrap_count(counted.request).to_bytes();
            prop_assert!(is_object(&counted), "{:?}", counted);
        }
    }

    #[test]
    fn a_request_of_known_fields_stays_json(body in request()) {
        let body = Bytes::from(body);
        let generated = adapt::generate(&body).unwrap().request.to_bytes();
        prop_assert!(is_object(&generated), "{:?}", generated);
        let Ok(counted) = adapt::count(&body, "m") else { return Ok(()) };
        let counted = counted.request.to_bytes();
        prop_assert!(is_object(&counted), "{:?}", counted);
        let read: Value = serde_json::from_slice(&counted).unwrap();
        let keys: Vec<_> = read.as_object().unwrap().keys().collect();
        prop_assert_eq!(keys, ["contents", "model"]);
    }

    #[test]
    fn an_adapted_request_needs_no_adapting(body in prop_oneof![object(any_key()), request()]) {
        let once = adapt::generate(&Bytes::from(body)).unwrap().request.to_bytes();
        let twice = adapt::generate(&once).unwrap();
        prop_assert_eq!(twice.request.to_bytes(), once);
        prop_assert!(twice.dropped.is_empty());
    }

    #[test]
    fn unwrapping_what_was_wrapped_gives_it_back(answer in object(plain_key()), trace in ".*") {
        let answer = format!("{{ \"responseId\":\"\",\"x\":{answer}}}");
        let trace = Value::from(trace);
        for wrapper in [
            format!("{{\"response\":{answer},\"traceId\":{trace}}}"),
            format!("\n{{ \"traceId\" : {trace} , \"x\":[{answer}], \"response\" : {answer} }} "),
        ] {
            let wrapper = Bytes::from(wrapper);
            let response = open(&wrapper, None).unwrap().response.unwrap();
            prop_assert_eq!(response.into_bytes(Form::AsWritten), escaped(&answer));
        }
    }

    #[test]
    fn a_wrapped_request_holds_the_clients_bytes(body in object(plain_key()), name in ".*") {
        let wrapped = Envelope { model: &name, project: &name.as_str().into(), prompt_id: &name }
            .wrap(Bytes::from(body.clone()).into(), &mut RequestTexts::default());
        let wrapped = wrapped.to_bytes();
        let ending = format!("\"request\":{body}}}");
        prop_assert!(wrapped.ends_with(ending.as_bytes()));
        let read: Value = serde_json::from_slice(&wrapped).unwrap();
        prop_assert_eq!(&read["project"], &Value::from(name));
        prop_assert_eq!(read.as_object().unwrap().len(), 4);
    }

    #[test]
    fn a_compact_answer_means_the_same_on_one_line(answer in object(any_key())) {
        let wrapper = Bytes::from(format!("{{\"response\":{answer}}}"));
        let mut compact = BytesMut::new();
        open(&wrapper, None).unwrap().response.unwrap().write_line(&mut compact);
        let text = std::str::from_utf8(&compact).unwrap();
        let one_line = !text.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
        prop_assert!(one_line, "{}", text);
        // Only the renaming of citations changes what it means.
        let given: Value = serde_json::from_str(&answer.replace("\"citations\"", "\"c\"")).unwrap();
        let got = text.replace("\"citations\"", "\"c\"").replace("\"citationSources\"", "\"c\"");
        prop_assert_eq!(serde_json::from_str::<Value>(&got).unwrap(), given);
    }

    #[test]
    fn the_scanner_accepts_what_serde_json_accepts(text in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(select(&b"{}[]\",:0123-+.eEtruefalsn\\u \n\x00\x1f\x7f\xc3\xa9\xff"[..]), 0..24),
        mutated(),
    ]) {
        let accepted = is_accepted(&text);
        prop_assert_eq!(accepted, is_json(&text), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(text in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        mutated(),
    ]) {
        let text = Bytes::from(text);
        let json = is_json(&text);
        for result in [adapt::generate(&text).is_ok(), adapt::count(&text, "m").is_ok()] {
            prop_assert!(json || !result);
        }
        prop_assert!(json || open(&text, Some("t")).is_err());
    }
}

/// Whether the scanner reads exactly one value.
fn is_accepted(text: &[u8]) -> bool {
    Cursor::new(text).is_ok_and(|mut cursor| cursor.skip().is_ok() && cursor.end().is_ok())
}

/// The text of an object with keys of this kind, white space and all.
fn object(key: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = String> {
    let members = (key.clone(), value(key)).prop_map(|(key, value)| format!("{key}:{value}"));
    (blank(), prop::collection::vec(members, 0..6), blank())
        .prop_map(|(before, members, after)| format!("{before}{{{}}}{after}", members.join(",")))
}

fn value(key: impl Strategy<Value = String> + Clone + 'static) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        number(),
        string(),
        select(vec!["null", "true", "false", "{}", "[]", "\"function\"", "\"tool\"", "8", "0"])
            .prop_map(str::to_owned),
    ];
    let spaced = (blank(), leaf, blank()).prop_map(|(a, leaf, b)| format!("{a}{leaf}{b}"));
    spaced.prop_recursive(6, 40, 5, move |inner| {
        let member = (key.clone(), inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
        prop_oneof![
            (blank(), prop::collection::vec(inner, 0..5), blank())
                .prop_map(|(a, items, b)| format!("{a}[{}]{b}", items.join(","))),
            (blank(), prop::collection::vec(member, 0..5), blank())
                .prop_map(|(a, members, b)| format!("{a}{{{}}}{b}", members.join(","))),
        ]
    })
}

/// A request with the fields that adapting looks at, some of them of the wrong kind.
fn request() -> impl Strategy<Value = String> {
    let odd = || value(any_key());
    let part = prop_oneof![3 => some_of(&["text", "thought", "thoughtSignature", "functionCall"], odd()), 1 => odd()];
    let parts = list_or_one(part);
    let content = prop_oneof![
        4 => (parts.clone(), select(vec!["", "\"role\":null,", "\"role\":\"\",", "\"role\" : \"function\",", "\"role\":\"model\","]), blank())
            .prop_map(|(parts, role, b)| format!("{b}{{{b}{role}\"parts\":{parts}{b}}}")),
        1 => odd(),
    ];
    let contents = list_or_one(content.clone());
    let system = prop_oneof![content, parts, string(), odd()];
    let config = prop_oneof![
        3 => some_of(
            &["temperature", "imageConfig", "image_config", "_responseJsonSchema",
              "_response_json_schema", "responseJsonSchema", "httpOptions", "topK", "responseFormat", "\\u0072esponse_format"],
            odd(),
        ),
        1 => odd(),
    ];
    let safety = list_or_one(some_of(&["category", "threshold"], odd()));
    let tools = list_or_one(some_of(&["functionDeclarations", "function_declarations"], odd()));
    let member = prop_oneof![
        contents.prop_map(|v| format!("\"contents\":{v}")),
        system.clone().prop_map(|v| format!("\"systemInstruction\":{v}")),
        system.prop_map(|v| format!("\"system_instruction\" :{v}")),
        config.clone().prop_map(|v| format!("\"generationConfig\":{v}")),
        config.prop_map(|v| format!("\"generation_config\": {v}")),
        safety.prop_map(|v| format!("\"safetySettings\":{v}")),
        tools.prop_map(|v| format!("\"tools\":{v}")),
        (any_key(), odd()).prop_map(|(key, value)| format!("{key}:{value}")),
    ]
    .boxed();
    let members = prop::collection::vec((blank(), member, blank()), 0..6).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(a, m, b)| format!("{a}{m}{b}")).collect();
        format!("{{{}}}", members.join(","))
    });
    prop_oneof![
        4 => members.clone(),
        1 => members.prop_map(|inner| format!("{{\"generateContentRequest\":{inner},\"model\":\"m\"}}")),
    ]
}

fn list_or_one(
    item: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        2 => prop::collection::vec(item.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
        1 => item,
    ]
    .boxed()
}

fn some_of(
    names: &'static [&'static str],
    value: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = String> + Clone {
    let member = (select(names), blank(), value)
        .prop_map(|(name, blank, value)| format!("{blank}\"{name}\"{blank}:{value}"));
    prop::collection::vec(member, 0..5)
        .prop_map(|members| format!("{{{}}}", members.join(",")))
        .boxed()
}

fn blank() -> impl Strategy<Value = &'static str> + Clone {
    select(vec!["", "", "", " ", "\n  ", "\t", "\r\n"])
}

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,6})?([eE][+-]?[0-9])?"
}

/// With escapes of every kind, and characters that some readers take for the end of a line.
fn string() -> impl Strategy<Value = String> + Clone {
    let piece = prop_oneof![
        "[ -!#-\\[\\]-~]{0,6}",
        select(vec![
            "\\n",
            "\\\\",
            "\\\"",
            "\\/",
            "\\u00e9",
            "\\ud83d\\ude00",
            "é",
            "😀",
            "\u{2028}",
            "\u{2029}",
            "\u{85}",
            "\u{7f}",
            "“",
            "{",
            "}",
            "\\\\\\\"",
            "  ",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat())).boxed()
}

/// A key without a meaning for the proxy.
fn plain_key() -> impl Strategy<Value = String> + Clone {
    ("[x-z]{1,3}", string()).prop_map(|(start, rest)| format!("\"{start}{}", &rest[1..])).boxed()
}

/// A key that may have a meaning for the proxy.
fn any_key() -> impl Strategy<Value = String> + Clone {
    let special = select(vec![
        "contents",
        "role",
        "parts",
        "systemInstruction",
        "system_instruction",
        "tools",
        "functionDeclarations",
        "safetySettings",
        "safety_settings",
        "category",
        "generationConfig",
        "generation_config",
        "temperature",
        "responseFormat",
        "response_format",
        "imageConfig",
        "_responseJsonSchema",
        "_response_json_schema",
        "responseJsonSchema",
        "model",
        "store",
        "serviceTier",
        "service_tier",
        "generateContentRequest",
        "thought",
        "text",
        "candidates",
        "citationMetadata",
        "citations",
        "r\\u006fle",
        "m\\u006fdel",
        "usageMetadata",
    ]);
    let special = special.prop_map(|name| format!("\"{name}\""));
    prop_oneof![5 => special, 1 => plain_key()].boxed()
}

/// JSON in which a few bytes were changed, removed or inserted.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 0..3);
    (prop_oneof![object(any_key()), request()], changes).prop_map(|(text, changes)| {
        let mut text = text.into_bytes();
        for (index, byte, how) in changes {
            let at = index.index(text.len().max(1)).min(text.len());
            match how {
                0 if at < text.len() => text[at] = byte,
                1 => {
                    let structural = |byte: &u8| b"{}[]\",:\\".contains(byte);
                    if let Some(next) = text[at..].iter().position(structural) {
                        text.remove(at + next);
                    }
                }
                2 => text.insert(at, b"{}[]\",:\\ \n0"[usize::from(byte) % 11]),
                _ => text.truncate(at),
            }
        }
        text
    })
}

/// True for JSON according to serde_json. `IgnoredAny` accepts lone surrogates, as the proxy does, but
/// does not check UTF-8.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn is_object(text: &[u8]) -> bool {
    serde_json::from_slice::<Value>(text).is_ok_and(|value| value.is_object())
}

fn escaped(text: &str) -> String {
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029").replace('\u{85}', "\\u0085")
}
