//! Where a load goes: over HTTP/1.1 to a contender, or over HTTP/2 with TLS to upstream, as a client
//! without a proxy does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::BenchError;
use crate::http1_codec::Connection;

/// Where requests go, and over which protocol. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum LoadTarget {
    /// HTTP/1.1, with a connection for each caller.
    Http1(Arc<str>),
    /// HTTP/2 with TLS, over one connection that all callers share.
    Http2(SendRequest<Bytes>),
}

impl LoadTarget {
    /// With the certificate of an `authority`, the protocol is HTTP/2 with TLS.
    pub(super) async fn connect(
        address: &str,
        authority: Option<&Path>,
    ) -> Result<Self, BenchError> {
        match authority {
            None => Ok(Self::Http1(address.into())),
            Some(authority) => Ok(Self::Http2(connect_http2(address, authority).await?)),
        }
    }

    /// Opens a caller's own connection, where the protocol has one.
    pub(super) async fn open(&self) -> Option<Connection> {
        match self {
            Self::Http1(to) => Connection::open(to).await.ok(),
            Self::Http2(_) => None,
        }
    }

    /// Sends one request and reads its whole answer, calling `see` with each piece of the body.
    pub(super) async fn exchange(
        &self,
        connection: &mut Option<Connection>,
        request: &[u8],
        see: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let answered = async {
            match self {
                Self::Http1(to) => exchange_http1(connection, to, request, see).await,
                Self::Http2(requests) => exchange_http2(requests.clone(), request, see).await,
            }
        };
        let limit = timeout(TIMEOUT, answered).await;
        limit.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?
    }
}

async fn exchange_http1(
    connection: &mut Option<Connection>,
    to: &str,
    request: &[u8],
    see: impl FnMut(&[u8]),
) -> Result<(), String> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(to).await.map_err(|why| format!("cannot connect: {why}"))?,
    };
    let answered = async {
        open.write(request).await?;
        open.read(see).await
    };
    let head = answered.await.map_err(|why| format!("the connection broke: {why}"))?;
    match head {
        Some(head) if head.status == Some(200) => {
            *connection = (!head.close).then_some(open);
            Ok(())
        }
        Some(head) => Err(format!("status {}", head.status.unwrap_or_default())),
        None => Err("closed before the answer".to_owned()),
    }
}

async fn exchange_http2(
    requests: SendRequest<Bytes>,
    request: &[u8],
    mut see: impl FnMut(&[u8]),
) -> Result<(), String> {
    let (request, body) = to_http2(request).ok_or("not a request of this driver")?;
    let answered = async {
        let (response, mut send) = requests.ready().await?.send_request(request, false)?;
        send.send_data(body, true)?;
        let (head, mut body) = response.await?.into_parts();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            see(&piece);
            body.flow_control().release_capacity(piece.len())?;
        }
        Ok::<_, h2::Error>(head.status)
    };
    match answered.await {
        Ok(StatusCode::OK) => Ok(()),
        Ok(status) => Err(format!("status {}", status.as_u16())),
        Err(why) => Err(format!("the connection broke: {why}")),
    }
}

/// A request of [`crate::request::request`] in the types of HTTP/2.
fn to_http2(request: &[u8]) -> Option<(Request<()>, Bytes)> {
    let end = memchr::memmem::find(request, b"\r\n\r\n")?;
    let mut lines = std::str::from_utf8(&request[..end]).ok()?.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?;
    let mut host = "";
    let mut translated = Request::post(target);
    for line in lines {
        match line.split_once(": ")? {
            ("Host", value) => host = value,
            (name, value) => translated = translated.header(name, value),
        }
    }
    let translated = translated.uri(format!("https://{host}{target}")).body(()).ok()?;
    Some((translated, Bytes::copy_from_slice(&request[end + 4..])))
}

/// Connects to upstream with TLS.
pub(crate) async fn connect_tls(
    address: &str,
    authority: &Path,
) -> Result<TlsStream<TcpStream>, BenchError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority).map_err(error)? {
        roots.add(certificate.map_err(error)?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost").map_err(error)?;
    Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
}

async fn connect_http2(address: &str, authority: &Path) -> Result<SendRequest<Bytes>, BenchError> {
    let stream = connect_tls(address, authority).await?;
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(64 * WINDOW)
        .handshake(stream)
        .await?;
    tokio::task::spawn_local(async move {
        // The requests on it report the error.
        let _ = connection.await;
    });
    Ok(requests)
}

fn error(why: impl std::fmt::Display) -> BenchError {
    BenchError(why.to_string())
}

const WINDOW: u32 = 1 << 20;

/// Longer than any answer that is worth measuring.
const TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use crate::request::{RequestFormat, ResponsePlan, request};

    #[test]
    fn a_request_is_the_same_over_either_protocol() {
        let written = request(RequestFormat::CodeAssist, ResponsePlan::ONE, 1024, "127.0.0.1:1");
        let (head, body) = super::to_http2(&written).unwrap();
        assert_eq!(head.uri(), "https://127.0.0.1:1/v1internal:generateContent");
        assert_eq!((head.method().as_str(), head.headers().len()), ("POST", 6));
        assert!(written.ends_with(&body) && body.len() == 1024);
    }
}
