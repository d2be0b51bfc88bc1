//! Clients that leave, and clients that misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ScriptedUpstream, parse_events, post};
use serde_json::json;

use crate::answers::{EVENT, GENERATE, HELLO, LAST, STREAM, WHOLE, ok};
use crate::bench::Bench;
use crate::network::watching;
use crate::tries::{INTERNAL, answer};

pub(crate) fn client_gone_before_head() -> Vec<Bench> {
    let (closed, upstream) = watching(|_| {});
    let bench = Bench::at(&upstream, &[]);
    for path in [STREAM, GENERATE] {
        let mut connection = bench.connect();
        connection.write(post(path, &[], HELLO));
        let sent = 1 + closed.load(Ordering::SeqCst);
        bench.until("asked upstream", |_| upstream.received().len() == sent);
        let begun = Instant::now();
        drop(connection);
        bench.until("closed upstream", |_| closed.load(Ordering::SeqCst) == sent);
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(bench.last_line(2)["outcome"], "client_gone");
    assert_eq!(upstream.received().len(), 2, "and nothing is tried again for nobody");
    vec![bench]
}

pub(crate) fn client_gone_mid_stream() -> Vec<Bench> {
    let (closed, upstream) = watching(|wire| {
        wire.begin_stream();
        // A Worker may be told only when it writes again.
        for _ in 0..100 {
            wire.chunk(format!("data: {EVENT}\r\n\r\n"));
            if wire.is_closed_within(Duration::from_millis(50)) {
                break;
            }
        }
    });
    let bench = Bench::at(&upstream, &[]);
    let mut connection = bench.connect();
    connection.write(post(STREAM, &[], HELLO));
    assert_eq!(connection.head().status, 200);
    let begun = Instant::now();
    drop(connection);
    bench.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(bench.last_line(1)["outcome"], "client_gone");
    assert_eq!(bench.breaker(), "closed");
    vec![bench]
}

pub(crate) fn client_gone_in_line() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        thread::sleep(Duration::from_millis(400));
        wire.write(ok(WHOLE));
    });
    let bench = Bench::at(&upstream, &[("MAX_CONCURRENT_REQUESTS", "1")]);
    let ask = |text: &str| {
        let mut connection = bench.connect();
        connection.write(post(GENERATE, &[], HELLO.replace("Hello", text)));
        connection
    };
    let mut first = ask("first");
    bench.until("asked upstream", |_| upstream.received().len() == 1);
    let gone = ask("gone");
    bench.until("in line", |bench| bench.checks()["queue"]["waiting"] == 1);
    let mut next = ask("next");
    bench.until("in line", |bench| bench.checks()["queue"]["waiting"] == 2);
    drop(gone);
    assert_eq!(first.response().status(), 200);
    assert_eq!(next.response().status(), 200);
    let received = upstream.received();
    assert_eq!(received.len(), 2);
    assert!(received[1].text().contains("next"), "{}", received[1].text());
    vec![bench]
}

pub(crate) fn client_gone_during_refresh() -> Vec<Bench> {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_delay_ms": 600}));
    let bench = Bench::signed_out(google, &[]);
    let mut gone = bench.connect();
    gone.write(post(GENERATE, &[], HELLO.replace("Hello", "gone")));
    bench.google().await_call("token", |_| true);
    drop(gone);
    assert_eq!(bench.post(GENERATE, HELLO).status(), 200);
    assert!(bench.google().count("token") <= 2, "{}", bench.google().count("token"));
    let received = bench.google().received("generateContent");
    assert!(received.iter().all(|record| !record["body"].to_string().contains("gone")));
    vec![bench]
}

pub(crate) fn client_gone_between_tries() -> Vec<Bench> {
    let body = r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.5s"}]}}"#;
    let upstream =
        ScriptedUpstream::new(move |_, wire| wire.write(answer("429 Too Many Requests", body)));
    let bench = Bench::at(&upstream, &[]);
    let mut connection = bench.connect();
    connection.write(post(GENERATE, &[], HELLO));
    bench.until("asked upstream", |_| upstream.received().len() == 1);
    thread::sleep(Duration::from_millis(100));
    drop(connection);
    thread::sleep(Duration::from_millis(900));
    assert_eq!(upstream.received().len(), 1, "nothing is tried again for nobody");
    assert_eq!(bench.last_line(1)["outcome"], "client_gone");
    vec![bench]
}

pub(crate) fn client_gone_mid_body() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("500 Internal Server Error", "", INTERNAL);
    let bench = Bench::at(&upstream, &[]);
    let whole = post(GENERATE, &[], HELLO);
    for cut in [10, whole.len() - HELLO.len(), whole.len() - 5] {
        let mut connection = bench.connect();
        connection.write(&whole[..cut]);
        thread::sleep(Duration::from_millis(30));
        drop(connection);
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(upstream.connections(), 0);
    vec![bench]
}

pub(crate) fn client_reads_slowly() -> Vec<Bench> {
    const COUNT: usize = 300;
    let poured = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&poured);
    let filler = "x".repeat(50_000);
    let upstream = ScriptedUpstream::new(move |_, wire| {
        wire.begin_stream();
        for n in 0..COUNT {
            let event = format!(r#"{{"response":{{"n":{n},"filler":"{filler}"}}}}"#);
            wire.chunk(format!("data: {event}\r\n\r\n"));
            count.fetch_add(1, Ordering::SeqCst);
        }
        wire.chunk(format!("data: {LAST}\r\n\r\n"));
        wire.end();
    });
    let bench = Bench::at(&upstream, &[]);
    let mut connection = bench.connect();
    connection.write(post(STREAM, &[], HELLO));
    let head = connection.head();
    thread::sleep(Duration::from_millis(700));
    let ahead = poured.load(Ordering::SeqCst);
    let text = String::from_utf8(connection.body(&head)).expect("text");
    let numbers: Vec<u64> =
        parse_events(&text).iter().filter_map(|event| event["n"].as_u64()).collect();
    assert_eq!(numbers, (0..COUNT as u64).collect::<Vec<_>>());
    assert!(ahead < COUNT, "15 MB were taken for a client that did not read");
    vec![bench]
}

pub(crate) fn client_sends_head_slowly() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let bench = Bench::at(&upstream, &[]);
    let mut slow: Vec<_> = (0..100).map(|_| bench.connect()).collect();
    let begun = Instant::now();
    for connection in &mut slow {
        connection.write("POST /v1beta/models/x:generateContent HTTP/1.1\r\nHost: local");
    }
    let mut closed = 0;
    while closed < slow.len() {
        assert!(begun.elapsed() < Duration::from_secs(75), "{closed} of 100 were closed");
        assert_eq!(bench.post(GENERATE, HELLO).status(), 200, "the others are served");
        thread::sleep(Duration::from_secs(2));
        // One byte now and then is no sign of life.
        closed = slow.iter_mut().map(|connection| usize::from(!connection.try_write("h"))).sum();
    }
    assert_eq!(bench.checks()["queue"]["in_flight"], 0);
    vec![bench]
}

pub(crate) fn client_sends_body_slowly() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let bench = Bench::at(&upstream, &[]);
    let mut connection = bench.connect();
    let whole = post(GENERATE, &[], HELLO);
    connection.write(&whole[..whole.len() - 10]);
    let begun = Instant::now();
    thread::sleep(Duration::from_secs(15));
    assert_eq!(bench.post(GENERATE, HELLO).status(), 200, "the others are served");
    let answer = connection.response();
    assert_eq!(answer.status_and_reason(), (408, "REQUEST_TIMEOUT".into()));
    let took = begun.elapsed();
    assert!((29..33).contains(&took.as_secs()), "{took:?}");
    assert_eq!(upstream.received().len(), 1);
    vec![bench]
}

pub(crate) fn client_sends_huge_head() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let bench = Bench::at(&upstream, &[]);
    let before = bench.memory("VmHWM");
    for _ in 0..20 {
        let mut connection = bench.connect();
        let header = format!("x-large: {}", "x".repeat(1 << 20));
        connection.try_write(post(GENERATE, &[&header], HELLO));
        let told = String::from_utf8_lossy(&connection.until_closed()).into_owned();
        assert!(told.is_empty() || told.starts_with("HTTP/1.1 431 "), "{told}");
    }
    let grown = bench.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{} MiB for heads", grown >> 20);
    assert_eq!(upstream.connections(), 0);
    assert_eq!(bench.post(GENERATE, HELLO).status(), 200);
    vec![bench]
}

pub(crate) fn client_sends_garbage() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let bench = Bench::at(&upstream, &[]);
    for bytes in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"{}\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut connection = bench.connect();
        connection.write(bytes);
        let told = String::from_utf8_lossy(&connection.until_closed()).into_owned();
        assert!(!told.contains(" 200 ") && !told.contains(" 500 "), "{told}");
    }
    assert_eq!(upstream.connections(), 0);
    assert_eq!(bench.post(GENERATE, HELLO).status(), 200);
    vec![bench]
}

pub(crate) fn client_sends_tls() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let bench = Bench::at(&upstream, &[]);
    let mut connection = bench.connect();
    connection.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let begun = Instant::now();
    assert!(connection.until_closed().is_empty());
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(upstream.connections(), 0);
    vec![bench]
}
