//! A strict stand-in for Google's OAuth and Code Assist endpoints, for trials, tests and benches.
//!
//! One port plays `oauth2.googleapis.com` (`/token`, `/tokeninfo`, `/revoke`), the userinfo
//! endpoint (`/oauth2/v2/userinfo`) and `cloudcode-pa.googleapis.com` (`/v1internal:…`), over
//! HTTP/1.1 and cleartext HTTP/2. It refuses what the real services refuse and answers in their
//! form; nothing leaves the machine.
//!
//! ```no_run
//! # async fn trial() -> std::io::Result<()> {
//! let google = code_assist_emulator::start(code_assist_emulator::Options::default()).await?;
//! println!("CODE_ASSIST_ENDPOINT={}", google.url());
//! println!("{}", google.credentials());
//! google.stop();
//! # Ok(())
//! # }
//! ```
//!
//! Tests steer it over HTTP, under `/__emulator/`:
//!
//! | Request | Does |
//! |---|---|
//! | `POST /__emulator/script` | adds a rule, or a list of rules, that change the next answers |
//! | `GET`, `DELETE /__emulator/script` | shows, forgets the rules still waiting |
//! | `GET`, `DELETE /__emulator/log` | shows, forgets what was received |
//! | `GET /__emulator/counts` | how many requests came, by RPC |
//! | `GET`, `POST /__emulator/state` | shows, changes the account, its tokens and the models |
//!
//! `docs/EMULATOR.md` in the repository has every field of a rule and of the state.

#![forbid(unsafe_code)]

mod backend;
mod code_assist;
mod control;
mod log;
mod model;
mod oauth;
mod proto;
mod reply;
mod script;
mod server;
mod state;
mod status;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::backend::Backend;
use crate::state::State;

/// How an emulator starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port to listen on; 0 picks a free one.
    pub port: u16,
    /// Address to listen on.
    pub host: IpAddr,
    /// How long an access token lives.
    pub token_lifetime: Duration,
    /// Whether the account has a tier and a project, or has to be onboarded first.
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
/// When the address cannot be listened on.
pub async fn start(options: Options) -> io::Result<Emulator> {
    let listener = TcpListener::bind((options.host, options.port)).await?;
    let address = listener.local_addr()?;
    let google = Arc::new(Backend::new(State::new(options.token_lifetime, options.onboarded)));
    let task = tokio::spawn(server::accept(listener, Arc::clone(&google))).abort_handle();
    Ok(Emulator { address, google, task })
}

/// A running emulator; it stops when dropped.
#[derive(Debug)]
pub struct Emulator {
    address: SocketAddr,
    google: Arc<Backend>,
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

    /// The text of an `oauth_creds.json` whose access token is valid now.
    pub fn credentials(&self) -> String {
        let mut state = self.google.state();
        let lifetime = i64::try_from(state.token_lifetime_ms).unwrap_or(i64::MAX);
        let access = state.issue();
        let expiry = oauth::now_ms().saturating_add(lifetime);
        oauth::credentials(&access, &state.tokens.refresh_token(), expiry)
    }

    /// The same with an access token that has expired: the first thing to do is a refresh.
    pub fn expired_credentials(&self) -> String {
        let mut state = self.google.state();
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

/// An access token that every emulator knows and that does not age on its own, for
/// `GOOGLE_CLOUD_ACCESS_TOKEN`.
pub const ACCESS_TOKEN: &str = state::ACCESS_TOKEN;

/// The project of the emulator's account, unless told otherwise.
pub const PROJECT: &str = state::PROJECT;

const HOUR_MS: i64 = 3_600_000;
