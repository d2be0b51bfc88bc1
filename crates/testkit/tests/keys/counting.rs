//! What is counted: what upstream has counted, whatever becomes of the answer.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use code_assist_core::SendError;
use code_assist_testkit::client::{all, with};
use code_assist_testkit::script::{Piece, Reply};
use http_body::Body as _;
use serde_json::json;

use crate::fixture::{
    Fixture, GENERATE, HELLO, OUTPUT, PROMPT, STREAM, THOUGHTS, TOKENS, counted_event, in_order,
    key, metadata, post_as, whole_answer,
};

fn fixture(replies: Vec<Reply>) -> Fixture {
    let settings = [("RESPONSE_CACHE_TTL_MS", "60000"), ("DEDUP_WINDOW_MS", "1000")];
    Fixture::with(&[key("ada", json!({"tokens_per_day": 100_000}))], &settings, in_order(replies))
}

#[test]
fn a_stream_that_is_cut_is_charged_with_the_last_counts_before() {
    let cut = Piece::Break("cut".to_owned());
    let fixture =
        fixture(vec![Reply::pieces([counted_event(1, 0, ""), counted_event(7, 3, ""), cut])]);
    assert_eq!(fixture.ask(post_as("ada", STREAM, HELLO)).status, 200);
    assert_eq!(fixture.used("ada"), (PROMPT + 10, 1));
}

#[test]
fn streams_that_were_cut_teach_nothing_of_how_long_answers_are() {
    let cut = || Reply::pieces([counted_event(1, 0, ""), Piece::Break("cut".to_owned())]);
    let keys = [key("ada", json!({"tokens_per_day": 750}))];
    let fixture = Fixture::with(&keys, &[], in_order(vec![cut(), cut(), cut(), cut()]));
    for _ in 0..4 {
        assert_eq!(fixture.ask(post_as("ada", STREAM, HELLO)).status, 200);
    }
    // Two answers of 256 tokens fit, and three do not.
    let asking = |_| fixture.asking(post_as("ada", GENERATE, HELLO));
    let answers = fixture.run(all((0..3).map(asking).collect()));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(fixture.script.most_exchanges(), 2);
}

#[test]
fn a_stream_without_counts_is_charged_by_its_bytes() {
    let text = format!(
        "data: {{\"response\":{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{}\"}}]}}}}]}}}}\r\n\r\n",
        "x".repeat(4000)
    );
    let cut = Piece::Break("cut".to_owned());
    let fixture = fixture(vec![Reply::pieces([Piece::Data(text.into()), cut])]);
    assert_eq!(fixture.ask(post_as("ada", STREAM, HELLO)).status, 200);
    let row = fixture.usage("ada").remove(0);
    assert_eq!(row.charge.prompt_tokens, HELLO.len() as u64 / 4);
    assert!((1000..1300).contains(&row.charge.output_tokens), "{row:?}");
}

#[test]
fn a_client_that_leaves_is_charged_with_what_upstream_has_delivered() {
    for path in [STREAM, "/v1internal:streamGenerateContent?alt=sse"] {
        let fixture = fixture(vec![Reply::pieces([
            counted_event(1, 0, ""),
            counted_event(2, 0, ""),
            counted_event(20, 5, ""),
            Piece::Silence(Duration::from_secs(1)),
            counted_event(99, 9, ""),
        ])]);
        let body = r#"{"model":"gemini-2.5-flash","contents":[],"request":{"contents":[]}}"#;
        let request = post_as("ada", path, body);
        let response = fixture.run(fixture.proxy.handle(&fixture.script, request));
        let mut body = response.into_body();
        let mut cx = Context::from_waker(Waker::noop());
        let first = Pin::new(&mut body).poll_frame(&mut cx);
        assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
        drop(body);
        assert_eq!(fixture.used("ada"), (PROMPT + 25, 1), "{path}");
        assert_eq!(fixture.script.exchanges(), 0);
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_has_used_its_prompt() {
    let fixture = fixture(Vec::new());
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    let mut asking = fixture.asking(post_as("ada", GENERATE, HELLO));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(asking.as_mut().poll(&mut cx).is_pending());
    assert_eq!(fixture.script.exchanges(), 1);
    drop(asking);
    assert_eq!(fixture.used("ada"), (TOKENS + HELLO.len() as u64 / 4, 1));
}

#[test]
fn tries_that_fail_cost_nothing_unless_upstream_has_counted() {
    let unreachable = Reply::unreachable(SendError::Connect("refused".to_owned()));
    let fixture = fixture(vec![
        unreachable,
        Reply::status(503, r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"x"}}"#),
    ]);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    assert_eq!(fixture.used("ada"), (TOKENS, 1));
    // A writer of OpenAI's has nothing to say of an event with counts only, so that another try may follow.
    let event = |members: &str| Piece::Data(format!("data: {{{members}}}\r\n\r\n").into());
    let error = r#""error":{"code":503,"status":"UNAVAILABLE","message":"x"}"#;
    let counts = format!("\"response\":{{{}}}", metadata(5, 0));
    let fixture = self::fixture(vec![Reply::pieces([event(&counts), event(error)])]);
    let body =
        r#"{"model":"gemini-2.5-flash","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    let answer = fixture.ask(post_as("ada", "/v1/chat/completions", body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fixture.used("ada"), (PROMPT + 5 + TOKENS, 1));
}

#[test]
fn an_error_of_upstreams_costs_nothing_and_is_no_request() {
    let refused = || {
        Reply::status(400, r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"x"}}"#)
    };
    let fixture = fixture(vec![refused(), refused(), refused()]);
    for path in [GENERATE, STREAM, "/v1internal:generateContent"] {
        let body = r#"{"model":"gemini-2.5-flash","contents":[],"request":{}}"#;
        assert_eq!(fixture.ask(post_as("ada", path, body)).status, 400, "{path}");
    }
    assert!(fixture.usage("ada").is_empty());
}

#[test]
fn cached_and_coalesced_answers_are_requests_without_tokens() {
    let fixture = fixture(Vec::new());
    let body = r#"{"contents":[{"role":"user","parts":[{"text":"Hi"}]}],"generationConfig":{"temperature":0}}"#;
    let asking = || fixture.asking(post_as("ada", GENERATE, body));
    let answers = fixture.run(all((0..5).map(|_| asking()).collect()));
    assert!(answers.iter().all(|answer| answer.status == 200));
    let hit = fixture.ask(post_as("ada", GENERATE, body));
    assert_eq!(hit.header("x-cache"), "HIT");
    assert_eq!((fixture.counted(), fixture.used("ada")), (TOKENS, (TOKENS, 6)));
    let fresh = with(post_as("ada", GENERATE, body), "cache-control", "no-cache");
    assert_eq!(fixture.ask(fresh).status, 200);
    assert_eq!(fixture.used("ada"), (2 * TOKENS, 7));
}

#[test]
fn a_row_has_each_kind_of_token_and_their_cost() {
    let fixture = fixture(vec![whole_answer()]);
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    let row = fixture.usage("ada").remove(0);
    assert_eq!((&*row.key, &*row.model), ("ada", "gemini-2.5-flash"));
    let charge = row.charge;
    let kinds = (charge.prompt_tokens, charge.output_tokens, charge.thought_tokens);
    assert_eq!(kinds, (PROMPT, OUTPUT, THOUGHTS));
    assert_eq!(charge.cost.to_string(), "0.00019");
}

#[test]
fn the_counts_of_code_assists_own_protocol_are_read_as_they_pass() {
    let fixture = fixture(Vec::new());
    let body = r#"{"model":"gemini-2.5-flash","project":"p","request":{"contents":[]}}"#;
    for path in ["/v1internal:generateContent", "/v1internal:streamGenerateContent?alt=sse"] {
        assert_eq!(fixture.ask(post_as("ada", path, body)).status, 200);
    }
    assert_eq!(fixture.used("ada"), (fixture.counted(), 2));
    assert_eq!(&*fixture.usage("ada")[0].model, "gemini-2.5-flash");
}
