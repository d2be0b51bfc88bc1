//! The specs: every name of `spec.md` 3 with its default, its bounds and its meaning.
//! Strings in, [`Settings`] out, every problem at once.
//!
//! The strings come in layers, strongest first: flags, environment, file. What no layer has takes
//! its default. Core reads none of them itself; a shell lends one lookup for each.

mod parse;
mod read;
mod reference;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretBox, SecretString};

pub use reference::{reference, worker_example};
pub use table::{Group, Kind, SETTINGS, Secrecy, SettingSpec};

/// Everything that can be set, parsed and within bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HOST`: the listen address.
    pub host: String,
    /// `PORT`: 0 picks a free one.
    pub port: u16,
    /// `GCP_SERVICE_ACCOUNT`: the JSON of the CLI's `oauth_creds.json`.
    pub credentials_json: Option<SecretString>,
    /// `GEMINI_OAUTH_CREDS_FILE`, or its default place (needs a home folder).
    pub credentials_file: Option<String>,
    /// `GOOGLE_CLOUD_ACCESS_TOKEN`: used as it is, never refreshed.
    pub access_token: Option<SecretString>,
    /// `GEMINI_PROJECT_ID`, never all digits.
    pub project_id: Option<String>,
    /// `CODE_ASSIST_ENDPOINT`: one or more base URLs without a trailing slash.
    pub endpoints: Vec<String>,
    /// `CODE_ASSIST_API_VERSION`.
    pub api_version: String,
    /// `OAUTH_TOKEN_URL`.
    pub token_url: String,
    /// `OAUTH_TOKENINFO_URL`.
    pub tokeninfo_url: String,
    /// `OAUTH_CLIENT_ID`, when set by the operator.
    pub oauth_client_id: Option<String>,
    /// `OAUTH_CLIENT_SECRET`, when set by the operator.
    pub oauth_client_secret: Option<SecretString>,
    /// `KV_URL`.
    pub kv_url: KvUrl,
    /// `KV_ENCRYPTION_KEY`: unset, entries are stored as they are.
    pub kv_encryption_key: Option<SealKeys>,
    /// `ENABLE_CONNECTION_POOLING`.
    pub connection_pooling: bool,
    /// `MAX_CONCURRENT_REQUESTS`.
    pub max_concurrent_requests: usize,
    /// `QUEUE_TIMEOUT_MS`.
    pub queue_timeout: Duration,
    /// `CONNECTION_TIMEOUT_MS`.
    pub connection_timeout: Duration,
    /// `FIRST_BYTE_TIMEOUT_MS`.
    pub first_byte_timeout: Duration,
    /// `STREAM_IDLE_TIMEOUT_MS`.
    pub stream_idle_timeout: Duration,
    /// `KEEP_ALIVE_TIMEOUT_MS`.
    pub keep_alive_timeout: Duration,
    /// `TOKEN_REFRESH_BUFFER_MINUTES`.
    pub token_refresh_buffer: Duration,
    /// `TOKEN_CACHE_TTL_HOURS`.
    pub token_cache_ttl: Duration,
    /// `VALIDATE_TOKENS_BEFORE_USE`.
    pub validate_tokens: bool,
    /// `PROJECT_ID_CACHE_TTL_HOURS`.
    pub project_cache_ttl: Duration,
    /// `ENABLE_MODEL_NAME_CACHE`.
    pub model_name_cache: bool,
    /// `MODEL_ALIASES`, in order.
    pub model_aliases: Vec<(String, String)>,
    /// `REQUEST_DEDUP_WINDOW_MS`.
    pub dedup_window: Duration,
    /// `RESPONSE_CACHE_TTL_SECONDS`.
    pub response_cache_ttl: Duration,
    /// `CIRCUIT_BREAKER_FAILURE_THRESHOLD`.
    pub breaker_threshold: u32,
    /// `CIRCUIT_BREAKER_TIMEOUT_MS`.
    pub breaker_timeout: Duration,
    /// `MAX_RETRY_ATTEMPTS`.
    pub max_retries: u32,
    /// `RETRY_BASE_DELAY_MS`.
    pub retry_base_delay: Duration,
    /// `RETRY_MAX_DELAY_MS`.
    pub retry_max_delay: Duration,
    /// `RATE_LIMIT_MAX_REQUESTS`, 0 is off.
    pub rate_limit: u32,
    /// `RATE_LIMIT_WINDOW_MS`.
    pub rate_limit_window: Duration,
    /// `PROXY_API_KEYS` as (name, key); an unnamed key has no name.
    pub api_keys: Vec<(Option<String>, SecretString)>,
    /// `ALLOW_UNAUTHENTICATED`.
    pub allow_unauthenticated: bool,
    /// `ALLOWED_ORIGINS`.
    pub allowed_origins: Vec<String>,
    /// `TRUST_FORWARDED_FOR`.
    pub trust_forwarded_for: bool,
    /// `MAX_REQUEST_BODY_BYTES`.
    pub max_request_body_bytes: usize,
    /// `MAX_EVENT_BYTES`.
    pub max_event_bytes: usize,
    /// `RESPONSE_CACHE_MAX_BYTES`.
    pub response_cache_max_bytes: usize,
    /// `SHUTDOWN_GRACE_MS`.
    pub shutdown_grace: Duration,
    /// `LOG_LEVEL`.
    pub log_level: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `HTTPS_PROXY`; may hold a login.
    pub https_proxy: Option<SecretString>,
    /// `HTTP_PROXY`; may hold a login.
    pub http_proxy: Option<SecretString>,
    /// `NO_PROXY`.
    pub no_proxy: Option<String>,
    /// `SSL_CERT_FILE`.
    pub ssl_cert_file: Option<String>,
}

impl Settings {
    /// Reads every knob from `layers`, strongest first.
    ///
    /// A layer of [`Source::Default`] at the end replaces defaults of the table, as the native
    /// shell does with `LOG_FORMAT` on a terminal.
    ///
    /// # Errors
    ///
    /// All problems at once, none of them showing a secret.
    pub fn read(layers: &[Layer<'_>]) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        read::settings(layers)
    }

    /// Every knob as it is in force, in the order of the table, with values that may be printed.
    ///
    /// Nothing is checked: bad values are listed too, for [`Settings::read`] to complain about.
    pub fn effective(layers: &[Layer<'_>]) -> Vec<Effective> {
        read::effective(layers)
    }

    /// Whether `HOST` is reachable from this machine only.
    pub fn is_loopback(&self) -> bool {
        parse::is_loopback(&self.host)
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Pretty,
}

/// Where the key-value store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvUrl {
    /// `file:PATH`: an embedded file database, with `~` expanded.
    File(String),
    /// `memory:`: gone with the process.
    Memory,
    /// `redis://…` or `rediss://…`: a server that several processes share.
    Redis(Box<RedisUrl>),
}

impl fmt::Display for KvUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Memory => f.write_str("memory:"),
            Self::Redis(url) => url.fmt(f),
        }
    }
}

/// Where a Redis-compatible server is, and what is ours in it. Printing it shows no login.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    /// `rediss`: TLS.
    pub tls: bool,
    /// Name or address, without the brackets of an IPv6 one, and port: the server's, or those of
    /// its Sentinels.
    pub hosts: Vec<(String, u16)>,
    /// The name under which Sentinels know the server.
    pub sentinel: Option<String>,
    /// Of an ACL user; the server's default one, when there is only a password.
    pub user: Option<String>,
    /// The password.
    pub password: Option<SecretString>,
    /// The number of the database.
    pub database: u32,
    /// What every key of ours begins with.
    pub prefix: String,
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        write!(f, "{scheme}://")?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{open}{host}{close}:{port}")?;
        }
        write!(f, "/{}", self.database)?;
        match &self.sentinel {
            Some(name) => write!(f, "?sentinel={name}"),
            None => Ok(()),
        }
    }
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        let password = |url: &Self| url.password.as_ref().map(|it| it.expose_secret().to_owned());
        self.to_string() == other.to_string()
            && (&self.user, &self.prefix) == (&other.user, &other.prefix)
            && password(self) == password(other)
    }
}

impl Eq for RedisUrl {}

/// The keys that stored secrets are sealed with.
#[derive(Clone)]
pub struct SealKeys {
    /// Seals, and opens.
    pub first: Arc<SecretBox<[u8; 32]>>,
    /// Only opens: the key of the time before.
    pub second: Option<Arc<SecretBox<[u8; 32]>>>,
}

impl fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKeys").field("second", &self.second.is_some()).finish_non_exhaustive()
    }
}

/// One source of strings.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// What it is called in messages.
    pub source: Source,
    /// Looks up the first name or an alias of a knob, in upper case; the environment is also asked
    /// for the variables that defaults are built from, such as `HOME`. Empty counts as unset.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Layer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag,
    /// The environment, or the variables and secrets of a Worker.
    Env,
    /// The TOML file.
    File,
    /// Nobody set it.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Env => "env",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// One knob as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The knob's first name.
    pub name: &'static str,
    /// Its value as it may be printed, on one line; empty when unset.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// Why nothing starts. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {text}")]
pub struct Problem {
    /// What was set, as the operator wrote the name.
    pub name: String,
    /// What is wrong, with the accepted range.
    pub text: String,
}

/// What the operator should know, though it keeps nothing from starting. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What was set, as the operator wrote the name.
    pub name: String,
    /// What to know about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}
