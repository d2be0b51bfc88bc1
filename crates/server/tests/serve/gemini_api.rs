//! The Gemini API through the real binary, in front of the emulator, which is as strict as Google.

use code_assist_emulator::{GEMINI_API_KEY, Options, Played};

use code_assist_harness::{Connection, GoogleEmulator, Proxy, ProxyBuilder, Response, request};
use serde_json::Value;

use crate::{ARRAY, GENERATE, HELLO, STREAM};

const KEY: &str = "a-key-of-the-proxy-0123456789";

fn google() -> GoogleEmulator {
    GoogleEmulator::start_with(Options { played: Played::GeminiApi, ..Options::default() })
}

fn setup(google: &GoogleEmulator) -> ProxyBuilder {
    ProxyBuilder::without_upstream()
        .env("UPSTREAMS", "gemini-api")
        .env("GEMINI_API_KEY", GEMINI_API_KEY)
        .env("GEMINI_API_ENDPOINT", google.url())
        .env("PROXY_API_KEYS", KEY)
}

fn ask(proxy: &Proxy, method: &str, path: &str, body: &[u8]) -> Response {
    let key = format!("x-goog-api-key: {KEY}");
    proxy.send(request(method, path, &[&key, "content-type: application/json"], body))
}

#[test]
fn answers_streams_counts_and_embeddings_are_googles() {
    let google = google();
    let proxy = setup(&google).start();
    for path in [GENERATE, STREAM, ARRAY, "/v1/models/gemini-2.5-flash:generateContent"] {
        let answer = ask(&proxy, "POST", path, HELLO.as_bytes());
        assert_eq!(answer.status(), 200, "{path} {}", answer.text());
        assert!(answer.text().contains("finishReason"), "{path} {}", answer.text());
    }
    let answer =
        ask(&proxy, "POST", "/v1beta/models/gemini-2.5-flash:countTokens", HELLO.as_bytes());
    assert!(answer.json()["totalTokens"].is_u64(), "{}", answer.text());
    let answer = ask(
        &proxy,
        "POST",
        "/v1beta/models/gemini-embedding-001:embedContent",
        br#"{"content":{"parts":[{"text":"x"}]}}"#,
    );
    assert!(answer.json()["embedding"]["values"].is_array(), "{}", answer.text());
    let answer = ask(&proxy, "GET", "/v1beta/models?pageSize=2", b"");
    assert_eq!(answer.json()["models"].as_array().map(Vec::len), Some(2), "{}", answer.text());
    let line = proxy.await_request_lines(1).remove(0);
    assert_eq!(line["model"], "gemini-2.5-flash", "{line}");
}

#[test]
fn a_copied_answer_that_the_client_has_taken_whole_is_logged_as_ok() {
    let google = google();
    let proxy = setup(&google).start();
    for (method, path, body) in [
        ("POST", "/v1beta/interactions", r#"{"model":"gemini-2.5-flash","input":"Hello"}"#),
        ("GET", "/v1beta/files", ""),
    ] {
        let answer = ask(&proxy, method, path, body.as_bytes());
        assert_eq!(answer.status(), 200, "{path} {}", answer.text());
        let line = proxy.await_request_lines(1).remove(0);
        assert_eq!(line["outcome"], "ok", "{line}");
    }
}

#[test]
fn a_file_is_uploaded_in_pieces_without_a_key_and_read_again() {
    let google = google();
    let proxy = setup(&google).start();
    let content = vec![b'x'; 700_000];
    let key = format!("x-goog-api-key: {KEY}");
    let length = format!("x-goog-upload-header-content-length: {}", content.len());
    let started = proxy.send(request(
        "POST",
        "/upload/v1beta/files",
        &[
            &key,
            "x-goog-upload-protocol: resumable",
            "x-goog-upload-command: start",
            &length,
            "x-goog-upload-header-content-type: text/plain",
            "content-type: application/json",
        ],
        br#"{"file":{"mimeType":"text/plain"}}"#,
    ));
    assert_eq!(started.status(), 200, "{}", started.text());
    let url = started.header("x-goog-upload-url").to_owned();
    // What the client wrote into `Host`.
    let path = url.strip_prefix("http://localhost").unwrap_or_else(|| panic!("{url}"));
    let split = 262_144;
    let first = proxy.send(request(
        "POST",
        path,
        &["x-goog-upload-command: upload", "x-goog-upload-offset: 0"],
        &content[..split],
    ));
    assert_eq!(first.status(), 200, "{}", first.text());
    assert_eq!(first.header("x-goog-upload-status"), "active");
    let offset = format!("x-goog-upload-offset: {split}");
    let last = proxy.send(request(
        "POST",
        path,
        &["x-goog-upload-command: upload, finalize", &offset],
        &content[split..],
    ));
    assert_eq!(last.header("x-goog-upload-status"), "final", "{}", last.text());
    let name = last.json()["file"]["name"].as_str().expect("a file").to_owned();
    let file = ask(&proxy, "GET", &format!("/v1beta/{name}"), b"");
    assert_eq!(file.json()["sizeBytes"], content.len().to_string(), "{}", file.text());
    let other = path.replace("/upload/v1beta/files", "/v1beta/files");
    assert_eq!(proxy.send(request("GET", &other, &[], b"")).status(), 401);
    let deleted = ask(&proxy, "DELETE", &format!("/v1beta/{name}"), b"");
    assert_eq!(deleted.status(), 200, "{}", deleted.text());
}

#[test]
fn a_wrong_key_of_the_operators_is_a_503_with_googles_words() {
    let google = google();
    let proxy =
        setup(&google).env("GEMINI_API_KEY", "AIzaSyWrong0123456789abcdefghijklmnopqr").start();
    for path in [GENERATE, STREAM, "/v1beta/cachedContents"] {
        let answer = ask(&proxy, "POST", path, HELLO.as_bytes());
        assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".to_owned()), "{path}");
        assert!(!answer.text().contains("AIza"), "{}", answer.text());
    }
}

#[test]
fn a_websocket_is_joined_to_googles() {
    let google = google();
    let proxy = setup(&google).start();
    let mut socket = Connection::open(proxy.address());
    let path = format!(
        "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key={KEY}"
    );
    socket.write(format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        proxy.address()
    ));
    let head = socket.head();
    assert_eq!(head.status, 101);
    assert_eq!(head.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    socket.write(text_frame(r#"{"setup":{"model":"models/gemini-2.5-flash"}}"#));
    let frame = socket.exactly(2);
    let text = socket.exactly(usize::from(frame[1] & 0x7f));
    let message: Value = serde_json::from_slice(&text).expect("JSON in a frame");
    assert!(message.get("setupComplete").is_some(), "{message}");
}

/// A masked frame, as clients send it.
fn text_frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short frame");
    assert!(length < 126);
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x81, 0x80 | length];
    frame.extend(mask);
    frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
