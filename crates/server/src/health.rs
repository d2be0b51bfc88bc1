//! `health`: asks a running proxy whether it is ready. The image has no shell and no curl for this.

use std::time::Duration;

use code_assist_core::settings::Settings;
use http::{HeaderMap, StatusCode, Uri};
use tokio::time::timeout;

use crate::local_request::{get, reachable};
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
    let answer = timeout(TIMEOUT, get(&url, HeaderMap::new(), LARGEST)).await;
    let answered = answer.map_err(|_| HealthError::Timeout { url: url.clone() })?;
    let (status, body) =
        answered.map_err(|why| HealthError::NoAnswer { url: url.clone(), why: why.to_string() })?;
    print(&format!("{}\n", String::from_utf8_lossy(&body).trim_end()));
    if status == StatusCode::OK { Ok(()) } else { Err(HealthError::NotReady { url, status }) }
}

/// Less than the timeouts of container engines, so that the reason is seen.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A bound on what is read into memory.
const LARGEST: usize = 1 << 16;
