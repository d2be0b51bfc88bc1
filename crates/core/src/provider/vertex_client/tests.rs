use bytes::Bytes;

use super::{VertexClientError, at_code_assist, at_gemini_api, at_vertex, count_at_gemini_api};
use crate::error::Error;
use crate::provider::vertex::path::{Location, VertexPaths};

fn vertex_only(field: &str) -> VertexClientError {
    VertexClientError::VertexOnly { field: field.to_owned() }
}

fn foreign(field: &str) -> VertexClientError {
    VertexClientError::ForeignName { field: field.to_owned() }
}

#[test]
fn at_the_gemini_api_fields_of_vertex_without_effect_on_the_request_are_dropped() {
    for (body, expected, dropped) in [
        (
            concat!(
                r#"{ "generationConfig":{"routingConfig":{},"topK":1.0,"model_config":{}},"#,
                r#""safetySettings":[{"category":"x","method":"SEVERITY"},{"method":1}],"#,
                r#""outputConfig":{},"x":[ ],"x":1}"#
            ),
            concat!(
                r#"{ "generationConfig":{"topK":1.0},"#,
                r#""safetySettings":[{"category":"x"},{}],"x":[ ],"x":1}"#
            ),
            &[
                "generationConfig.routingConfig",
                "generationConfig.model_config",
                "safetySettings[0].method",
                "safetySettings[1].method",
                "outputConfig",
            ][..],
        ),
        (
            r#"{"generation_config":{"audio_timestamp":true},"safety_settings":{"method":1}}"#,
            r#"{"generation_config":{},"safety_settings":{}}"#,
            &["generation_config.audio_timestamp", "safety_settings.method"],
        ),
        (
            r#"{"modelArmorConfig":null,"tools":[{"retrieval":null}]}"#,
            r#"{"tools":[{}]}"#,
            &["modelArmorConfig", "tools[0].retrieval"],
        ),
    ] {
        let adapted = at_gemini_api(&Bytes::from(body)).unwrap();
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
        assert_eq!(adapted.dropped, dropped, "{body}");
    }
}

#[test]
fn at_the_gemini_api_a_body_with_nothing_to_edit_is_not_copied() {
    let body = Bytes::from(
        "{ \"contents\":[{\"parts\":[{\"functionCall\":{\"args\":{\"method\":1,\"outputConfig\":2}}}]}],\
         \"tools\":[{\"functionDeclarations\":[{\"name\":\"retrieval\"}]},{\"googleSearch\":{}}],\
         \"cachedContent\":\"cachedContents/1\",\"labels\":{},\"method\":1,\
         \"generationConfig\":{\"temperature\":0.0,\"responseSchema\":{\"modelConfig\":1}}}\n",
    );
    let adapted = at_gemini_api(&body).unwrap();
    let pieces: Vec<_> = adapted.request.pieces().collect();
    assert_eq!((pieces.len(), pieces[0].as_ptr()), (1, body.as_ptr()));
    assert_eq!(pieces[0], &body);
    assert!(adapted.dropped.is_empty());
    assert!(adapted.temperature_zero && adapted.looks_outside);
}

#[test]
fn at_the_gemini_api_a_field_that_must_not_be_dropped_is_named() {
    for (body, field) in [
        (r#"{"modelArmorConfig":{"x":1}}"#, "modelArmorConfig"),
        (r#"{"model_armor_config":{}}"#, "model_armor_config"),
        (r#"{"generationConfig":{"modelArmorConfig":{}}}"#, "generationConfig.modelArmorConfig"),
        (r#"{"tools":[{},{"retrieval":{}}]}"#, "tools[1].retrieval"),
        (r#"{"tools":{"enterprise_web_search":{}}}"#, "tools.enterprise_web_search"),
        (r#"{"tools":[{"parallelAiSearch":{}}]}"#, "tools[0].parallelAiSearch"),
        (r#"{"tools":[{"exaAiSearch":{}}]}"#, "tools[0].exaAiSearch"),
        (r#"{"cachedContent":"projects/p/locations/l/cachedContents/1"}"#, "cachedContent"),
        (r#"{"cached_content":"\u0070rojects/p"}"#, "cached_content"),
    ] {
        let refused = at_gemini_api(&Bytes::from(body)).unwrap_err();
        assert_eq!(refused, vertex_only(field), "{body}");
        assert!(refused.to_string().contains(field));
    }
    for body in ["", "[]", " 7", "{}x", r#"{"tools":[}"#] {
        let refused = at_gemini_api(&Bytes::from(body)).unwrap_err();
        assert!(matches!(refused, VertexClientError::Json(_)), "{body}");
    }
}

#[test]
fn at_the_gemini_api_a_count_of_more_than_contents_is_wrapped() {
    for (body, expected) in [
        (r#"{ "contents":[{"parts":[]}] }"#, ""),
        (r#"{"generateContentRequest":{"model":"models/x","tools":[{}]}}"#, ""),
        (r#"{"model":"projects/p/x","contents":[]}"#, r#"{"contents":[]}"#),
        (
            " { \"contents\":[ ],\"systemInstruction\":{\"parts\":[]}}\n",
            concat!(
                r#"{"generateContentRequest": {"model":"models/a\"b", "contents":[ ],"#,
                "\"systemInstruction\":{\"parts\":[]}}\n}"
            ),
        ),
        (
            r#"{"model":"m","tools":[{"a":1.0}]}"#,
            r#"{"generateContentRequest":{"model":"models/a\"b","tools":[{"a":1.0}]}}"#,
        ),
    ] {
        let adapted = count_at_gemini_api(&Bytes::from(body), "a\"b").unwrap();
        let expected = if expected.is_empty() { body } else { expected };
        assert_eq!(adapted.request.to_bytes(), expected, "{body}");
    }
    let refused = count_at_gemini_api(&Bytes::from(r#"{"tools":[{"retrieval":{}}]}"#), "m");
    assert_eq!(refused.unwrap_err(), vertex_only("tools[0].retrieval"));
}

#[test]
fn at_code_assist_only_a_security_control_is_refused() {
    for body in [
        r#"{"contents":[{"modelArmorConfig":{}}],"labels":{},"tools":[{"retrieval":{}}]}"#,
        r#"{"modelArmorConfig":null,"generationConfig":{"routingConfig":{}}}"#,
        r#"{"generationConfig":7}"#,
    ] {
        assert_eq!(at_code_assist(body.as_bytes()), Ok(()), "{body}");
    }
    for (body, field) in [
        (r#"{"x":1,"modelArmorConfig":{}}"#, "modelArmorConfig"),
        (r#"{"model\u0041rmorConfig":{}}"#, "modelArmorConfig"),
        (
            r#"{"generation_config":{"model_armor_config":{}}}"#,
            "generationConfig.model_armor_config",
        ),
    ] {
        assert_eq!(at_code_assist(body.as_bytes()), Err(vertex_only(field)), "{body}");
    }
    assert!(matches!(at_code_assist(b"{"), Err(VertexClientError::Json(_))));
    assert!(matches!(at_code_assist(b"{} 1"), Err(VertexClientError::Json(_))));
}

#[test]
fn at_vertex_a_body_is_untouched_but_for_names_in_a_project() {
    let location = Location::new("eu").unwrap();
    let paths = VertexPaths::in_project("v1beta1", "own", location).unwrap();
    let express = VertexPaths::express("v1beta1").unwrap();
    let untouched = Bytes::from(concat!(
        "{ \"serviceTier\":\"flex\",\"store\":1,\"contents\":[{\"parts\":[{\"model\":\"projects/p/x\"}]}],",
        "\"model\":\"publishers/google/models/m\",\"cachedContent\":\"projects/own/locations/eu/cachedContents/1\",",
        "\"cachedContent\":\"cachedContents/1\",\"modelArmorConfig\":{\"templateName\":\"projects/p/x\"},\"n\":1.0}\n",
    ));
    let same = at_vertex(&untouched, &paths).unwrap();
    let pieces: Vec<_> = same.pieces().collect();
    assert_eq!((pieces.len(), pieces[0].as_ptr()), (1, untouched.as_ptr()));
    assert_eq!(pieces[0], &untouched);
    for (body, expected) in [
        (
            r#"{"model" : "projects/p/locations/us-central1/publishers/google/models/m","ttl":"1s"}"#,
            r#"{"model" : "projects/own/locations/eu/publishers/google/models/m","ttl":"1s"}"#,
        ),
        (
            r#"{"model":"projects\/own/locations/us/endpoints/\u0031"}"#,
            r#"{"model":"projects/own/locations/eu/endpoints/1"}"#,
        ),
        (
            // Google's answers name a project by its number.
            r#"{"cached_content":"projects/123/locations/eu/cachedContents/1","x":[ ]}"#,
            r#"{"cached_content":"projects/own/locations/eu/cachedContents/1","x":[ ]}"#,
        ),
    ] {
        let body = Bytes::from(body);
        assert_eq!(at_vertex(&body, &paths).unwrap().to_bytes(), expected);
        let refused = at_vertex(&body, &express).unwrap_err();
        assert!(matches!(refused, VertexClientError::ForeignName { .. }), "{refused}");
    }
    for name in [
        "projects/other/locations/eu/cachedContents/1",
        "projects/own/locations/us/cachedContents/1",
        "projects/123/locations/us/cachedContents/1",
        "//aiplatform.googleapis.com/projects/other/locations/eu/cachedContents/1",
        "projects/own",
    ] {
        let body = Bytes::from(format!(r#"{{"cachedContent":"{name}"}}"#));
        assert_eq!(at_vertex(&body, &paths), Err(foreign("cachedContent")), "{name}");
    }
    let body = Bytes::from(r#"{"model":"projects/p"}"#);
    assert_eq!(at_vertex(&body, &paths), Err(foreign("model")));
    assert!(matches!(at_vertex(&Bytes::from("{}x"), &paths), Err(VertexClientError::Json(_))));
}

#[test]
fn a_refusal_is_an_error_400_that_names_the_field() {
    for refused in [vertex_only("tools[1].retrieval"), foreign("cachedContent")] {
        let shown = refused.to_string();
        let field = shown.split('`').nth(1).unwrap();
        let error = Error::from(refused.clone());
        assert_eq!(error.status(), 400);
        assert!(error.to_string().contains(field), "{error}");
    }
    let malformed = at_gemini_api(&Bytes::from("{")).unwrap_err();
    assert_eq!(Error::from(malformed).label(), "malformed_json");
}
