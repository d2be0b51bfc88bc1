use bytes::Bytes;

use super::{BodyFacts, SignatureHash, replace_signatures};

fn facts(body: &str) -> BodyFacts {
    BodyFacts::of(body.as_bytes())
}

fn with_parts(parts: &str) -> String {
    format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"a"}}]}},{{"parts":{parts}}}]}}"#)
}

#[test]
fn a_usual_body_may_go_anywhere() {
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"thoughtSignature gs://x"},
        {"inlineData":{"data":"files/1"}},{"functionCall":{"args":{"cachedContent":"c"}}},
        {"functionResponse":{"response":{"fileData":{"fileUri":"gs://x"}}}},
        {"fileData":{"fileUri":"https://youtu.be/x"}},{"fileData":{"fileUri":"https://a.example/gs://x"}}]}],
        "cachedContent":null,"previous_interaction_id":"","modelArmorConfig":null,
        "tools":[{"functionDeclarations":[{"name":"fileSearch","parameters":{"retrieval":{}}}]}],
        "generationConfig":{"temperature":1}}"#;
    let expected = BodyFacts {
        unknown: false,
        temperature_zero: false,
        looks_outside: false,
        last_signature: None,
        bound: None,
    };
    assert_eq!(facts(body), expected);
    assert!(expected.may_move());
    assert_eq!(facts("{}"), expected);
}

#[test]
fn a_body_that_is_no_json_object_is_unknown_and_no_error() {
    for body in ["", "[]", "null", "{}x", "{'a':1}", "{\"contents\":[", "\u{feff}{}", "{\"a\":01}"]
    {
        assert_eq!(facts(body), BodyFacts::UNKNOWN, "{body}");
        assert!(!facts(body).may_move());
        let body = Bytes::copy_from_slice(body.as_bytes());
        assert_eq!(replace_signatures(&body).to_bytes(), body);
    }
    assert_eq!(BodyFacts::of(b"{\"a\":\"\xff\"}"), BodyFacts::UNKNOWN);
}

#[test]
fn what_belongs_to_one_upstream_binds_the_request() {
    for (body, bound) in [
        (r#"{"cachedContent":"cachedContents/1"}"#.to_owned(), "cachedContent"),
        (r#"{"cached\u0043ontent":"projects/p/x"}"#.to_owned(), "cachedContent"),
        (r#"{"previous_interaction_id":"v1_x"}"#.to_owned(), "previous_interaction_id"),
        (r#"{"model_armor_config":{}}"#.to_owned(), "modelArmorConfig"),
        (r#"{"generationConfig":{"modelArmorConfig":{}}}"#.to_owned(), "modelArmorConfig"),
        (r#"{"tools":[{"fileSearch":{}}]}"#.to_owned(), "tools.fileSearch"),
        (r#"{"tools":{"file_search":{}}}"#.to_owned(), "tools.fileSearch"),
        (r#"{"tools":[{"mcpServers":[]}]}"#.to_owned(), "tools.mcpServers"),
        (r#"{"tools":[{"retrieval":{}}]}"#.to_owned(), "tools.retrieval"),
        (r#"{"tools":[{"enterprise_web_search":{}}]}"#.to_owned(), "tools.enterpriseWebSearch"),
        (r#"{"tools":[{"parallelAiSearch":{}}]}"#.to_owned(), "tools.parallelAiSearch"),
        (r#"{"tools":[{"exaAiSearch":{}}]}"#.to_owned(), "tools.exaAiSearch"),
        (with_parts(r#"[{"toolCall":{}}]"#), "toolCall"),
        (with_parts(r#"{"tool_response":{}}"#), "toolResponse"),
        (with_parts(r#"[{"fileData":{"fileUri":"gs://b/o"}}]"#), "fileData in Cloud Storage"),
        (
            with_parts(
                r#"[{"file_data":{"file_uri":"https:\/\/generativelanguage.googleapis.com/v1beta/files/1"}}]"#,
            ),
            "fileData of the Files API",
        ),
        (
            with_parts(r#"[{"functionResponse":{"parts":[{"fileData":{"fileUri":"files/1"}}]}}]"#),
            "fileData of the Files API",
        ),
        (
            r#"{"generateContentRequest":{"cachedContent":"cachedContents/1"}}"#.to_owned(),
            "cachedContent",
        ),
        (
            r#"{"requests":[{"content":{"parts":[{"fileData":{"fileUri":"GS://b/o"}}]}}]}"#
                .to_owned(),
            "fileData in Cloud Storage",
        ),
    ] {
        let facts = facts(&body);
        assert_eq!(
            (facts.bound, facts.may_move(), facts.unknown),
            (Some(bound), false, false),
            "{body}"
        );
    }
}

#[test]
fn what_the_cache_needs_is_the_same_as_the_edits_find() {
    let paths = crate::provider::vertex::path::VertexPaths::without_project("v1");
    for config in
        ["0", "0.0", "-0e5", "0.1", "null", "\"0\"", "1,\"temperature\":0", "0,\"temperature\":1"]
    {
        for tools in [
            "null",
            r#"[{"functionDeclarations":[{}],"googleSearch":null}]"#,
            r#"[{"function_declarations":[]},{"googleSearch":{}}]"#,
            r#"{"codeExecution":{}}"#,
            r#"[{"retrieval":{}}]"#,
        ] {
            let body =
                format!(r#"{{"generation_config":{{"temperature":{config}}},"tools":{tools}}}"#);
            let adapted =
                crate::provider::vertex::adapt::generate(&Bytes::from(body.clone()), &paths)
                    .unwrap();
            let facts = facts(&body);
            assert_eq!(facts.temperature_zero, adapted.temperature_zero, "{body}");
            assert_eq!(facts.looks_outside, adapted.looks_outside, "{body}");
        }
    }
}

#[test]
fn the_last_signature_is_known_by_its_decoded_bytes() {
    let long = "Ab+/".repeat(5000) + "AQ==";
    let url_safe = long.replace('+', "-").replace('/', "_");
    let unpadded = url_safe.trim_end_matches('=');
    let escaped = long.replace('/', "\\/").replace('=', "\\u003d");
    let hash = SignatureHash::of(long.as_bytes());
    for written in [&long, &url_safe, unpadded, &escaped] {
        let parts =
            format!(r#"[{{"thoughtSignature":"other"}},{{"thought_signature":"{written}"}}]"#);
        assert_eq!(facts(&with_parts(&parts)).last_signature, Some(hash));
    }
    let shorter = SignatureHash::of(&long.as_bytes()[..long.len() - 8]);
    assert_ne!(shorter, hash);
    for (url_safe, standard) in [("Ab__", "Ab//"), ("Ab--", "Ab++"), ("A_-=", "A/+")] {
        let standard = SignatureHash::of(standard.as_bytes());
        assert_eq!(SignatureHash::of(url_safe.as_bytes()), standard, "{url_safe}");
    }
    // Not base64, but still one signature and no other.
    let odd = |text: &str| SignatureHash::of(text.as_bytes());
    assert_eq!(odd("a b!"), odd("a b!"));
    assert_ne!(odd("a b!"), odd("a b?"));
    assert_ne!(odd("+-"), odd("-+"));
}

#[test]
fn placeholders_and_empty_strings_are_no_signatures() {
    for value in [
        r#""""#,
        "null",
        "7",
        r#""skip_thought_signature_validator""#,
        r#""context_engineering_is_the_way_to_go""#,
    ] {
        let body = with_parts(&format!(r#"[{{"thoughtSignature":{value}}}]"#));
        assert_eq!(facts(&body).last_signature, None, "{value}");
        let body = Bytes::from(body);
        let replaced = replace_signatures(&body);
        let pieces: Vec<_> = replaced.pieces().collect();
        assert_eq!((pieces.len(), pieces[0].as_ptr()), (1, body.as_ptr()), "{value}");
    }
}

#[test]
fn foreign_signatures_are_replaced_and_nothing_else() {
    let body = concat!(
        "{ \"contents\" : [{\"parts\":{\"thought_signature\" : \"Ci\\u0051B\", \"n\":1.0e0}},\n",
        r#"{"parts":[{"functionCall":{"args":{"thoughtSignature":"mine"}},"thoughtSignature":"x=="},"#,
        r#"{"thoughtSignature":"skip_thought_signature_validator"}]}],"thoughtSignature":"top","#,
        r#""x":[ ],"x":{}}"#
    );
    let expected = body
        .replace(r#""Ci\u0051B""#, r#""skip_thought_signature_validator""#)
        .replace(r#""x==""#, r#""skip_thought_signature_validator""#);
    let replaced = replace_signatures(&Bytes::from(body)).to_bytes();
    assert_eq!(replaced, expected);
    assert_eq!(replace_signatures(&replaced).to_bytes(), replaced);
    assert_eq!(BodyFacts::of(&replaced).last_signature, None);
}

#[test]
fn signatures_are_found_in_answers_of_every_form() {
    let response = r#"{"candidates": [{"content": {"parts": [{"text": "a","thoughtSignature": "x-_x"},
        {"thoughtSignature": ""},{"functionCall":{"args":{"thoughtSignature":"mine"}}}]}},
        {"content": {"parts": [{"thought_signature": "eA=="}]}}], "thoughtSignature": "top"}"#;
    let wrapped = format!(r#"{{"traceId":"t","response":{response}}}"#);
    let array = format!("[{response},\r\n{{}}]");
    let expected = [SignatureHash::of(b"x+/x"), SignatureHash::of(b"eA")];
    for answer in [response, &wrapped, &array] {
        let mut found = Vec::new();
        SignatureHash::in_answer(answer.as_bytes(), |hash| found.push(hash));
        assert_eq!(found, expected, "{answer}");
    }
    for answer in [
        "",
        "{\"thoughtSignature\"",
        "{}",
        r#"{"candidates":[7,{"content":[]}],"thoughtSignature":1}"#,
    ] {
        SignatureHash::in_answer(answer.as_bytes(), |hash| panic!("{answer}: {hash:?}"));
    }
}
