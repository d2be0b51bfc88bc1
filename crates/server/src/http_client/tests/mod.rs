//! Requests over real sockets, against small servers that count connections and streams.

mod breaks;
mod connector;
mod frames;
mod http2;
mod idle;
mod pool;
mod streamed;
mod upgrades;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use code_assist_core::settings::{Layer, Source as From};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc};
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a test server speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tls {
    None,
    Http1,
    Http2 { streams: u32 },
}

/// A server with its own certificate, which counts connections and streams.
struct TestServer {
    address: SocketAddr,
    secure: bool,
    certificate: TempDir,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: AtomicUsize,
    open: AtomicUsize,
    streams: AtomicUsize,
}

/// Counts one until it is dropped.
struct Counted(Arc<Counts>, fn(&Counts) -> &AtomicUsize);

impl Counted {
    fn new(counts: &Arc<Counts>, which: fn(&Counts) -> &AtomicUsize) -> Self {
        which(counts).fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts), which)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::SeqCst);
    }
}

impl TestServer {
    async fn start<F, A>(tls: Tls, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<BoxBody<Bytes, Infallible>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = acceptor(tls);
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                let counts = Arc::clone(&counted);
                tokio::spawn(async move {
                    counts.opened.fetch_add(1, Ordering::SeqCst);
                    let _open = Counted::new(&counts, |counts| &counts.open);
                    let service = service_fn(|request| {
                        let counted = Counted::new(&counts, |counts| &counts.streams);
                        let answer = answer(request);
                        async move {
                            let response = answer.await;
                            Ok::<_, Infallible>(response.map(|body| {
                                body.map_frame(move |frame| {
                                    let _ = &counted;
                                    frame
                                })
                            }))
                        }
                    });
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    if let Tls::Http2 { streams } = tls {
                        server.http2().max_concurrent_streams(streams);
                    }
                    let _ = match tls {
                        Tls::None => server.serve_connection(TokioIo::new(stream), service).await,
                        Tls::Http1 | Tls::Http2 { .. } => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            server.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
        Self { address, secure: tls != Tls::None, certificate, counts }
    }

    fn settings(&self, more: &[(&str, &str)]) -> Settings {
        let file = self.certificate.path().join("ca.pem");
        let defaults = [("SSL_CERT_FILE", file.to_str().unwrap())];
        settings(&[more, &defaults].concat())
    }

    fn client(&self, more: &[(&str, &str)]) -> HttpClient {
        let (end, abort) = watch::channel(false);
        // Dropping the sender would abort all requests.
        std::mem::forget(end);
        HttpClient::new(&self.settings(more), abort).unwrap()
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    fn get(&self, path: &str) -> Request<Payload> {
        Request::get(self.url(path)).body(Payload::default()).unwrap()
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

    async fn await_open(&self, wanted: usize) {
        wait_until(|| self.open() == wanted).await;
    }

    async fn await_streams(&self, wanted: usize) {
        wait_until(|| self.streams() == wanted).await;
    }
}

/// A server that handles HTTP/2 connections itself.
struct RawHttp2 {
    server: TestServer,
}

impl RawHttp2 {
    async fn start<F, A>(serve: F) -> Self
    where
        F: Fn(
                h2::server::Connection<tokio_rustls::server::TlsStream<TcpStream>, Bytes>,
                usize,
            ) -> A
            + Clone
            + Send
            + Sync
            + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::over(listener, move |number, stream| {
            let serve = serve.clone();
            async move {
                let connection = h2::server::handshake(stream).await.unwrap();
                serve(connection, number).await;
            }
        })
    }

    fn over<F, A>(listener: TcpListener, serve: F) -> Self
    where
        F: Fn(usize, tokio_rustls::server::TlsStream<TcpStream>) -> A + Send + Sync + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (acceptor, certificate) = acceptor(Tls::Http2 { streams: 0 });
        let counts = Arc::new(Counts::default());
        let server = TestServer { address, secure: true, certificate, counts: Arc::clone(&counts) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counts.opened.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let stream = acceptor.accept(stream).await.unwrap();
                tokio::spawn(serve(number, stream));
            }
        });
        Self { server }
    }

    fn client(&self, options: PoolOptions) -> HttpClient {
        let (end, abort) = watch::channel(false);
        std::mem::forget(end);
        let connector = Connector::new(&self.server.settings(&[])).unwrap();
        HttpClient::over(connector, options, abort)
    }

    fn get(&self) -> Request<Payload> {
        self.server.get("/")
    }

    fn opened(&self) -> usize {
        self.server.opened()
    }
}

/// A corporate proxy, which tunnels and answers plain requests itself.
struct CorporateProxy {
    address: SocketAddr,
    heads: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl CorporateProxy {
    async fn start(login: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        write!(head, "{}", char::from(client.read_u8().await.unwrap())).unwrap();
                    }
                    sender.send(head.clone()).unwrap();
                    if login.is_some_and(|login| !head.contains(login)) {
                        let refused = b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
                        return client.write_all(refused).await.unwrap();
                    }
                    if !head.starts_with("CONNECT ") {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nby proxy";
                        return client.write_all(answer).await.unwrap();
                    }
                    let to = head.split(' ').nth(1).unwrap().replace("localhost", "127.0.0.1");
                    let mut server = TcpStream::connect(to).await.unwrap();
                    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, heads: Mutex::new(heads) }
    }

    fn heads(&self) -> Vec<String> {
        let mut heads = self.heads.lock().unwrap();
        std::iter::from_fn(|| heads.try_recv().ok()).collect()
    }
}

async fn endless_or_not(request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let (size, pause) = match request.uri().path() {
        "/endless" => (1, 10),
        "/flood" => (1 << 16, 0),
        _ => return Response::new(full("ok")),
    };
    let (pieces, received) = mpsc::channel(1);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'.'; size]);
        while pieces.send(piece.clone()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    });
    Response::new(Pieces(received).boxed())
}

/// A body made of the pieces that a channel delivers.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

fn full(text: &str) -> BoxBody<Bytes, Infallible> {
    Full::new(Bytes::from(text.to_owned())).boxed()
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// Reads settings from these pairs and the defaults.
pub(super) fn settings(more: &[(&str, &str)]) -> Settings {
    let lookup = |name: &str| {
        let found = more.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let home = |name: &str| (name == "HOME").then(|| "/nowhere".to_owned());
    let layers =
        [Layer { source: From::Env, lookup: &lookup }, Layer { source: From::Env, lookup: &home }];
    Settings::read(&layers).unwrap().0
}

/// A client that trusts the system's certificates.
fn plain(more: &[(&str, &str)]) -> HttpClient {
    let (end, abort) = watch::channel(false);
    std::mem::forget(end);
    HttpClient::new(&settings(more), abort).unwrap()
}

/// Short timeouts, for tests that wait for them.
fn quick() -> PoolOptions {
    PoolOptions {
        pooling: true,
        keep_alive: Duration::from_secs(60),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        settings_timeout: Duration::from_millis(300),
        idle_before_check: Duration::from_secs(60),
        check_timeout: Duration::from_millis(200),
        recent_use: Duration::from_secs(1),
        wall_clock: SystemTime::now,
    }
}

/// A TLS acceptor, and a folder with its certificate for `localhost`.
fn acceptor(tls: Tls) -> (TlsAcceptor, TempDir) {
    match tls {
        Tls::Http2 { .. } => acceptor_for(&[b"h2"]),
        Tls::None | Tls::Http1 => acceptor_for(&[]),
    }
}

/// The same for a server that prefers these protocols in this order.
fn acceptor_for(protocols: &[&[u8]]) -> (TlsAcceptor, TempDir) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (TlsAcceptor::from(Arc::new(config)), folder)
}

async fn wait_until(done: impl Fn() -> bool) {
    let waited = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waited)
        .await
        .expect("the condition holds in time");
}
