//! A running emulator, and how it is started.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
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
    /// The providers that it plays.
    pub played: Played,
}

/// The providers that an emulator plays. Google's OAuth endpoints are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Played {
    /// Code Assist, `cloudcode-pa.googleapis.com`.
    #[default]
    CodeAssist,
    /// The Gemini API, `generativelanguage.googleapis.com`.
    GeminiApi,
    /// Vertex AI, `aiplatform.googleapis.com`.
    Vertex,
    /// All of them on the same port.
    All,
}

impl Played {
    /// Whether Code Assist is among them.
    pub fn code_assist(self) -> bool {
        matches!(self, Self::CodeAssist | Self::All)
    }

    /// Whether the Gemini API is among them.
    pub fn gemini_api(self) -> bool {
        matches!(self, Self::GeminiApi | Self::All)
    }

    /// Whether Vertex AI is among them.
    pub fn vertex(self) -> bool {
        matches!(self, Self::Vertex | Self::All)
    }
}

impl FromStr for Played {
    type Err = UnknownProviderError;

    fn from_str(name: &str) -> Result<Self, UnknownProviderError> {
        match name {
            "code-assist" => Ok(Self::CodeAssist),
            "gemini-api" => Ok(Self::GeminiApi),
            "vertex" => Ok(Self::Vertex),
            "all" => Ok(Self::All),
            _ => Err(UnknownProviderError),
        }
    }
}

/// A name is none of the providers that the emulator plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProviderError;

impl fmt::Display for UnknownProviderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("unknown provider: use code-assist, gemini-api, vertex or all")
    }
}

impl std::error::Error for UnknownProviderError {}

impl Default for Options {
    fn default() -> Self {
        Self {
            port: 0,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            token_lifetime: Duration::from_secs(3599),
            onboarded: true,
            played: Played::default(),
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
    let state = State::new(options.token_lifetime, options.onboarded);
    let backend = Arc::new(Backend::new(state, options.played, format!("http://{address}")));
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

    /// The text of an `oauth_creds.json` of a further login, which is made if there is none with this
    /// name (a-z and 0-9). It has no access token.
    pub fn credentials_of(&self, login: &str) -> String {
        let refresh = self.backend.state().logins.refresh_token(login);
        serde_json::json!({ "refresh_token": refresh, "token_type": "Bearer" }).to_string()
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
