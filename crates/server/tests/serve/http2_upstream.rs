//! Upstream connections as the settings have them, with the real binary in front of an HTTPS
//! upstream that counts what is opened.

#![expect(clippy::unwrap_used, reason = "in a helper, too, it is the test that fails")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_are_open_at_once_where_a_connection_takes_a_hundred() {
    let upstream = Upstream::start(100).await;
    let proxy = Running::start(&upstream, &[("MAX_CONCURRENT_REQUESTS", "600")]).await;
    let mut clients = Vec::new();
    for _ in 0..500 {
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(STREAM.as_bytes()).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        let begun = tokio::time::timeout(Duration::from_secs(20), said(client, "the beginning"));
        begun.await.expect("no stream waits for another");
    }
    assert_eq!(upstream.streams(), 500);
    assert_eq!(upstream.opened(), 5);

    // Clients that vanish take their streams with them, and nothing else.
    clients.truncate(100);
    upstream.until(|| upstream.streams() == 100).await;
    upstream.finish.send_replace(true);
    for client in &mut clients {
        said(client, "the end").await;
    }
    upstream.until(|| upstream.streams() == 0).await;
    assert_eq!(upstream.opened(), 5);
}

#[tokio::test]
async fn without_pooling_every_request_has_its_own_connection() {
    for (pooling, opened) in [("true", 1), ("false", 4)] {
        let upstream = Upstream::start(100).await;
        upstream.finish.send_replace(true);
        let proxy = Running::start(&upstream, &[("ENABLE_CONNECTION_POOLING", pooling)]).await;
        for _ in 0..4 {
            let mut client = TcpStream::connect(proxy.address).await.unwrap();
            client.write_all(STREAM.as_bytes()).await.unwrap();
            said(&mut client, "the end").await;
        }
        assert_eq!(upstream.opened(), opened, "{pooling}");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_keep_alive_timeout() {
    let upstream = Upstream::start(100).await;
    upstream.finish.send_replace(true);
    let proxy = Running::start(&upstream, &[("KEEP_ALIVE_TIMEOUT_MS", "300")]).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(STREAM.as_bytes()).await.unwrap();
    said(&mut client, "the end").await;
    let begun = Instant::now();
    upstream.until(|| upstream.open() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
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
        let upstream = Upstream::start(100).await;
        upstream.finish.send_replace(true);
        let env = [("HTTPS_PROXY", by_proxy.as_str()), ("NO_PROXY", except)];
        let proxy = Running::start(&upstream, &env).await;
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        client.write_all(STREAM.as_bytes()).await.unwrap();
        said(&mut client, "the end").await;
        assert_eq!(used.load(Ordering::SeqCst), tunnels, "{except}");
    }
}

#[tokio::test]
async fn an_upstream_whose_certificate_is_not_trusted_is_unreachable() {
    let upstream = Upstream::start(100).await;
    let other = Upstream::start(100).await;
    let file = other.folder.path().join("ca.pem");
    let env = [("SSL_CERT_FILE", file.to_str().unwrap()), ("MAX_RETRY_ATTEMPTS", "0")];
    let proxy = Running::start(&upstream, &env).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(STREAM.as_bytes()).await.unwrap();
    let told = said(&mut client, "UPSTREAM_UNREACHABLE").await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("certificate"), "{told}");
}

#[tokio::test]
async fn a_connection_to_upstream_is_opened_before_the_first_request() {
    let upstream = Upstream::start(100).await;
    let proxy = Running::start(&upstream, &[]).await;
    upstream.until(|| upstream.open() == 1).await;
    upstream.finish.send_replace(true);
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    client.write_all(STREAM.as_bytes()).await.unwrap();
    said(&mut client, "the end").await;
    assert_eq!(upstream.opened(), 1);
}

/// Reads until this has been said.
async fn said(client: &mut TcpStream, text: &str) -> String {
    let mut heard = String::new();
    while !heard.contains(text) {
        let mut piece = [0; 4096];
        let read = client.read(&mut piece).await.unwrap();
        assert!(read > 0, "it ended before {text:?}: {heard}");
        heard.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    heard
}

/// The binary, serving.
struct Running {
    address: SocketAddr,
    _child: Child,
    _home: TempDir,
}

impl Running {
    async fn start(upstream: &Upstream, env: &[(&str, &str)]) -> Self {
        let home = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_code-assist-proxy"))
            .args(["serve", "--port", "0"])
            .env_clear()
            .env("HOME", home.path())
            .env("KV_URL", "memory:")
            .env("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.test")
            .env("GEMINI_PROJECT_ID", "test-project")
            .env("VALIDATE_TOKENS_BEFORE_USE", "false")
            .env("SSL_CERT_FILE", upstream.folder.path().join("ca.pem"))
            .env("CODE_ASSIST_ENDPOINT", format!("https://localhost:{}", upstream.address.port()))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("it serves");
            if let Some((_, address)) = line.split_once("listening on http://") {
                break address.trim().parse().unwrap();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, _child: child, _home: home }
    }
}

/// A Code Assist over TLS and HTTP/2. Its streams begin at once, and end when they are told to.
struct Upstream {
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

impl Upstream {
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

    fn opened(&self) -> usize {
        self.counts.opened.load(Ordering::SeqCst)
    }

    fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    fn streams(&self) -> usize {
        self.counts.streams.load(Ordering::SeqCst)
    }

    async fn until(&self, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            let (open, streams) = (self.open(), self.streams());
            assert!(begun.elapsed() < Duration::from_secs(10), "{open} open, {streams} streams");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One event at once, and one at the end.
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

/// A certificate for `localhost`, in `ca.pem` for those who shall trust it.
fn acceptor(folder: &TempDir) -> TlsAcceptor {
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

const STREAM: &str = "\
    POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n\
    host: localhost\r\ncontent-length: 15\r\n\r\n{\"contents\":[]}";
