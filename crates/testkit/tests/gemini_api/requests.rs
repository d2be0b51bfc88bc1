//! Requests to models on their way to Google.

use std::io::Write as _;

use bytes::Bytes;
use code_assist_core::{Payload, Proxy};
use code_assist_testkit::client::{post, with};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::{GENERATE, HELLO, OPERATORS_KEY, answering, gemini_settings, run};

/// Odd numbers, equal unknown keys, escapes, white space of its own, roles that Code Assist would edit.
const ODD: &str = "\n{ \"contents\" : [ {\"role\":\"function\", \"parts\":[{\"text\":\"\\u00e9 \\/ \u{2028}\"}]} ],\t\"x\":1.50e+07,\"x\":-0.0,\"store\":false, \"serviceTier\":\"flex\"}\r\n";

const ANSWER: &str = "{\n  \"candidates\": [ {\"content\": {\"parts\": [{\"text\": \"Hi\"}]}, \"finishReason\": \"STOP\"} ],\n  \"usageMetadata\": {\"promptTokenCount\": 4}\n}\n";

#[test]
fn a_body_arrives_byte_for_byte_with_the_clients_version_and_query() {
    for (path, sent) in [
        ("/v1/models/m:generateContent", "/v1/models/m:generateContent"),
        ("/v1alpha/models/m:countTokens", "/v1alpha/models/m:countTokens"),
        ("/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("/v1beta//models/models/m%3AgenerateContent", "/v1beta/models/m:generateContent"),
        ("/v1/models/m:embedContent", "/v1/models/m:embedContent"),
        ("/v1beta/models/m:batchEmbedContents", "/v1beta/models/m:batchEmbedContents"),
        (
            "/v1/models/m:generateContent?$.xgafv=2&key=K&x=%2f+%20&access_token=T",
            "/v1/models/m:generateContent?$.xgafv=2&x=%2f+%20",
        ),
    ] {
        for body in [ODD, "no JSON at all {", "", "{\"a\":1,}"] {
            let (script, proxy) = answering(|| Reply::ok(ANSWER));
            let answer = run(&script, &proxy, post(path, body));
            assert_eq!(answer.status, 200, "{path} {}", answer.text());
            let received = script.all_received();
            assert_eq!(received.len(), 1);
            assert_eq!(received[0].line, format!("POST https://google.test{sent}"));
            assert_eq!(received[0].body, body, "{path}");
        }
    }
}

#[test]
fn a_client_in_vertex_mode_gets_the_version_that_the_gemini_api_has() {
    let path = "/v1beta1/publishers/google/models/m:generateContent";
    let (script, proxy) = answering(|| Reply::ok(ANSWER));
    assert_eq!(run(&script, &proxy, post(path, HELLO)).status, 200);
    let received = &script.all_received()[0];
    assert_eq!(received.line, "POST https://google.test/v1beta/models/m:generateContent");
    assert_eq!(received.body, HELLO);
}

#[test]
fn a_packed_body_arrives_as_what_it_unpacks_to() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(ODD.as_bytes()).unwrap();
    let packed = Bytes::from(packed.finish().unwrap());
    let (script, proxy) = answering(|| Reply::ok(ANSWER));
    let request = post(GENERATE, "").map(|_| Payload::from(packed));
    run(&script, &proxy, with(request, "content-encoding", "gzip"));
    let received = &script.all_received()[0];
    assert_eq!(received.body, ODD);
    assert!(!received.headers.contains_key("content-encoding"));
}

#[test]
fn exactly_one_credential_arrives_and_nothing_of_the_clients_network() {
    let (script, proxy) = answering(|| Reply::ok(ANSWER));
    let mut request = post(&format!("{GENERATE}?key=query-key"), HELLO);
    for (name, value) in [
        ("authorization", "Bearer clients-key"),
        ("x-goog-api-key", "clients-key"),
        ("x-api-key", "clients-key"),
        ("cookie", "a=b"),
        ("origin", "http://127.0.0.1:1"),
        ("referer", "http://127.0.0.1:1/page"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-goog-user-project", "clients-project"),
        ("user-agent", "client/1"),
        ("accept-encoding", "gzip, br"),
        ("x-goog-api-client", "gl-python/3"),
        ("x-server-timeout", "60"),
        ("api-revision", "2026-05-20"),
        ("content-type", "application/json; charset=utf-8"),
    ] {
        if name != "origin" {
            request = with(request, name, value);
        }
    }
    run(&script, &proxy, request);
    let received = &script.all_received()[0];
    let mut names: Vec<&str> = received.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "accept-encoding",
            "api-revision",
            "content-type",
            "traceparent",
            "user-agent",
            "x-goog-api-client",
            "x-goog-api-key",
            "x-server-timeout",
        ]
    );
    let header = |name: &str| received.headers[name].to_str().unwrap();
    assert_eq!(header("x-goog-api-key"), OPERATORS_KEY);
    assert_eq!(header("accept-encoding"), "identity", "the proxy reads the answer");
    assert!(header("user-agent").starts_with("code-assist-proxy/"));
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    assert!(!received.line.contains("key"), "{}", received.line);
}

#[test]
fn an_alias_is_a_change_of_the_path_and_not_for_a_batch_of_embeddings() {
    let script = ScriptedPlatform::new(|_| Reply::ok(ANSWER));
    let settings = gemini_settings(&[("MODEL_ALIASES", "old=new")]);
    let proxy = Proxy::new(settings, &script);
    let body = r#"{"model":"models/old"}"#;
    for (method, model) in
        [("generateContent", "new"), ("embedContent", "new"), ("batchEmbedContents", "old")]
    {
        let answer = run(&script, &proxy, post(&format!("/v1/models/old:{method}"), body));
        let received = script.all_received().pop().unwrap();
        assert!(
            received.line.ends_with(&format!("/v1/models/{model}:{method}")),
            "{}",
            received.line
        );
        assert_eq!(received.body, body);
        assert_eq!(answer.header("x-proxy-model"), if model == "new" { "new" } else { "" });
    }
}

#[test]
fn equal_embeddings_share_an_answer_and_empty_ones_are_asked_again() {
    let body = r#"{"content":{"parts":[{"text":"x"}]}}"#;
    let path = "/v1beta/models/m:embedContent";
    let (script, proxy) = answering(|| Reply::ok(r#"{"embedding": {"values": [0.1]}}"#));
    let first = run(&script, &proxy, post(path, body));
    let second = run(&script, &proxy, post(path, body));
    assert_eq!((first.header("x-cache"), second.header("x-cache")), ("MISS", "HIT"));
    assert_eq!(first.text(), second.text());
    let (script, proxy) = answering(|| Reply::ok("{}"));
    run(&script, &proxy, post(path, body));
    assert_eq!(run(&script, &proxy, post(path, body)).header("x-cache"), "MISS");
}
