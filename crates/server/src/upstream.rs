//! The way upstream: one pooled HTTP client, TLS, and the corporate proxy where there is one.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use code_assist_core::payload::Payload;
use code_assist_core::platform::{Broken, Unreachable};
use code_assist_core::settings::Settings;
use http::header::PROXY_AUTHORIZATION;
use http::uri::Scheme;
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower_service::Service;

/// Sends requests upstream over pooled connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    client: Client<Bounded, Payload>,
    matcher: Arc<Matcher>,
    ending: watch::Receiver<bool>,
}

impl Upstream {
    /// A client as the settings want it. `ending` turns true when the shell gives up on what is
    /// still in flight.
    pub(crate) fn new(settings: &Settings, ending: watch::Receiver<bool>) -> io::Result<Self> {
        let matcher = Arc::new(matcher(settings));
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(settings.keep_alive_timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings.ssl_cert_file.as_deref())?)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(Way { tcp, matcher: Arc::clone(&matcher) });
        let idle = if settings.connection_pooling { usize::MAX } else { 0 };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.keep_alive_timeout)
            .pool_max_idle_per_host(idle)
            .http2_keep_alive_interval(PING_EVERY)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .build(Bounded { https, limit: settings.connection_timeout });
        Ok(Self { client, matcher, ending })
    }

    /// Sends one request; redirects are answers like any other.
    pub(crate) async fn send(
        &self,
        mut request: Request<Payload>,
    ) -> Result<Response<Body>, Unreachable> {
        self.authorize_at_proxy(&mut request);
        let mut ending = self.ending.clone();
        let response = tokio::select! {
            biased;
            response = self.client.request(request) => response.map_err(|error| {
                let why = chain(&error);
                if error.is_connect() {
                    Unreachable::Connect(why)
                } else {
                    Unreachable::Disconnected(why)
                }
            })?,
            _ = ending.wait_for(|ending| *ending) => return Err(Unreachable::ShuttingDown),
        };
        Ok(response.map(|incoming| Body { incoming, ending: Ending::Quiet(self.ending.clone()) }))
    }

    /// Plain HTTP goes through a proxy without a tunnel, so that the request itself carries the
    /// proxy's credentials.
    fn authorize_at_proxy(&self, request: &mut Request<Payload>) {
        if request.uri().scheme() != Some(&Scheme::HTTP) {
            return;
        }
        let Some(proxy) = self.matcher.intercept(request.uri()) else { return };
        if let Some(basic) = proxy.basic_auth() {
            request.headers_mut().insert(PROXY_AUTHORIZATION, basic.clone());
        }
    }
}

/// An upstream response body. Dropping it resets the stream, or closes the HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Body {
    incoming: Incoming,
    ending: Ending,
}

/// Watches for the end of the shell's patience; the future is made only by a body that waits.
enum Ending {
    Quiet(watch::Receiver<bool>),
    Watched(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ending")
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) {
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| Broken::Disconnected(chain(&error)))),
            );
        }
        loop {
            match &mut self.ending {
                Ending::Quiet(ending) => {
                    let mut ending = ending.clone();
                    self.ending = Ending::Watched(Box::pin(async move {
                        // An error means that the sender is gone, and with it the process.
                        let _ = ending.wait_for(|ending| *ending).await;
                    }));
                }
                Ending::Watched(watched) => {
                    return watched.as_mut().poll(cx).map(|()| Some(Err(Broken::ShuttingDown)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// The whole way to an open connection, TLS included, within `CONNECTION_TIMEOUT_MS`.
#[derive(Debug, Clone)]
struct Bounded {
    https: HttpsConnector<Way>,
    limit: std::time::Duration,
}

impl Service<Uri> for Bounded {
    type Response = <HttpsConnector<Way> as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.https.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(to), self.limit);
        Box::pin(async move {
            tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| {
                let why = format!("no connection within {} ms", limit.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, why).into())
            })
        })
    }
}

/// TCP, straight or by way of the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name.
#[derive(Debug, Clone)]
struct Way {
    tcp: HttpConnector,
    matcher: Arc<Matcher>,
}

impl Service<Uri> for Way {
    type Response = Wire;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let mut tcp = self.tcp.clone();
        let Some(proxy) = self.matcher.intercept(&to) else {
            return Box::pin(async move { Ok(Wire { tcp: tcp.call(to).await?, proxied: false }) });
        };
        if to.scheme() == Some(&Scheme::HTTPS) {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
            if let Some(basic) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(basic.clone());
            }
            return Box::pin(
                async move { Ok(Wire { tcp: tunnel.call(to).await?, proxied: false }) },
            );
        }
        let proxy = proxy.uri().clone();
        Box::pin(async move { Ok(Wire { tcp: tcp.call(proxy).await?, proxied: true }) })
    }
}

/// A TCP connection that knows whether requests on it are meant for a proxy.
#[derive(Debug)]
struct Wire {
    tcp: TokioIo<TcpStream>,
    proxied: bool,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        self.tcp.connected().proxy(self.proxied)
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }
}

/// Which proxy is for which address.
fn matcher(settings: &Settings) -> Matcher {
    let mut builder = Matcher::builder();
    if let Some(proxy) = &settings.http_proxy {
        builder = builder.http(proxy.expose_secret().to_owned());
    }
    if let Some(proxy) = &settings.https_proxy {
        builder = builder.https(proxy.expose_secret().to_owned());
    }
    if let Some(except) = &settings.no_proxy {
        builder = builder.no(except.clone());
    }
    builder.build()
}

/// `SSL_CERT_FILE`, else the system's certificates, else Mozilla's for a machine that has none.
fn tls(cert_file: Option<&str>) -> io::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    if let Some(path) = cert_file {
        let roots = roots(path).map_err(|why| {
            io::Error::other(format!("SSL_CERT_FILE={path} holds no usable certificates: {why}"))
        })?;
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    Ok(match builder.clone().with_native_roots() {
        Ok(builder) => builder.with_no_client_auth(),
        Err(why) => {
            tracing::warn!("no certificates on this system ({why}): using the built-in ones");
            builder.with_webpki_roots().with_no_client_auth()
        }
    })
}

fn roots(path: &str) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("it is empty".into()) } else { Ok(roots) }
}

/// An error with its causes: the first one alone says "client error (Connect)".
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(20);
const PING_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
