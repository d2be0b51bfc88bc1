//! What is counted of answers that are copied from the Gemini API.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use code_assist_core::WebSocketRequest;
use code_assist_testkit::client::{get, with};
use code_assist_testkit::script::{Piece, Reply};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::Body as _;
use serde_json::json;

use crate::fixture::{Fixture, GENERATE, HELLO, STREAM, key, post_as};

const INTERACTION: &str = r#"{"id":"v1_x","model":"gemini-3-pro","status":"completed","usage":{"total_tokens":30,"total_input_tokens":7,"total_output_tokens":20,"total_thought_tokens":3}}"#;

fn keys() -> [serde_json::Value; 1] {
    [key("ada", json!({"tokens_per_day": 25}))]
}

#[test]
fn the_usage_of_an_interaction_is_read_as_it_passes_packed_or_not() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(INTERACTION.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for is_packed in [false, true] {
        let packed = packed.clone();
        let fixture = Fixture::gemini(&keys(), move |_| {
            if !is_packed {
                return Reply::ok(INTERACTION);
            }
            let halves = packed.chunks(packed.len() / 2).map(|it| Piece::Data(it.to_vec().into()));
            Reply::pieces(halves).with_header("content-encoding", "gzip")
        });
        let ask = || {
            let body = r#"{"model":"gemini-3-pro","input":"Hi"}"#;
            fixture.ask(post_as("ada", "/v1beta/interactions", body))
        };
        assert_eq!(ask().status, 200);
        let row = fixture.usage("ada").remove(0);
        assert_eq!((&*row.model, row.requests), ("gemini-3-pro", 1), "packed: {is_packed}");
        let charge = row.charge;
        let kinds = (charge.prompt_tokens, charge.output_tokens, charge.thought_tokens);
        assert_eq!(kinds, (7, 20, 3), "packed: {is_packed}");
        assert_eq!(ask().reason(), "BUDGET_EXHAUSTED");
        let mut again = get("/v1beta/interactions/v1_x");
        again.headers_mut().clone_from(post_as("ada", "/", "").headers());
        assert_eq!(fixture.ask(again).status, 200, "to read it again is free");
        assert_eq!(fixture.used("ada"), (30, 1));
    }
}

#[test]
fn calls_and_streams_are_counted_and_files_are_free() {
    let event = |output: u64| {
        let event = format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"x\"}}]}}}}],\"usageMetadata\":{{\"promptTokenCount\":1,\"candidatesTokenCount\":{output}}}}}\r\n\r\n"
        );
        Piece::Data(event.into())
    };
    let fixture = Fixture::gemini(&[key("ada", json!({"tokens_per_day": 1000}))], move |request| {
        if request.line.contains(":streamGenerateContent") {
            return Reply::pieces([
                event(1),
                event(5),
                Piece::Silence(Duration::from_secs(1)),
                event(9),
            ])
            .with_header("content-type", "text/event-stream");
        }
        Reply::ok(
            r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3}}"#,
        )
    });
    assert_eq!(fixture.ask(post_as("ada", GENERATE, HELLO)).status, 200);
    assert_eq!(fixture.used("ada"), (5, 1));
    assert_eq!(fixture.ask(post_as("ada", STREAM, HELLO)).status, 200);
    assert_eq!(fixture.used("ada"), (15, 2));
    let request = post_as("ada", STREAM, HELLO);
    let response = fixture.run(fixture.proxy.handle(&fixture.script, request));
    let mut body = response.into_body();
    let first = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
    drop(body);
    assert_eq!(fixture.used("ada"), (21, 3), "with what was delivered and not taken");
    assert_eq!(fixture.ask(post_as("ada", "/upload/v1beta/files", "{}")).status, 200);
    assert_eq!(fixture.used("ada"), (21, 3));
}

#[test]
fn calls_of_a_tuned_model_and_of_an_odd_name_count_as_those_of_other_models() {
    for path in ["/v1beta/tunedModels/mine:generateContent", "/v1beta/models/a%22b:generateContent"]
    {
        let fixture = Fixture::gemini(&keys(), |_| {
            Reply::ok(r#"{"usageMetadata":{"promptTokenCount":20,"candidatesTokenCount":5}}"#)
        });
        assert_eq!(fixture.ask(post_as("ada", path, HELLO)).status, 200);
        assert_eq!(fixture.used("ada"), (25, 1), "{path}");
        assert_eq!(&*fixture.usage("ada")[0].model, "other");
        assert_eq!(fixture.ask(post_as("ada", path, HELLO)).reason(), "BUDGET_EXHAUSTED");
        let counting = path.replace("generateContent", "countTokens");
        assert_eq!(fixture.ask(post_as("ada", &counting, HELLO)).status, 200);
        let sharing = "/v1beta/tunedModels/mine:transferOwnership";
        assert_eq!(fixture.ask(post_as("ada", sharing, "{}")).status, 200);
        assert_eq!(fixture.used("ada"), (25, 1), "{path}");
    }
}

#[test]
fn a_websocket_is_charged_by_its_bytes() {
    let fixture = Fixture::gemini(&keys(), |_| Reply::status(101, ""));
    let socket = || {
        let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
        let mut request = with(get(path), "connection", "Upgrade");
        let key = post_as("ada", "/", "").headers()["x-goog-api-key"].clone();
        request.headers_mut().insert("x-goog-api-key", key);
        request.extensions_mut().insert(WebSocketRequest);
        fixture.run(fixture.proxy.handle(&fixture.script, request))
    };
    let response = socket();
    assert_eq!(response.status(), 101);
    let mut body = response.into_body();
    body.upgrade_ended(400, 80, false);
    drop(body);
    let row = fixture.usage("ada").remove(0);
    assert_eq!((row.charge.prompt_tokens, row.charge.output_tokens), (100, 20));
    assert_eq!((&*row.model, row.requests), ("other", 1));
    assert_eq!(socket().status(), 429);
}

#[test]
fn embeddings_without_a_count_are_charged_by_their_texts() {
    let fixture = Fixture::gemini(&keys(), |_| {
        Reply::ok(r#"{"embeddings":[{"values":[0.125,0.25,0.5,0.0625,0.75]}]}"#)
    });
    let body = format!(r#"{{"model":"gemini-embedding-001","input":"{}"}}"#, "x".repeat(400));
    let answer = fixture.ask(post_as("ada", "/v1/embeddings", &body));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(fixture.used("ada"), (body.len() as u64 / 4, 1));
    assert_eq!(fixture.usage("ada")[0].charge.output_tokens, 0);
}
