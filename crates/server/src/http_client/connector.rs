//! The way to an open connection: TCP, the corporate proxy where there is one, TLS.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use code_assist_core::settings::Settings;
use http::uri::Scheme;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::chain;

/// How connections are made. Cheap to clone.
#[derive(Clone)]
pub(super) struct Way {
    tcp: HttpConnector,
    tls: TlsConnector,
    matcher: Arc<Matcher>,
    limit: Duration,
}

/// An open connection, ready for its first request.
#[derive(Debug)]
pub(super) struct Opened {
    /// What is written to and read from.
    pub(super) wire: Wire,
    /// What both sides have agreed to speak.
    pub(super) spoken: Spoken,
    /// There when requests on it are meant for a proxy (plain HTTP, without a tunnel).
    pub(super) via: Option<Via>,
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

/// The other end is a proxy that wants whole addresses, and perhaps a login.
#[derive(Debug, Clone)]
pub(super) struct Via {
    /// For `Proxy-Authorization`.
    pub(super) login: Option<HeaderValue>,
}

impl Way {
    /// The way that the settings describe.
    pub(super) fn new(settings: &Settings) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(settings.keep_alive_timeout));
        Ok(Self {
            tcp,
            tls: TlsConnector::from(Arc::new(tls(settings.ssl_cert_file.as_deref())?)),
            matcher: Arc::new(matcher(settings)),
            limit: settings.connection_timeout,
        })
    }

    /// Opens a connection to where `to` points, within `CONNECTION_TIMEOUT_MS` all in all. The
    /// error says why there is none, without secrets.
    pub(super) async fn open(&self, to: &Uri) -> Result<Opened, String> {
        match tokio::time::timeout(self.limit, self.connect(to)).await {
            Ok(connected) => connected.map_err(|error| chain(error.as_ref())),
            Err(_) => Err(format!("no connection within {} ms", self.limit.as_millis())),
        }
    }

    async fn connect(&self, to: &Uri) -> Result<Opened, Box<dyn Error + Send + Sync>> {
        let secure = to.scheme() == Some(&Scheme::HTTPS);
        let mut tcp = self.tcp.clone();
        let mut via = None;
        let stream = match self.matcher.intercept(to) {
            None => tcp.call(to.clone()).await?,
            Some(proxy) if secure => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(login) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(login.clone());
                }
                tunnel.call(to.clone()).await?
            }
            Some(proxy) => {
                via = Some(Via { login: proxy.basic_auth().cloned() });
                tcp.call(proxy.uri().clone()).await?
            }
        };
        let stream = stream.into_inner();
        let heard = Arc::new(AtomicBool::new(false));
        if !secure {
            let wire = Wire { line: Line::Plain(stream), heard };
            return Ok(Opened { wire, spoken: Spoken::Http1, via });
        }
        let host = to.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())?;
        let stream = self.tls.connect(name, Gathered::new(stream)).await?;
        let spoken = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Spoken::Http2,
            _ => Spoken::Http1,
        };
        let wire = Wire { line: Line::Tls(Box::new(stream)), heard };
        Ok(Opened { wire, spoken, via: None })
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Way").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// A TCP connection with or without TLS, which tells whether anything was heard on it.
#[derive(Debug)]
pub(super) struct Wire {
    line: Line,
    heard: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<Gathered>>),
}

impl Wire {
    /// LockRecord true whenever bytes come in; the reader turns it back.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Line::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Line::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Line::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.line {
            Line::Plain(stream) => stream.is_write_vectored(),
            Line::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Line::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Line::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A TCP connection that is written to when it is flushed, or when there is much to write, and read
/// as far as there is something: TLS by itself makes a system call of each record, and of every 4 KiB
/// that it reads.
#[derive(Debug)]
struct Gathered {
    stream: BufReader<TcpStream>,
    waiting: Vec<u8>,
    /// How much of `waiting` is on its way already.
    sent: usize,
}

impl Gathered {
    fn new(stream: TcpStream) -> Self {
        let stream = BufReader::with_capacity(MOST_READ, stream);
        Self { stream, waiting: Vec::new(), sent: 0 }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let rest = &self.waiting[self.sent..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        self.waiting.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() + buf.len() > MOST_GATHERED {
            ready!(self.poll_send(cx))?;
        }
        if buf.len() > MOST_GATHERED {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        self.waiting.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
fn tls(cert_file: Option<&str>) -> io::Result<ClientConfig> {
    let roots = match cert_file {
        Some(path) => named_roots(path).map_err(|why| {
            io::Error::other(format!("SSL_CERT_FILE={path} holds no usable certificates: {why}"))
        })?,
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn named_roots(path: &str) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("it is empty".into()) } else { Ok(roots) }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::warn!("no certificates on this system: using the built-in ones");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// A few answers of a busy connection.
const MOST_READ: usize = 32 * 1024;

/// A full TLS record is larger, and goes out by itself.
const MOST_GATHERED: usize = 16 * 1024;
