//! The knobs: every name of `spec.md` 3 with its default, its bounds and its meaning.
//! Strings in, [`Settings`] out, every problem at once.

use std::time::Duration;

use secrecy::SecretString;

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
    pub kv_url: String,
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
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Pretty,
}
