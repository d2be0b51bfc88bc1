//! Streams: when each event arrives, and that none is lost, split or merged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{
    GoogleEmulator, ProxyBuilder, ScriptedUpstream, UpstreamConnection, parse_events, post,
    proxy_error_reason,
};
use serde_json::{Value, json};

use crate::{ARRAY, GENERATE, HELLO, STREAM};

#[test]
fn events_300_ms_apart_arrive_300_ms_apart_in_both_framings() {
    for path in [STREAM, ARRAY] {
        let sent = Arc::<Mutex<Vec<Instant>>>::default();
        let times = Arc::clone(&sent);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            connection.begin_stream();
            for n in 0..4 {
                if n > 0 {
                    thread::sleep(Duration::from_millis(300));
                }
                times.lock().unwrap().push(Instant::now());
                connection.chunk(format!("data: {}\r\n\r\n", event(n)));
            }
            connection.end();
        });
        let proxy = ProxyBuilder::for_upstream(&upstream).start();
        let mut connection = proxy.connect();
        connection.write(post(path, &[], HELLO));
        let head = connection.head();
        assert_eq!(head.status, 200);
        let mut arrived = Vec::new();
        for n in 0..4 {
            connection.chunks_until(&bare(n));
            arrived.push(Instant::now());
        }
        let sent = sent.lock().unwrap();
        for n in 0..4 {
            let late = arrived[n].saturating_duration_since(sent[n]);
            assert!(late < Duration::from_millis(250), "{path}: event {n} took {late:?}");
            assert!(n == 3 || arrived[n] < sent[n + 1], "{path}: event {n} came with the next");
        }
    }
}

#[test]
fn the_json_array_begins_at_once_and_is_closed() {
    let (go, gate) = gated();
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {}\r\n\r\n", event(0)));
        gate();
        connection.chunk(format!("data: {}\r\n\r\n", event(1)));
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut connection = proxy.connect();
    connection.write(post(ARRAY, &[], HELLO));
    let head = connection.head();
    assert_eq!(head.header("content-type"), "application/json; charset=UTF-8");
    let first = connection.chunks_until(&bare(0));
    assert_eq!(first, format!("[{}", bare(0)), "the first element, bare and at once");
    go.send(()).unwrap();
    let rest = String::from_utf8(connection.body(&head)).unwrap();
    assert_eq!(rest, format!("\n,\r\n{}\n]", bare(1)));
}

#[test]
fn an_event_stream_has_the_framing_that_all_sdks_read() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for path in [STREAM, "/v1/models/gemini-2.5-flash:streamGenerateContent?%24alt=sse"] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_eq!(answer.header("x-accel-buffering"), "no");
        let events = answer.events();
        assert_eq!(text_of(&events), "You said: Hello");
        assert!(events.iter().all(|event| event.get("response").is_none()), "{events:?}");
        assert!(events.iter().all(|event| event["responseId"].is_string()), "{events:?}");
        assert!(!answer.header("x-cloudaicompanion-trace-id").is_empty());
    }
}

#[test]
fn a_stream_cut_at_every_byte_gives_the_same_events() {
    let whole = concat!(
        "data: {\"response\":{\"text\":\"a\u{e9}\u{1f600}\"},\"traceId\":\"t\"}\r\n\r\n",
        ": a remark\r\n",
        "data:{\"response\":\r\ndata: {\"text\":2}}\r\n\r\n",
        "data: {\"traceId\":\"only\"}\r\n\r\n",
        "data: {\"response\":{\"text\":3}}",
    );
    let wanted = concat!(
        "data: {\"text\":\"a\u{e9}\u{1f600}\",\"responseId\":\"t\"}\r\n\r\n",
        "data: {\"text\":2,\"responseId\":\"t\"}\r\n\r\n",
        "data: {\"text\":3,\"responseId\":\"only\"}\r\n\r\n",
    );
    for ending in ["\r\n", "\n", "\r"] {
        let whole = whole.replace("\r\n", ending);
        let length = whole.len();
        let at = Arc::new(AtomicUsize::new(0));
        let next = Arc::clone(&at);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            let cut = next.load(Ordering::SeqCst);
            connection.begin_stream();
            if cut == whole.len() {
                // In the last round every byte is a piece.
                whole.as_bytes().chunks(1).for_each(|byte| connection.chunk(byte));
            } else {
                let (first, rest) = whole.as_bytes().split_at(cut);
                if !first.is_empty() {
                    connection.chunk(first);
                    // Long enough for the proxy to read the first part alone.
                    thread::sleep(Duration::from_millis(2));
                }
                connection.chunk(rest);
            }
            connection.end();
        });
        let proxy = ProxyBuilder::for_upstream(&upstream).start();
        let mut connection = proxy.connect();
        for cut in 0..=length {
            at.store(cut, Ordering::SeqCst);
            let answer = connection.send(post(STREAM, &[], HELLO));
            assert_eq!(answer.text(), wanted, "{ending:?}, cut at {cut}");
        }
    }
}

#[test]
fn a_broken_connection_is_reported_as_an_event_and_as_bare_json_in_a_separate_flush() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {}\r\n\r\ndata: {{\"respon", event(0)));
        thread::sleep(Duration::from_millis(50));
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut connection = proxy.connect();
    connection.write(post(STREAM, &[], HELLO));
    assert_eq!(connection.head().status, 200);
    let mut pieces = Vec::new();
    while let Some(chunk) = connection.chunk() {
        pieces.push(String::from_utf8(chunk).unwrap());
    }
    let (bare_error, before) = pieces.split_last().unwrap();
    let before = before.concat();
    assert!(before.starts_with(&format!("data: {}\r\n\r\n", bare(0))), "{before}");
    let message = &parse_events(&before)[1..];
    assert_eq!(message.len(), 1, "{before}");
    assert_eq!(message[0]["error"]["code"], 502);
    assert_eq!(proxy_error_reason(&message[0]["error"]), "UPSTREAM_DISCONNECTED");
    assert_eq!(serde_json::from_str::<Value>(bare_error).unwrap(), message[0]);

    let answer = proxy.post(ARRAY, HELLO);
    assert_eq!(answer.body.last(), Some(&b']'));
    let elements = answer.json();
    assert_eq!(elements.as_array().unwrap().len(), 2, "{elements}");
    assert_eq!(proxy_error_reason(&elements[1]["error"]), "UPSTREAM_DISCONNECTED");
    let lines = proxy.await_request_lines(2);
    assert!(lines.iter().all(|line| line["outcome"] == "cut"), "{lines:?}");
}

#[test]
fn an_error_event_is_forwarded_and_ends_the_stream() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let error =
        r#"{"error":{"code":429,"message":"enough for today","status":"RESOURCE_EXHAUSTED"}}"#;
    google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "times": 2,
        "keep_events": 1, "append": [error, "{\"response\":{}}"]}));
    let answer = proxy.post(STREAM, HELLO);
    let text = answer.text();
    let (before, after) = text.split_once("data: {\"error\"").unwrap();
    assert_eq!(parse_events(before).len(), 1);
    assert!(after.contains("enough for today"), "{text}");
    assert!(text.ends_with(error), "the bare error comes last: {text}");
    let elements = proxy.post(ARRAY, HELLO).json();
    assert_eq!(elements[1]["error"]["message"], "enough for today", "{elements}");
    assert_eq!(elements.as_array().unwrap().len(), 2);
}

#[test]
fn a_stream_without_a_finish_reason_is_forwarded_and_counted_as_cut() {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "keep_events": 1}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.events().len(), 1, "nothing is invented: {}", answer.text());
    assert_eq!(proxy.await_request_lines(1)[0]["outcome"], "cut");
}

#[test]
fn a_stream_without_an_event_is_a_502() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0").start();
    let in_array = proxy.post(ARRAY, HELLO);
    assert_eq!((in_array.status(), &in_array.json()[0]["error"]["code"]), (502, &502.into()));
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()));
}

#[test]
fn a_compressed_stream_is_read_too() {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "chunk_size": 7,
        "line_ending": "cr", "data_prefix": "data:", "no_final_blank_line": true}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(text_of(&answer.events()), "You said: Hello");
    // The proxy does not accept gzip, so upstream must not send it.
    let record = &google.received("streamGenerateContent")[0];
    let accepted = record["headers"]["accept-encoding"].as_str().unwrap_or("identity");
    assert_eq!(accepted, "identity");
}

#[test]
fn a_client_that_disconnects_mid_stream_cancels_upstream_at_once() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"stream_events": 100, "stream_interval_ms": 100}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let mut connection = proxy.connect();
    let long = HELLO.replace("Hello", &"word ".repeat(300));
    connection.write(post(STREAM, &[], long));
    assert_eq!(connection.head().status, 200);
    connection.chunk().unwrap();
    drop(connection);
    let took =
        google.await_call("streamGenerateContent", |record| record["cancelled"] == json!(true));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(proxy.await_request_lines(1)[0]["outcome"], "client_gone");
}

#[test]
fn a_client_that_disconnects_before_the_head_cancels_upstream_at_once() {
    for path in [GENERATE, STREAM] {
        let (closed, is_closed) = channel();
        let closed = Mutex::new(closed);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            let _ =
                closed.lock().unwrap().send(connection.is_closed_within(Duration::from_secs(5)));
            connection.close();
        });
        let proxy = ProxyBuilder::for_upstream(&upstream).start();
        let mut connection = proxy.connect();
        connection.write(post(path, &[], HELLO));
        let started = Instant::now();
        while upstream.received().is_empty() {
            assert!(started.elapsed() < Duration::from_secs(5));
            thread::sleep(Duration::from_millis(2));
        }
        let started = Instant::now();
        drop(connection);
        assert!(
            is_closed.recv().unwrap(),
            "{path}: upstream continues after the client has disconnected"
        );
        assert!(started.elapsed() < Duration::from_secs(1), "{path}: {:?}", started.elapsed());
        assert_eq!(proxy.await_request_lines(1)[0]["outcome"], "client_gone");
    }
}

#[test]
fn a_stream_is_logged_when_it_has_ended() {
    let (go, gate) = gated();
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {}\r\n\r\n", event(0)));
        gate();
        connection
            .chunk("data: {\"response\":{\"candidates\":[{\"finishReason\":\"STOP\"}]}}\r\n\r\n");
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut connection = proxy.connect();
    connection.write(post(STREAM, &["x-request-id: mine-1"], HELLO));
    let head = connection.head();
    connection.chunk().unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(proxy.request_lines().is_empty(), "it has not ended yet");
    go.send(()).unwrap();
    connection.body(&head);
    let line = &proxy.await_request_lines(1)[0];
    assert_eq!(line["outcome"], "ok", "{line}");
    assert_eq!(line["request_id"], "mine-1");
    assert_eq!(line["model"], "gemini-2.5-flash");
    assert_eq!(line["status"], 200);
    assert_eq!(line["stream"], true);
    assert_eq!(line["bytes_in"], HELLO.len());
    assert!(line["duration_ms"].as_f64().unwrap() >= 300.0, "{line}");
    for name in ["timestamp", "cache_hit", "upstream_ms", "overhead_ms", "ttfb_ms", "bytes_out"] {
        assert!(!line[name].is_null(), "{name} is missing: {line}");
    }
    // A Worker's clock stands still while it works, and counts whole milliseconds.
    let overhead = line["overhead_ms"].as_f64().unwrap();
    assert!(!proxy.is_native() || overhead > 0.0, "the work on the request counts: {line}");
}

#[test]
fn an_event_beyond_the_limit_ends_the_stream_with_an_error() {
    let long = "x".repeat(200_000);
    let upstream = ScriptedUpstream::new(move |_, connection: &mut UpstreamConnection| {
        connection.begin_stream();
        connection.chunk(format!("data: {}\r\n\r\n", event(0)));
        connection.chunk(format!("data: {{\"response\":{{\"text\":\"{long}\"}}}}\r\n\r\n"));
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_EVENT_BYTES", "65536").start();
    let elements = proxy.post(ARRAY, HELLO).json();
    assert_eq!(elements.as_array().unwrap().len(), 2);
    assert_eq!(proxy_error_reason(&elements[1]["error"]), "UPSTREAM_MALFORMED", "{elements}");
}

#[test]
fn a_silent_stream_ends_with_a_504_as_its_last_event() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {}\r\n\r\n", event(0)));
        connection.is_closed_within(Duration::from_secs(10));
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).env("STREAM_IDLE_TIMEOUT_MS", "300").start();
    let elements = proxy.post(ARRAY, HELLO).json();
    assert_eq!(elements[1]["error"]["code"], 504, "{elements}");
    assert_eq!(proxy_error_reason(&elements[1]["error"]), "UPSTREAM_TIMEOUT");
}

/// An upstream event with this text.
fn event(n: usize) -> String {
    format!(r#"{{"response":{}}}"#, bare(n))
}

/// The same event as the client must receive it.
fn bare(n: usize) -> String {
    format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"word {n}"}}]}}}}],"responseId":"r"}}"#
    )
}

/// The text of all events of a stream.
fn text_of(events: &[Value]) -> String {
    let texts = events.iter().filter_map(|event| {
        event["candidates"][0]["content"]["parts"][0]["text"].as_str().map(str::to_owned)
    });
    texts.collect()
}

/// A gate that holds back the upstream's thread.
fn gated() -> (Sender<()>, impl Fn() + Send + Sync + 'static) {
    let (go, gate) = channel();
    let gate = Mutex::new(gate);
    (go, move || {
        let gate = gate.lock().expect("one waits at a time");
        gate.recv_timeout(Duration::from_secs(10)).expect("the test opens the gate");
    })
}
