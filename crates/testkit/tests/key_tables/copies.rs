//! Requests that are copied, with a key that may use some models only.

use code_assist_core::Payload;
use code_assist_testkit::client::{get, post};
use http::Request;
use serde_json::json;

use crate::{Fixture, HELLO, refused, status_and_reason, table};

fn with_method(method: &str, path: &str) -> Request<Payload> {
    let mut request = post(path, "{}");
    *request.method_mut() = method.parse().expect("the test's own data is good");
    request
}

#[test]
fn a_copy_with_a_model_in_its_path_needs_an_allowed_one() {
    let ada = table("ada", json!({"models": ["gemini-2.5-*", "veo-2*"]}));
    let fixture = Fixture::new("gemini-api", &[ada]);
    for (model, is_allowed) in [("veo-2.0", true), ("veo-3.0", false), ("gemini-3-pro", false)] {
        for method in ["predictLongRunning", "batchGenerateContent"] {
            let answer =
                fixture.ask("ada", post(&format!("/v1beta/models/{model}:{method}"), "{}"));
            match is_allowed {
                true => assert_eq!(answer.status.as_u16(), 200, "{model} {}", answer.text()),
                false => assert_eq!(status_and_reason(&answer), refused(), "{model}"),
            }
        }
    }
}

#[test]
fn a_copy_that_may_use_any_model_is_refused_and_others_are_not() {
    let tables = vec![table("ada", json!({"models": ["gemini-2.5-*"]})), table("bob", json!({}))];
    let fixture = Fixture::new("gemini-api", &tables);
    for (method, path, is_allowed) in [
        ("POST", "/v1beta/interactions", false),
        ("POST", "/v1beta/cachedContents", false),
        ("POST", "/v1beta/openai/chat/completions", false),
        ("GET", "/v1beta/openai/models", false),
        ("POST", "/v1beta/tunedModels/x:generateContent", false),
        ("GET", "/v1beta/cachedContents/1", true),
        ("PATCH", "/v1beta/cachedContents/1", true),
        ("DELETE", "/v1beta/cachedContents/1", true),
        ("GET", "/v1beta/files", true),
        ("POST", "/upload/v1beta/files", true),
        ("GET", "/v1beta/batches/1", true),
        ("POST", "/v1beta/batches/1:cancel", true),
    ] {
        let (before, answer) = (fixture.sent(), fixture.ask("ada", with_method(method, path)));
        match is_allowed {
            true => assert_eq!(answer.status.as_u16(), 200, "{method} {path} {}", answer.text()),
            false => {
                assert_eq!(status_and_reason(&answer), refused(), "{method} {path}");
                assert!(answer.text().contains("names no model"), "{}", answer.text());
                assert_eq!(fixture.sent(), before, "{method} {path}");
            }
        }
        let answer = fixture.ask("bob", with_method(method, path));
        assert_eq!(answer.status.as_u16(), 200, "{method} {path} {}", answer.text());
    }
    let socket = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    assert_eq!(status_and_reason(&fixture.ask("ada", get(socket))), refused());
}

#[test]
fn a_client_in_vertex_mode_needs_an_allowed_model() {
    let ada = table("ada", json!({"models": ["gemini-2.5-*"]}));
    let fixture = Fixture::with(
        &[("UPSTREAMS", "vertex"), ("VERTEX_PROJECT", "own"), ("VERTEX_CREDENTIALS", USER)],
        &[ada],
        |request| match request.line.contains("publishers/google/models?") {
            true => Some(code_assist_testkit::script::Reply::ok(
                r#"{"publisherModels":[{"name":"publishers/google/models/gemini-2.5-pro"},{"name":"publishers/google/models/gemini-3-pro"}]}"#,
            )),
            false => None,
        },
    );
    let place = "/v1/projects/p/locations/l";
    for (method, rest, is_allowed) in [
        ("POST", "publishers/google/models/gemini-2.5-pro:generateContent", true),
        ("POST", "publishers/google/models/gemini-3-pro:generateContent", false),
        ("POST", "publishers/google/models/gemini-2.5-pro:rawPredict", true),
        ("POST", "publishers/google/models/imagen-4:predict", false),
        ("POST", "publishers/anthropic/models/claude-opus-5:rawPredict", false),
        ("GET", "publishers/google/models/gemini-3-pro", false),
        ("POST", "endpoints/openapi/chat/completions", false),
        ("POST", "endpoints/7:predict", false),
        ("POST", "batchPredictionJobs", false),
        ("POST", "cachedContents", false),
        ("GET", "cachedContents", true),
        ("POST", "batchPredictionJobs/1:cancel", true),
    ] {
        let mut request = post(&format!("{place}/{rest}"), HELLO);
        *request.method_mut() = method.parse().unwrap();
        let answer = fixture.ask("ada", request);
        match is_allowed {
            true => assert_eq!(answer.status.as_u16(), 200, "{rest} {}", answer.text()),
            false => assert_eq!(status_and_reason(&answer), refused(), "{rest} {}", answer.text()),
        }
    }
    let answer = fixture.ask("ada", get("/v1beta/models/gemini-3-pro"));
    assert_eq!(status_and_reason(&answer), refused(), "{}", answer.text());
    let list = fixture.ask("ada", get("/v1beta1/publishers/google/models?pageSize=9")).text();
    assert!(list.contains("gemini-2.5-pro") && !list.contains("gemini-3-pro"), "{list}");
}

const USER: &str =
    r#"{"type":"authorized_user","client_id":"c","client_secret":"s","refresh_token":"r"}"#;
