//! Connections to an upstream that speaks HTTP/2 with TLS and counts what is opened.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use code_assist_harness::{Proxy, ProxyBuilder};
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_are_open_at_once_where_a_connection_takes_a_hundred() {
    let upstream = Http2Upstream::start(100).await;
    let proxy = start(&upstream, &[("MAX_CONCURRENT_REQUESTS", "600")]);
    let mut clients = Vec::new();
    for _ in 0..500 {
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        let started =
            tokio::time::timeout(Duration::from_secs(20), read_until(client, "the beginning"));
        started.await.expect("no stream waits for another");
    }
    assert_eq!(upstream.streams(), 500);
    assert_eq!(upstream.opened(), 5);

    // Clients that disconnect end their own streams and no others.
    clients.truncate(100);
    upstream.until(|| upstream.streams() == 100).await;
    upstream.finish.send_replace(true);
    for client in &mut clients {
        read_until(client, "the end").await;
    }
    upstream.until(|| upstream.streams() == 0).await;
    assert_eq!(upstream.opened(), 5);
}

#[tokio::test]
async fn without_pooling_every_request_has_its_own_connection() {
    for (pooling, opened) in [("true", 1), ("false", 4)] {
        let upstream = Http2Upstream::start(100).await;
        upstream.finish.send_replace(true);
        let proxy = start(&upstream, &[("ENABLE_CONNECTION_POOLING", pooling)]);
        for _ in 0..4 {
            let mut client = TcpStream::connect(proxy.address()).await.unwrap();
            client.write_all(REQUEST.as_bytes()).await.unwrap();
            read_until(&mut client, "the end").await;
        }
        assert_eq!(upstream.opened(), opened, "{pooling}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_keep_alive_timeout() {
    let upstream = Http2Upstream::start(100).await;
    upstream.finish.send_replace(true);
    let proxy = start(&upstream, &[("KEEP_ALIVE_TIMEOUT_MS", "300")]);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    read_until(&mut client, "the end").await;
    let started = Instant::now();
    upstream.until(|| upstream.open() == 0).await;
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_forward_proxy_of_the_environment_is_used_and_no_proxy_is_respected() {
    let tunnels = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let by_proxy = format!("http://ada:secret@{}", tunnels.local_addr().unwrap());
    let used = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&used);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = tunnels.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                // ada:secret
                assert!(head.contains("YWRhOnNlY3JldA=="), "{head}");
                let to = head.split(' ').nth(1).unwrap().replace("localhost", "127.0.0.1");
                let mut server = TcpStream::connect(to).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    for (except, tunnels) in [("example.com", 1), ("localhost", 0)] {
        used.store(0, Ordering::SeqCst);
        let upstream = Http2Upstream::start(100).await;
        upstream.finish.send_replace(true);
        let env = [("HTTPS_PROXY", by_proxy.as_str()), ("NO_PROXY", except)];
        let proxy = start(&upstream, &env);
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        read_until(&mut client, "the end").await;
        assert_eq!(used.load(Ordering::SeqCst), tunnels, "{except}");
    }
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_not_trusted_is_unreachable() {
    let upstream = Http2Upstream::start(100).await;
    let other = Http2Upstream::start(100).await;
    let certificate = other.certificate();
    let env = [("SSL_CERT_FILE", certificate.as_str()), ("MAX_RETRY_ATTEMPTS", "0")];
    let proxy = start(&upstream, &env);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let response = read_until(&mut client, "UPSTREAM_UNREACHABLE").await;
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(response.contains("certificate"), "{response}");
}

#[tokio::test]
async fn a_connection_to_upstream_is_opened_before_the_first_request() {
    let upstream = Http2Upstream::start(100).await;
    let proxy = start(&upstream, &[]);
    upstream.until(|| upstream.open() == 1).await;
    upstream.finish.send_replace(true);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    read_until(&mut client, "the end").await;
    assert_eq!(upstream.opened(), 1);
}

/// Reads until this text has arrived.
async fn read_until(client: &mut TcpStream, text: &str) -> String {
    let mut received = String::new();
    while !received.contains(text) {
        let mut piece = [0; 4096];
        let read = client.read(&mut piece).await.unwrap();
        assert!(read > 0, "closed before {text:?}: {received}");
        received.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    received
}

/// Starts a proxy in front of this upstream, and trusts its certificate.
fn start(upstream: &Http2Upstream, settings: &[(&str, &str)]) -> Proxy {
    let builder = ProxyBuilder::without_upstream()
        .env("CODE_ASSIST_ENDPOINT", format!("https://localhost:{}", upstream.address.port()))
        .env("SSL_CERT_FILE", upstream.certificate())
        .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.test")
        .env("GEMINI_PROJECT_ID", "test-project")
        .env("VALIDATE_TOKENS_BEFORE_USE", "false");
    settings.iter().fold(builder, |builder, (name, value)| builder.env(name, *value)).start()
}

/// A Code Assist over HTTP/2 with TLS. Its streams begin at once, and end once `finish` is true.
struct Http2Upstream {
    address: SocketAddr,
    folder: TempDir,
    finish: watch::Sender<bool>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    open: AtomicUsize,
    streams: AtomicUsize,
}

impl Http2Upstream {
    async fn start(streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let folder = TempDir::new().unwrap();
        let acceptor = acceptor(&folder);
        let counts = Arc::new(Counts::default());
        let (finish, finished) = watch::channel(false);
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, finished) = (acceptor.clone(), finished.clone());
                let counts = Arc::clone(&counted);
                tokio::spawn(async move {
                    counts.opened.fetch_add(1, Ordering::SeqCst);
                    counts.open.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(|_: Request<Incoming>| {
                        let body = Events::new(&counts, &finished);
                        async move { Ok::<_, Infallible>(Response::new(body)) }
                    });
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let mut server =
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        server.max_concurrent_streams(streams);
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, folder, finish, counts }
    }

    fn certificate(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// Connections that were opened.
    fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Streams that are open.
    fn streams(&self) -> usize {
        self.counts.streams.load(Ordering::SeqCst)
    }

    async fn until(&self, done: impl Fn() -> bool) {
        let started = Instant::now();
        while !done() {
            let (open, streams) = (self.open(), self.streams());
            assert!(started.elapsed() < Duration::from_secs(10), "{open} open, {streams} streams");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A body of two events: one at once, one at the end.
struct Events {
    left: Vec<&'static str>,
    finished: Pin<Box<dyn Future<Output = ()> + Send>>,
    counts: Arc<Counts>,
}

impl Events {
    fn new(counts: &Arc<Counts>, finished: &watch::Receiver<bool>) -> Self {
        counts.streams.fetch_add(1, Ordering::SeqCst);
        let mut finished = finished.clone();
        let finished = Box::pin(async move {
            let _ = finished.wait_for(|finished| *finished).await;
        });
        Self { left: vec!["the end", "the beginning"], finished, counts: Arc::clone(counts) }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.counts.streams.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.len() == 1 && self.finished.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let Some(text) = self.left.pop() else { return Poll::Ready(None) };
        let part = format!("{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}}");
        let candidate = format!("{{\"content\":{part},\"finishReason\":\"STOP\"}}");
        let event = format!("data: {{\"response\":{{\"candidates\":[{candidate}]}}}}\r\n\r\n");
        Poll::Ready(Some(Ok(Frame::data(event.into()))))
    }
}

/// A self-signed certificate for `localhost`, also written to `ca.pem`.
pub(crate) fn acceptor(folder: &TempDir) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A request for a stream.
const REQUEST: &str = "\
    POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n\
    host: localhost\r\ncontent-length: 15\r\n\r\n{\"contents\":[]}";
