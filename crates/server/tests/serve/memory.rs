//! The memory of large bodies, large events and slow readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Proxy, ProxyBuilder, ScriptedUpstream, post};

use crate::{GENERATE, HELLO, STREAM};

#[test]
fn the_memory_of_a_12_megabyte_event_is_released() {
    let text = "x".repeat(12 << 20);
    let event = format!(
        r#"{{"response":{{"candidates":[{{"content":{{"parts":[{{"inlineData":{{"data":"{text}"}}}}]}},"finishReason":"STOP"}}],"responseId":"r"}}}}"#
    );
    let body = format!("data: {event}\r\n\r\n");
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        for piece in body.as_bytes().chunks(100_000) {
            connection.chunk(piece);
        }
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    proxy.get("/health");
    let before = proxy.memory("VmRSS");
    for _ in 0..8 {
        let answer = proxy.post(STREAM, HELLO);
        assert_eq!(answer.status(), 200);
        assert!(answer.body.len() > text.len(), "{} bytes", answer.body.len());
    }
    settles(&proxy, before, 12 << 20);
    let peak = proxy.memory("VmHWM");
    assert!(peak < before + (100 << 20), "{} MiB at the peak", peak >> 20);
}

#[test]
fn a_20_megabyte_body_takes_less_than_three_copies_and_its_memory_is_released() {
    let upstream = ScriptedUpstream::answering("200 OK", "", r#"{"response":{"candidates":[]}}"#);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    proxy.get("/health");
    let before = proxy.memory("VmRSS");
    proxy.reset_peak_memory();
    let data = "A".repeat(20 << 20);
    let body = format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{data}"}}]}}]}}"#);
    let answer = proxy.post(GENERATE, &body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let peak = proxy.memory("VmHWM");
    let growth = peak.saturating_sub(before);
    assert!(growth < 3 * body.len() as u64, "{} MiB on top of the start", growth >> 20);
    settles(&proxy, before, 12 << 20);
}

#[test]
fn a_client_that_does_not_read_stops_upstream_and_takes_no_memory() {
    let written = Arc::new(AtomicU64::new(0));
    let stopped = Arc::new(AtomicBool::new(false));
    let (count, done) = (Arc::clone(&written), Arc::clone(&stopped));
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        let payload = "x".repeat(100_000);
        let event = format!(
            "data: {{\"response\":{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{payload}\"}}]}}}}]}}}}\r\n\r\n"
        );
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        let written =
            connection.write_until_blocked(chunk.as_bytes(), 2000, Duration::from_secs(1));
        count.store(written, Ordering::SeqCst);
        done.store(true, Ordering::SeqCst);
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    proxy.get("/health");
    let before = proxy.memory("VmRSS");
    let mut connection = proxy.connect();
    connection.write(post(STREAM, &[], HELLO));
    assert_eq!(connection.head().status, 200);
    let started = Instant::now();
    while !stopped.load(Ordering::SeqCst) {
        assert!(started.elapsed() < Duration::from_secs(15), "upstream is never stopped");
        thread::sleep(Duration::from_millis(10));
    }
    let written = written.load(Ordering::SeqCst);
    // As much as the buffers of the sockets on both sides hold.
    assert!(
        written < 40 << 20,
        "{} MiB of 200 were taken for a client that does not read",
        written >> 20
    );
    let growth = proxy.memory("VmHWM").saturating_sub(before);
    assert!(growth < 16 << 20, "{} MiB for a client that does not read", growth >> 20);
}

/// Waits until memory is released, except `slack`.
#[track_caller]
fn settles(proxy: &Proxy, before: u64, slack: u64) {
    let started = Instant::now();
    loop {
        let now = proxy.memory("VmRSS");
        if now <= before + slack {
            return;
        }
        // Two intervals of `trim.rs`.
        let timeout = Duration::from_secs(15);
        assert!(started.elapsed() < timeout, "{} MiB, were {}", now >> 20, before >> 20);
        thread::sleep(Duration::from_millis(20));
    }
}
