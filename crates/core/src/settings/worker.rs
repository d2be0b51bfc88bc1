//! The settings of a Worker: which ones it has, and which defaults differ.

use super::spec::SettingSpec;

/// False for settings of sockets and files, which a Worker does not have. `docs/WORKER.md` says
/// what the Worker does instead.
pub(super) fn is_for_worker(spec: &SettingSpec) -> bool {
    !NATIVE_ONLY.contains(&spec.name)
}

/// The default of a setting in a Worker, where it is another one.
pub fn worker_default(name: &str) -> Option<&'static str> {
    WORKER_DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, default)| *default)
}

/// An isolate has 128 MB for everything. A body that is sent on is held twice: here, and in JavaScript's
/// memory. KV is a binding instead of a URL, and there is no home folder for a file.
const WORKER_DEFAULTS: [(&str, &str); 4] = [
    ("KV_URL", "memory:"),
    ("MEMORY_BUDGET_BYTES", "32MiB"),
    ("RESPONSE_CACHE_MAX_BYTES", "16777216"),
    ("SIGNATURE_CACHE_BYTES", "4MiB"),
];

/// Settings of sockets and files.
pub(super) const NATIVE_ONLY: [&str; 30] = [
    "ADMIN_PORT",
    "AUDIT_LOG",
    "AUDIT_LOG_FILES",
    "AUDIT_LOG_MAX_BYTES",
    "CONNECTION_TIMEOUT_MS",
    "ENABLE_CONNECTION_POOLING",
    "GCE_METADATA_HOST",
    "GEMINI_OAUTH_CREDS_FILE",
    "HOST",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "KEEP_ALIVE_TIMEOUT_MS",
    "KV_ENCRYPTION_KEY",
    "KV_URL",
    "NO_GCE_CHECK",
    "NO_PROXY",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "PORT",
    "SHUTDOWN_DELAY_MS",
    "SHUTDOWN_GRACE_MS",
    "SSL_CERT_FILE",
];
