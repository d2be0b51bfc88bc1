//! Streams on their way to the client.

use std::time::Duration;

use bytes::Bytes;
use code_assist_testkit::client::post;
use code_assist_testkit::script::{Piece, Reply};

use crate::{ARRAY, HELLO, STREAM, answering, run};

const FIRST: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"\u{2028}é\"}]},\"x\": 1.50}],\"usageMetadata\": {\"promptTokenCount\": 15}}\r\n\r\n";
const LAST: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"!\"}]},\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 13}}\r\n\r\n";
const ERROR: &str = "{\n  \"error\": {\n    \"code\": 503,\n    \"message\": \"This model is currently experiencing high demand.\",\n    \"status\": \"UNAVAILABLE\"\n  }\n}\n";

fn sse(pieces: Vec<Piece>) -> Reply {
    Reply::pieces(pieces).with_header("content-type", "text/event-stream")
}

fn data(text: impl AsRef<[u8]>) -> Piece {
    Piece::Data(Bytes::copy_from_slice(text.as_ref()))
}

#[test]
fn a_stream_arrives_byte_for_byte_wherever_it_is_cut() {
    let whole = format!(": note\r\n{FIRST}data: {{}}\n\n{LAST}");
    for cut in 0..=whole.len() {
        let (head, tail) = whole.as_bytes().split_at(cut);
        let pieces = vec![data(head), data(tail)];
        let (script, proxy) =
            answering(move || sse(pieces.clone()).with_header("content-disposition", "attachment"));
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!((answer.status.as_u16(), answer.text()), (200, whole.clone()), "cut at {cut}");
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert_eq!(answer.header("content-disposition"), "attachment");
        assert_eq!(answer.header("x-accel-buffering"), "no");
    }
}

#[test]
fn an_array_arrives_byte_for_byte_to_its_last_byte() {
    let whole = "[{\n  \"candidates\": [{\"content\": {\"parts\": [{\"text\": \"}]\\\"\"}]}}]\n}\n,\r\n{\"candidates\": [{\"finishReason\": \"STOP\"}]}\n]\n";
    for size in 1..=whole.len() {
        let (script, proxy) = answering(move || {
            Reply::pieces(whole.as_bytes().chunks(size).map(data))
                .with_header("content-type", "application/json; charset=UTF-8")
        });
        let answer = run(&script, &proxy, post(ARRAY, HELLO));
        assert_eq!(answer.text(), whole, "chunks of {size}");
        assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    }
}

#[test]
fn chunks_are_neither_split_nor_joined() {
    let (a, b) = FIRST.split_at(FIRST.len() / 2);
    let pieces = vec![data(a), data(format!("{b}{}", &LAST[..4])), data(&LAST[4..])];
    let (script, proxy) = answering(move || sse(pieces.clone()));
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    let lengths: Vec<usize> = answer.pieces.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [a.len(), b.len() + 4, LAST.len() - 4]);
}

#[test]
fn an_error_in_place_of_the_first_event_is_an_http_error_and_may_be_retried() {
    for (path, text, kind) in [
        (STREAM, ERROR.to_owned(), "text/event-stream"),
        (STREAM, format!("data: {}\r\n\r\n", ERROR.replace('\n', "")), "text/event-stream"),
        (ARRAY, ERROR.to_owned(), "application/json"),
        (ARRAY, format!("[{ERROR}]"), "application/json"),
    ] {
        for size in [1, 7, 10_000] {
            let text = text.clone();
            let (script, proxy) = answering(move || {
                Reply::pieces(text.as_bytes().chunks(size).map(data))
                    .with_header("content-type", kind)
            });
            let answer = run(&script, &proxy, post(path, HELLO));
            assert_eq!(answer.status, 503, "{path} {kind} {size}: {}", answer.text());
            assert!(answer.text().contains("high demand"));
            assert_eq!(script.all_received().len(), 3, "two retries");
        }
    }
}

#[test]
fn a_stream_of_nothing_is_a_502() {
    for text in ["", ": note\r\n\r\n", "data: {}\r\n\r\ndata: {}\r\n\r\n", "data: [DONE]\n\n"] {
        let (script, proxy) = answering(move || sse(vec![data(text)]));
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!(
            (answer.status.as_u16(), &*answer.reason()),
            (502, "UPSTREAM_MALFORMED"),
            "{text}"
        );
    }
    for text in ["", "[]", "[{}]", "\n", "no JSON"] {
        let (script, proxy) = answering(move || Reply::ok(text));
        let answer = run(&script, &proxy, post(ARRAY, HELLO));
        assert_eq!(answer.status, 502, "{text}");
    }
    let (script, proxy) =
        answering(|| Reply::ok("<html>").with_header("content-type", "text/html"));
    assert_eq!(run(&script, &proxy, post(STREAM, HELLO)).status, 502);
}

#[test]
fn a_bare_error_behind_the_last_event_is_passed_on_and_counted_as_an_error() {
    // With a finish reason before it, only the error tells that the stream has failed.
    let whole = format!("{FIRST}{LAST}{ERROR}");
    for cut in FIRST.len() + LAST.len()..=whole.len() {
        let (head, tail) = whole.as_bytes().split_at(cut);
        let pieces = vec![data(head), data(tail)];
        let (script, proxy) = answering(move || sse(pieces.clone()));
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!((answer.status.as_u16(), answer.text()), (200, whole.clone()), "cut at {cut}");
        assert_eq!(script.all_received().len(), 1, "no retry after the first byte");
        assert!(cut_streams(&script, &proxy).contains(&"cut".to_owned()), "cut at {cut}");
    }
}

#[test]
fn an_error_in_the_chunk_of_the_first_event_is_passed_on_and_the_request_is_not_repeated() {
    let event = r#"{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}"#;
    for (path, whole, kind) in [
        (STREAM, format!("{FIRST}{ERROR}"), "text/event-stream"),
        (ARRAY, format!("[{event}\n,\r\n{ERROR}]"), "application/json"),
        (ARRAY, format!("[{event}\n{ERROR}"), "application/json"),
    ] {
        let sent = whole.clone();
        let (script, proxy) =
            answering(move || Reply::pieces(vec![data(&sent)]).with_header("content-type", kind));
        let answer = run(&script, &proxy, post(path, HELLO));
        assert_eq!((answer.status.as_u16(), answer.text()), (200, whole), "{path}");
        assert_eq!(script.all_received().len(), 1, "{path}");
    }
}

#[test]
fn a_stream_without_an_end_counts_as_cut_and_nothing_is_invented() {
    let (script, proxy) = answering(|| sse(vec![data(FIRST)]));
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.text(), FIRST);
    assert!(cut_streams(&script, &proxy).contains(&"cut".to_owned()));
    let (script, proxy) = answering(|| sse(vec![data(FIRST), data(LAST)]));
    run(&script, &proxy, post(STREAM, HELLO));
    assert!(!cut_streams(&script, &proxy).contains(&"cut".to_owned()));
}

/// The outcomes that the metrics have counted.
fn cut_streams(
    script: &code_assist_testkit::script::ScriptedPlatform,
    proxy: &code_assist_core::Proxy,
) -> Vec<String> {
    let metrics = run(script, proxy, code_assist_testkit::client::get("/metrics")).text();
    let counted =
        metrics.lines().filter(|line| line.contains("streams_cut") && !line.ends_with(" 0"));
    counted.filter(|line| !line.starts_with('#')).map(|_| "cut".to_owned()).collect()
}

#[test]
fn a_break_between_two_events_becomes_an_error_and_one_within_an_event_a_break() {
    for cut in 0..=LAST.len() {
        let pieces = vec![data(FIRST), data(&LAST[..cut]), Piece::Break("reset".to_owned())];
        let (script, proxy) = answering(move || sse(pieces.clone()));
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        let begun = format!("{FIRST}{}", &LAST[..cut]);
        assert!(answer.text().starts_with(&begun), "cut at {cut}");
        let added = &answer.text()[begun.len()..];
        // Behind the CR of the blank line, the event is complete too.
        let between = cut == 0 || cut >= LAST.len() - 1;
        assert_eq!(added.contains("UPSTREAM_DISCONNECTED"), between, "cut at {cut}: {added}");
        assert_eq!(script.all_received().len(), 1);
    }
}

#[test]
fn a_broken_array_is_valid_json_if_it_broke_between_two_elements() {
    let element = r#"{"candidates":[{"content":{}}]}"#;
    for tail in ["", "\n,\r\n", "\n"] {
        let pieces = vec![data(format!("[{element}{tail}")), Piece::Break("reset".to_owned())];
        let (script, proxy) = answering(move || Reply::pieces(pieces.clone()));
        let answer = run(&script, &proxy, post(ARRAY, HELLO));
        let json: serde_json::Value = serde_json::from_str(&answer.text()).expect("valid JSON");
        assert_eq!(json[1]["error"]["details"][0]["reason"], "UPSTREAM_DISCONNECTED", "{tail:?}");
    }
}

#[test]
fn a_silent_stream_ends_with_an_error() {
    let silence = Piece::Silence(Duration::from_secs(100_000));
    let (script, proxy) = answering(move || sse(vec![data(FIRST), silence.clone(), data(LAST)]));
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert!(answer.text().starts_with(FIRST) && answer.text().contains("UPSTREAM_TIMEOUT"));
    assert_eq!(script.cancelled(), 1, "the call is cancelled");
}
