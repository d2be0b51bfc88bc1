//! Connections to upstream, and what is logged.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, ScriptedUpstream, post};
use serde_json::Value;

use crate::{GENERATE, HELLO, STREAM};

#[test]
fn upstream_connections_are_kept_unless_pooling_is_disabled() {
    for (pooling, wanted) in [("true", 1), ("false", 5)] {
        let upstream = ScriptedUpstream::answering("200 OK", "", "{\"response\":{}}");
        let proxy =
            ProxyBuilder::for_upstream(&upstream).env("ENABLE_CONNECTION_POOLING", pooling).start();
        for _ in 0..5 {
            assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        }
        assert_eq!(upstream.connections(), wanted, "ENABLE_CONNECTION_POOLING={pooling}");
    }
}

#[test]
fn an_answer_that_is_there_at_once_took_time_too() {
    let answer = r#"{"response":{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}}"#;
    let upstream = ScriptedUpstream::answering("200 OK", "", answer);
    let proxy =
        ProxyBuilder::for_upstream(&upstream).env("RESPONSE_CACHE_TTL_SECONDS", "60").start();
    let certain =
        r#"{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"temperature":0,"seed":1}}"#;
    for (body, status) in [("{", 400), (certain, 200), (certain, 200)] {
        assert_eq!(proxy.post(GENERATE, body).status(), status);
    }
    let lines = proxy.await_request_lines(3);
    // Three connections: their lines may be in another order.
    let at_once = |line: &&Value| line["status"] == 400 || line["x_cache"] == "HIT";
    let lines: Vec<&Value> = lines.iter().filter(at_once).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in lines {
        for name in ["duration_ms", "overhead_ms"] {
            assert!(line[name].as_f64().unwrap() > 0.0, "{name}: {line}");
        }
    }
}

#[test]
fn an_idle_upstream_connection_is_closed_after_the_keep_alive_timeout() {
    let upstream = ScriptedUpstream::answering("200 OK", "", "{\"response\":{}}");
    let proxy = ProxyBuilder::for_upstream(&upstream).env("KEEP_ALIVE_TIMEOUT_MS", "1000").start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    thread::sleep(Duration::from_millis(1600));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn a_connection_that_upstream_has_closed_costs_no_request() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"response\":{}}");
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut connection = proxy.connect();
    for round in 0..20 {
        let answer = connection.send(post(GENERATE, &[], HELLO));
        assert_eq!(answer.status(), 200, "round {round}: {}", answer.text());
        // Long enough for the FIN to arrive; retries cover the race with it.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(upstream.received().len(), 20, "and nothing is sent twice");
}

#[test]
fn the_forward_proxy_is_used_and_no_proxy_is_respected() {
    let corporate =
        ScriptedUpstream::answering("200 OK", "", "{\"response\":{\"text\":\"by proxy\"}}");
    let address = corporate.url().replace("http://", "http://someone:hush@");
    let through = ProxyBuilder::for_upstream(&corporate)
        .env("CODE_ASSIST_ENDPOINT", "http://code-assist.invalid")
        .env("ALLOW_INSECURE_UPSTREAM", "true")
        .env("HTTP_PROXY", &address)
        .start();
    let answer = through.post(GENERATE, HELLO);
    assert_eq!(answer.text(), r#"{"text":"by proxy"}"#);
    let head = corporate.received()[0].head.clone();
    let line = "POST http://code-assist.invalid/v1internal:generateContent HTTP/1.1\r\n";
    assert!(head.starts_with(line), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("\r\nproxy-authorization: basic c29tzw9uztpodxno\r\n"), "{head}");

    let direct = ScriptedUpstream::answering("200 OK", "", "{\"response\":{\"text\":\"direct\"}}");
    let proxy = ProxyBuilder::for_upstream(&direct)
        .env("HTTP_PROXY", &address)
        .env("NO_PROXY", "127.0.0.1,localhost")
        .start();
    assert_eq!(proxy.post(GENERATE, HELLO).text(), r#"{"text":"direct"}"#);
    assert_eq!(corporate.received().len(), 1);
}

#[test]
fn logs_have_the_configured_level_and_format() {
    let google = GoogleEmulator::start();
    let quiet = ProxyBuilder::for_emulator(&google).env("LOG_LEVEL", "error").start();
    assert_eq!(quiet.post(GENERATE, HELLO).status(), 200);
    let pretty = ProxyBuilder::for_emulator(&google).env("LOG_FORMAT", "pretty").start();
    assert_eq!(pretty.post(GENERATE, HELLO).status(), 200);
    pretty.await_output("request_id=");
    assert!(pretty.request_lines().is_empty(), "not JSON");
    assert!(quiet.request_lines().is_empty());
    let json = ProxyBuilder::for_emulator(&google).start();
    assert_eq!(json.post(GENERATE, HELLO).status(), 200);
    json.await_request_lines(1);
}

#[test]
fn two_hundred_abandoned_streams_leave_nothing_behind() {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        connection.chunk("data: {\"response\":{\"text\":\"on and on\"}}\r\n\r\n");
        if connection.is_closed_within(Duration::from_secs(15)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_CONCURRENT_REQUESTS", "200").start();
    proxy.get("/health");
    let before = proxy.memory("VmRSS");
    let mut running: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = proxy.connect();
            connection.write(post(STREAM, &[], HELLO));
            connection
        })
        .collect();
    for connection in &mut running {
        assert_eq!(connection.head().status, 200, "all 200 at once, none waits for another");
        connection.chunk().unwrap();
    }
    drop(running);
    let started = Instant::now();
    while closed.load(Ordering::SeqCst) < 200 {
        let left = closed.load(Ordering::SeqCst);
        assert!(started.elapsed() < Duration::from_secs(10), "{left} of 200 were cancelled");
        thread::sleep(Duration::from_millis(10));
    }
    let lines = proxy.await_request_lines(200);
    assert!(lines.iter().all(|line| line["outcome"] == "client_gone"));
    let grown = proxy.memory("VmRSS").saturating_sub(before);
    assert!(grown < 24 << 20, "{} MiB stay", grown >> 20);
}
