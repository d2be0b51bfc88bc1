//! Streamed answers.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::Platform as _;
use code_assist_testkit::client::post;
use code_assist_testkit::google::{event, google, google_but, last_event, sse};
use code_assist_testkit::script::{Piece, Received, Reply, ScriptedPlatform};

use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM, run, signed_in};

#[test]
fn a_stream_is_reframed_event_by_event() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(answer.header("x-cloudaicompanion-trace-id"), "t1");
    assert_eq!(answer.pieces.len(), 2);
    assert_eq!(
        answer.text(),
        concat!(
            r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]}}],"responseId":"r1"}"#,
            "\r\n\r\n",
            r#"data: {"candidates":[{"content":{"role":"model","parts":[{"text":"lo"}]},"finishReason":"STOP"}],"responseId":"r1"}"#,
            "\r\n\r\n",
        )
    );
}

#[test]
fn without_alt_a_stream_is_a_json_array() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(ARRAY, HELLO));
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(answer.pieces.len(), 3);
    let text = answer.text();
    assert!(text.starts_with("[{\"candidates\"") && text.ends_with("}\n]"), "{text}");
    assert!(text.contains("}\n,\r\n{"));
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&text).unwrap().len(), 2);
}

#[test]
fn a_client_reads_the_same_stream_wherever_the_network_cuts_it() {
    let whole = format!(
        "data: {}\r\n\r\n: note\r\ndata:{}\r\n\r\ndata: {}",
        event("grüße 🦀"),
        event("two").replace(",\"traceId\"", ",\r\ndata: \"traceId\""),
        last_event("end")
    );
    let expected = {
        let script = ScriptedPlatform::new(with_stream(vec![whole.clone().into()]));
        let proxy = signed_in(&script, 3000);
        run(&script, &proxy, post(STREAM, HELLO)).text()
    };
    assert_eq!(expected.matches("data: ").count(), 3);
    for cut in 1..whole.len() {
        let (head, tail) = whole.as_bytes().split_at(cut);
        let pieces = vec![Bytes::copy_from_slice(head), Bytes::copy_from_slice(tail)];
        let script = ScriptedPlatform::new(with_stream(pieces));
        let proxy = signed_in(&script, 3000);
        assert_eq!(run(&script, &proxy, post(STREAM, HELLO)).text(), expected, "cut at {cut}");
    }
}

fn with_stream(pieces: Vec<Bytes>) -> impl FnMut(&Received) -> Reply + Send + 'static {
    google_but(move |request| {
        let data = pieces.iter().cloned().map(Piece::Data);
        request.is("?alt=sse").then(|| Reply::pieces(data))
    })
}

#[test]
fn an_error_before_the_first_event_is_an_http_error_with_upstreams_details() {
    let body = "[{\n  \"error\": {\n    \"code\": 429,\n    \"message\": \"slow down\",\n    \"status\": \"RESOURCE_EXHAUSTED\",\n    \"details\": [{\"@type\": \"type.googleapis.com/google.rpc.RetryInfo\", \"retryDelay\": \"12.5s\"}]\n  }\n}\n]\n";
    let script = ScriptedPlatform::new(google_but(move |request| {
        request.is("?alt=sse").then(|| Reply::status(429, body))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "13");
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert!(answer.text().starts_with('{'), "an object for SSE clients: {}", answer.text());
    assert!(answer.text().contains("\"retryDelay\": \"12.5s\""), "details byte for byte");
    let array = run(&script, &proxy, post(ARRAY, HELLO));
    assert!(array.text().starts_with('['), "an array for array clients");
    assert_eq!(array.status, 429);
}

#[test]
fn an_error_as_the_first_event_is_an_http_error_too() {
    let error = r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#;
    let script = ScriptedPlatform::new(google_but(move |request| {
        request.is("?alt=sse").then(|| sse(&[error]))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (503, error));
}

#[test]
fn an_error_in_a_success_has_the_status_of_its_name_number_or_text() {
    for (error, status, name) in [
        (r#"{"error":{"code":8,"status":"RESOURCE_EXHAUSTED"}}"#, 429, "RESOURCE_EXHAUSTED"),
        (r#"{"error":{"code":3,"message":"bad"}}"#, 400, "INVALID_ARGUMENT"),
        (r#"[{"error":{"code":7}}]"#, 403, "PERMISSION_DENIED"),
        (r#"{"error":{"code":"429","message":"m"}}"#, 429, "RESOURCE_EXHAUSTED"),
        (r#"{"error":{"status":"NOT_FOUND"}}"#, 404, "NOT_FOUND"),
        // Tried again, as any 503 is.
        (r#"{"error":{"code":14}}"#, 503, "UNAVAILABLE"),
        (r#""The model is overloaded.""#, 503, "UNAVAILABLE"),
        (r#"{"error":"overloaded"}"#, 503, "UNAVAILABLE"),
    ] {
        for path in [STREAM, ARRAY, GENERATE, COUNT] {
            let script = ScriptedPlatform::new(google_but(move |request| {
                let whole = request.is(":generateContent") || request.is(":countTokens");
                let whole = whole.then(|| Reply::ok(error));
                whole.or_else(|| request.is("?alt=sse").then(|| sse(&[error])))
            }));
            let proxy = signed_in(&script, 3000);
            let answer = run(&script, &proxy, post(path, HELLO));
            assert_eq!(answer.status.as_u16(), status, "{error} on {path}");
            let body: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
            let body = if path == ARRAY { &body[0] } else { &body };
            assert_eq!(
                (&body["error"]["code"], &body["error"]["status"]),
                (&status.into(), &name.into())
            );
        }
    }
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("?alt=sse").then(|| sse(&[r#""odd""#]))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (502, "UPSTREAM_MALFORMED"));
    assert!(answer.text().contains(r#"\"odd\""#), "{}", answer.text());
}

#[test]
fn a_stream_that_breaks_ends_with_an_error_in_both_framings() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("?alt=sse").then(|| {
            Reply::pieces([
                Piece::Data(format!("data: {}\r\n\r\ndata: {{\"resp", event("Hel")).into()),
                Piece::Break("reset".to_owned()),
            ])
        })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.pieces.len(), 3, "event, error event, bare error in a flush of its own");
    let (event, bare) = (&answer.pieces[1], &answer.pieces[2]);
    assert_eq!(&event[..], [b"data: ", &bare[..], b"\r\n\r\n"].concat());
    assert!(bare.starts_with(br#"{"error":{"code":502,"#));
    let array = run(&script, &proxy, post(ARRAY, HELLO)).text();
    let elements: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
    assert_eq!(elements[1]["error"]["details"][0]["reason"], "UPSTREAM_DISCONNECTED");
}

#[test]
fn an_error_inside_a_stream_is_passed_on_however_it_was_written() {
    let error = "{\n \"error\": {\"code\": 429, \"message\": \"enough\", \"status\": \"RESOURCE_EXHAUSTED\"}\n}\n";
    for late in [
        format!("data: {}\r\n\r\n", error.replace('\n', "")),
        error.to_owned(),
        format!("[{error}]\n"),
    ] {
        let body = format!("data: {}\r\n\r\n{late}", event("Hel"));
        let script = ScriptedPlatform::new(with_stream(vec![body.into()]));
        let proxy = signed_in(&script, 3000);
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!(answer.pieces.len(), 3, "{}", answer.text());
        assert!(answer.text().contains("enough"), "{}", answer.text());
        assert!(!answer.text().contains("\n \"error\""), "one line");
    }
}

#[test]
fn a_silent_stream_is_ended_after_the_idle_timeout_and_not_before() {
    let silent = |seconds| {
        let script = ScriptedPlatform::new(google_but(move |request| {
            request.is("?alt=sse").then(|| {
                Reply::pieces([
                    Piece::Data(format!("data: {}\r\n\r\n", event("Hel")).into()),
                    Piece::Silence(Duration::from_secs(seconds)),
                    Piece::Data(format!("data: {}\r\n\r\n", last_event("lo")).into()),
                ])
            })
        }));
        let proxy = signed_in(&script, 3000);
        run(&script, &proxy, post(STREAM, HELLO)).text()
    };
    assert!(!silent(299).contains("error"), "there is no total timeout on a live stream");
    assert!(silent(301).contains("UPSTREAM_TIMEOUT"));
}

#[test]
fn events_without_a_response_are_dropped() {
    let only_trace = r#"{"traceId":"t9","remainingCredits":[]}"#;
    for nothing in [only_trace, "{}", r#"{"response":{}}"#, r#"{"response":null}"#, "[DONE]"] {
        let script = ScriptedPlatform::new(google_but(move |request| {
            request
                .is("?alt=sse")
                .then(|| sse(&[nothing, &event("Hel"), nothing, &last_event("lo")]))
        }));
        let proxy = signed_in(&script, 3000);
        let text = run(&script, &proxy, post(STREAM, HELLO)).text();
        assert_eq!(text.matches("data: ").count(), 2, "{nothing}: {text}");
    }
}

#[test]
fn a_stream_without_an_event_for_the_client_is_asked_for_again_and_then_a_502() {
    let only_trace = r#"{"traceId":"t9","remainingCredits":[]}"#;
    let comments = || Reply::ok(": keep-alive\r\n\r\n: keep-alive\r\n\r\n");
    for nothing in [
        sse(&[]),
        Reply::ok(""),
        comments(),
        sse(&[only_trace]),
        sse(&["[DONE]"]),
        sse(&["{}"]),
        sse(&[r#"{"response":{}}"#]),
        sse(&[r#"{"response":{},"traceId":"t9"}"#]),
    ] {
        for (path, opening) in [(STREAM, "{\"error\""), (ARRAY, "[{\"error\"")] {
            let reply = nothing.clone();
            let script = ScriptedPlatform::new(google_but(move |request| {
                request.is("?alt=sse").then(|| reply.clone())
            }));
            let proxy = signed_in(&script, 3000);
            let answer = run(&script, &proxy, post(path, HELLO));
            assert_eq!(answer.status, 502, "{nothing:?}");
            assert_eq!(answer.reason(), "UPSTREAM_MALFORMED", "{nothing:?}");
            assert!(answer.text().starts_with(opening), "{}", answer.text());
            assert_eq!(script.received("?alt=sse").len(), 4, "{nothing:?}");
        }
        let mut calls = 0;
        let reply = nothing.clone();
        let script = ScriptedPlatform::new(google_but(move |request| {
            let first = request.is("?alt=sse") && std::mem::replace(&mut calls, 1) == 0;
            first.then(|| reply.clone())
        }));
        let proxy = signed_in(&script, 3000);
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!(answer.status, 200, "{nothing:?}");
        assert!(answer.text().contains("Hel"), "{}", answer.text());
    }
}

#[test]
fn events_without_the_wrapper_are_a_502_that_names_the_cause() {
    for (path, reply) in [(GENERATE, Reply::ok(UNWRAPPED)), (STREAM, sse(&[UNWRAPPED]))] {
        let script = ScriptedPlatform::new(google_but(move |request| {
            request.line.contains("enerateContent").then(|| reply.clone())
        }));
        let proxy = signed_in(&script, 3000);
        let answer = run(&script, &proxy, post(path, HELLO));
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (502, "UPSTREAM_MALFORMED"));
        assert!(answer.text().contains("CODE_ASSIST_ENDPOINT"), "{}", answer.text());
        let calls = script.all_received();
        let calls = calls.iter().filter(|call| call.line.contains("enerateContent"));
        assert_eq!(calls.count(), 1, "what was generated is not generated again");
    }
    let script = ScriptedPlatform::new(google_but(move |request| {
        request.is("?alt=sse").then(|| sse(&[&event("Hel"), UNWRAPPED]))
    }));
    let proxy = signed_in(&script, 3000);
    let text = run(&script, &proxy, post(STREAM, HELLO)).text();
    assert!(text.contains("Hel") && text.contains("UPSTREAM_MALFORMED"), "{text}");
}

const UNWRAPPED: &str =
    r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#;

#[test]
fn a_stream_of_comments_is_cut_off_when_the_time_for_the_first_byte_is_over() {
    let comment = || Piece::Data(": keep-alive\r\n\r\n".into());
    let second = Duration::from_secs(1);
    let slow = (0..1000).flat_map(|_| [comment(), Piece::Silence(second)]);
    let flood = (0..100_000).map(|_| comment()).chain([Piece::Silence(second * 1000)]);
    for reply in [Reply::pieces(slow.collect::<Vec<_>>()), Reply::pieces(flood.collect::<Vec<_>>())]
    {
        let script = ScriptedPlatform::new(google_but(move |request| {
            request.is("?alt=sse").then(|| reply.clone())
        }));
        let proxy = signed_in(&script, 3000);
        let before = script.now();
        let answer = run(&script, &proxy, post(STREAM, HELLO));
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (504, "UPSTREAM_TIMEOUT"));
        let took = script.now().since(before);
        assert!((300..301).contains(&took.as_secs()), "{took:?}");
        assert_eq!(script.received("?alt=sse").len(), 1);
    }
}

#[test]
fn a_client_that_goes_away_cancels_upstream() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 3000);
    script.run(&proxy, async {
        let response = proxy.handle(&script, post(STREAM, HELLO)).await;
        drop(response);
    });
    assert_eq!(script.cancelled(), 1);
    assert_eq!(proxy.metrics().in_flight(), 0);
}

#[test]
fn a_web_page_in_place_of_a_stream_is_a_502() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request
            .is("?alt=sse")
            .then(|| Reply::ok("<!doctype html>\n<p>Sign in to the hotel's network</p>\n"))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (502, "UPSTREAM_MALFORMED"));
}

#[test]
fn a_json_array_in_place_of_a_stream_is_read_as_a_stream() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("?alt=sse").then(|| Reply::ok(format!("[{}]\n", last_event("Hello"))))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("data: {\"candidates\""), "{}", answer.text());
}

#[test]
fn a_401_as_the_first_event_is_refreshed_and_replayed_like_any_other() {
    let script = ScriptedPlatform::new(google_but(|request| {
        let refused =
            request.is("?alt=sse") && request.headers["authorization"] == "Bearer ya29.old";
        let error = r#"{"error":{"code":401,"message":"old","status":"UNAUTHENTICATED"}}"#;
        refused.then(|| sse(&[error]))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(STREAM, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received("?alt=sse").len(), 2);
}
