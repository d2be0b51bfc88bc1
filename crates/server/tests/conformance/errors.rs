//! What a client sees when upstream fails.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, Response, ScriptedUpstream};
use serde_json::json;

use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM};

#[test]
fn an_upstream_error_keeps_its_bytes() {
    let error = "{\n  \"error\": {\n    \"code\": 400,\n    \"message\": \"Bad \\u003cthing\\u003e\",\n    \"status\": \"INVALID_ARGUMENT\",\n    \"details\": [ {\"@type\": \"type.googleapis.com/google.rpc.BadRequest\", \"fieldViolations\": [{\"field\": \"x\", \"new\": 1.50}]} ]\n  }\n}\n";
    let upstream = ScriptedUpstream::answering("400 Bad Request", "", error);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    for path in [GENERATE, STREAM, COUNT] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.text().trim(), error.trim(), "{path}");
        is_json(&answer);
    }
    let answer = proxy.post(ARRAY, HELLO);
    assert_eq!(answer.status(), 400);
    assert!(answer.text().starts_with('[') && answer.text().contains(error.trim()));
    assert_eq!(answer.error()["details"][0]["fieldViolations"][0]["field"], "x");
    assert_eq!(upstream.received().len(), 4, "a 400 is not tried again");
}

#[test]
fn an_error_before_the_first_event_is_an_http_error_in_both_framings() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let event = r#"{"error":{"code":404,"message":"as an event","status":"NOT_FOUND"}}"#;
    for path in [STREAM, ARRAY] {
        // Google's own form: an array of one error, with its status.
        google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "status": 403}));
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(answer.error()["status"], "PERMISSION_DENIED", "{path}");
        assert_eq!(answer.json().is_array(), path == ARRAY, "{path}");
        is_json(&answer);
        // The same error as the first event of a 200.
        google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "events": [event]}));
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.error()["message"], "as an event", "{path}");
        is_json(&answer);
    }
}

#[test]
fn a_web_page_from_upstream_becomes_an_error_in_googles_form() {
    let page = "<!DOCTYPE html><html><title>Error 404 (Not Found)!!1</title><p>The requested URL was not found on this server.</html>";
    let html = "Content-Type: text/html; charset=UTF-8\r\n";
    let upstream = ScriptedUpstream::answering("404 Not Found", html, page);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    for path in [GENERATE, ARRAY] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 404);
        assert_eq!(answer.error()["code"], 404);
        assert_eq!(answer.error()["status"], "NOT_FOUND");
        is_json(&answer);
    }
    let upstream = ScriptedUpstream::answering("502 Bad Gateway", html, page);
    let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0").start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 502);
    assert!(answer.error()["message"].is_string(), "{}", answer.text());
}

#[test]
fn retry_after_is_computed_from_the_body_of_the_error() {
    let info = |details: &str, message: &str| {
        format!(
            r#"{{"error":{{"code":429,"message":"{message}","status":"RESOURCE_EXHAUSTED","details":[{details}]}}}}"#
        )
    };
    let retry_info =
        r#"{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"56.18s"}"#;
    let metadata = r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","domain":"cloudcode-pa.googleapis.com","metadata":{"quotaResetDelay":"1m3.5s"}}"#;
    for (wanted, header, body) in [
        ("57", "", info(retry_info, "x")),
        ("64", "", info(metadata, "x")),
        ("58", "", info("", "Your quota will reset after 57s.")),
        ("57", "Retry-After: 99\r\n", info(retry_info, "x")),
        ("99", "Retry-After: 99\r\n", info("", "x")),
        ("", "", info("", "x")),
    ] {
        let upstream = ScriptedUpstream::answering("429 Too Many Requests", header, &body);
        let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0").start();
        for path in [GENERATE, STREAM] {
            let answer = proxy.post(path, HELLO);
            assert_eq!(answer.status(), 429);
            let found = answer.header("retry-after");
            // A delay in prose may be rounded up.
            let fits = found == wanted || wanted == "58" && found == "57";
            assert!(fits, "{found:?} and not {wanted:?} for {header} {body}");
            assert_eq!(answer.text(), body);
        }
    }
}

#[test]
fn a_redirect_is_not_followed_and_is_a_502() {
    let elsewhere = ScriptedUpstream::answering("200 OK", "", "{}");
    let location = format!("Location: {}/v1internal:generateContent\r\n", elsewhere.url());
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"] {
        let upstream = ScriptedUpstream::answering(status, &location, "");
        let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0").start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()), "{status}");
    }
    assert!(elsewhere.received().is_empty(), "the token went somewhere else");
}

#[test]
fn an_upstream_that_refuses_the_connection_is_unavailable() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let proxy = ProxyBuilder::without_upstream()
        .env("CODE_ASSIST_ENDPOINT", format!("http://{address}"))
        .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.given")
        .env("GEMINI_PROJECT_ID", "given-project")
        .env("MAX_RETRY_ATTEMPTS", "0")
        .start();
    for path in [GENERATE, STREAM, ARRAY, COUNT] {
        let answer = proxy.post(path, HELLO);
        answer.assert_upstream_failed(proxy.is_native(), (503, "UPSTREAM_UNREACHABLE"));
        assert_eq!(answer.error()["status"], "UNAVAILABLE");
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(
            !proxy.is_native()
                || message.contains("refused") && message.contains("CODE_ASSIST_ENDPOINT"),
            "{message}"
        );
    }
    let health = proxy.get("/health").json();
    assert_eq!(health["upstream_status"], "degraded", "{health}");
}

#[test]
fn garbage_from_upstream_is_a_502() {
    for body in ["", "nonsense", "[]", "{}", r#"{"response":"#, r#"{"response":{}} tail"#, "null"] {
        let upstream = ScriptedUpstream::answering("200 OK", "", body);
        let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0").start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()), "{body:?}");
    }
    let no_http = ScriptedUpstream::new(|_, connection| {
        connection.write("SSH-2.0-OpenSSH_9.7\r\n\r\n");
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&no_http).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()));
    assert_eq!(no_http.received().len(), 1);
    let bad_event = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk("data: {\"response\":nonsense}\r\n\r\n");
        connection.end();
    });
    let proxy = ProxyBuilder::for_upstream(&bad_event).env("MAX_RETRY_ATTEMPTS", "0").start();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()));
}

#[test]
fn a_request_whose_connection_breaks_is_sent_once_and_the_502_says_why() {
    let before_head = ScriptedUpstream::new(|_, connection| connection.close());
    let in_the_body = ScriptedUpstream::new(|_, connection| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"response\":{}");
        connection.close();
    });
    for upstream in [before_head, in_the_body] {
        let proxy = ProxyBuilder::for_upstream(&upstream).start();
        for path in [GENERATE, STREAM, ARRAY, COUNT] {
            let answer = proxy.post(path, HELLO);
            assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()), "{path}");
            let words = "so the proxy did not send it again";
            assert!(answer.text().contains(words), "{path}: {}", answer.text());
        }
        assert_eq!(upstream.received().len(), 4);
    }
}

#[test]
fn a_slow_answer_is_requested_once() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        thread::sleep(Duration::from_secs(2));
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"response\":{}}");
    });
    // The short timeout is for connecting only.
    let proxy = ProxyBuilder::for_upstream(&upstream).env("CONNECTION_TIMEOUT_MS", "500").start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "{}"));
    assert!(answer.head.server_timing("upstream") >= 2000.0);
    assert!(answer.head.server_timing("proxy") < 200.0);
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn a_missing_response_head_is_a_504() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.is_closed_within(Duration::from_secs(10));
        connection.close();
    });
    let setup = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0");
    let proxy = setup.env("FIRST_BYTE_TIMEOUT_MS", "400").start();
    let started = Instant::now();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
    assert!((400..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[track_caller]
fn is_json(answer: &Response) {
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert!(!answer.header("x-request-id").is_empty());
}
