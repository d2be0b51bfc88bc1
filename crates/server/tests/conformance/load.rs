//! Many requests at once, and large ones.

use std::sync::Barrier;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, ScriptedUpstream, post};
use serde_json::json;

use crate::{ARRAY, GENERATE, HELLO, STREAM};

#[test]
fn a_hundred_cold_requests_cause_one_refresh_and_one_discovery() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_delay_ms": 300}));
    google.add_rules(json!({"match": {"rpc": "loadCodeAssist"}, "delay_ms": 300}));
    let proxy =
        ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials()).start();
    let together = Barrier::new(100);
    thread::scope(|scope| {
        let requests: Vec<_> = (0..100)
            .map(|n| {
                let (proxy, together) = (&proxy, &together);
                scope.spawn(move || {
                    together.wait();
                    let path = [GENERATE, STREAM, ARRAY][n % 3];
                    proxy.post(path, HELLO)
                })
            })
            .collect();
        for request in requests {
            let answer = request.join().unwrap();
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
    });
    assert_eq!(google.count("token"), 1);
    assert_eq!(google.count("loadCodeAssist"), 1);
    assert_eq!(google.count("generateContent") + google.count("streamGenerateContent"), 100);
}

#[test]
fn a_token_that_expires_under_traffic_fails_and_delays_no_request() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_lifetime_ms": 4000, "token_delay_ms": 500}));
    let proxy =
        ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials()).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let end = Instant::now() + Duration::from_secs(9);
    let slowest = Mutex::new(0.0_f64);
    let served = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = proxy.connect();
                while Instant::now() < end {
                    let answer = connection.send(post(GENERATE, &[], HELLO));
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                    let auth = answer.head.server_timing("auth");
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = slowest.max(auth);
                    drop(slowest);
                    served.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
    });
    let slowest = *slowest.lock().unwrap();
    assert!(slowest < 200.0, "a request waited {slowest} ms for a token, a refresh takes 500");
    let tokens: std::collections::HashSet<String> = google
        .received("generateContent")
        .iter()
        .map(|record| record["headers"]["authorization"].as_str().unwrap().to_owned())
        .collect();
    assert!(tokens.len() >= 3, "{tokens:?}");
    assert!(google.received("generateContent").iter().all(|record| record["status"] == 200));
    let refreshes = google.count("token");
    assert!((3..=5).contains(&refreshes), "{refreshes} refreshes in 9 s");
    assert!(served.load(Ordering::Relaxed) > 100);
}

#[test]
fn a_12_megabyte_event_passes() {
    let text = "x".repeat(12 << 20);
    let inner = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"inlineData":{{"data":"{text}"}}}}]}},"finishReason":"STOP"}}],"responseId":"r"}}"#
    );
    let wanted = format!("data: {inner}\r\n\r\n");
    let body = format!("data: {{\"response\":{inner}}}\r\n\r\n");
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        for piece in body.as_bytes().chunks(100_000) {
            connection.chunk(piece);
        }
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    // Not `assert_eq`, which would print megabytes.
    assert!(answer.body == wanted.as_bytes(), "{} bytes", answer.body.len());
}

#[test]
fn a_20_megabyte_body_passes() {
    let upstream = ScriptedUpstream::answering("200 OK", "", r#"{"response":{"candidates":[]}}"#);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let data = "A".repeat(20 << 20);
    let body = format!(r#"{{"contents":[{{"role":"user","parts":[{{"text":"{data}"}}]}}]}}"#);
    let answer = proxy.post(GENERATE, &body);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(upstream.received()[0].inner_request() == body, "not what was sent");
}
