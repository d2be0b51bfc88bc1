//! Requests of OpenAI's and Anthropic's dialects move to another upstream as those of the Gemini API do, and
//! are translated anew for it.

use code_assist_core::settings::FailoverSignatures;
use code_assist_testkit::client::{Answer, post};
use code_assist_testkit::script::{Received, Reply};
use http::Request;
use serde_json::Value;

use crate::fixture::{Fixture, host_of, on, quota};

fn dialects() -> [(&'static str, String); 3] {
    [
        (
            "/v1/chat/completions",
            r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":"hi"}]}"#.to_owned(),
        ),
        ("/v1/responses", r#"{"model":"gemini-2.5-flash","input":"hi"}"#.to_owned()),
        (
            "/v1/messages",
            r#"{"model":"gemini-2.5-flash","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#
                .to_owned(),
        ),
    ]
}

fn streaming(body: &str) -> String {
    body.replacen('{', r#"{"stream":true,"#, 1)
}

fn request(path: &str, body: &str) -> Request<code_assist_core::Payload> {
    post(path, body)
}

fn is_about(answer: &Answer, upstream: &str) -> bool {
    answer.text().contains(upstream)
}

#[test]
fn a_used_up_quota_moves_a_request_of_each_dialect() {
    for (path, body) in dialects() {
        for body in [body.clone(), streaming(&body)] {
            let fixture = Fixture::new(&["code-assist", "gemini-api"]);
            fixture.answers("code-assist", quota());
            let answer = fixture.ask(request(path, &body));
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert_eq!(answer.header("x-proxy-upstream"), "gemini-api", "{path}");
            assert!(!answer.header("x-proxy-failover").is_empty(), "{path}");
            assert!(is_about(&answer, "gemini-api"), "{path}: {}", answer.text());
            assert_eq!((fixture.calls("code-assist"), fixture.calls("gemini-api")), (1, 1));
        }
    }
}

#[test]
fn what_only_the_second_upstream_takes_is_translated_for_it() {
    // Code Assist reads no files by URL, and the Gemini API does.
    let body = r#"{"model":"gemini-2.5-flash","messages":[{"role":"user","content":[{"type":"text","text":"x"},{"type":"image_url","image_url":{"url":"https://example.com/a.png"}}]}]}"#;
    let fixture = Fixture::new(&["gemini-api", "second"]);
    fixture.answers("gemini-api", quota());
    let answer = fixture.ask(request("/v1/chat/completions", body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = bodies(&fixture, "second").pop().expect("a call");
    assert_eq!(sent["contents"][0]["parts"][1]["fileData"]["fileUri"], "https://example.com/a.png");
}

#[test]
fn an_upstream_that_cannot_take_a_request_holds_none_of_its_memory() {
    // A translation takes about 12 MB while it is made.
    let many = vec![r#"{"type":"text","text":"x"}"#; 15_000].join(",");
    let body = format!(
        r#"{{"model":"gemini-2.5-flash","messages":[{{"role":"user","content":[{many},{{"type":"image_url","image_url":{{"url":"https://example.com/a.png"}}}}]}}]}}"#
    );
    let fixture = Fixture::with(&["gemini-api", "code-assist", "second"], |settings| {
        settings.failover = on();
        settings.memory_budget_bytes = 20 << 20;
    });
    fixture.answers("gemini-api", quota());
    let answer = fixture.ask(request("/v1/chat/completions", &body));
    assert_eq!(answer.header("x-proxy-upstream"), "second", "{}", answer.text());
    assert_eq!(fixture.calls("code-assist"), 0);
}

fn bodies(fixture: &Fixture, name: &str) -> Vec<Value> {
    let calls = fixture.script.all_received();
    let of_models =
        calls.iter().filter(|it| host_of(it) == name && it.line.contains("enerateContent"));
    of_models.map(|it| serde_json::from_str(&it.body).expect("JSON goes upstream")).collect()
}

/// A history of Anthropic's dialect whose call was signed at Vertex AI (`v`) or at the Gemini API (`g`).
fn signed(by: char) -> String {
    format!(
        r#"{{"model":"gemini-3-pro-preview","max_tokens":9,"thinking":{{"type":"adaptive"}},"messages":[{{"role":"user","content":"hi"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"","signature":"gs1.{by}.f.c2ln"}},{{"type":"tool_use","id":"toolu_1","name":"f","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":"1"}}]}}],"tools":[{{"name":"f","input_schema":{{"type":"object"}}}}]}}"#
    )
}

fn signature(sent: &Value) -> &str {
    sent["contents"][1]["parts"][0]["thoughtSignature"].as_str().unwrap_or_default()
}

#[test]
fn a_signature_that_names_its_provider_leads_back_to_it() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    let answer = fixture.ask(request("/v1/messages", &signed('v')));
    assert_eq!(answer.header("x-proxy-upstream"), "vertex", "{}", answer.text());
    assert_eq!(answer.header("x-proxy-failover"), "");
    assert_eq!(signature(&bodies(&fixture, "vertex")[0]), "c2ln");
    assert_eq!(fixture.calls("gemini-api"), 0);
}

#[test]
fn a_signature_keeps_a_request_at_its_provider_unless_placeholders_are_allowed() {
    for (signatures, status) in
        [(FailoverSignatures::Keep, 429), (FailoverSignatures::Placeholder, 200)]
    {
        let fixture = Fixture::with(&["gemini-api", "vertex"], |settings| {
            settings.failover = on();
            settings.failover_signatures = signatures;
        });
        fixture.answers("gemini-api", quota());
        let answer = fixture.ask(request("/v1/messages", &signed('g')));
        assert_eq!(answer.status, status, "{}", answer.text());
        let sent = bodies(&fixture, "vertex");
        assert_eq!(sent.len(), usize::from(status == 200));
        if let Some(sent) = sent.first() {
            assert_eq!(signature(sent), "skip_thought_signature_validator");
        }
    }
}

#[test]
fn a_refused_signature_is_left_out_at_the_same_upstream() {
    let fixture = Fixture::new(&["gemini-api", "vertex"]);
    fixture.script("gemini-api", |request: &Received| {
        let refused = r#"{"error":{"code":400,"message":"Corrupted thought signature.","status":"INVALID_ARGUMENT"}}"#;
        request.body.contains("c2ln").then(|| Reply::status(400, refused))
    });
    let answer = fixture.ask(request("/v1/messages", &signed('g')));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((fixture.calls("gemini-api"), fixture.calls("vertex")), (2, 0));
}

#[test]
fn without_the_gemini_dialect_nothing_of_its_api_is_copied() {
    let fixture = Fixture::with(&["gemini-api"], |settings| settings.dialects.gemini = false);
    for path in ["/v1beta/files", "/v1beta/models/gemini-2.5-flash:embedContent"] {
        assert_eq!(fixture.ask(post(path, "{}")).status, 404, "{path}");
    }
    let (_, chat) = &dialects()[0];
    let answer = fixture.ask(post("/v1beta/openai/chat/completions", chat));
    assert!(answer.text().contains("gemini-api"), "{}", answer.text());
    assert!(fixture.script.all_received().iter().all(|it| !it.line.contains("/openai/")));
}
