//! Opens connections: TCP, the corporate proxy if one is set, TLS.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use super::buffered::BufferedTcp;
use super::error::ConnectError;
use super::idle::ReadCount;
use crate::http_version::HttpVersion;

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: TlsConnector,
    /// Offers HTTP/1.1 only.
    tls_http1: TlsConnector,
    matcher: Arc<Matcher>,
    timeout: Duration,
    /// `GCE_METADATA_HOST`: another metadata server than Google's, by host or by host and port.
    metadata_host: Option<Arc<str>>,
}

/// An open connection, ready for its first request.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: IoStream,
    /// What ALPN agreed on; HTTP/1.1 without TLS.
    pub(super) version: HttpVersion,
    /// Set when the peer is a forward proxy that relays plain HTTP without a tunnel.
    pub(super) proxy: Option<ForwardProxy>,
}

/// A proxy that wants requests in absolute form, and perhaps credentials.
#[derive(Debug, Clone)]
pub(super) struct ForwardProxy {
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<HeaderValue>,
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(settings.keep_alive_timeout));
        let tls = tls(settings.ssl_cert_file.as_deref())?;
        let mut tls_http1 = tls.clone();
        tls_http1.alpn_protocols = vec![HTTP1.to_vec()];
        Ok(Self {
            tcp,
            tls: TlsConnector::from(Arc::new(tls)),
            tls_http1: TlsConnector::from(Arc::new(tls_http1)),
            matcher: Arc::new(matcher(settings)),
            timeout: settings.connection_timeout,
            metadata_host: settings.metadata_host.as_deref().map(Arc::from),
        })
    }

    /// True for a metadata server. It answers only its own machine, so that a proxy cannot reach it and
    /// must not see the tokens that it gives.
    fn is_metadata_server(&self, to: &Uri) -> bool {
        is_well_known_metadata_server(to)
            || self.metadata_host.as_deref().is_some_and(|host| {
                Some(host) == to.host() || Some(host) == to.authority().map(|it| it.as_str())
            })
    }

    /// Opens a connection to the origin of `to`. `CONNECTION_TIMEOUT_MS` limits name lookup, TCP,
    /// tunnel and TLS together.
    pub(super) async fn open(&self, to: &Uri) -> Result<Connected, ConnectError> {
        self.open_with(to, &self.tls).await
    }

    /// Opens a connection that speaks HTTP/1.1.
    pub(super) async fn open_http1(&self, to: &Uri) -> Result<Connected, ConnectError> {
        self.open_with(to, &self.tls_http1).await
    }

    async fn open_with(&self, to: &Uri, tls: &TlsConnector) -> Result<Connected, ConnectError> {
        match tokio::time::timeout(self.timeout, self.connect(to, tls)).await {
            Ok(connected) => connected
                .map_err(|error| ConnectError::of_dial(error, to.host().unwrap_or_default())),
            Err(_) => Err(ConnectError::Timeout(self.timeout)),
        }
    }

    async fn connect(
        &self,
        to: &Uri,
        tls: &TlsConnector,
    ) -> Result<Connected, Box<dyn Error + Send + Sync>> {
        let secure = to.scheme() == Some(&Scheme::HTTPS);
        let mut tcp = self.tcp.clone();
        let mut forward_proxy = None;
        let direct = self.is_metadata_server(to);
        let proxy = if direct { None } else { self.matcher.intercept(to) };
        let stream = match proxy {
            None => tcp.call(to.clone()).await?,
            Some(proxy) if secure => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), tcp);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                tunnel.call(to.clone()).await?
            }
            Some(proxy) => {
                forward_proxy = Some(ForwardProxy { authorization: proxy.basic_auth().cloned() });
                tcp.call(proxy.uri().clone()).await?
            }
        };
        let stream = stream.into_inner();
        let reads = ReadCount::default();
        if !secure {
            let stream = IoStream { transport: Transport::Plain(stream), reads };
            return Ok(Connected { stream, version: HttpVersion::Http1, proxy: forward_proxy });
        }
        let host = to.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())?;
        let stream = tls.connect(name, BufferedTcp::new(stream)).await?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => HttpVersion::Http2,
            _ => HttpVersion::Http1,
        };
        let stream = IoStream { transport: Transport::Tls(Box::new(stream)), reads };
        Ok(Connected { stream, version, proxy: None })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A TCP connection with or without TLS, which counts the reads that brought bytes.
#[derive(Debug)]
pub(super) struct IoStream {
    transport: Transport,
    reads: ReadCount,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<BufferedTcp>>),
}

impl IoStream {
    pub(super) fn reads(&self) -> ReadCount {
        self.reads.clone()
    }
}

impl AsyncRead for IoStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            self.reads.increase();
        }
        polled
    }
}

impl AsyncWrite for IoStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Decides which addresses are reached through which proxy.
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

fn is_well_known_metadata_server(to: &Uri) -> bool {
    let host = to.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_unicast_link_local() || METADATA_ADDRESSES.contains(&address)
        }
        Err(_) => METADATA_NAMES.iter().any(|name| host.eq_ignore_ascii_case(name)),
    }
}

/// Google's metadata server by name (`docs/reference/upstreams.md` 2.3 c).
const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata.google.internal."];

/// The metadata servers of AWS and Google over IPv6, which have no link-local address.
const METADATA_ADDRESSES: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

/// Trusts `SSL_CERT_FILE`, else the system's certificates, else Mozilla's list if the system has none.
fn tls(cert_file: Option<&str>) -> io::Result<ClientConfig> {
    let roots = match cert_file {
        Some(path) => roots_from_file(path).map_err(|error| {
            io::Error::other(format!("SSL_CERT_FILE={path} holds no usable certificates: {error}"))
        })?,
        None => system_roots(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), HTTP1.to_vec()];
    Ok(config)
}

/// The name of HTTP/1.1 in ALPN (RFC 7301 6).
const HTTP1: &[u8] = b"http/1.1";

fn roots_from_file(path: &str) -> Result<RootCertStore, Box<dyn Error + Send + Sync>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_servers_are_reached_directly_and_other_hosts_by_the_proxy() {
        let settings =
            crate::http_client::tests::settings(&[("HTTP_PROXY", "http://10.0.0.1:3128")]);
        let mut connector = Connector::new(&settings).unwrap();
        connector.metadata_host = Some(Arc::from("fake.example:8080"));
        for (url, is_direct) in [
            ("http://metadata.google.internal/computeMetadata/v1/", true),
            ("http://METADATA.google.internal/", true),
            ("http://169.254.169.254/latest/meta-data/", true),
            ("http://169.254.169.252:988/", true),
            ("http://[fd00:ec2::254]/latest/", true),
            ("http://[fe80::1]/", true),
            ("http://fake.example:8080/computeMetadata/v1/", true),
            ("http://fake.example/", false),
            ("http://metadata.google.internal.evil.example/", false),
            ("http://169.255.0.1/", false),
            ("https://sts.googleapis.com/v1/token", false),
        ] {
            assert_eq!(connector.is_metadata_server(&url.parse().unwrap()), is_direct, "{url}");
        }
    }
}
