//! The upstreams of a key, in its own order.

use code_assist_testkit::client::{get, post, with};
use code_assist_testkit::script::Reply;
use serde_json::json;

use crate::{Fixture, HELLO, status_and_reason, table};

const ALL: (&str, &str) = ("UPSTREAMS", "code-assist,gemini-api,vertex");
const GENERATE: &str = "/v1beta/models/gemini-2.5-pro:generateContent";

fn tables() -> Vec<serde_json::Value> {
    vec![
        table("ada", json!({"upstreams": ["vertex", "gemini-api"]})),
        table("bob", json!({})),
        table("eve", json!({"upstreams": ["gemini-api"]})),
    ]
}

#[test]
fn each_key_begins_with_the_first_of_its_own_upstreams() {
    let fixture = Fixture::with(&[ALL], &tables(), |_| None);
    for (id, upstream) in
        [("ada", "vertex"), ("bob", "code-assist"), ("eve", "gemini-api"), ("plain", "code-assist")]
    {
        let answer = fixture.ask(id, post(GENERATE, HELLO));
        assert_eq!(answer.header("x-proxy-upstream"), upstream, "{id} {}", answer.text());
    }
    let list = fixture.ask("eve", get("/v1beta/models")).text();
    assert!(list.contains("\"nextPageToken\":\"t\""), "the list of the Gemini API: {list}");
    let copied = fixture.ask("ada", get("/v1beta/files"));
    assert_eq!(copied.header("x-proxy-upstream"), "gemini-api");
}

#[test]
fn a_key_cannot_name_an_upstream_that_its_table_does_not() {
    let fixture = Fixture::with(&[ALL], &tables(), |_| None);
    for (id, name, is_allowed) in [
        ("ada", "gemini-api", true),
        ("ada", "code-assist", false),
        ("eve", "vertex", false),
        ("bob", "vertex", true),
    ] {
        let answer = fixture.ask(id, with(post(GENERATE, HELLO), "x-proxy-upstream", name));
        match is_allowed {
            true => assert_eq!(answer.header("x-proxy-upstream"), name),
            false => {
                let expected = (400, "UNKNOWN_UPSTREAM".to_owned());
                assert_eq!(status_and_reason(&answer), expected, "{id} {name}");
            }
        }
    }
    let passed = r#"{"model":"gemini-2.5-pro","request":{"contents":[]}}"#;
    let answer = fixture.ask("eve", post("/v1internal:generateContent", passed));
    assert_eq!(answer.status.as_u16(), 404, "{}", answer.text());
}

#[test]
fn a_failed_request_stays_among_the_upstreams_of_its_key() {
    let more = [ALL, ("FAILOVER", "on"), ("MAX_RETRY_ATTEMPTS", "0")];
    let fixture = Fixture::with(&more, &tables(), |request| {
        let fails =
            request.line.contains("vertex.test") || request.line.contains("gemini-api.test");
        fails.then(|| {
            Reply::status(503, r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}"#)
        })
    });
    let answer = fixture.ask("ada", post(GENERATE, HELLO));
    assert_eq!(answer.status.as_u16(), 503);
    let tried = answer.header("x-proxy-tried");
    assert!(tried.starts_with("vertex;") && tried.contains("gemini-api;"), "{tried}");
    assert!(!tried.contains("code-assist"), "{tried}");
    assert!(
        fixture.script.received(":generateContent").iter().all(|it| it.line.contains(".test/"))
    );
}
