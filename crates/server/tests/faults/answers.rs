//! Faults in upstream's answers.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{ARRAY, EVENT, GENERATE, HELLO, LAST, STREAM, WHOLE, streaming};
use code_assist_harness::{
    GoogleEmulator, Response, ScriptedUpstream, TestProxy, parse_events, post, proxy_error_reason,
};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::breaks::not_sent_again;
use crate::network::watching;

pub(crate) fn redirect() -> Vec<TestProxy> {
    let elsewhere = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let location = format!("Location: {}/v1internal:generateContent\r\n", elsewhere.url());
    let upstream = ScriptedUpstream::answering("307 Temporary Redirect", &location, "");
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()));
    assert_eq!((upstream.received().len(), elsewhere.connections()), (1, 0));
    vec![proxy]
}

pub(crate) fn wrong_content_type() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "Content-Type: text/plain\r\n", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.text()), (200, bare(WHOLE)));
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn web_page_for_an_answer() -> Vec<TestProxy> {
    refused_once("Content-Type: text/html\r\n", PAGE.as_bytes(), GENERATE, "")
}

pub(crate) fn web_page_for_a_stream() -> Vec<TestProxy> {
    refused_once(
        "Content-Type: text/html; charset=UTF-8\r\n",
        PAGE.as_bytes(),
        STREAM,
        "a web page",
    )
}

pub(crate) fn web_page_502() -> Vec<TestProxy> {
    let upstream =
        ScriptedUpstream::answering("502 Bad Gateway", "Content-Type: text/html\r\n", PAGE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.error()["code"], 502);
    assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn gzip_whole() -> Vec<TestProxy> {
    refused_once(PACKED, &gzip(WHOLE), GENERATE, "gzip")
}

pub(crate) fn gzip_stream() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "gzip": true}));
    let proxy = TestProxy::for_emulator(google, &[]);
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()));
    assert!(answer.text().contains("gzip"), "{}", answer.text());
    assert_eq!(proxy.google().count("streamGenerateContent"), 1);
    vec![proxy]
}

pub(crate) fn gzip_truncated() -> Vec<TestProxy> {
    let packed = gzip(WHOLE);
    refused_once(PACKED, &packed[..packed.len() / 2], GENERATE, "gzip")
}

pub(crate) fn empty_answer() -> Vec<TestProxy> {
    refused_once("", b"", GENERATE, "")
}

pub(crate) fn answer_without_response() -> Vec<TestProxy> {
    refused_once("", br#"{"traceId":"t"}"#, GENERATE, "response")
}

pub(crate) fn answer_cut() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"response\":{}");
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[GENERATE]);
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn empty_stream() -> Vec<TestProxy> {
    const STREAMS: [&[&str]; 5] = [
        &[],
        &[r#"{"traceId":"t","remainingCredits":[]}"#],
        &["[DONE]"],
        &["{}"],
        &[r#"{"response":{}}"#],
    ];
    let mut proxies = Vec::new();
    for events in STREAMS {
        let upstream = streaming(events);
        let proxy = TestProxy::for_upstream(&upstream, &[]);
        for path in [STREAM, ARRAY] {
            let answer = proxy.post(path, HELLO);
            assert_eq!(answer.status(), 502, "{events:?} {}", answer.text());
            assert!(answer.text().contains("UPSTREAM_MALFORMED"), "{}", answer.text());
        }
        assert_eq!(upstream.received().len(), 6);
        proxies.push(proxy);
    }
    proxies
}

pub(crate) fn not_in_its_wrapper() -> Vec<TestProxy> {
    const GEMINI: &str = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#;
    let streams = streaming(&[GEMINI]);
    let wholes = ScriptedUpstream::answering("200 OK", "", GEMINI);
    let asked = [(&streams, STREAM), (&wholes, GENERATE)];
    let proxies = asked.map(|(upstream, path)| {
        let proxy = TestProxy::for_upstream(upstream, &[]);
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()));
        assert!(answer.text().contains("CODE_ASSIST_ENDPOINT"), "{}", answer.text());
        assert_eq!(upstream.received().len(), 1);
        proxy
    });
    proxies.into()
}

pub(crate) fn comments_for_ever() -> Vec<TestProxy> {
    let flood = ": keep-alive\r\n\r\n".repeat(4000);
    vec![comments(": keep-alive\r\n\r\n", 50), comments(&flood, 0)]
}

/// A stream of these comments, with so many milliseconds between two of them.
fn comments(text: &str, pause: u64) -> TestProxy {
    let closed = Arc::new(AtomicUsize::new(0));
    let (seen, text) = (Arc::clone(&closed), text.to_owned());
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        let end = Instant::now() + Duration::from_secs(15);
        while Instant::now() < end && connection.is_open() {
            connection.chunk(&text);
            thread::sleep(Duration::from_millis(pause));
        }
        seen.fetch_add(usize::from(Instant::now() < end), Ordering::SeqCst);
        connection.close();
    });
    let limits = [("FIRST_BYTE_TIMEOUT_MS", "500"), ("STREAM_IDLE_TIMEOUT_MS", "400")];
    let proxy = TestProxy::for_upstream(&upstream, &limits);
    let started = Instant::now();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(500) && took < Duration::from_secs(5), "{took:?}");
    proxy.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert_eq!(upstream.received().len(), 1);
    proxy
}

pub(crate) fn error_in_a_whole_answer() -> Vec<TestProxy> {
    const CASES: [(&[&str], u16, usize); 6] = [
        (&[r#"{"error":{"code":8,"status":"RESOURCE_EXHAUSTED"}}"#], 429, 3),
        (&[r#"{"error":{"code":3,"message":"bad"}}"#], 400, 1),
        (&[r#"{"error":{"code":7}}"#], 403, 1),
        (&[r#"{"error":{"code":14}}"#], 503, 3),
        (&[r#"{"error":{"code":"429","message":"later"}}"#], 429, 3),
        (&[r#"{"error":{"status":"INVALID_ARGUMENT","message":"bad"}}"#], 400, 1),
    ];
    let mut proxies = Vec::new();
    for (text, status, tries) in CASES {
        for path in [GENERATE, STREAM] {
            let upstream = match path {
                STREAM => streaming(text),
                _ => ScriptedUpstream::answering("200 OK", "", text[0]),
            };
            let proxy = TestProxy::for_upstream(&upstream, &[]);
            let answer = proxy.post(path, HELLO);
            assert_eq!(answer.status(), status, "{path} {text:?} {}", answer.text());
            assert_eq!(answer.error()["code"], status, "{}", answer.text());
            assert_eq!(upstream.received().len(), tries, "{path} {text:?}");
            proxies.push(proxy);
        }
    }
    proxies
}

pub(crate) fn error_as_first_event() -> Vec<TestProxy> {
    let upstream = streaming(&[NO_MORE]);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    for path in [STREAM, ARRAY] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert_eq!(answer.error()["message"], "no more");
    }
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn error_mid_stream() -> Vec<TestProxy> {
    let upstream = streaming(&[EVENT, EVENT, NO_MORE, LAST]);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 2, 403, "");
    let elements = proxy.post(ARRAY, HELLO).json();
    assert_eq!(elements.as_array().map(Vec::len), Some(3), "{elements}");
    assert_eq!(elements[2]["error"]["message"], "no more");
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn cut_anywhere() -> Vec<TestProxy> {
    let one = format!("data: {EVENT}\r\n\r\n");
    let all = format!("{one}{one}data: {LAST}\r\n\r\n");
    let at = Arc::new(AtomicUsize::new(0));
    let (cut, bytes) = (Arc::clone(&at), all.clone());
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        connection.chunk(&bytes[..cut.load(Ordering::SeqCst)]);
        connection.close();
    });
    let settings = [("MAX_RETRY_ATTEMPTS", "0"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let mut connection = proxy.connect();
    let mut sent = 0;
    // At every seventh byte, and at each byte of the line ends.
    let ends = |cut: &usize| cut.is_multiple_of(7) || all[..*cut].ends_with(['\r', '\n']);
    for cut in (1..all.len()).filter(ends) {
        at.store(cut, Ordering::SeqCst);
        let answer = connection.send(post(STREAM, &[], HELLO));
        sent += 1;
        // The first byte of the blank line ends an event.
        match all[..cut].matches("\r\n\r").count() {
            0 => {
                let wanted = (502, "UPSTREAM_DISCONNECTED".into());
                assert_eq!(answer.status_and_reason(), wanted, "cut at {cut}");
            }
            whole => {
                assert_eq!(answer.status(), 200, "cut at {cut}");
                ends_in_error(&answer.text(), whole, 502, "UPSTREAM_DISCONNECTED");
            }
        }
    }
    assert_eq!(upstream.received().len(), sent);
    vec![proxy]
}

pub(crate) fn no_finish_reason() -> Vec<TestProxy> {
    let upstream = streaming(&[EVENT, EVENT]);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(STREAM, HELLO);
    let event = format!("data: {}\r\n\r\n", bare(EVENT));
    assert_eq!(answer.text(), event.repeat(2));
    assert_eq!(proxy.last_line(1)["outcome"], "cut");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn event_too_long() -> Vec<TestProxy> {
    let (closed, upstream) = watching(|connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {EVENT}\r\n\r\n"));
        connection.chunk(format!("data: {{\"response\":\"{}", "x".repeat(20_000)));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("MAX_EVENT_BYTES", "10000")]);
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 1, 502, "UPSTREAM_MALFORMED");
    proxy.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn event_is_no_json() -> Vec<TestProxy> {
    let upstream = streaming(&[EVENT, r#"{"response":nonsense}"#, LAST]);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 1, 502, "UPSTREAM_MALFORMED");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

/// The answer inside Code Assist's wrapper.
pub(crate) fn bare(wrapped: &str) -> String {
    let inner = wrapped.strip_prefix(r#"{"response":"#).expect("a wrapper");
    inner.strip_suffix('}').expect("a wrapper").to_owned()
}

/// Asserts that the stream has this many good events, then one error as an event and as bare JSON.
#[track_caller]
pub(crate) fn ends_in_error(text: &str, good: usize, code: u16, why: &str) {
    let (framed, last) = text.rsplit_once("\r\n\r\n").expect("events");
    let all = parse_events(&format!("{framed}\r\n\r\n"));
    assert_eq!(all.len(), good + 1, "{text}");
    assert!(all[..good].iter().all(|event| event.get("error").is_none()), "{text}");
    let error = &all[good]["error"];
    assert_eq!((&error["code"], proxy_error_reason(error).as_str()), (&json!(code), why), "{text}");
    let again: Value = serde_json::from_str(last).expect("a bare error");
    assert_eq!(again, all[good], "{text}");
}

/// Asserts that a 200 with this body becomes a 502 with this text, after one try.
#[track_caller]
fn refused_once(headers: &str, body: &[u8], path: &str, words: &str) -> Vec<TestProxy> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    let bytes = [head.as_bytes(), body].concat();
    let upstream = ScriptedUpstream::new(move |_, connection| connection.write(&bytes));
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer: Response = proxy.post(path, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_MALFORMED".into()));
    assert!(answer.text().contains(words), "{}", answer.text());
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).expect("a vector takes all");
    packed.finish().expect("a vector takes all")
}

const NO_MORE: &str = r#"{"error":{"code":403,"message":"no more","status":"PERMISSION_DENIED"}}"#;
const PAGE: &str =
    "<!DOCTYPE html>\n<html><title>Sign in to the network</title><p>Please sign in.</html>\n";
const PACKED: &str = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
