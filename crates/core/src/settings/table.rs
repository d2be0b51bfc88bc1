//! The one table of names: parsing, `--help`, `docs/CONFIG.md` and the settings' own tests read it.

use std::fmt;

/// Something that can be set, under one name everywhere.
#[derive(Debug, Clone, Copy)]
pub struct SettingSpec {
    /// The environment variable. The TOML key is its lower case, the flag its kebab case.
    pub name: &'static str,
    /// Older names, which work when `name` is unset in the same source.
    pub aliases: &'static [&'static str],
    /// The default as one would write it; empty where there is none.
    pub default: &'static str,
    /// What is accepted.
    pub kind: Kind,
    /// What it does, in one line.
    pub doc: &'static str,
    /// The heading under which it is listed.
    pub group: Group,
    /// How much of its value may be shown.
    pub secrecy: Secrecy,
}

impl SettingSpec {
    /// The name as a command-line flag, without the dashes. Secrets have none: `ps` shows flags.
    pub fn flag(&self) -> Option<String> {
        (self.secrecy != Secrecy::Secret).then(|| self.name.to_lowercase().replace('_', "-"))
    }

    /// The name as a key of the TOML file.
    pub fn key(&self) -> String {
        self.name.to_lowercase()
    }

    /// Finds a knob by its first name or an alias, in upper or lower case.
    pub fn find(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|knob| knob.names().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// The first name, then the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// `value` as it may be printed: whole, without a login in a URL, or not at all.
    pub fn shown(&self, value: &str) -> String {
        // A credential JSON put into the wrong setting is still a secret.
        if self.secrecy == Secrecy::Secret || value.trim_start().starts_with('{') {
            return MASK.into();
        }
        let mut line: String =
            value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        // Other programs take a password in the query.
        let is_ours = |part: &str| ["prefix=", "sentinel="].iter().any(|it| part.starts_with(it));
        if self.secrecy == Secrecy::Login
            && let Some((before, query)) = line.split_once('?')
            && !query.split('&').all(is_ours)
        {
            line = format!("{before}?{MASK}");
        }
        match (self.secrecy, line.find("://"), line.rfind('@')) {
            (Secrecy::Login, Some(scheme), Some(at)) if at > scheme => {
                format!("{}{MASK}{}", &line[..scheme + 3], &line[at..])
            }
            (Secrecy::Login, None, Some(at)) => format!("{MASK}{}", &line[at..]),
            _ => line,
        }
    }

    /// False for what only a process with sockets and files can do. `docs/WORKER.md` says of each
    /// what the edge does instead.
    pub fn is_for_worker(&self) -> bool {
        !NATIVE_ONLY.contains(&self.name)
    }

    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn login(mut self) -> Self {
        self.secrecy = Secrecy::Login;
        self
    }

    const fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }
}

/// What a knob accepts. Its `Display` is the range that problems and documentation name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// One of a few words, in any case.
    Choice(&'static [&'static str]),
    /// A number with or without a fraction, bounds included.
    Decimal {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// Yes or no.
    Switch,
    /// A text of the form that is described.
    Text(&'static str),
    /// A whole number, bounds included.
    Whole {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(words) => write!(f, "one of {}", words.join(", ")),
            Self::Decimal { min, max } => write!(f, "a number from {min} to {max}"),
            Self::Switch => write!(f, "true or false (also 1/0, yes/no)"),
            Self::Text(form) => f.write_str(form),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
        }
    }
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the login in a URL.
    Login,
    /// Nothing.
    Secret,
}

/// A heading of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Where the proxy listens and whom it lets in.
    Access,
    /// Whose account is used.
    Credentials,
    /// Sizes, waiting line, repeated requests.
    Limits,
    /// Log lines.
    Logging,
    /// Names of models.
    Models,
    /// The way out of a corporate network.
    Network,
    /// Retries and circuit breaker.
    Resilience,
    /// What outlives the process.
    Store,
    /// Tokens and project.
    Tokens,
    /// Google's side and how long to wait for it.
    Upstream,
}

impl Group {
    /// The headings in the order of the reference.
    pub const ALL: &'static [Self] = &[
        Self::Access,
        Self::Credentials,
        Self::Tokens,
        Self::Store,
        Self::Upstream,
        Self::Models,
        Self::Resilience,
        Self::Limits,
        Self::Logging,
        Self::Network,
    ];

    /// The heading in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Access => "Listening and access",
            Self::Credentials => "Credentials",
            Self::Limits => "Limits, repeated requests and shutdown",
            Self::Logging => "Logging",
            Self::Models => "Models",
            Self::Network => "Outgoing network",
            Self::Resilience => "Retries and circuit breaker",
            Self::Store => "Key-value store",
            Self::Tokens => "Tokens and project",
            Self::Upstream => "Upstream",
        }
    }
}

/// Every setting, in the order of the reference.
pub const SETTINGS: &[SettingSpec] = &[
    // Listening and access
    knob(
        Group::Access,
        "HOST",
        "127.0.0.1",
        Kind::Text("an IP address, `localhost` or a host name"),
        "Listen address. Anything but loopback needs `PROXY_API_KEYS` or `ALLOW_UNAUTHENTICATED`.",
    ),
    knob(
        Group::Access,
        "PORT",
        "8787",
        Kind::Whole { min: 0, max: 65_535 },
        "Listen port; 0 picks a free one and prints it.",
    ),
    knob(
        Group::Access,
        "PROXY_API_KEYS",
        "",
        Kind::Text(
            "`key` or `name:key`, separated by commas. The first colon ends the name, so a key \
             that holds a colon needs a name. Names: letters, digits, `_`, `.`, `-`, each once; \
             keys: visible ASCII without comma",
        ),
        "Keys that clients must present; a name stands for its key in logs and metrics.",
    )
    .secret(),
    knob(
        Group::Access,
        "ALLOW_UNAUTHENTICATED",
        "false",
        Kind::Switch,
        "Allow a `HOST` that is not loopback without `PROXY_API_KEYS`: everybody who reaches the \
         port uses the account.",
    ),
    knob(
        Group::Access,
        "ALLOWED_ORIGINS",
        "",
        Kind::Text("`scheme://host[:port]` separated by commas, or `*` for all"),
        "Browser origins that may use the proxy.",
    ),
    knob(
        Group::Access,
        "TRUST_FORWARDED_FOR",
        "false",
        Kind::Switch,
        "Take the client's address from `X-Forwarded-For` (only behind a proxy that sets it).",
    ),
    knob(
        Group::Access,
        "RATE_LIMIT_MAX_REQUESTS",
        "0",
        Kind::Whole { min: 0, max: 1_000_000 },
        "Requests per window and client key (else client address); 0 is no limit.",
    ),
    knob(
        Group::Access,
        "RATE_LIMIT_WINDOW_MS",
        "60000",
        Kind::Whole { min: 1, max: DAY_MS },
        "The window of `RATE_LIMIT_MAX_REQUESTS`.",
    ),
    // Credentials
    knob(
        Group::Credentials,
        "GOOGLE_CLOUD_ACCESS_TOKEN",
        "",
        Kind::Text("an access token"),
        "Used as it is and never refreshed; first in line of the credential sources.",
    )
    .secret(),
    knob(
        Group::Credentials,
        "GCP_SERVICE_ACCOUNT",
        "",
        Kind::Text("a JSON object"),
        "The whole JSON of the Gemini CLI's `oauth_creds.json`; second in line. Despite its \
         historic name not the key of a service account.",
    )
    .alias(&["GEMINI_CREDENTIALS", "CLOUDCODE_OAUTH_CREDS"])
    .secret(),
    knob(
        Group::Credentials,
        "GEMINI_OAUTH_CREDS_FILE",
        "${GEMINI_CLI_HOME:-~}/.gemini/oauth_creds.json",
        Kind::Text("a path"),
        "The Gemini CLI's own file, read again when it changes and never written; last in line.",
    )
    .alias(&["CLOUDCODE_OAUTH_CREDS_PATH"]),
    knob(
        Group::Credentials,
        "OAUTH_CLIENT_ID",
        "",
        Kind::Text("an OAuth client id"),
        "The OAuth client that the refresh token belongs to. Default: the installed-application \
         client that the Gemini CLI publishes; a credential JSON's own `client_id` wins over that.",
    ),
    knob(
        Group::Credentials,
        "OAUTH_CLIENT_SECRET",
        "",
        Kind::Text("an OAuth client secret"),
        "Belongs to `OAUTH_CLIENT_ID`.",
    )
    .secret(),
    // Tokens and project
    knob(
        Group::Tokens,
        "GEMINI_PROJECT_ID",
        "",
        Kind::Text("a Google Cloud project id (letters, digits, `-`, `.`, `:`), not a number"),
        "The project that is used and billed. Default: discovered from the account.",
    )
    .alias(&["GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT_ID", "CLOUDCODE_GCP_PROJECT_ID"]),
    knob(
        Group::Tokens,
        "PROJECT_ID_CACHE_TTL_HOURS",
        "1",
        Kind::Decimal { min: 0.1, max: 168.0 },
        "How long a discovered project is believed.",
    )
    .alias(&["CACHE_PROJECT_ID_TTL_HOURS"]),
    knob(
        Group::Tokens,
        "TOKEN_REFRESH_BUFFER_MINUTES",
        "5",
        Kind::Whole { min: 1, max: 30 },
        "Refresh the access token this long before it expires.",
    ),
    knob(
        Group::Tokens,
        "TOKEN_CACHE_TTL_HOURS",
        "1",
        Kind::Decimal { min: 0.1, max: 168.0 },
        "Longest time a token stays in the key-value store; never beyond its own expiry.",
    ),
    knob(
        Group::Tokens,
        "VALIDATE_TOKENS_BEFORE_USE",
        "true",
        Kind::Switch,
        "Check a token that was newly loaded from environment, file or store once against \
         `OAUTH_TOKENINFO_URL`. That address being unreachable is not a failure.",
    ),
    // Key-value store
    knob(
        Group::Store,
        "KV_URL",
        "file:${XDG_DATA_HOME:-~/.local/share}/code-assist-proxy/kv.redb",
        Kind::Text(
            "`file:PATH`, `memory:`, or `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=…]` \
             (`rediss` for TLS; with `sentinel=NAME` in the query, HOSTs are Sentinels, separated \
             by commas)",
        ),
        "Where tokens and the project outlive the process. Processes that share a Redis act as one.",
    )
    .login(),
    knob(
        Group::Store,
        "KV_ENCRYPTION_KEY",
        "",
        Kind::Text("32 bytes in base64 or hex, or two such keys separated by a comma"),
        "Entries are stored sealed with the first key; the second, if any, only opens old ones.",
    )
    .secret(),
    // Upstream
    knob(
        Group::Upstream,
        "CODE_ASSIST_ENDPOINT",
        "https://cloudcode-pa.googleapis.com",
        Kind::Text("http(s) base URLs without query or login, separated by commas"),
        "Base URL of Code Assist, or several separated by commas: each request goes to the one with the fewest in flight, a failed try to the next.",
    ),
    knob(
        Group::Upstream,
        "CODE_ASSIST_API_VERSION",
        "v1internal",
        Kind::Text("letters, digits, `_`, `.`, `-`"),
        "The version in Code Assist's paths.",
    ),
    knob(
        Group::Upstream,
        "OAUTH_TOKEN_URL",
        "https://oauth2.googleapis.com/token",
        Kind::Text("an http(s) URL without query or login"),
        "Where access tokens are refreshed.",
    ),
    knob(
        Group::Upstream,
        "OAUTH_TOKENINFO_URL",
        "https://oauth2.googleapis.com/tokeninfo",
        Kind::Text("an http(s) URL without query or login"),
        "Where access tokens are validated.",
    ),
    knob(
        Group::Upstream,
        "ENABLE_CONNECTION_POOLING",
        "true",
        Kind::Switch,
        "Keep upstream connections; false opens a new one for each request.",
    ),
    knob(
        Group::Upstream,
        "CONNECTION_TIMEOUT_MS",
        "30000",
        Kind::Whole { min: 1, max: 10 * MINUTE_MS },
        "Longest time for TCP and TLS to be set up, only that.",
    ),
    knob(
        Group::Upstream,
        "FIRST_BYTE_TIMEOUT_MS",
        "300000",
        Kind::Whole { min: 1, max: HOUR_MS },
        "Longest time from request sent to response head.",
    ),
    knob(
        Group::Upstream,
        "STREAM_IDLE_TIMEOUT_MS",
        "300000",
        Kind::Whole { min: 1, max: HOUR_MS },
        "Longest silence between two chunks; a client that takes nothing of its answer for as long is \
         given up. A stream that is alive has no time limit.",
    ),
    knob(
        Group::Upstream,
        "KEEP_ALIVE_TIMEOUT_MS",
        "60000",
        Kind::Whole { min: 1, max: HOUR_MS },
        "Idle pooled upstream connections are closed after this.",
    ),
    // Models
    knob(
        Group::Models,
        "MODEL_ALIASES",
        "",
        Kind::Text("`from=to` separated by commas, each `from` once"),
        "Names for models, tried before the built-in table.",
    ),
    knob(
        Group::Models,
        "ENABLE_MODEL_NAME_CACHE",
        "true",
        Kind::Switch,
        "Keep the account's model catalogue and resolved names for 24 hours.",
    )
    .alias(&["ENABLE_MODEL_NAME_CACHING"]),
    // Retries and circuit breaker
    knob(
        Group::Resilience,
        "MAX_RETRY_ATTEMPTS",
        "3",
        Kind::Whole { min: 0, max: 10 },
        "Retries after the first try.",
    ),
    knob(
        Group::Resilience,
        "RETRY_BASE_DELAY_MS",
        "1000",
        Kind::Whole { min: 0, max: MINUTE_MS },
        "First delay; it doubles with each retry, with full jitter.",
    ),
    knob(
        Group::Resilience,
        "RETRY_MAX_DELAY_MS",
        "30000",
        Kind::Whole { min: 0, max: 10 * MINUTE_MS },
        "Longest delay, and the longest that upstream may ask for and still be retried.",
    ),
    knob(
        Group::Resilience,
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
        "5",
        Kind::Whole { min: 1, max: 100 },
        "Consecutive failures of one endpoint that open its circuit breaker.",
    )
    .alias(&["CIRCUIT_BREAKER_THRESHOLD"]),
    knob(
        Group::Resilience,
        "CIRCUIT_BREAKER_TIMEOUT_MS",
        "60000",
        Kind::Whole { min: 1000, max: 5 * MINUTE_MS },
        "How long it stays open before one probe is let through.",
    ),
    // Limits, repeated requests and shutdown
    knob(
        Group::Limits,
        "MAX_REQUEST_BODY_BYTES",
        "104857600",
        Kind::Whole { min: 1, max: GIBIBYTE },
        "A larger request body is answered with 413.",
    ),
    knob(
        Group::Limits,
        "MAX_EVENT_BYTES",
        "67108864",
        Kind::Whole { min: 1, max: GIBIBYTE },
        "A larger stream event ends its stream with an error.",
    ),
    knob(
        Group::Limits,
        "MAX_CONCURRENT_REQUESTS",
        "100",
        Kind::Whole { min: 1, max: 100_000 },
        "Upstream requests in flight, a stream until it ends; more wait in line.",
    ),
    knob(
        Group::Limits,
        "QUEUE_TIMEOUT_MS",
        "10000",
        Kind::Whole { min: 0, max: 10 * MINUTE_MS },
        "Longest wait in that line, then 503 with `Retry-After`.",
    ),
    knob(
        Group::Limits,
        "REQUEST_DEDUP_WINDOW_MS",
        "1000",
        Kind::Whole { min: 0, max: 10 * MINUTE_MS },
        "Equal repeatable requests within this time share one answer; 0 turns it off.",
    ),
    knob(
        Group::Limits,
        "RESPONSE_CACHE_TTL_SECONDS",
        "300",
        Kind::Whole { min: 0, max: DAY_MS / 1000 },
        "How long answers of repeatable requests are kept; 0 turns it off.",
    ),
    knob(
        Group::Limits,
        "RESPONSE_CACHE_MAX_BYTES",
        "67108864",
        Kind::Whole { min: 0, max: 4 * GIBIBYTE - 1 },
        "Memory for those answers.",
    ),
    knob(
        Group::Limits,
        "SHUTDOWN_GRACE_MS",
        "30000",
        Kind::Whole { min: 0, max: HOUR_MS },
        "How long streams may finish on shutdown.",
    ),
    // Logging
    knob(
        Group::Logging,
        "LOG_LEVEL",
        "info",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "How much is logged.",
    ),
    knob(
        Group::Logging,
        "LOG_FORMAT",
        "json",
        Kind::Choice(&["json", "pretty"]),
        "One JSON object a line, or lines for a person. On a terminal the default is `pretty`.",
    ),
    // Outgoing network
    knob(
        Group::Network,
        "HTTPS_PROXY",
        "",
        Kind::Text("an http:// URL, a login in it allowed"),
        "Proxy for outgoing https connections.",
    )
    .alias(&["https_proxy"])
    .login(),
    knob(
        Group::Network,
        "HTTP_PROXY",
        "",
        Kind::Text("an http:// URL, a login in it allowed"),
        "Proxy for outgoing plain http connections.",
    )
    .alias(&["http_proxy"])
    .login(),
    knob(
        Group::Network,
        "NO_PROXY",
        "",
        Kind::Text("host names, domains, addresses and CIDR blocks separated by commas, or `*`"),
        "Where no proxy is used.",
    )
    .alias(&["no_proxy"]),
    knob(
        Group::Network,
        "SSL_CERT_FILE",
        "",
        Kind::Text("a path to a PEM file"),
        "Certificate authorities to trust instead of the system's.",
    ),
];

const fn knob(
    group: Group,
    name: &'static str,
    default: &'static str,
    kind: Kind,
    doc: &'static str,
) -> SettingSpec {
    SettingSpec { name, aliases: &[], default, kind, doc, group, secrecy: Secrecy::Open }
}

/// What stands for a secret.
pub(super) const MASK: &str = "***";

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const GIBIBYTE: u64 = 1 << 30;

const NATIVE_ONLY: [&str; 13] = [
    "CONNECTION_TIMEOUT_MS",
    "ENABLE_CONNECTION_POOLING",
    "GEMINI_OAUTH_CREDS_FILE",
    "HOST",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KEEP_ALIVE_TIMEOUT_MS",
    "KV_ENCRYPTION_KEY",
    "KV_URL",
    "NO_PROXY",
    "PORT",
    "SHUTDOWN_GRACE_MS",
    "SSL_CERT_FILE",
];
