//! Clients that disconnect, and clients that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{EVENT, GENERATE, HELLO, LAST, STREAM, WHOLE, answer, ok};
use code_assist_harness::{GoogleEmulator, ScriptedUpstream, TestProxy, parse_events, post};
use serde_json::json;

use crate::network::watching;
use crate::tries::INTERNAL;

pub(crate) fn client_gone_before_head() -> Vec<TestProxy> {
    let (closed, upstream) = watching(|_| {});
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    for path in [STREAM, GENERATE] {
        let mut connection = proxy.connect();
        connection.write(post(path, &[], HELLO));
        let sent = 1 + closed.load(Ordering::SeqCst);
        proxy.until("upstream has the request", |_| upstream.received().len() == sent);
        let started = Instant::now();
        drop(connection);
        proxy.until("closed upstream", |_| closed.load(Ordering::SeqCst) == sent);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    assert_eq!(proxy.last_line(2)["outcome"], "client_gone");
    assert_eq!(upstream.received().len(), 2, "no retry after the client has disconnected");
    vec![proxy]
}

pub(crate) fn client_gone_mid_stream() -> Vec<TestProxy> {
    let (closed, upstream) = watching(|connection| {
        connection.begin_stream();
        // A Worker may notice it only when it writes again.
        for _ in 0..100 {
            connection.chunk(format!("data: {EVENT}\r\n\r\n"));
            if connection.is_closed_within(Duration::from_millis(50)) {
                break;
            }
        }
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    connection.write(post(STREAM, &[], HELLO));
    assert_eq!(connection.head().status, 200);
    let started = Instant::now();
    drop(connection);
    proxy.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(proxy.last_line(1)["outcome"], "client_gone");
    assert_eq!(proxy.breaker(), "closed");
    vec![proxy]
}

pub(crate) fn client_gone_in_line() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        thread::sleep(Duration::from_millis(400));
        connection.write(ok(WHOLE));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("MAX_CONCURRENT_REQUESTS", "1")]);
    let ask = |text: &str| {
        let mut connection = proxy.connect();
        connection.write(post(GENERATE, &[], HELLO.replace("Hello", text)));
        connection
    };
    let mut first = ask("first");
    proxy.until("upstream has the request", |_| upstream.received().len() == 1);
    let gone = ask("gone");
    proxy.until("queued", |proxy| proxy.checks()["queue"]["waiting"] == 1);
    let mut next = ask("next");
    proxy.until("queued", |proxy| proxy.checks()["queue"]["waiting"] == 2);
    drop(gone);
    assert_eq!(first.response().status(), 200);
    assert_eq!(next.response().status(), 200);
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    assert!(received[1].text().contains("next"), "{}", received[1].text());
    vec![proxy]
}

pub(crate) fn client_gone_during_refresh() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_delay_ms": 600}));
    let proxy = TestProxy::with_expired_token(google, &[]);
    let mut gone = proxy.connect();
    gone.write(post(GENERATE, &[], HELLO.replace("Hello", "gone")));
    proxy.google().await_call("token", |_| true);
    drop(gone);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert!(proxy.google().count("token") <= 2, "{}", proxy.google().count("token"));
    let received = proxy.google().received("generateContent");
    assert!(received.iter().all(|record| !record["body"].to_string().contains("gone")));
    vec![proxy]
}

pub(crate) fn client_gone_between_tries() -> Vec<TestProxy> {
    let body = r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.5s"}]}}"#;
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.write(answer("429 Too Many Requests", body))
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    connection.write(post(GENERATE, &[], HELLO));
    proxy.until("upstream has the request", |_| upstream.received().len() == 1);
    thread::sleep(Duration::from_millis(100));
    drop(connection);
    thread::sleep(Duration::from_millis(900));
    assert_eq!(upstream.received().len(), 1, "no retry after the client has disconnected");
    assert_eq!(proxy.last_line(1)["outcome"], "client_gone");
    vec![proxy]
}

pub(crate) fn client_gone_mid_body() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("500 Internal Server Error", "", INTERNAL);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let whole = post(GENERATE, &[], HELLO);
    for cut in [10, whole.len() - HELLO.len(), whole.len() - 5] {
        let mut connection = proxy.connect();
        connection.write(&whole[..cut]);
        thread::sleep(Duration::from_millis(30));
        drop(connection);
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(upstream.connections(), 0);
    vec![proxy]
}

pub(crate) fn client_reads_slowly() -> Vec<TestProxy> {
    const COUNT: usize = 300;
    let poured = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&poured);
    let filler = "x".repeat(50_000);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        for n in 0..COUNT {
            let event = format!(r#"{{"response":{{"n":{n},"filler":"{filler}"}}}}"#);
            connection.chunk(format!("data: {event}\r\n\r\n"));
            count.fetch_add(1, Ordering::SeqCst);
        }
        connection.chunk(format!("data: {LAST}\r\n\r\n"));
        connection.end();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    connection.write(post(STREAM, &[], HELLO));
    let head = connection.head();
    thread::sleep(Duration::from_millis(700));
    let ahead = poured.load(Ordering::SeqCst);
    let text = String::from_utf8(connection.body(&head)).expect("text");
    let numbers: Vec<u64> =
        parse_events(&text).iter().filter_map(|event| event["n"].as_u64()).collect();
    assert_eq!(numbers, (0..COUNT as u64).collect::<Vec<_>>());
    assert!(ahead < COUNT, "15 MB were taken for a client that did not read");
    vec![proxy]
}

pub(crate) fn client_sends_head_slowly() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut slow: Vec<_> = (0..100).map(|_| proxy.connect()).collect();
    let started = Instant::now();
    for connection in &mut slow {
        connection.write("POST /v1beta/models/x:generateContent HTTP/1.1\r\nHost: local");
    }
    let mut closed = 0;
    while closed < slow.len() {
        assert!(started.elapsed() < Duration::from_secs(75), "{closed} of 100 were closed");
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "the others are served");
        thread::sleep(Duration::from_secs(2));
        // Single bytes do not extend the timeout.
        closed = slow.iter_mut().map(|connection| usize::from(!connection.try_write("h"))).sum();
    }
    assert_eq!(proxy.checks()["queue"]["in_flight"], 0);
    vec![proxy]
}

pub(crate) fn client_sends_body_slowly() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    let whole = post(GENERATE, &[], HELLO);
    connection.write(&whole[..whole.len() - 10]);
    let started = Instant::now();
    thread::sleep(Duration::from_secs(15));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "the others are served");
    let answer = connection.response();
    assert_eq!(answer.status_and_reason(), (408, "REQUEST_TIMEOUT".into()));
    let took = started.elapsed();
    assert!((29..33).contains(&took.as_secs()), "{took:?}");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn client_sends_huge_head() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let before = proxy.memory("VmHWM");
    for _ in 0..20 {
        let mut connection = proxy.connect();
        let header = format!("x-large: {}", "x".repeat(1 << 20));
        connection.try_write(post(GENERATE, &[&header], HELLO));
        let message = String::from_utf8_lossy(&connection.until_closed()).into_owned();
        assert!(message.is_empty() || message.starts_with("HTTP/1.1 431 "), "{message}");
    }
    let grown = proxy.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{} MiB for heads", grown >> 20);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    vec![proxy]
}

pub(crate) fn client_sends_garbage() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    for bytes in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"{}\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut connection = proxy.connect();
        connection.write(bytes);
        let message = String::from_utf8_lossy(&connection.until_closed()).into_owned();
        assert!(!message.contains(" 200 ") && !message.contains(" 500 "), "{message}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    vec![proxy]
}

pub(crate) fn client_sends_tls() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    connection.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let started = Instant::now();
    assert!(connection.until_closed().is_empty());
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(upstream.connections(), 0);
    vec![proxy]
}
