//! Clients that are configured for Vertex AI, at every provider.

use code_assist_harness::{Provider, ProxyBuilder, ScriptedUpstream};

use super::{OPERATORS, WHOLE};
use crate::HELLO;

/// The paths of clients in Vertex mode, with a project of their own and in the express form.
const PREFIXES: [&str; 3] = [
    "/v1beta1/projects/mine/locations/europe-west4/publishers/google/models",
    "/v1/projects/mine/locations/us-central1/publishers/google/models",
    "/v1beta1/publishers/google/models",
];

#[test]
fn they_are_served_by_every_provider() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        for prefix in PREFIXES {
            for call in [
                "generateContent",
                "streamGenerateContent?alt=sse",
                "streamGenerateContent",
                "countTokens",
            ] {
                let path = format!("{prefix}/gemini-2.5-flash:{call}");
                let answer = proxy.post(&path, HELLO);
                assert_eq!(
                    answer.status(),
                    200,
                    "{path} at {}: {}",
                    provider.name(),
                    answer.text()
                );
                let wanted = if call == "countTokens" { "totalTokens" } else { "You s" };
                assert!(answer.text().contains(wanted), "{path}: {}", answer.text());
            }
        }
    }
}

#[test]
fn their_bodies_arrive_at_vertex_ai_as_they_are_and_the_place_is_the_operators() {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = ProxyBuilder::for_scripted(Provider::Vertex, &upstream).start();
    let body = "{ \"contents\":{\"parts\":{\"text\":\"\\u00e9\"}},\"modelArmorConfig\":{\"promptTemplateName\":\"t\"},\"serviceTier\":\"flex\",\"labels\":{},\"n\":1.50,\"n\":2}\n";
    for prefix in PREFIXES {
        for call in [
            "generateContent",
            "streamGenerateContent?alt=sse",
            "streamGenerateContent?%24alt=json",
        ] {
            proxy.post(&format!("{prefix}/gemini-2.5-flash:{call}"), body);
            let received = upstream.received().pop().unwrap();
            assert_eq!(received.text(), body, "{prefix}");
            let version = prefix.split('/').nth(1).unwrap();
            let line = format!("POST /{version}/{OPERATORS}/gemini-2.5-flash:{call} HTTP/1.1\r\n");
            assert!(received.head.starts_with(&line), "{}", received.head);
        }
    }
}

#[test]
fn fields_that_only_vertex_ai_has_are_refused_or_reported_at_the_gemini_api() {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream).start();
    let path = format!("{}/gemini-2.5-flash:generateContent", PREFIXES[0]);
    let body = r#"{"contents":[],"generationConfig":{"audioTimestamp":true,"topK":1.0,"modelConfig":{}},"safetySettings":[{"category":"x","method":"SEVERITY"}]}"#;
    let answer = proxy.post(&path, body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let received = upstream.received().pop().unwrap();
    let sent =
        r#"{"contents":[],"generationConfig":{"topK":1.0},"safetySettings":[{"category":"x"}]}"#;
    assert_eq!(received.text(), sent);
    let line = "POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\n";
    assert!(received.head.starts_with(line), "{}", received.head);
    let dropped = answer.header("x-proxy-dropped-fields");
    for field in [
        "generationConfig.audioTimestamp",
        "generationConfig.modelConfig",
        "safetySettings[0].method",
    ] {
        assert!(dropped.contains(field), "{dropped}");
    }
    for (field, value) in [
        ("modelArmorConfig", r#"{"promptTemplateName":"t"}"#),
        ("cachedContent", r#""projects/p/locations/l/cachedContents/c""#),
        ("tools", r#"[{"enterpriseWebSearch":{}}]"#),
    ] {
        let before = upstream.received().len();
        let answer = proxy.post(&path, format!(r#"{{"contents":[],"{field}":{value}}}"#));
        assert_eq!(answer.status(), 400, "{field}: {}", answer.text());
        assert!(answer.text().contains(field), "{}", answer.text());
        assert_eq!(upstream.received().len(), before, "{field}");
    }
}

#[test]
fn a_control_of_security_is_never_dropped_at_code_assist() {
    let upstream = ScriptedUpstream::answering("200 OK", "", &Provider::CodeAssist.answer(WHOLE));
    let proxy = ProxyBuilder::for_scripted(Provider::CodeAssist, &upstream).start();
    let path = format!("{}/gemini-2.5-flash:generateContent", PREFIXES[0]);
    let answer =
        proxy.post(&path, r#"{"contents":[],"modelArmorConfig":{"promptTemplateName":"t"}}"#);
    assert_eq!(answer.status(), 400, "{}", answer.text());
    assert!(answer.text().contains("modelArmorConfig"), "{}", answer.text());
    assert!(upstream.received().is_empty());
}
