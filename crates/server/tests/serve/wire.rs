//! The bytes between a client and the binary: protocols, lengths, connections, garbage.

use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, ScriptedUpstream, get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{ARRAY, GENERATE, HELLO, STREAM};

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let mut connection = proxy.connect();
    let request = post(GENERATE, &["Expect: 100-continue"], HELLO);
    let (head, body) = request.split_at(request.len() - HELLO.len());
    connection.write(head);
    assert_eq!(connection.head().status, 100);
    connection.write(body);
    assert_eq!(connection.response().status(), 200);
}

#[test]
fn http_1_0_is_answered_in_full_and_closed() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for path in [GENERATE, STREAM] {
        let mut connection = proxy.connect();
        let length = HELLO.len();
        connection
            .write(format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{HELLO}"));
        let head = connection.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.version, "HTTP/1.0");
        assert!(!head.is_chunked(), "HTTP/1.0 knows no chunks");
        let body = String::from_utf8(connection.until_closed()).unwrap();
        assert!(body.contains("Hello"), "{body}");
        assert!(body.ends_with("}\r\n\r\n") || body.ends_with('}'), "whole: {body}");
    }
}

#[test]
fn http_2_without_tls_serves_on_the_same_port() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(&proxy.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        for path in [GENERATE, STREAM] {
            let request = http::Request::post(format!("http://{}{path}", proxy.address()))
                .body(http_body_util::Full::new(bytes::Bytes::from_static(HELLO.as_bytes())))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.version(), http::Version::HTTP_2);
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
            let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
            assert!(text.contains("Hello"), "{text}");
        }
        let request = http::Request::get("http://evil.example/health")
            .body(http_body_util::Full::default())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 403, ":authority is the Host of HTTP/2");
    });
}

#[test]
fn connections_are_reused_on_both_sides() {
    let upstream = ScriptedUpstream::answering("200 OK", "", r#"{"response":{"candidates":[]}}"#);
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    let mut connection = proxy.connect();
    for _ in 0..20 {
        assert_eq!(connection.send(post(GENERATE, &[], HELLO)).status(), 200);
    }
    // Two at once: the second is answered after the first.
    connection.write([post(GENERATE, &[], HELLO), get("/health", &[])].concat());
    assert!(connection.response().text().contains("candidates"));
    assert!(connection.response().text().contains("uptime"));
    let answer = connection.send(post(GENERATE, &["Connection: close"], HELLO));
    assert_eq!(answer.status(), 200);
    assert!(connection.until_closed().is_empty());
}

#[test]
fn a_tls_hello_is_closed_at_once_without_a_byte() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let mut connection = proxy.connect();
    let started = Instant::now();
    connection.write([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);
    assert_eq!(connection.until_closed(), b"");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn garbage_on_a_connection_does_not_disturb_other_clients() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let huge = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(600_000));
    for nonsense in ["nonsense\r\n\r\n", "GET /\0 HTTP/1.1\r\n\r\n", &huge] {
        let mut connection = proxy.connect();
        connection.try_write(nonsense);
        connection.try_write("\r\n\r\n");
        let answer = String::from_utf8_lossy(&connection.until_closed()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.stderr(), "");
}

#[test]
fn a_whole_answer_has_a_content_length_and_a_stream_is_chunked() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let whole = proxy.post(GENERATE, HELLO);
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert!(!whole.head.is_chunked());
    for path in [STREAM, ARRAY] {
        let stream = proxy.post(path, HELLO);
        assert!(stream.head.is_chunked(), "{path}");
        assert_eq!(stream.head.find("content-length"), None, "{path}");
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_is_sent() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).env("MAX_REQUEST_BODY_BYTES", "1000").start();
    // The body is announced and never sent: the refusal does not wait for it.
    let head =
        format!("POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n");
    assert_eq!(proxy.send(head).status_and_reason(), (413, "BODY_TOO_LARGE".into()));
}
