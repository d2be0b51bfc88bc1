//! Equal requests and the answers that they may share.

use std::time::Duration;

use code_assist_testkit::client::{all, ask, post};
use code_assist_testkit::script::Reply;
use http::Request;

use crate::fixture::{Fixture, at, quota};

fn repeatable() -> Request<code_assist_core::Payload> {
    at_version("v1beta")
}

fn at_version(version: &str) -> Request<code_assist_core::Payload> {
    post(
        &format!("/{version}/models/gemini-2.5-flash:generateContent"),
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"temperature":0}}"#,
    )
}

#[test]
fn an_answer_is_not_given_to_a_request_that_names_another_upstream() {
    let fixture = Fixture::new(&["gemini-api", "second"]);
    assert_eq!(fixture.ask(repeatable()).header("x-cache"), "MISS");
    let hit = fixture.ask(repeatable());
    assert_eq!((hit.header("x-cache"), hit.header("x-proxy-upstream")), ("HIT", "gemini-api"));
    let pinned = fixture.ask(at(repeatable(), "second"));
    assert_eq!((pinned.header("x-cache"), pinned.header("x-proxy-upstream")), ("MISS", "second"));
    let pinned = fixture.ask(at(repeatable(), "second"));
    assert_eq!((pinned.header("x-cache"), pinned.header("x-proxy-upstream")), ("HIT", "second"));
}

#[test]
fn answers_that_are_copied_are_shared_among_requests_of_one_path_only() {
    let fixture = Fixture::new(&["gemini-api", "second"]);
    fixture.ask(repeatable());
    assert_eq!(fixture.ask(at_version("v1")).header("x-cache"), "MISS");
    assert_eq!(fixture.ask(at_version("v1")).header("x-cache"), "HIT");
    let fixture = Fixture::new(&["code-assist"]);
    fixture.ask(repeatable());
    assert_eq!(fixture.ask(at_version("v1")).header("x-cache"), "HIT");
}

#[test]
fn an_answer_after_a_failover_is_shared_in_flight_and_not_kept() {
    let fixture = Fixture::new(&["gemini-api", "second"]);
    fixture.answers("gemini-api", quota());
    let text = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#;
    fixture.answers("second", Reply::ok(text).after(Duration::from_secs(1)));
    let asking = |_| ask(&fixture.proxy, &fixture.script, repeatable());
    let answers = fixture.script.run(&fixture.proxy, all((0..3).map(asking).collect()));
    for answer in &answers {
        assert_eq!(answer.header("x-proxy-upstream"), "second");
        assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=QUOTA_EXHAUSTED");
    }
    let shared = answers.iter().filter(|it| it.header("x-cache") == "COALESCED").count();
    assert_eq!((shared, fixture.calls("second")), (2, 1));
    fixture.wait(5);
    assert_eq!(fixture.ask(repeatable()).header("x-cache"), "MISS");
    assert_eq!(fixture.calls("second"), 2);
}
