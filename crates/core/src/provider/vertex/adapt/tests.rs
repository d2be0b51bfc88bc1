use bytes::Bytes;

use super::{AdaptedRequest, ServiceTier, cached_content, count};
use crate::provider::vertex::path::{Location, VertexPaths};
use crate::provider::vertex_client::VertexClientError;

fn paths() -> VertexPaths {
    VertexPaths::in_project("v1beta1", "own", Location::new("eu").unwrap()).unwrap()
}

fn generate(body: &Bytes) -> Result<AdaptedRequest, VertexClientError> {
    super::generate(body, &paths())
}

#[test]
fn cached_content_is_the_operators_own_or_refused() {
    let own = "projects/own/locations/eu/cachedContents/1";
    for (given, sent) in [
        ("cachedContents/1", "cachedContents/1"),
        (own, own),
        // Google's answers name a project by its number.
        ("projects/123/locations/eu/cachedContents/1", own),
    ] {
        for (key, given) in
            [("cachedContent", given.to_owned()), ("cached_content", given.replace('/', "\\/"))]
        {
            let body = Bytes::from(format!(r#"{{"{key}": "{given}", "contents":[]}}"#));
            let adapted = generate(&body).unwrap().request.to_bytes();
            let value: serde_json::Value = serde_json::from_slice(&adapted).unwrap();
            assert_eq!(value[key], sent);
            assert!(adapted == body || given != sent, "{key}: bytes were changed");
        }
    }
    for foreign in [
        "projects/other/locations/eu/cachedContents/1",
        "projects/own/locations/us/cachedContents/1",
        "//aiplatform.googleapis.com/projects/other/locations/eu/cachedContents/1",
        "projects/own",
    ] {
        let body = Bytes::from(format!(r#"{{"contents":[],"cachedContent":"{foreign}"}}"#));
        let field = "cachedContent".to_owned();
        assert_eq!(generate(&body), Err(VertexClientError::ForeignName { field }), "{foreign}");
    }
}

#[test]
fn the_model_of_new_cached_content_gets_its_full_name() {
    for (given, sent) in [
        (r#"{"model":"models/m","ttl":"1s"}"#, "publishers/google/models/m"),
        (r#"{"ttl":"1s", "model" : "m"}"#, "publishers/google/models/m"),
        (
            r#"{"model":"projects/x/locations/y/publishers/google/models/m"}"#,
            "publishers/google/models/m",
        ),
    ] {
        let body = Bytes::from(given);
        let adapted = cached_content(&body, &paths()).unwrap().request.to_bytes();
        let value: serde_json::Value = serde_json::from_slice(&adapted).unwrap();
        assert_eq!(value["model"], format!("projects/own/locations/eu/{sent}"));
    }
    let body = Bytes::from(r#"{"contents":[{"parts":[]}],"model":7}"#);
    let adapted = cached_content(&body, &paths()).unwrap().request.to_bytes();
    assert_eq!(adapted, r#"{"contents":[{"role":"user","parts":[]}],"model":7}"#);
}

#[test]
fn a_body_with_nothing_to_edit_is_not_copied() {
    let body = Bytes::from(
        "\n{ \"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"\\u00e9\\/\"}]},\
         {\"role\":\"model\",\"parts\":[{\"thoughtSignature\":\"x\",\"functionCall\":{\"id\":\"1\",\
         \"args\":{\"store\":1,\"partMetadata\":2,\"role\":\"tool\"}}}]}],\"model\":\"models/x\",\
         \"systemInstruction\":\"a string\",\"labels\":{\"a\":\"b\"},\
         \"tools\":[{\"fileSearch\":{}},{\"mcpServers\":[]}],\"cachedContent\":\"cachedContents/1\",\
         \"generationConfig\":{\"temperature\":0.10,\"seed\":12345678901234567890,\"topK\":7.0,\
         \"responseJsonSchema\":{\"store\":1}},\"unknown\":[ ] , \"unknown\":null}\n",
    );
    for adapted in [generate(&body).unwrap(), count(&body).unwrap()] {
        let pieces: Vec<_> = adapted.request.pieces().collect();
        assert_eq!(pieces, [&body]);
        assert_eq!(pieces[0].as_ptr(), body.as_ptr());
        assert_eq!((adapted.dropped.len(), adapted.service_tier), (0, None));
        assert!(!adapted.temperature_zero);
    }
    assert!(generate(&body).unwrap().looks_outside);
}

#[test]
fn a_missing_role_and_the_role_of_a_function_become_user() {
    for (body, expected) in [
        (r#"{"contents":[{"parts":[]}]}"#, r#"{"contents":[{"role":"user","parts":[]}]}"#),
        (r#"{"contents":[{}, { }]}"#, r#"{"contents":[{"role":"user"}, {"role":"user" }]}"#),
        (r#"{"contents":[{"role":null}]}"#, r#"{"contents":[{"role":"user"}]}"#),
        (r#"{"contents":[{"role" : "tool"}]}"#, r#"{"contents":[{"role" : "user"}]}"#),
        (
            r#"{"contents":[{"r\u006fle":"\u0066unction","x":1.0}]}"#,
            r#"{"contents":[{"r\u006fle":"user","x":1.0}]}"#,
        ),
        (
            r#"{"contents":{"parts":{"text":"a single object"}}}"#,
            r#"{"contents":{"role":"user","parts":{"text":"a single object"}}}"#,
        ),
        (r#"{"contents":[{"role":"model"},{"role":" "},{"role":7},"x",null,[{}]]}"#, ""),
        (r#"{"contents":null,"x":[{"role":"tool"}],"systemInstruction":{"parts":[]}}"#, ""),
    ] {
        assert_eq!(generated(body), if expected.is_empty() { body } else { expected });
        assert_eq!(counted(body), if expected.is_empty() { body } else { expected });
    }
}

#[test]
fn the_service_tier_becomes_a_header() {
    use ServiceTier::{Flex, Priority};
    for (value, tier, dropped) in [
        (r#""flex""#, Some(Flex), false),
        (r#""priority""#, Some(Priority), false),
        (r#""SERVICE_TIER_FLEX""#, Some(Flex), false),
        (r#""Priority""#, Some(Priority), false),
        (r#""standard""#, None, false),
        (r#""SERVICE_TIER_UNSPECIFIED""#, None, false),
        ("null", None, false),
        (r#""""#, None, false),
        (r#""turbo""#, None, true),
        ("2", None, true),
        (r#"{"a":1}"#, None, true),
    ] {
        for name in ["serviceTier", "service_tier"] {
            let adapted = adapt(&format!(r#"{{"contents":[], "{name}": {value},"x":1}}"#));
            assert_eq!(adapted.request.to_bytes(), r#"{"contents":[],"x":1}"#, "{value}");
            assert_eq!(adapted.service_tier, tier, "{value}");
            let expected: Vec<_> = dropped.then_some(name).into_iter().collect();
            assert_eq!(adapted.dropped, expected, "{value}");
        }
    }
    assert_eq!(Flex.as_str(), "flex");
    assert_eq!(Priority.as_str(), "priority");
    let last = adapt(r#"{"serviceTier":"flex","serviceTier":"standard"}"#);
    assert_eq!(last.service_tier, None);
}

#[test]
fn fields_that_only_the_gemini_api_has_are_removed_and_reported() {
    for (body, expected, dropped) in [
        (r#"{ "x" : 1 , "store" : true }"#, r#"{ "x" : 1 }"#, &["store"][..]),
        (r#"{"store":0,"x":1,"store":2}"#, r#"{"x":1}"#, &["store", "store"]),
        (
            r#"{"toolConfig":{"includeServerSideToolInvocations":true,"functionCallingConfig":{}}}"#,
            r#"{"toolConfig":{"functionCallingConfig":{}}}"#,
            &["toolConfig.includeServerSideToolInvocations"],
        ),
        (
            r#"{"tool_config":{"include_server_side_tool_invocations":true}}"#,
            r#"{"tool_config":{}}"#,
            &["tool_config.include_server_side_tool_invocations"],
        ),
        (
            r#"{"generation_config":{"topK":0,"enable_enhanced_civic_answers":true}}"#,
            r#"{"generation_config":{"topK":0}}"#,
            &["generation_config.enable_enhanced_civic_answers"],
        ),
        (
            r#"{"contents":[{"role":"user","parts":[{"text":"a","partMetadata":{"x":[1]}}]}]}"#,
            r#"{"contents":[{"role":"user","parts":[{"text":"a"}]}]}"#,
            &["contents[0].parts[0].partMetadata"],
        ),
        (
            r#"{"systemInstruction":{"parts":{"part_metadata":{},"text":"a"}}}"#,
            r#"{"systemInstruction":{"parts":{"text":"a"}}}"#,
            &["systemInstruction.parts.part_metadata"],
        ),
        (r#"{"toolConfig":[],"generationConfig":7,"x":{"store":1}}"#, "", &[]),
    ] {
        let adapted = adapt(body);
        let expected = if expected.is_empty() { body } else { expected };
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
        assert_eq!(adapted.dropped, dropped, "{body}");
    }
}

#[test]
fn numbers_of_harm_categories_become_names_by_the_public_numbering() {
    assert_eq!(
        generated(r#"{"safetySettings":[{"category":8,"threshold":3},{"category": 11 }]}"#),
        concat!(
            r#"{"safetySettings":[{"category":"HARM_CATEGORY_HATE_SPEECH","threshold":3},"#,
            r#"{"category": "HARM_CATEGORY_CIVIC_INTEGRITY" }]}"#
        ),
    );
    assert_eq!(
        generated(r#"{"safety_settings":{"category":1}}"#),
        r#"{"safety_settings":{"category":"HARM_CATEGORY_DEROGATORY"}}"#
    );
    let others = r#"{"safetySettings":[{"category":12},{"category":8.0},{"category":"7"},7]}"#;
    assert_eq!(generated(others), others);
}

#[test]
fn the_private_name_of_the_json_schema_is_renamed_unless_the_proper_one_is_there() {
    for (body, expected, dropped) in [
        (
            r#"{"generationConfig":{"_responseJsonSchema":{"_responseJsonSchema":1}}}"#,
            r#"{"generationConfig":{"responseJsonSchema":{"_responseJsonSchema":1}}}"#,
            &[][..],
        ),
        (
            r#"{"generationConfig":{"_responseJsonSchema":1,"topP":1,"response_json_schema":{}}}"#,
            r#"{"generationConfig":{"topP":1,"response_json_schema":{}}}"#,
            &["generationConfig._responseJsonSchema"],
        ),
    ] {
        let adapted = adapt(body);
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
        assert_eq!(adapted.dropped, dropped, "{body}");
    }
}

#[test]
fn what_a_count_wraps_is_hoisted() {
    for (body, expected, dropped) in [
        (
            concat!(
                r#"{"generateContentRequest":{"model":"models/x", "contents": [{"parts":[]}],"#,
                r#""systemInstruction":{"parts":[]},"tools":[{"a":1.0}],"generationConfig":{"topK":1},"#,
                r#""safetySettings":[],"serviceTier":"flex","toolConfig":{}} }"#
            ),
            concat!(
                r#"{"contents": [{"role":"user","parts":[]}],"systemInstruction":{"parts":[]},"#,
                r#""tools":[{"a":1.0}],"generationConfig":{"topK":1}}"#
            ),
            &[
                "generateContentRequest.model",
                "generateContentRequest.safetySettings",
                "generateContentRequest.serviceTier",
                "generateContentRequest.toolConfig",
            ][..],
        ),
        (
            r#"{"contents":[],"generate_content_request":{"contents":[{"role":"user"}]},"x":1}"#,
            r#"{"contents":[{"role":"user"}]}"#,
            &["contents", "x"],
        ),
        (r#"{"generateContentRequest":{}}"#, "{}", &[]),
        (r#"{"generateContentRequest":{"model":1}}"#, "{}", &["generateContentRequest.model"]),
        (r#"{"generateContentRequest":null,"contents":[]}"#, r#"{"contents":[]}"#, &[]),
        (
            r#"{"generateContentRequest":{"generateContentRequest":{"contents":[]}}}"#,
            "{}",
            &["generateContentRequest.generateContentRequest"],
        ),
        (r#"{ "contents":[ ],"tools":[{}], "new" : 1.0}"#, "", &[]),
    ] {
        let adapted = count(&Bytes::from(body)).unwrap();
        let expected = if expected.is_empty() { body } else { expected };
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
        assert_eq!(adapted.dropped, dropped, "{body}");
        assert_eq!(adapted.service_tier, None, "{body}");
    }
    assert!(count(&Bytes::from(r#"{"generateContentRequest":[]}"#)).is_err());
    let wrapped = r#"{"generateContentRequest":{"contents":[]}}"#;
    assert_eq!(generated(wrapped), wrapped, "only a count has this field");
}

#[test]
fn what_the_cache_needs_to_know_is_found() {
    for (value, zero) in [("0", true), ("-0.0e5", true), ("0.1", false), ("\"0\"", false)] {
        let adapted = adapt(&format!(r#"{{"generation_config":{{"temperature":{value}}}}}"#));
        assert_eq!(adapted.temperature_zero, zero, "{value}");
    }
    for (tools, outside) in [
        (r#"[{"functionDeclarations":[{}]},{"function_declarations":{}}]"#, false),
        (r#"[{"functionDeclarations":[],"googleSearch":null}]"#, false),
        (r#"{"retrieval":{}}"#, true),
        ("null", false),
    ] {
        assert_eq!(adapt(&format!(r#"{{"tools":{tools}}}"#)).looks_outside, outside, "{tools}");
    }
}

#[test]
fn a_body_that_is_not_one_object_is_refused() {
    for body in ["", "[]", "1", "null", "{}x", "{}, {}", "{\"contents\":[}", "{\"a\":1"] {
        assert!(generate(&Bytes::from(body)).is_err(), "{body}");
        assert!(count(&Bytes::from(body)).is_err(), "{body}");
    }
}

#[test]
fn edits_and_reported_paths_are_bounded() {
    let excessive = format!(r#"{{"contents":[{}{{}}]}}"#, "{},".repeat(300_000));
    let error = generate(&excessive.into()).unwrap_err().to_string();
    assert!(error.starts_with("too many fields to correct at "), "{error}");
    let adapted = adapt(&format!(r#"{{{}"x":1}}"#, r#""store":1,"#.repeat(1000)));
    assert_eq!(adapted.request.to_bytes(), r#"{"x":1}"#);
    assert_eq!((adapted.dropped.len(), &*adapted.dropped[64]), (65, "..."));
}

#[test]
fn the_result_of_the_edits_needs_none() {
    // Every pair of the members below, in every list that the edits walk through.
    let members = [
        r#""role":"tool""#,
        r#""parts":[{"partMetadata":{},"text":"a"},{"partMetadata":1}]"#,
        r#""store":1"#,
        r#""service_tier":"flex""#,
        r#""category":7"#,
        r#""_responseJsonSchema":{}"#,
        r#""responseJsonSchema":{}"#,
        r#""enableEnhancedCivicAnswers":true"#,
        r#""includeServerSideToolInvocations":true"#,
        r#""x":-0.10"#,
    ];
    let places = [
        ("", ""),
        (r#""contents":[{"#, "}]"),
        (r#""contents":{"#, "}"),
        (r#""systemInstruction":{"#, "}"),
        (r#""safetySettings":[{"#, "},{}]"),
        (r#""toolConfig":{"#, "}"),
        (r#""generationConfig":{"#, "}"),
        (r#""generateContentRequest":{"contents":[{}],"#, "}"),
    ];
    for (before, after) in places {
        for first in members {
            for second in members {
                let body = format!(r#"{{ {before} {first} , {second} {after} }}"#);
                for edit in [generate, |body: &Bytes| Ok(count(body)?)] {
                    let once = edit(&Bytes::from(body.clone())).unwrap().request.to_bytes();
                    serde_json::from_slice::<serde_json::Value>(&once).expect(&body);
                    let twice = edit(&once).unwrap();
                    assert_eq!(twice.request.to_bytes(), once, "{body}");
                    assert!(twice.dropped.is_empty(), "{body}: {:?}", twice.dropped);
                }
            }
        }
    }
}

fn adapt(body: &str) -> AdaptedRequest {
    generate(&Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn generated(body: &str) -> Bytes {
    adapt(body).request.to_bytes()
}

fn counted(body: &str) -> Bytes {
    count(&Bytes::copy_from_slice(body.as_bytes())).unwrap().request.to_bytes()
}
