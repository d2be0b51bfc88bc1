//! A running emulator, and how it is started.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::backend::Backend;
use crate::oauth;
use crate::server;
use crate::state::State;

/// How an emulator starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port to listen on; 0 picks a free one.
    pub port: u16,
    /// Address to listen on.
    pub host: IpAddr,
    /// How long an access token is valid.
    pub token_lifetime: Duration,
    /// Whether the account has a tier and a project. If not, it has to be onboarded first.
    pub onboarded: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            token_lifetime: Duration::from_secs(3599),
            onboarded: true,
        }
    }
}

/// Starts an emulator on tasks of the current tokio runtime.
///
/// # Errors
///
/// It fails if the address cannot be bound.
pub async fn start(options: Options) -> io::Result<Emulator> {
    let listener = TcpListener::bind((options.host, options.port)).await?;
    let address = listener.local_addr()?;
    let backend = Arc::new(Backend::new(State::new(options.token_lifetime, options.onboarded)));
    let task = tokio::spawn(server::accept(listener, Arc::clone(&backend))).abort_handle();
    Ok(Emulator { address, backend, task })
}

/// A running emulator. It stops when it is dropped.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    backend: Arc<Backend>,
    task: AbortHandle,
}

impl Emulator {
    /// The base URL, `http://127.0.0.1:PORT`: the value for `CODE_ASSIST_ENDPOINT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The value for `OAUTH_TOKEN_URL`.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.url())
    }

    /// The value for `OAUTH_TOKENINFO_URL`.
    pub fn tokeninfo_url(&self) -> String {
        format!("{}/tokeninfo", self.url())
    }

    /// The text of an `oauth_creds.json` with a valid access token.
    pub fn credentials(&self) -> String {
        let mut state = self.backend.state();
        let lifetime = i64::try_from(state.token_lifetime_ms).unwrap_or(i64::MAX);
        let access = state.issue();
        let expiry = oauth::now_ms().saturating_add(lifetime);
        oauth::credentials(&access, &state.tokens.refresh_token(), expiry)
    }

    /// The text of an `oauth_creds.json` with an expired access token, which has to be refreshed first.
    pub fn expired_credentials(&self) -> String {
        let mut state = self.backend.state();
        let access = state.tokens.issue_expired();
        oauth::credentials(&access, &state.tokens.refresh_token(), oauth::now_ms() - HOUR_MS)
    }

    /// Stops listening and closes every connection.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const HOUR_MS: i64 = 3_600_000;
