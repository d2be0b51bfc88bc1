//! Shutdown: open streams may finish, new requests are refused.

use std::io::{self, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use code_assist_harness::{
    GoogleEmulator, Proxy, ProxyBuilder, ScriptedUpstream, get, parse_events, post,
    proxy_error_reason,
};
use serde_json::{Value, json};

use crate::{ARRAY, GENERATE, HELLO, STREAM};

#[test]
fn a_drain_lets_a_stream_finish_and_refuses_new_requests() {
    for signal in ["TERM", "INT"] {
        let google = GoogleEmulator::start();
        google.set_state(json!({"stream_events": 4, "stream_interval_ms": 300}));
        let mut proxy = ProxyBuilder::for_emulator(&google).start();
        let mut running = proxy.connect();
        running.write(post(STREAM, &[], HELLO));
        let head = running.head();
        let first = running.chunk().unwrap();
        let mut idle = proxy.connect();
        assert_eq!(idle.send(get("/health", &[])).status(), 200);
        let mut probe = proxy.connect();
        assert_eq!(probe.send(get("/health", &[])).status(), 200);
        proxy.signal(signal);
        proxy.await_output("shutting down");
        let health = proxy.get("/health");
        assert_eq!(health.status(), 503);
        assert_eq!(health.json()["status"], "unhealthy");
        assert_eq!(probe.send(get("/health", &[])).status(), 503, "on an old connection");
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (503, "SHUTTING_DOWN".into()));
        let answer = idle.send(post(GENERATE, &[], HELLO));
        assert_eq!(
            answer.status_and_reason(),
            (503, "SHUTTING_DOWN".into()),
            "on an old connection"
        );
        assert_eq!(answer.header("connection"), "close");
        let text = String::from_utf8([first, running.body(&head)].concat()).unwrap();
        assert!(!text.contains("error"), "{text}");
        assert!(text.contains("\"finishReason\":\"STOP\""), "{text}");
        assert!(parse_events(&text).len() >= 4);
        assert_eq!(proxy.wait_for_exit(Duration::from_secs(5)).code(), Some(0), "{signal}");
    }
}

#[test]
fn requests_are_served_between_the_first_failing_health_check_and_the_end_of_the_delay() {
    let google = GoogleEmulator::start();
    let mut proxy = ProxyBuilder::for_emulator(&google).env("SHUTDOWN_DELAY_MS", "1500").start();
    let mut idle = proxy.connect();
    assert_eq!(idle.send(get("/health", &[])).status(), 200);
    let started = Instant::now();
    proxy.signal("TERM");
    proxy.await_output("shutdown announced");
    assert_eq!(proxy.get("/health").status(), 503);
    let answer = idle.send(post(GENERATE, &[], HELLO));
    assert_eq!((answer.status(), answer.header("connection")), (200, "close"), "an old connection");
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "a new connection");
    // A client that stays keeps the process until its stream has ended.
    google.set_state(json!({"stream_events": 4, "stream_interval_ms": 800}));
    let mut running = proxy.connect();
    running.write(post(STREAM, &[], HELLO));
    let head = running.head();
    assert_eq!(head.status, 200);
    proxy.await_output("shutting down");
    assert!(started.elapsed() >= Duration::from_millis(1500), "{:?}", started.elapsed());
    assert_eq!(proxy.post(GENERATE, HELLO).reason(), "SHUTTING_DOWN");
    let text = String::from_utf8(running.body(&head)).unwrap();
    assert!(text.contains("\"finishReason\":\"STOP\""), "{text}");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn signals_are_handled_before_the_first_line_is_written() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    let (_reader, mut full) = io::pipe().unwrap();
    // All that a pipe holds: the proxy waits when it writes its first line.
    full.write_all(&[b'x'; 64 << 10]).unwrap();
    let mut command = setup.serve_command();
    let mut child = command.stdout(full).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let handled = || {
        let status = fs::read_to_string(&status).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    };
    // HUP is 1, INT 2 and TERM 15, and each has the bit below its number.
    let wanted = 1 | 1 << 1 | 1 << 14;
    let started = Instant::now();
    while handled() & wanted != wanted {
        assert!(started.elapsed() < Duration::from_secs(10), "{:x}", handled());
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_second_signal_ends_the_delay() {
    let google = GoogleEmulator::start();
    let mut proxy = ProxyBuilder::for_emulator(&google).env("SHUTDOWN_DELAY_MS", "60000").start();
    proxy.signal("TERM");
    proxy.await_output("shutdown announced");
    proxy.signal("TERM");
    proxy.wait_for_exit(Duration::from_secs(5));
}

#[test]
fn a_stream_longer_than_the_grace_period_ends_with_an_error() {
    let (upstream, _) = endless();
    for path in [STREAM, ARRAY] {
        let mut proxy =
            ProxyBuilder::for_upstream(&upstream).env("SHUTDOWN_GRACE_MS", "300").start();
        let mut running = proxy.connect();
        running.write(post(path, &[], HELLO));
        let head = running.head();
        let first = running.chunk().unwrap();
        let started = Instant::now();
        proxy.signal("TERM");
        let text = String::from_utf8([first, running.body(&head)].concat()).unwrap();
        assert!((250..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
        let error = if path == ARRAY {
            serde_json::from_str::<Vec<Value>>(&text).unwrap().pop().unwrap()
        } else {
            let (event, bare) = text.rsplit_once("\r\n\r\n").unwrap();
            let message = parse_events(&format!("{event}\r\n\r\n")).pop().unwrap();
            assert_eq!(message, serde_json::from_str::<Value>(bare).unwrap());
            message
        };
        assert_eq!(proxy_error_reason(&error["error"]), "SHUTTING_DOWN", "{text}");
        assert_eq!(proxy.wait_for_exit(Duration::from_secs(5)).code(), Some(0), "{path}");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let (upstream, _) = endless();
    let mut proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut running = proxy.connect();
    running.write(post(STREAM, &[], HELLO));
    assert_eq!(running.head().status, 200);
    proxy.signal("TERM");
    proxy.await_output("shutting down");
    thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    proxy.signal("INT");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(5)).code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn an_idle_proxy_stops_at_once() {
    let google = GoogleEmulator::start();
    let mut proxy: Proxy = ProxyBuilder::for_emulator(&google).start();
    let mut idle = proxy.connect();
    assert_eq!(idle.send(get("/health", &[])).status(), 200);
    let _silent = proxy.connect();
    let started = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(5)).code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(proxy.stderr(), "");
}

/// An upstream whose streams send one event and never end, and that event.
fn endless() -> (ScriptedUpstream, &'static str) {
    let event = r#"{"response":{"candidates":[],"responseId":"r"}}"#;
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {event}\r\n\r\n"));
        connection.is_closed_within(Duration::from_secs(20));
        connection.close();
    });
    (upstream, event)
}
