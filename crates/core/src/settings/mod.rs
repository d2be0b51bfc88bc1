//! All settings of `docs/CONFIG.md`, each with its default, its range and its meaning.
//!
//! [`Settings`] are read from strings in layers, strongest first: flags, environment, file. A
//! setting that no layer has takes its default. Core does no IO: a shell provides one lookup for
//! each layer. All problems are reported at once.

#[cfg(test)]
mod access_tests;
mod combinations;
mod dialects;
mod error;
mod keys;
mod models;
mod parse;
mod protocol;
mod read;
mod redact;
mod reference;
mod schema;
mod spec;
mod store;
mod suggest;
mod table;
mod telemetry;
mod telemetry_rows;
#[cfg(test)]
mod tests;
mod upstreams;
mod worker;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

pub use keys::{
    FieldKind, KEY_FIELDS, KeySettings, KeyTables, KeyTablesError, OwnCredentials, PRICE_FIELDS,
    PriceSettings, TableField, price_of,
};
pub use models::ModelAlias;
pub use protocol::AllowedProtocol;
pub use reference::{reference, worker_example};
pub use schema::config_schema;
pub use spec::{Group, Kind, Secrecy, SettingSpec};
pub use store::{KvUrl, RedisUrl, SealKeys};
pub use suggest::suggestion;
pub use table::{SETTINGS, find};
pub use telemetry::{AuditSettings, Sampler, TracingSettings};
pub(crate) use upstreams::is_json;
pub use upstreams::{
    AccountSettings, CodeAssistSettings, Failover, FailoverModel, FailoverReason,
    FailoverSignatures, GeminiApiSettings, GoogleCredentials, ModelPattern, UnusedUpstream,
    UpstreamSettings, UpstreamTable, VertexAuth, VertexSettings,
};
pub use worker::worker_default;

use error::SettingError;

/// All settings, parsed and within their ranges.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `HOST`: the listen address.
    pub host: String,
    /// `PORT`: 0 picks a free one.
    pub port: u16,
    /// `ADMIN_PORT`: 0 picks a free one.
    pub admin_port: Option<u16>,
    /// `STATUS_PAGE_TRY`.
    pub status_page_try: bool,
    /// The upstreams in use, in order of preference; at least one. Their names differ.
    pub upstreams: Vec<UpstreamSettings>,
    /// The base URLs of Code Assist for keys with a login of their own.
    pub code_assist_endpoints: Vec<String>,
    /// `FAILOVER`.
    pub failover: Failover,
    /// `FAILOVER_MODELS`, in order.
    pub failover_models: Vec<FailoverModel>,
    /// `FAILOVER_SIGNATURES`.
    pub failover_signatures: FailoverSignatures,
    /// `PUBLIC_URL`: a base URL without a trailing slash.
    pub public_url: Option<String>,
    /// `ALLOW_AUTH_TOKENS`.
    pub allow_auth_tokens: bool,
    /// Configured and, under `UPSTREAMS=auto`, not used.
    pub unused_upstreams: Vec<UnusedUpstream>,
    /// `UPSTREAMS=auto` found no credential of any provider, so Code Assist is the only upstream.
    pub no_upstream_configured: bool,
    /// gcloud's file of application default credentials, whether it is there or not.
    pub adc_file: Option<String>,
    /// `GCE_METADATA_HOST`: host, or host and port; `None` when the metadata server is not to be asked.
    pub metadata_host: Option<String>,
    /// `CODE_ASSIST_API_VERSION`.
    pub api_version: String,
    /// `OAUTH_TOKEN_URL`.
    pub token_url: String,
    /// `OAUTH_TOKENINFO_URL`.
    pub tokeninfo_url: String,
    /// `ALLOW_INSECURE_UPSTREAM`.
    pub allow_insecure_upstream: bool,
    /// `OAUTH_CLIENT_ID`, when set by the operator.
    pub oauth_client_id: Option<String>,
    /// `OAUTH_CLIENT_SECRET`, when set by the operator.
    pub oauth_client_secret: Option<SecretString>,
    /// `KV_URL`.
    pub kv_url: KvUrl,
    /// `KV_ENCRYPTION_KEY`: unset, entries are stored as they are.
    pub kv_encryption_key: Option<SealKeys>,
    /// `USAGE_RETENTION_DAYS`.
    pub usage_retention_days: u32,
    /// `ENABLE_CONNECTION_POOLING`.
    pub connection_pooling: bool,
    /// `MAX_CONCURRENT_REQUESTS`.
    pub max_concurrent_requests: usize,
    /// `MAX_CONCURRENT_REQUESTS_PER_CALLER`, when set by the operator.
    pub max_concurrent_requests_per_caller: Option<usize>,
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
    /// `MODEL_ALIASES`, those that match the most closely first.
    pub model_aliases: Vec<ModelAlias>,
    /// `DIALECTS`.
    pub dialects: Dialects,
    /// `EARLY_HEARTBEAT_MS`; `None` is off.
    pub early_heartbeat: Option<Duration>,
    /// `SIGNATURE_CACHE_BYTES`.
    pub signature_cache_bytes: usize,
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
    /// `PROXY_API_KEYS`.
    pub api_keys: Vec<ApiKey>,
    /// The `[[key]]` tables, in the order of the file.
    pub keys: Vec<KeySettings>,
    /// The `[[price]]` tables, in the order of the file. The first one whose pattern matches counts.
    pub prices: Vec<PriceSettings>,
    /// `ALLOW_UNAUTHENTICATED`.
    pub allow_unauthenticated: bool,
    /// `ALLOWED_HOSTS`.
    pub allowed_hosts: AllowedHosts,
    /// `ALLOWED_ORIGINS`.
    pub allowed_origins: Vec<String>,
    /// `TRUST_FORWARDED_FOR`.
    pub trust_forwarded_for: bool,
    /// `CODE_ASSIST_PROTOCOL`.
    pub code_assist_protocol: AllowedProtocol,
    /// `MAX_REQUEST_BODY_BYTES`.
    pub max_request_body_bytes: usize,
    /// `MEMORY_BUDGET_BYTES`.
    pub memory_budget_bytes: usize,
    /// `MAX_EVENT_BYTES`.
    pub max_event_bytes: usize,
    /// `RESPONSE_CACHE_MAX_BYTES`.
    pub response_cache_max_bytes: usize,
    /// `SHUTDOWN_DELAY_MS`.
    pub shutdown_delay: Duration,
    /// `SHUTDOWN_GRACE_MS`.
    pub shutdown_grace: Duration,
    /// `LOG_LEVEL`.
    pub log_level: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `AUDIT_LOG` and its bounds.
    pub audit: Option<AuditSettings>,
    /// The `OTEL_…` settings, where spans are recorded.
    pub tracing: Option<TracingSettings>,
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
    /// Reads every setting from `layers`, strongest first.
    ///
    /// A last layer of [`Source::Default`] replaces defaults of the table: the native shell does
    /// this for `LOG_FORMAT` on a terminal.
    ///
    /// # Errors
    ///
    /// All problems at once, none of them showing a secret.
    pub fn read(layers: &[Layer<'_>]) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        Self::read_on(layers, &Machine::default())
    }

    /// As [`Settings::read`], with what the shell knows of the machine.
    ///
    /// # Errors
    ///
    /// All problems at once, none of them showing a secret.
    pub fn read_on(
        layers: &[Layer<'_>],
        machine: &Machine<'_>,
    ) -> Result<(Self, Vec<Warning>), Vec<Problem>> {
        read::settings(layers, machine)
    }

    /// Every setting as it is in force, in the order of the table, with values that may be printed.
    ///
    /// Nothing is checked: bad values, which [`Settings::read`] refuses, are listed too.
    pub fn effective(layers: &[Layer<'_>]) -> Vec<Effective> {
        read::effective(layers)
    }

    /// How many concurrency permits one caller holds at most, with this number of keys. A single caller
    /// has all of them: no other one needs a share.
    pub fn permits_per_caller(&self, keys: usize) -> usize {
        let all = self.max_concurrent_requests;
        match self.max_concurrent_requests_per_caller {
            Some(share) => share.min(all),
            None if keys > 1 => (all / 2).max(1),
            None => all,
        }
    }

    /// How many holders of keys there are. Tables with one `id` are those of one holder.
    pub fn number_of_keys(&self) -> usize {
        let holders: BTreeSet<&str> = self.keys.iter().map(|key| &*key.id).collect();
        self.api_keys.len() + holders.len()
    }

    /// `OAUTH_TOKEN_URL`, if it is not Google's own address.
    pub fn own_token_url(&self) -> Option<&str> {
        (self.token_url != "https://oauth2.googleapis.com/token").then_some(&*self.token_url)
    }

    /// Whether `HOST` is reachable from this machine only.
    pub fn is_loopback(&self) -> bool {
        parse::is_loopback(&self.host)
    }
}

/// The value of `GCP_SERVICE_ACCOUNT`.
#[derive(Debug, Clone)]
pub struct CredentialsJson {
    /// The name under which it was set.
    pub name: &'static str,
    /// The JSON, in any of the forms that [`crate::credential_problem`] accepts.
    pub text: SecretString,
}

impl From<String> for CredentialsJson {
    fn from(text: String) -> Self {
        Self { name: "GCP_SERVICE_ACCOUNT", text: text.into() }
    }
}

/// One of `PROXY_API_KEYS`.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The name that stands for the key in logs and metrics.
    pub name: Option<String>,
    /// The key that clients present.
    pub key: SecretString,
}

/// The names under which clients without keys may call the proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Any name. No setting has this value: a Worker uses it, whose names Cloudflare assigns.
    Any,
    /// These names.
    Listed(Vec<AllowedHost>),
}

/// One of `ALLOWED_HOSTS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// A name in lower case and without a final dot, or an address without brackets.
    pub name: String,
    /// The only port that is allowed; `None` allows every port.
    pub port: Option<u16>,
}

/// Which dialects are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    /// The Gemini API, with Code Assist's own protocol and Vertex AI's paths.
    pub gemini: bool,
    /// OpenAI's API.
    pub openai: bool,
    /// Anthropic's API.
    pub anthropic: bool,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for a terminal.
    Pretty,
}

/// One source of values.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// The name of the source in messages.
    pub source: Source,
    /// Looks up the first name or an alias of a setting, in upper case. The environment is also
    /// asked for variables that defaults refer to, such as `HOME`. An empty value counts as unset
    /// where the setting may be blank.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl fmt::Debug for Layer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer").field("source", &self.source).finish_non_exhaustive()
    }
}

/// What a shell knows of its machine, for problems with settings.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The path of the TOML file.
    pub file: Option<&'a str>,
    /// Whether a host name has an address. Called only for a `HOST` that is such a name.
    pub has_host: &'a dyn Fn(&str) -> bool,
    /// Clients come over a network whatever `HOST` says, as they do to a Worker.
    pub is_on_network: bool,
    /// Whether there is something at a path. `None`: there are no files, and no metadata server either.
    pub has_path: Option<&'a dyn Fn(&str) -> bool>,
    /// The `[[key]]` and `[[price]]` tables of the TOML file.
    pub key_tables: &'a KeyTables,
    /// The `[[upstream]]` tables of the TOML file.
    pub upstream_tables: &'a [UpstreamTable],
    /// The providers that an emulator plays in place of Google. They need no credentials, and nothing
    /// that is set for an upstream counts but the order of `UPSTREAMS`.
    pub emulated: Option<&'a [&'static str]>,
}

static NO_KEY_TABLES: KeyTables = KeyTables::NONE;

/// A machine of which nothing is known: every name has an address, and no path leads to a file.
impl Default for Machine<'_> {
    fn default() -> Self {
        Self {
            file: None,
            has_host: &|_| true,
            is_on_network: false,
            has_path: Some(&|_| false),
            key_tables: &NO_KEY_TABLES,
            upstream_tables: &[],
            emulated: None,
        }
    }
}

impl fmt::Debug for Machine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag,
    /// The environment, or the variables and secrets of a Worker.
    Env,
    /// The TOML file.
    File,
    /// A default that follows the memory limit of the process's control group.
    Cgroup,
    /// The value is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Env => "env",
            Self::File => "file",
            Self::Cgroup => "cgroup",
            Self::Default => "default",
        })
    }
}

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The first name of the setting.
    pub name: &'static str,
    /// The value as it may be printed, on one line; empty when unset.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

/// A bad setting, which keeps the proxy from starting. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {text}")]
pub struct Problem {
    /// The name as the operator wrote it.
    pub name: String,
    /// The error, with the accepted range.
    pub text: String,
}

/// A risky setting; the proxy starts nevertheless. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The name as the operator wrote it.
    pub name: String,
    /// The risk.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.text)
    }
}
