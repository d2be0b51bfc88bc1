//! The table of all settings. Parsing, `--help`, `docs/CONFIG.md` and the tests read it.

use super::AllowedProtocol;
use super::dialects;
use super::keys::PROXY_KEYS_JSON;
use super::spec::{GIBIBYTE, Group, Kind, MEBIBYTE, MINUTE_MS, SettingSpec, setting};
use super::telemetry_rows;
use super::upstreams::rows;

/// Finds a setting by its first name or an alias, in upper or lower case.
pub fn find(name: &str) -> Option<&'static SettingSpec> {
    SETTINGS.iter().find(|spec| spec.names().any(|known| known.eq_ignore_ascii_case(name)))
}

/// Every setting, in the order of the reference.
pub const SETTINGS: &[SettingSpec] = &[
    // Listening and access
    setting(
        Group::Access,
        "HOST",
        "127.0.0.1",
        Kind::Text("an IP address, `localhost` or a host name"),
        "Listen address. Anything but loopback needs `PROXY_API_KEYS` or `ALLOW_UNAUTHENTICATED`.",
    ),
    setting(
        Group::Access,
        "PORT",
        "8787",
        Kind::Whole { min: 0, max: 65_535 },
        "Listen port; 0 picks a free one and prints it.",
    ),
    setting(
        Group::Access,
        "ADMIN_PORT",
        "",
        Kind::Text("a port number; 0 picks a free one and prints it"),
        "A second listen port at the same `HOST`. Metrics, details and the status page are then \
         served there only, and the API is not.",
    ),
    setting(
        Group::Access,
        "PROXY_API_KEYS",
        "",
        Kind::Text(
            "`key` or `name:key`, separated by commas. The first colon ends the name, so a key \
             that holds a colon needs a name. Names: letters, digits, `_`, `.`, `-`, each once; \
             keys: visible ASCII without comma",
        ),
        "Keys that clients must present; a name stands for its key in logs and metrics. At least 16 \
         characters each; fewer than 8 are refused on a network. Set and empty is an error.",
    )
    .secret()
    .never_blank(),
    PROXY_KEYS_JSON,
    setting(
        Group::Access,
        "ALLOW_UNAUTHENTICATED",
        "false",
        Kind::Switch,
        "Allow a `HOST` that is not loopback without `PROXY_API_KEYS`: everyone who reaches \
         the port uses the account.",
    ),
    setting(
        Group::Access,
        "ALLOWED_HOSTS",
        "",
        Kind::Text("host names, each with or without `:port`, separated by commas"),
        "Without keys: names under which clients may call the proxy, besides loopback names and \
         (where `HOST` is not loopback) IP addresses.",
    ),
    setting(
        Group::Access,
        "ALLOWED_ORIGINS",
        "",
        Kind::Text(
            "`scheme://host[:port]`, `null` or `file://` separated by commas, or `*` for all",
        ),
        "Browser origins that may use the proxy.",
    ),
    setting(
        Group::Access,
        "TRUST_FORWARDED_FOR",
        "false",
        Kind::Switch,
        "Take the client's address from `X-Forwarded-For` (only behind a proxy that sets it).",
    ),
    setting(
        Group::Access,
        "RATE_LIMIT_MAX_REQUESTS",
        "0",
        Kind::Whole { min: 0, max: 1_000_000 },
        "Requests per window and client key (else client address); 0 is no limit.",
    ),
    setting(
        Group::Access,
        "RATE_LIMIT_WINDOW_MS",
        "60000",
        Kind::Whole { min: 1, max: DAY_MS },
        "The window of `RATE_LIMIT_MAX_REQUESTS`.",
    ),
    setting(
        Group::Access,
        "STATUS_PAGE_TRY",
        "true",
        Kind::Switch,
        "The status page has a panel that sends a prompt to a model, with the key that the page was given. \
         With `ADMIN_PORT` it has none, since that port does not serve the API.",
    ),
    setting(
        Group::Access,
        "CODE_ASSIST_PROTOCOL",
        "generate",
        Kind::Choice(&AllowedProtocol::WORDS),
        "What clients may call of Code Assist's own protocol (`/v1internal`): nothing, what a session \
         of the Gemini CLI needs (with the operator's project in place of any other), or everything.",
    ),
    // Upstreams and failover
    rows::UPSTREAMS,
    rows::FAILOVER,
    rows::FAILOVER_MODELS,
    rows::FAILOVER_SIGNATURES,
    rows::PUBLIC_URL,
    rows::ALLOW_AUTH_TOKENS,
    // Credentials of Code Assist
    setting(
        Group::Credentials,
        "GOOGLE_CLOUD_ACCESS_TOKEN",
        "",
        Kind::Text("an access token"),
        "Used as it is and never refreshed; the first of the three credential sources.",
    )
    .secret(),
    setting(
        Group::Credentials,
        "GCP_SERVICE_ACCOUNT",
        "",
        Kind::Text("a JSON object, plain or in base64"),
        "The whole JSON of the Gemini CLI's `oauth_creds.json`; the second source. Despite \
         the name, not the key of a service account.",
    )
    .alias(&["GEMINI_CREDENTIALS", "CLOUDCODE_OAUTH_CREDS"])
    .secret(),
    setting(
        Group::Credentials,
        "GEMINI_OAUTH_CREDS_FILE",
        "${GEMINI_CLI_HOME:-~}/.gemini/oauth_creds.json",
        Kind::Text("a path"),
        "The Gemini CLI's own file, read again when it changes and never written; the third source.",
    )
    .alias(&["CLOUDCODE_OAUTH_CREDS_PATH"]),
    setting(
        Group::Credentials,
        "OAUTH_CLIENT_ID",
        "",
        Kind::Text("an OAuth client id"),
        "The OAuth client that the refresh token belongs to. Default: the installed-application \
         client that the Gemini CLI publishes; a credential JSON's own `client_id` wins over that.",
    ),
    setting(
        Group::Credentials,
        "OAUTH_CLIENT_SECRET",
        "",
        Kind::Text("an OAuth client secret"),
        "The secret of `OAUTH_CLIENT_ID`.",
    )
    .secret(),
    // Tokens and project
    setting(
        Group::Tokens,
        "GEMINI_PROJECT_ID",
        "",
        Kind::Text("a Google Cloud project id (letters, digits, `-`, `.`, `:`), not a number"),
        "The project that is used and billed. Default: discovered from the account.",
    )
    .alias(&["GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT_ID", "CLOUDCODE_GCP_PROJECT_ID"]),
    setting(
        Group::Tokens,
        "PROJECT_ID_CACHE_TTL_HOURS",
        "1",
        Kind::Decimal { min: 0.1, max: 168.0 },
        "How long a discovered project is used before it is discovered again.",
    )
    .alias(&["CACHE_PROJECT_ID_TTL_HOURS"]),
    setting(
        Group::Tokens,
        "TOKEN_REFRESH_BUFFER_MINUTES",
        "5",
        Kind::Whole { min: 1, max: 30 },
        "Refresh the access token this long before it expires.",
    ),
    setting(
        Group::Tokens,
        "TOKEN_CACHE_TTL_HOURS",
        "1",
        Kind::Decimal { min: 0.1, max: 168.0 },
        "Longest time a token stays in the key-value store; never beyond its own expiry.",
    ),
    setting(
        Group::Tokens,
        "VALIDATE_TOKENS_BEFORE_USE",
        "true",
        Kind::Switch,
        "Check a token that was newly loaded from environment, file or store once against \
         `OAUTH_TOKENINFO_URL`. That address being unreachable is not a failure.",
    ),
    // Gemini API
    rows::GEMINI_API_KEY,
    rows::GEMINI_API_ENDPOINT,
    // Vertex AI
    rows::VERTEX_PROJECT,
    rows::VERTEX_LOCATION,
    rows::VERTEX_CREDENTIALS,
    rows::VERTEX_API_KEY,
    rows::VERTEX_ENDPOINT,
    rows::VERTEX_API_VERSION,
    rows::GOOGLE_GENAI_USE_VERTEXAI,
    rows::GOOGLE_CLOUD_QUOTA_PROJECT,
    rows::GCE_METADATA_HOST,
    rows::NO_GCE_CHECK,
    // Key-value store
    setting(
        Group::Store,
        "KV_URL",
        "file:${XDG_DATA_HOME:-~/.local/share}/code-assist-proxy/kv.redb",
        Kind::Text(
            "`file:PATH`, `memory:`, or `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE][?prefix=…]` \
             (`rediss` for TLS; with `sentinel=NAME` in the query, HOSTs are Sentinels, separated \
             by commas)",
        ),
        "Where tokens and the project are kept between runs. Processes with the same Redis share them.",
    )
    .login(),
    setting(
        Group::Store,
        "KV_ENCRYPTION_KEY",
        "",
        Kind::Text("32 bytes in base64 or hex, or two such keys separated by a comma"),
        "Entries are stored encrypted with the first key; the second, if any, only decrypts old ones. Set \
         and empty is an error.",
    )
    .secret()
    .never_blank(),
    setting(
        Group::Store,
        "USAGE_RETENTION_DAYS",
        "400",
        Kind::Whole { min: 32, max: 3660 },
        "For how many days the store keeps what keys have used.",
    ),
    // Upstream
    setting(
        Group::Upstream,
        "CODE_ASSIST_ENDPOINT",
        "https://cloudcode-pa.googleapis.com",
        Kind::Text("http(s) base URLs without query or login, separated by commas"),
        "Base URL of Code Assist, or several separated by commas: each request goes to the one with the fewest in flight, a failed try to the next.",
    ),
    setting(
        Group::Upstream,
        "CODE_ASSIST_API_VERSION",
        "v1internal",
        Kind::Text("letters, digits, `_`, `.`, `-`"),
        "The version in Code Assist's paths.",
    ),
    setting(
        Group::Upstream,
        "OAUTH_TOKEN_URL",
        "https://oauth2.googleapis.com/token",
        Kind::Text("an http(s) URL without query or login"),
        "Where access tokens are refreshed.",
    ),
    setting(
        Group::Upstream,
        "OAUTH_TOKENINFO_URL",
        "https://oauth2.googleapis.com/tokeninfo",
        Kind::Text("an http(s) URL without query or login"),
        "Where access tokens are validated.",
    ),
    setting(
        Group::Upstream,
        "ALLOW_INSECURE_UPSTREAM",
        "false",
        Kind::Switch,
        "Allow `http://` for upstreams and the two addresses above on another machine: tokens, keys and \
         the refresh token travel unencrypted.",
    ),
    setting(
        Group::Upstream,
        "ENABLE_CONNECTION_POOLING",
        "true",
        Kind::Switch,
        "Keep upstream connections open; false opens a new one for each request.",
    ),
    setting(
        Group::Upstream,
        "CONNECTION_TIMEOUT_MS",
        "30000",
        Kind::Whole { min: 1, max: 10 * MINUTE_MS },
        "Longest time for the TCP and TLS handshakes.",
    ),
    setting(
        Group::Upstream,
        "FIRST_BYTE_TIMEOUT_MS",
        "300000",
        Kind::Whole { min: 1, max: HOUR_MS },
        "Longest time from the request sent to the response head, and of a stream to its first event. A \
         client's `x-server-timeout` replaces it.",
    ),
    setting(
        Group::Upstream,
        "STREAM_IDLE_TIMEOUT_MS",
        "300000",
        Kind::Whole { min: 1, max: HOUR_MS },
        "Longest silence between two chunks; a client that takes nothing of its answer for as long is \
         disconnected. A stream that keeps sending has no time limit.",
    ),
    setting(
        Group::Upstream,
        "KEEP_ALIVE_TIMEOUT_MS",
        "60000",
        Kind::Whole { min: 1, max: HOUR_MS },
        "Idle pooled upstream connections are closed after this.",
    ),
    // Models
    setting(
        Group::Models,
        "MODEL_ALIASES",
        "",
        Kind::Text(
            "`from=to` separated by commas, each `from` once; `*` in a `from` stands for any text",
        ),
        "Names for models, tried before the built-in table. The closest match wins: a whole name, else \
         the pattern with the most other characters.",
    ),
    setting(
        Group::Models,
        "ENABLE_MODEL_NAME_CACHE",
        "true",
        Kind::Switch,
        "Keep the account's model catalogue and resolved names for 24 hours.",
    )
    .alias(&["ENABLE_MODEL_NAME_CACHING"]),
    // Dialects
    dialects::DIALECTS,
    dialects::EARLY_HEARTBEAT_MS,
    dialects::SIGNATURE_CACHE_BYTES,
    // Retries and circuit breaker
    setting(
        Group::Resilience,
        "MAX_RETRY_ATTEMPTS",
        "3",
        Kind::Whole { min: 0, max: 10 },
        "Retries after the first try.",
    ),
    setting(
        Group::Resilience,
        "RETRY_BASE_DELAY_MS",
        "1000",
        Kind::Whole { min: 0, max: MINUTE_MS },
        "First delay; it doubles with each retry, with full jitter.",
    ),
    setting(
        Group::Resilience,
        "RETRY_MAX_DELAY_MS",
        "30000",
        Kind::Whole { min: 0, max: 10 * MINUTE_MS },
        "Longest delay, and the longest that upstream may ask for and still be retried.",
    ),
    setting(
        Group::Resilience,
        "CIRCUIT_BREAKER_FAILURE_THRESHOLD",
        "5",
        Kind::Whole { min: 1, max: 100 },
        "Failed requests in a row that open the circuit breaker of an endpoint or of a model.",
    )
    .alias(&["CIRCUIT_BREAKER_THRESHOLD"]),
    setting(
        Group::Resilience,
        "CIRCUIT_BREAKER_TIMEOUT_MS",
        "60000",
        Kind::Whole { min: 1000, max: 5 * MINUTE_MS },
        "How long an open circuit breaker rejects requests before it lets one probe through.",
    ),
    // Limits, repeated requests and shutdown
    setting(
        Group::Limits,
        "MAX_REQUEST_BODY_BYTES",
        "104857600",
        Kind::Whole { min: 1, max: GIBIBYTE },
        "A larger request body is answered with 413.",
    ),
    setting(
        Group::Limits,
        "MAX_EVENT_BYTES",
        "67108864",
        Kind::Whole { min: 1, max: GIBIBYTE },
        "A larger stream event ends its stream with an error.",
    ),
    setting(
        Group::Limits,
        "MEMORY_BUDGET_BYTES",
        "1GiB",
        Kind::Bytes { min: MEBIBYTE, max: 1024 * GIBIBYTE },
        "Memory for what is held for clients (bodies, unpacked bodies, answers not yet taken, \
         connections). While too little is free, a request waits, then gets 503. The default is at most half of \
         the control group's memory limit.",
    ),
    setting(
        Group::Limits,
        "MAX_CONCURRENT_REQUESTS",
        "100",
        Kind::Whole { min: 1, max: 100_000 },
        "Upstream requests in flight, a stream until it ends; further requests wait in a queue.",
    ),
    setting(
        Group::Limits,
        "MAX_CONCURRENT_REQUESTS_PER_CALLER",
        "",
        Kind::Whole { min: 1, max: 100_000 },
        "How many of these one client key (else client address) has at once. Default: half of them \
         where more than one key is set, else all.",
    ),
    setting(
        Group::Limits,
        "QUEUE_TIMEOUT_MS",
        "10000",
        Kind::Whole { min: 0, max: 10 * MINUTE_MS },
        "Longest wait in that queue, then 503 with `Retry-After`.",
    ),
    setting(
        Group::Limits,
        "REQUEST_DEDUP_WINDOW_MS",
        "1000",
        Kind::Whole { min: 0, max: 10 * MINUTE_MS },
        "Equal repeatable requests within this time share one answer; 0 turns it off.",
    ),
    setting(
        Group::Limits,
        "RESPONSE_CACHE_TTL_SECONDS",
        "300",
        Kind::Whole { min: 0, max: DAY_MS / 1000 },
        "How long answers of repeatable requests are kept; 0 turns it off.",
    ),
    setting(
        Group::Limits,
        "RESPONSE_CACHE_MAX_BYTES",
        "67108864",
        Kind::Whole { min: 0, max: 4 * GIBIBYTE - 1 },
        "Memory for those answers.",
    ),
    setting(
        Group::Limits,
        "SHUTDOWN_DELAY_MS",
        "0",
        Kind::Whole { min: 0, max: HOUR_MS },
        "How long new requests are still served on shutdown. Health checks fail meanwhile, so that a load balancer stops sending requests before they are refused.",
    ),
    setting(
        Group::Limits,
        "SHUTDOWN_GRACE_MS",
        "30000",
        Kind::Whole { min: 0, max: HOUR_MS },
        "How long running requests and streams may take to finish on shutdown.",
    ),
    // Logging
    setting(
        Group::Logging,
        "LOG_LEVEL",
        "info",
        Kind::Choice(&["error", "warn", "info", "debug", "trace"]),
        "How much is logged.",
    ),
    setting(
        Group::Logging,
        "LOG_FORMAT",
        "json",
        Kind::Choice(&["json", "pretty"]),
        "One JSON object a line, or lines for a person. On a terminal the default is `pretty`.",
    ),
    telemetry_rows::AUDIT_LOG,
    telemetry_rows::AUDIT_LOG_MAX_BYTES,
    telemetry_rows::AUDIT_LOG_FILES,
    // Tracing
    telemetry_rows::OTEL_EXPORTER_OTLP_ENDPOINT,
    telemetry_rows::OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    telemetry_rows::OTEL_EXPORTER_OTLP_HEADERS,
    telemetry_rows::OTEL_EXPORTER_OTLP_TIMEOUT,
    telemetry_rows::OTEL_SERVICE_NAME,
    telemetry_rows::OTEL_RESOURCE_ATTRIBUTES,
    telemetry_rows::OTEL_TRACES_SAMPLER,
    telemetry_rows::OTEL_TRACES_SAMPLER_ARG,
    telemetry_rows::OTEL_SDK_DISABLED,
    // Outgoing network
    setting(
        Group::Network,
        "HTTPS_PROXY",
        "",
        Kind::Text("an http:// URL, a login in it allowed"),
        "Proxy for outgoing https connections.",
    )
    .alias(&["https_proxy"])
    .login(),
    setting(
        Group::Network,
        "HTTP_PROXY",
        "",
        Kind::Text("an http:// URL, a login in it allowed"),
        "Proxy for outgoing plain http connections.",
    )
    .alias(&["http_proxy"])
    .login(),
    setting(
        Group::Network,
        "NO_PROXY",
        "",
        Kind::Text("host names, domains, addresses and CIDR blocks separated by commas, or `*`"),
        "Where no proxy is used.",
    )
    .alias(&["no_proxy"]),
    setting(
        Group::Network,
        "SSL_CERT_FILE",
        "",
        Kind::Text("a path to a PEM file"),
        "Certificate authorities to trust instead of the system's.",
    ),
];

const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
