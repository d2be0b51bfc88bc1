//! Errors of every provider at the client, and what the proxy does about them first.

use std::thread;
use std::time::Duration;

use code_assist_emulator as emulator;
use code_assist_harness::{GoogleEmulator, Provider, ProxyBuilder, ScriptedUpstream};
use serde_json::json;

use super::WHOLE;
use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM};

const BAD: &str = "{\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"Unknown name \\\"x\\\" at 'contents': Cannot find field. \\u003c\",\n    \"status\": \"INVALID_ARGUMENT\",\n    \"details\": [ {\"@type\": \"type.googleapis.com/google.rpc.BadRequest\", \"n\": 1.50} ]\n  }\n}\n";
const JSON: &str = "Content-Type: application/json; charset=UTF-8\r\n";

#[test]
fn an_error_of_the_gemini_api_keeps_every_byte_in_either_form() {
    for text in [BAD.to_owned(), format!("[{BAD}]\n")] {
        let upstream = ScriptedUpstream::answering("400 Bad Request", JSON, &text);
        let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream).start();
        for path in [GENERATE, STREAM, ARRAY, COUNT, "/v1beta/files:register", "/v1/interactions"] {
            let answer = proxy.post(path, HELLO);
            assert_eq!(
                (answer.status(), answer.text()),
                (400, text.clone()),
                "{path}: {}",
                answer.text()
            );
            assert!(answer.header("content-type").starts_with("application/json"), "{path}");
        }
        assert_eq!(upstream.received().len(), 6, "a 400 is not tried again");
    }
}

#[test]
fn an_error_of_vertex_ai_has_the_form_that_a_gemini_client_expects() {
    for text in [BAD.to_owned(), format!("[{BAD}]\n")] {
        let upstream = ScriptedUpstream::answering("400 Bad Request", "", &text);
        let proxy = ProxyBuilder::for_scripted(Provider::Vertex, &upstream).start();
        for path in [GENERATE, STREAM, COUNT] {
            let answer = proxy.post(path, HELLO);
            assert_eq!((answer.status(), answer.text().trim()), (400, BAD.trim()), "{path}");
        }
        let answer = proxy.post(ARRAY, HELLO);
        assert_eq!(answer.status(), 400);
        assert!(answer.text().starts_with('[') && answer.text().contains(BAD.trim()));
    }
}

#[test]
fn named_errors_of_each_service_arrive_with_their_reason() {
    for (provider, named) in [
        (
            Provider::GeminiApi,
            &[
                ("model_not_found", 404, "NOT_FOUND"),
                ("location", 400, "FAILED_PRECONDITION"),
                ("corrupted_signature", 400, "INVALID_ARGUMENT"),
                ("internal", 500, "INTERNAL"),
            ][..],
        ),
        (
            Provider::Vertex,
            &[
                ("publisher_model_not_found", 404, "NOT_FOUND"),
                ("iam_permission_denied", 403, "PERMISSION_DENIED"),
                ("foreign_signature", 400, "INVALID_ARGUMENT"),
                ("service_disabled", 403, "PERMISSION_DENIED"),
            ],
        ),
    ] {
        let google = provider.emulator();
        let proxy =
            ProxyBuilder::for_provider(provider, &google).env("MAX_RETRY_ATTEMPTS", "0").start();
        for (name, status, word) in named {
            for path in [GENERATE, STREAM, ARRAY] {
                google.add_rules(json!({"error": name}));
                let answer = proxy.post(path, HELLO);
                assert_eq!(answer.status(), *status, "{name} on {path}: {}", answer.text());
                assert_eq!(answer.error()["status"], *word, "{name} on {path}");
                assert_eq!(answer.reason(), "", "{name} is Google's: {}", answer.text());
            }
        }
    }
}

#[test]
fn an_operators_key_that_google_refuses_is_a_503() {
    for (error, said) in [
        ("key_invalid", "API key not valid"),
        ("key_expired", "API key expired"),
        ("key_service_blocked", "blocked"),
        ("access_token_type_unsupported", "invalid authentication credentials"),
    ] {
        let google = Provider::GeminiApi.emulator();
        google.add_rules(json!({"error": error, "times": 0}));
        let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google).start();
        for path in [GENERATE, STREAM, ARRAY, "/v1beta/cachedContents"] {
            let answer = proxy.post(path, HELLO);
            assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()), "{error}");
            assert!(answer.text().contains(said), "{error}: {}", answer.text());
            assert!(answer.text().contains("GEMINI_API_KEY"), "{error}: {}", answer.text());
            assert!(!answer.text().contains(emulator::GEMINI_API_KEY), "{}", answer.text());
        }
        let list = proxy.get("/v1beta/models");
        assert_eq!(list.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()), "{error}");
    }
}

#[test]
fn an_operators_key_that_does_not_exist_is_a_503_and_no_retry() {
    let google = Provider::GeminiApi.emulator();
    let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google)
        .env("GEMINI_API_KEY", "AIza-no-such-key")
        .start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    assert_eq!(google.count("generateContent"), 1);
}

#[test]
fn an_overloaded_model_is_asked_again_at_every_provider() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy =
            ProxyBuilder::for_provider(provider, &google).env("RETRY_BASE_DELAY_MS", "1").start();
        for (path, rpc) in [(GENERATE, "generateContent"), (STREAM, "streamGenerateContent")] {
            google.add_rules(json!({"match": {"rpc": rpc}, "status": 503}));
            let answer = proxy.post(path, HELLO);
            assert_eq!(answer.status(), 200, "{}: {}", provider.name(), answer.text());
            assert_eq!(google.count(rpc), 2, "{}", provider.name());
        }
    }
}

#[test]
fn a_days_quota_that_is_used_up_is_remembered_for_its_model() {
    let google = Provider::GeminiApi.emulator();
    google.add_rules(json!({"error": "quota_per_day", "times": 0}));
    let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google).start();
    for _ in 0..3 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!((answer.status(), &*answer.reason()), (429, ""), "{}", answer.text());
        assert_eq!(answer.error()["status"], "RESOURCE_EXHAUSTED");
    }
    assert_eq!(google.count("generateContent"), 1, "the others are answered from memory");
    google.clear_rules();
    let other = proxy.post("/v1beta/models/gemini-2.5-pro:generateContent", HELLO);
    assert_eq!(other.status(), 200, "{}", other.text());
    // A client may insist.
    let insist = code_assist_harness::post(GENERATE, &["Cache-Control: no-cache"], HELLO);
    assert_eq!(proxy.send(insist).status(), 200);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "it has been seen to work again");
}

/// A proxy in front of Vertex AI whose credential is a login with a refresh token.
fn with_login(google: &GoogleEmulator) -> ProxyBuilder {
    ProxyBuilder::for_provider(Provider::Vertex, google)
        .env("VERTEX_CREDENTIALS", emulator::authorized_user_json(&google.url()))
}

#[test]
fn a_revoked_token_of_vertex_ai_is_replaced_once_and_the_request_is_replayed() {
    let google = Provider::Vertex.emulator();
    let proxy = with_login(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(google.count("token"), 1);
    google.set_state(json!({"expire_tokens": true}));
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!((google.count("token"), google.count("generateContent")), (2, 3));
    // A token that is refused when it is new is not replaced again and again.
    google.add_rules(
        json!({"match": {"rpc": "generateContent"}, "error": "token_expired", "times": 0}),
    );
    let before = (google.count("token"), google.count("generateContent"));
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(
        answer.status_and_reason(),
        (503, "CREDENTIALS_REJECTED".into()),
        "{}",
        answer.text()
    );
    let after = (google.count("token"), google.count("generateContent"));
    assert!(after.0 <= before.0 + 1 && after.1 <= before.1 + 2, "{before:?}, {after:?}");
}

#[test]
fn a_token_of_vertex_ai_serves_many_requests_and_two_at_once_share_a_refresh() {
    let google = Provider::Vertex.emulator();
    google.set_state(json!({"token_delay_ms": 200}));
    let proxy = with_login(&google).start();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(proxy.post(GENERATE, HELLO).status(), 200));
        }
    });
    assert_eq!((google.count("token"), google.count("generateContent")), (1, 6));
}

#[test]
fn a_broken_connection_is_reported_within_the_stream_at_every_provider() {
    for provider in Provider::ALL {
        let event = provider.answer(r#"{"candidates":[{"content":{"parts":[{"text":"some"}]}}]}"#);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            connection.begin_stream();
            connection.chunk(format!("data: {event}\r\n\r\n"));
            thread::sleep(Duration::from_millis(50));
            connection.close();
        });
        let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
        let answer = proxy.post(STREAM, HELLO);
        let text = answer.text();
        assert!(text.contains("some") && text.contains("UPSTREAM_DISCONNECTED"), "{text}");
        assert_eq!(upstream.received().len(), 1, "{}", provider.name());
        assert_eq!(proxy.await_request_lines(1)[0]["outcome"], "cut", "{}", provider.name());
    }
}

#[test]
fn a_slow_answer_is_a_504_at_every_provider() {
    for provider in Provider::ALL {
        let answer = provider.answer(WHOLE);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            connection.is_closed_within(Duration::from_secs(5));
            connection.write(code_assist_harness::samples::ok(&answer));
        });
        let proxy = ProxyBuilder::for_scripted(provider, &upstream)
            .env("FIRST_BYTE_TIMEOUT_MS", "300")
            .start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
        assert_eq!(upstream.received().len(), 1, "{}", provider.name());
    }
}
