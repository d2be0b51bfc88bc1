//! Streams and connections that break, at an upstream that speaks HTTP/2: how often it sees a request,
//! and what the client sees.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use code_assist_harness::{Proxy, ProxyBuilder};
use h2::Reason;
use http::Response;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::http2_upstream::acceptor;
use crate::{GENERATE, HELLO, STREAM};

const ANSWER: &str = r#"{"response":{"candidates":[{"content":{"parts":[{"text":"all"}],"role":"model"},"finishReason":"STOP"}]}}"#;

/// What upstream does with a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reaction {
    Answer,
    /// Resets the stream before the head of an answer.
    Reset(Reason),
    /// Sends the head of an answer, then resets the stream.
    ResetAfterHead(Reason),
    /// Sends a GOAWAY that covers the stream, then ends the connection.
    GoAway,
    /// Ends the connection without a frame, after a while.
    Close(Duration),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_sent_again_only_if_upstream_has_certainly_not_processed_it() {
    let late = Duration::from_millis(300);
    let cases: [(&[Reaction], u16, usize); 8] = [
        (&[Reaction::Reset(Reason::REFUSED_STREAM)], 200, 2),
        (&[Reaction::Reset(Reason::REFUSED_STREAM); 5], 200, 6),
        (&[Reaction::Reset(Reason::INTERNAL_ERROR)], 502, 1),
        (&[Reaction::Reset(Reason::CANCEL)], 502, 1),
        (&[Reaction::ResetAfterHead(Reason::INTERNAL_ERROR)], 502, 1),
        // It has sent the head: what it says of the stream comes too late.
        (&[Reaction::ResetAfterHead(Reason::REFUSED_STREAM)], 502, 1),
        (&[Reaction::GoAway], 502, 1),
        (&[Reaction::Close(late)], 502, 1),
    ];
    for (reactions, status, seen) in cases {
        for path in [GENERATE, STREAM] {
            let upstream = Upstream::start(reactions).await;
            let proxy = upstream.proxy();
            let answer =
                tokio::task::spawn_blocking(move || proxy.post(path, HELLO)).await.unwrap();
            assert_eq!(answer.status(), status, "{path} {reactions:?}: {}", answer.text());
            if status == 502 {
                assert_eq!(answer.reason(), "UPSTREAM_DISCONNECTED");
                let words = "so the proxy did not send it again";
                assert!(answer.text().contains(words), "{}", answer.text());
            }
            assert_eq!(upstream.seen.load(Ordering::SeqCst), seen, "{path} {reactions:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_meets_a_dead_connection_is_answered_over_another() {
    for path in [GENERATE, STREAM] {
        let upstream = Upstream::start(&[Reaction::Answer, Reaction::Close(Duration::ZERO)]).await;
        let proxy = upstream.proxy();
        let statuses = tokio::task::spawn_blocking(move || {
            [proxy.post(path, HELLO).status(), proxy.post(path, HELLO).status()]
        });
        assert_eq!(statuses.await.unwrap(), [200, 200], "{path}");
        assert_eq!(upstream.seen.load(Ordering::SeqCst), 3, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_refuses_every_stream_gets_a_bounded_number_of_requests() {
    let upstream = Upstream::start(&[Reaction::Reset(Reason::REFUSED_STREAM); 100]).await;
    let proxy = upstream.proxy();
    let answer = tokio::task::spawn_blocking(move || proxy.post(GENERATE, HELLO)).await.unwrap();
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()));
    assert!(answer.text().contains("Nothing was carried out"), "{}", answer.text());
    // Three of the HTTP client for each of three tries.
    assert_eq!(upstream.seen.load(Ordering::SeqCst), 9);
}

/// A Code Assist that reacts to each request as its list says, and answers all further ones.
struct Upstream {
    address: std::net::SocketAddr,
    folder: TempDir,
    seen: Arc<AtomicUsize>,
}

impl Upstream {
    async fn start(reactions: &[Reaction]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = TempDir::new().unwrap();
        let acceptor = acceptor(&folder);
        let seen = Arc::<AtomicUsize>::default();
        let reactions = Arc::new(Mutex::new(reactions.iter().rev().copied().collect::<Vec<_>>()));
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, reactions) = (acceptor.clone(), Arc::clone(&reactions));
                let seen = Arc::clone(&counted);
                tokio::spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    serve(stream, || {
                        seen.fetch_add(1, Ordering::SeqCst);
                        reactions.lock().unwrap().pop().unwrap_or(Reaction::Answer)
                    })
                    .await;
                });
            }
        });
        Self { address, folder, seen }
    }

    fn proxy(&self) -> Proxy {
        ProxyBuilder::without_upstream()
            .env("CODE_ASSIST_ENDPOINT", format!("https://localhost:{}", self.address.port()))
            .env("SSL_CERT_FILE", self.folder.path().join("ca.pem").to_str().unwrap())
            .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.test")
            .env("GEMINI_PROJECT_ID", "test-project")
            .env("VALIDATE_TOKENS_BEFORE_USE", "false")
            .env("RETRY_BASE_DELAY_MS", "1")
            .env("MAX_RETRY_ATTEMPTS", "2")
            .start()
    }
}

async fn serve(stream: TlsStream<TcpStream>, next: impl Fn() -> Reaction) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let is_stream = request.uri().query().is_some();
        match next() {
            Reaction::Answer => {
                let text =
                    if is_stream { format!("data: {ANSWER}\r\n\r\n") } else { ANSWER.into() };
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from(text), true).unwrap();
            }
            Reaction::Reset(reason) => respond.send_reset(reason),
            Reaction::ResetAfterHead(reason) => {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"d"), false).unwrap();
                // The frames go out before the reset replaces them.
                let _ = tokio::time::timeout(Duration::from_millis(50), connection.accept()).await;
                body.send_reset(reason);
            }
            Reaction::GoAway => connection.abrupt_shutdown(Reason::NO_ERROR),
            Reaction::Close(after) => {
                tokio::time::sleep(after).await;
                return;
            }
        }
    }
}
