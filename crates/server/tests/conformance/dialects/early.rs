//! Heads that are sent before upstream has answered, and clients that leave.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Proxy, ProxyBuilder, ScriptedUpstream, post};
use serde_json::json;

use super::Api;
use super::api::frames;

const MODEL: &str = "gemini-2.5-flash";
const EVENT: &str = "data: {\"response\":{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"Hello\"}]},\"finishReason\":\"STOP\"}],\"responseId\":\"R\"}}\r\n\r\n";
const FULL: &str = r#"{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED"}}"#;

fn stream(api: Api) -> Vec<u8> {
    post(&api.path(MODEL), &[], api.hello(MODEL, json!({"stream": true})))
}

fn early(upstream: &ScriptedUpstream) -> Proxy {
    ProxyBuilder::for_upstream(upstream)
        .env("EARLY_HEARTBEAT_MS", "100")
        .env("MAX_RETRY_ATTEMPTS", "0")
        .start()
}

#[test]
fn an_early_head_is_followed_by_a_heartbeat_and_the_events() {
    for api in Api::ALL {
        let (go, gate) = channel::<()>();
        let gate = Mutex::new(gate);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            gate.lock().unwrap().recv_timeout(Duration::from_secs(10)).expect("the test goes on");
            connection.begin_stream();
            connection.chunk(EVENT);
            connection.end();
        });
        let proxy = early(&upstream);
        let mut connection = proxy.connect();
        connection.write(stream(api));
        let head = connection.head();
        assert_eq!((head.status, head.header("content-type")), (200, "text/event-stream"));
        assert!(!head.header("x-request-id").is_empty(), "{api:?}");
        assert_eq!(head.header("x-accel-buffering"), "no", "{api:?}");
        let first = String::from_utf8(connection.chunk().expect("a heartbeat")).unwrap();
        go.send(()).unwrap();
        let rest = String::from_utf8(connection.body(&head)).unwrap();
        let all = first.clone() + &rest;
        let heartbeat = match api {
            Api::Messages => "event: ping\n",
            // A repeated event would have no response to repeat yet.
            _ => ":",
        };
        assert!(first.starts_with(heartbeat), "{api:?}: {first}");
        let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
        let answer = api.put_together(all.strip_prefix(ping).unwrap_or(&all));
        assert_eq!(api.text(&answer), "Hello", "{api:?}");
        assert_eq!(proxy.await_request_lines(1)[0]["outcome"], "ok", "{api:?}");
    }
}

#[test]
fn after_an_early_head_an_error_is_the_last_event() {
    for api in Api::ALL {
        let upstream = ScriptedUpstream::new(|_, connection| {
            thread::sleep(Duration::from_millis(800));
            connection.write(code_assist_harness::samples::answer("429 Too Many Requests", FULL));
        });
        let proxy = early(&upstream);
        let answer = proxy.send(stream(api));
        let text = answer.text();
        assert_eq!((answer.status(), answer.header("content-type")), (200, "text/event-stream"));
        let (name, last) = frames(&text).pop().unwrap();
        let (expected, error) = match api {
            Api::Messages => ("error", &last["error"]),
            Api::Responses => ("response.failed", &last["response"]["error"]),
            _ => ("", &last["error"]),
        };
        assert_eq!((&*name, &error["message"]), (expected, &json!("Slow down.")), "{text}");
        assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{text}");
        let line = &proxy.await_request_lines(1)[0];
        assert_ne!(line["outcome"], "ok", "{api:?}: {line}");
    }
}

#[test]
fn without_the_setting_or_with_a_quick_upstream_an_error_has_its_status() {
    let slow = ScriptedUpstream::new(|_, connection| {
        thread::sleep(Duration::from_millis(400));
        connection.write(code_assist_harness::samples::answer("429 Too Many Requests", FULL));
    });
    let quick = ScriptedUpstream::answering("429 Too Many Requests", "", FULL);
    let usual = ProxyBuilder::for_upstream(&slow).env("MAX_RETRY_ATTEMPTS", "0").start();
    let patient = ProxyBuilder::for_upstream(&quick)
        .env("MAX_RETRY_ATTEMPTS", "0")
        .env("EARLY_HEARTBEAT_MS", "5000")
        .start();
    for api in Api::ALL {
        for proxy in [&usual, &patient] {
            let answer = proxy.send(stream(api));
            assert_eq!(answer.status(), 429, "{api:?}: {}", answer.text());
            assert_eq!(answer.json()["error"]["message"], "Slow down.");
        }
    }
}

#[test]
fn a_gemini_client_and_a_whole_answer_get_no_early_head() {
    let slow = ScriptedUpstream::new(|_, connection| {
        thread::sleep(Duration::from_millis(400));
        connection.write(code_assist_harness::samples::answer("429 Too Many Requests", FULL));
    });
    let proxy = early(&slow);
    assert_eq!(proxy.post(crate::STREAM, crate::HELLO).status(), 429);
    for api in Api::WITH_GEMINI {
        let answer = proxy.post(&api.path(MODEL), api.hello(MODEL, json!({})));
        assert_eq!(answer.status(), 429, "{api:?}: {}", answer.text());
    }
}

#[test]
fn a_client_that_leaves_cancels_upstream() {
    for api in Api::ALL {
        for (is_streamed, is_early) in [(true, false), (false, false), (true, true)] {
            let (told, is_closed) = channel();
            let told = Mutex::new(told);
            let upstream = ScriptedUpstream::new(move |_, connection| {
                if is_streamed && !is_early {
                    connection.begin_stream();
                    connection.chunk(EVENT.replace(",\"finishReason\":\"STOP\"", ""));
                }
                let closed = connection.is_closed_within(Duration::from_secs(5));
                told.lock().unwrap().send(closed).unwrap();
                connection.close();
            });
            let mut setup = ProxyBuilder::for_upstream(&upstream);
            if is_early {
                setup = setup.env("EARLY_HEARTBEAT_MS", "50");
            }
            let proxy = setup.start();
            let mut connection = proxy.connect();
            let body = api.hello(MODEL, json!({"stream": is_streamed}));
            connection.write(post(&api.path(MODEL), &[], body));
            let started = Instant::now();
            while upstream.received().is_empty() {
                assert!(started.elapsed() < Duration::from_secs(5));
                thread::sleep(Duration::from_millis(2));
            }
            if is_streamed {
                connection.head();
                connection.chunk();
            }
            let started = Instant::now();
            drop(connection);
            let closed = is_closed.recv_timeout(Duration::from_secs(10)).unwrap();
            assert!(closed, "{api:?} {is_streamed}: upstream continues");
            assert!(started.elapsed() < Duration::from_secs(1), "{api:?}: {:?}", started.elapsed());
            let line = &proxy.await_request_lines(1)[0];
            assert_eq!(line["outcome"], "client_gone", "{api:?} {is_streamed} {is_early}");
        }
    }
}
