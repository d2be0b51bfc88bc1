//! A client's body is either refused or made one JSON object for Vertex AI, or for the other providers if
//! it comes from a client in Vertex mode. What the scan says of it fits to the edits.
#![no_main]

use bytes::Bytes;
use code_assist_core::internals::provider::facts::{BodyFacts, SignatureHash, replace_signatures};
use code_assist_core::internals::provider::vertex::adapt::{count, generate};
use code_assist_core::internals::provider::vertex::models;
use code_assist_core::internals::provider::vertex::path::{Location, VertexPaths};
use code_assist_core::internals::provider::vertex_client::{
    at_code_assist, at_gemini_api, at_vertex, count_at_gemini_api,
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

/// True for a body with members that hold whole requests, or one that is read leniently only.
fn holds_requests(body: &[u8]) -> bool {
    let members: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    let names = ["generateContentRequest", "generate_content_request", "requests"];
    members.is_none_or(|members| names.iter().any(|name| members.contains_key(*name)))
}

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let valid = serde_json::from_slice::<Map<String, Value>>(data).is_ok();
    let is_object = |text: &[u8]| serde_json::from_slice::<Map<String, Value>>(text).is_ok();
    let facts = BodyFacts::of(data);

    let location = Location::new("eu").expect("is a location");
    let paths = VertexPaths::in_project("v1", "own", location).expect("is a project");

    if let Ok(adapted) = generate(&body, &paths) {
        let out = adapted.request.to_bytes();
        assert!(!valid || is_object(&out), "no JSON any more");
        let again = generate(&out, &paths).expect("its own output is accepted");
        assert_eq!(again.request.to_bytes(), out, "a second pass edits");
        assert!(again.dropped.is_empty(), "a second pass drops {:?}", again.dropped);
        assert_eq!(again.service_tier, None);
        assert!(!facts.unknown);
        // The scan reads the requests of counts and batches too, which this method does not have.
        if !holds_requests(data) {
            assert_eq!(facts.temperature_zero, adapted.temperature_zero);
            assert_eq!(facts.looks_outside, adapted.looks_outside);
        }
    }

    if let Ok(adapted) = count(&body) {
        let out = adapted.request.to_bytes();
        assert!(!valid || is_object(&out), "no JSON any more");
        let again = count(&out).expect("its own output is accepted");
        assert_eq!(again.request.to_bytes(), out, "a second pass edits");
        assert!(again.dropped.is_empty(), "a second pass drops {:?}", again.dropped);
    }

    if let Ok(adapted) = at_gemini_api(&body) {
        let out = adapted.request.to_bytes();
        assert!(!valid || is_object(&out), "no JSON any more");
        let again = at_gemini_api(&out).expect("its own output is accepted");
        assert_eq!(again.request.to_bytes(), out, "a second pass edits");
        at_code_assist(data).expect("what the Gemini API can do, Code Assist can");
    }

    if let Ok(adapted) = count_at_gemini_api(&body, "m") {
        assert!(!valid || is_object(&adapted.request.to_bytes()), "no JSON any more");
    }

    if let Ok(named) = at_vertex(&body, &paths) {
        let out = named.to_bytes();
        assert!(!valid || is_object(&out), "no JSON any more");
        assert_eq!(at_vertex(&out, &paths).expect("is accepted").to_bytes(), out);
    }

    let replaced = replace_signatures(&body).to_bytes();
    assert!(!valid || is_object(&replaced), "no JSON any more");
    let after = BodyFacts::of(&replaced);
    assert_eq!(after, BodyFacts { last_signature: None, ..facts });
    assert!(facts.last_signature.is_some() || replaced == body);
    SignatureHash::in_answer(data, |_| {});

    let _ = models::page(data);
    let _ = models::one(data);
    if let Ok(name) = std::str::from_utf8(data)
        && let Ok(path) = paths.method(None, name, "generateContent", None)
    {
        let path = path.as_str();
        assert!(path.starts_with("/v1/projects/own/locations/eu/"), "{path}");
        assert!(path.split('/').all(|segment| segment != ".." && segment != "."), "{path}");
        assert_eq!(path.matches(':').count(), 1, "{path}");
    }
});
