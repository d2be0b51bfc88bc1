//! The models that a key may use.

use code_assist_testkit::client::{get, post};
use code_assist_testkit::script::Reply;
use serde_json::{Value, json};

use crate::{Fixture, HELLO, refused, status_and_reason, table};

fn fixture(upstreams: &str) -> Fixture {
    let ada = table("ada", json!({"models": ["gemini-2.5-*"]}));
    Fixture::new(upstreams, &[ada, table("bob", json!({}))])
}

#[test]
fn a_model_that_is_not_allowed_is_refused_before_google_is_asked_in_every_method() {
    for upstream in ["code-assist", "gemini-api", "vertex"] {
        let fixture = fixture(upstream);
        for method in ["generateContent", "streamGenerateContent", "countTokens"] {
            let path = |model: &str| format!("/v1beta/models/{model}:{method}");
            let before = fixture.sent();
            let answer = fixture.ask("ada", post(&path("gemini-3-pro"), HELLO));
            assert_eq!(status_and_reason(&answer), refused(), "{upstream} {method}");
            assert!(answer.text().contains("gemini-3-pro"), "{}", answer.text());
            assert_eq!(fixture.sent(), before, "{upstream} {method}");
            let unread = fixture.ask("ada", post(&path("gemini-3-pro"), "{"));
            assert_eq!(status_and_reason(&unread), refused(), "the body is not read");
            for (id, model) in
                [("ada", "gemini-2.5-pro"), ("bob", "gemini-3-pro"), ("plain", "gemini-3-pro")]
            {
                let answer = fixture.ask(id, post(&path(model), HELLO));
                assert_eq!(answer.status.as_u16(), 200, "{upstream} {id} {}", answer.text());
            }
        }
    }
}

#[test]
fn the_name_that_upstream_knows_decides_and_not_the_clients() {
    let ada = table("ada", json!({"models": ["gemini-2.5-*"]}));
    let aliases = ("MODEL_ALIASES", "fast=gemini-2.5-flash,gemini-2.5-best=gemini-3-pro");
    let fixture = Fixture::with(&[aliases], &[ada], |_| None);
    let ask = |model: &str| {
        fixture.ask("ada", post(&format!("/v1beta/models/{model}:generateContent"), HELLO))
    };
    assert_eq!(ask("fast").status.as_u16(), 200);
    assert_eq!(ask("models/gemini-2.5-pro").status.as_u16(), 200);
    let answer = ask("gemini-2.5-best");
    assert_eq!(status_and_reason(&answer), refused());
    assert!(answer.text().contains("gemini-3-pro"), "{}", answer.text());
}

#[test]
fn the_other_dialects_refuse_the_model_too() {
    let fixture = fixture("code-assist");
    let body = |model: &str| {
        format!(
            r#"{{"model":"{model}","max_tokens":9,"messages":[{{"role":"user","content":"Hello"}}]}}"#
        )
    };
    let input = |model: &str| format!(r#"{{"model":"{model}","input":"Hello"}}"#);
    let before = fixture.sent();
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"] {
        let answer = fixture.ask("ada", post(path, &body("gemini-3-pro")));
        assert_eq!(answer.status.as_u16(), 403, "{path} {}", answer.text());
        assert!(answer.text().contains("may not use the model"), "{}", answer.text());
    }
    for path in ["/v1/responses", "/v1/responses/input_tokens"] {
        let answer = fixture.ask("ada", post(path, &input("gemini-3-pro")));
        assert_eq!(answer.status.as_u16(), 403, "{path} {}", answer.text());
    }
    assert_eq!(fixture.sent(), before);
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/messages/count_tokens"] {
        let answer = fixture.ask("ada", post(path, &body("gemini-2.5-pro")));
        assert_eq!(answer.status.as_u16(), 200, "{path} {}", answer.text());
    }
}

#[test]
fn embeddings_need_an_allowed_model() {
    let ada = table("ada", json!({"models": ["good-*"]}));
    let fixture = Fixture::new("gemini-api", &[ada]);
    let embed = |model: &str| post(&format!("/v1beta/models/{model}:embedContent"), "{}");
    let batch = |model: &str| {
        post(&format!("/v1beta/models/{model}:batchEmbedContents"), r#"{"requests":[]}"#)
    };
    let openai = |model: &str| {
        post("/v1/embeddings", &format!(r#"{{"model":"{model}","input":["Hello"]}}"#))
    };
    let before = fixture.sent();
    for request in [embed("bad-embedding"), batch("bad-embedding"), openai("bad-embedding")] {
        assert_eq!(fixture.ask("ada", request).status.as_u16(), 403);
    }
    assert_eq!(fixture.sent(), before);
    for request in [embed("good-embedding"), batch("good-embedding"), openai("good-embedding")] {
        let answer = fixture.ask("ada", request);
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    }
}

#[test]
fn lists_of_models_have_only_those_that_are_allowed() {
    let names = |answer: &str, list: &str, name: &str| -> Vec<String> {
        let page: Value = serde_json::from_str(answer).unwrap();
        let entries = page[list].as_array().unwrap_or_else(|| panic!("{page}"));
        entries.iter().map(|entry| entry[name].as_str().unwrap().to_owned()).collect()
    };
    for upstream in ["code-assist", "gemini-api"] {
        let fixture = fixture(upstream);
        for (path, list, name) in [
            ("/v1beta/models?pageSize=1000", "models", "name"),
            ("/v1/models?limit=100", "data", "id"),
        ] {
            let request = || match list {
                "data" => {
                    code_assist_testkit::client::with(get(path), "anthropic-version", "2023-06-01")
                }
                _ => get(path),
            };
            let all = names(&fixture.ask("bob", request()).text(), list, name);
            let some = names(&fixture.ask("ada", request()).text(), list, name);
            assert!(all.iter().any(|it| it.contains("gemini-3")), "{upstream} {all:?}");
            assert!(!some.is_empty(), "{upstream} {path}");
            assert!(some.iter().all(|it| it.contains("gemini-2.5-")), "{upstream} {some:?}");
        }
    }
    let fixture = fixture("gemini-api");
    let page = fixture.ask("ada", get("/v1beta/models?pageSize=2&key=hush")).text();
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(
        page["models"],
        json!([{"name": "models/gemini-2.5-pro", "supportedGenerationMethods": ["generateContent"]}])
    );
    assert_eq!(page["nextPageToken"], "t");
    let sent = fixture.script.all_received();
    assert!(sent.last().unwrap().line.ends_with("/v1beta/models?pageSize=2"), "{sent:?}");
}

#[test]
fn one_model_that_is_not_allowed_is_refused_too() {
    for upstream in ["code-assist", "gemini-api"] {
        let fixture = fixture(upstream);
        let answer = fixture.ask("ada", get("/v1beta/models/gemini-3-pro"));
        assert_eq!(status_and_reason(&answer), refused(), "{upstream} {}", answer.text());
    }
    let fixture = fixture("code-assist");
    let answer = fixture.ask("ada", get("/v1beta/models/gemini-2.5-pro"));
    assert_eq!(answer.status.as_u16(), 200);
    let openai = code_assist_testkit::client::with(
        get("/v1/models/gemini-3-pro-preview"),
        "anthropic-version",
        "2023-06-01",
    );
    let answer = fixture.ask("ada", openai);
    assert_eq!(answer.status.as_u16(), 403, "{}", answer.text());
}

#[test]
fn an_upstream_whose_stand_in_model_is_not_allowed_is_skipped() {
    let ask = |models: Value| {
        let ada = table("ada", json!({ "models": models }));
        let more = [
            ("UPSTREAMS", "code-assist,gemini-api,vertex"),
            ("FAILOVER", "on"),
            ("FAILOVER_MODELS", "gemini-2.5-pro@gemini-api=gemini-3-pro"),
            ("MAX_RETRY_ATTEMPTS", "0"),
        ];
        let fixture = Fixture::with(&more, &[ada], |request| {
            let fails = request.line.contains("127.0.0.1") && request.line.contains(":generate");
            fails.then(|| {
                Reply::status(503, r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}"#)
            })
        });
        let answer =
            fixture.ask("ada", post("/v1beta/models/gemini-2.5-pro:generateContent", HELLO));
        (answer.status.as_u16(), answer.header("x-proxy-upstream").to_owned())
    };
    assert_eq!(ask(json!(["*"])), (200, "gemini-api".to_owned()));
    assert_eq!(ask(json!(["gemini-2.5-*"])), (200, "vertex".to_owned()));
}
