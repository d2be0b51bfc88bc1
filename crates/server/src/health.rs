//! `health`: asks a running proxy whether it is ready. The image has no shell and no curl for this.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::settings::Settings;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{CommandError, print};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("{0} is neither a path nor a URL that begins with http:// and names a host")]
    NotHttp(String),
    #[error("PORT=0 says no port: give the URL")]
    NoPort,
    #[error("{url} does not answer: {why}")]
    NoAnswer { url: Uri, why: String },
    #[error("{url} does not answer within {TIMEOUT:?}")]
    Timeout { url: Uri },
    #[error("{url} answers {status}")]
    NotReady { url: Uri, status: StatusCode },
}

/// Asks, and prints the answer. Succeeds on 200.
pub(crate) async fn run(url: Option<&str>, settings: &Settings) -> Result<(), CommandError> {
    ask(url, settings).await.map_err(CommandError::runtime)
}

async fn ask(url: Option<&str>, settings: &Settings) -> Result<(), HealthError> {
    let text = match url.unwrap_or("/ready") {
        path if !path.starts_with('/') => path.to_owned(),
        _ if settings.port == 0 => return Err(HealthError::NoPort),
        path => format!("http://{}:{}{path}", reachable(&settings.host), settings.port),
    };
    let url: Uri = text.parse().map_err(|_| HealthError::NotHttp(text.clone()))?;
    if url.scheme_str() != Some("http") || url.host().is_none() {
        return Err(HealthError::NotHttp(text));
    }
    let answer = timeout(TIMEOUT, get(&url)).await;
    let answered = answer.map_err(|_| HealthError::Timeout { url: url.clone() })?;
    let (status, body) =
        answered.map_err(|why| HealthError::NoAnswer { url: url.clone(), why: why.to_string() })?;
    print(&format!("{}\n", String::from_utf8_lossy(&body).trim_end()));
    if status == StatusCode::OK { Ok(()) } else { Err(HealthError::NotReady { url, status }) }
}

async fn get(url: &Uri) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, url.port_u16().unwrap_or(80))).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path).header(header::HOST, authority).body(Empty::<Bytes>::new())?;
    let response = requests.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await?.to_bytes();
    Ok((status, body))
}

/// The address at which this machine reaches a proxy that listens on `host`.
fn reachable(host: &str) -> String {
    match host.trim_matches(['[', ']']) {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    }
}

/// Less than the timeouts of container engines, so that the reason is seen.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A bound on what is read into memory.
const LARGEST: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        for (host, reached) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "[::1]"),
            ("[::]", "[::1]"),
            ("fd00::7", "[fd00::7]"),
            ("127.0.0.1", "127.0.0.1"),
            ("proxy.internal", "proxy.internal"),
        ] {
            assert_eq!(reachable(host), reached);
        }
    }
}
