//! The table of errors: status, reason, label and source of each (`docs/ERRORS.md`).

use http::StatusCode;

use super::{CredentialKind, Error, ErrorSource};

/// The properties that are fixed for each variant of [`Error`].
pub(super) struct ErrorRow {
    pub(super) status: StatusCode,
    /// The reason of the proxy's `ErrorInfo` detail. `None` for upstream's own errors, and where
    /// the contract names no reason.
    pub(super) reason: Option<&'static str>,
    /// A short name for metrics, one for each variant.
    pub(super) label: &'static str,
    pub(super) source: ErrorSource,
}

impl Error {
    pub(super) fn row(&self) -> ErrorRow {
        use ErrorSource::{Client, Operator, Proxy, Upstream};
        use StatusCode as S;
        let (status, reason, label, source) = match self {
            Self::AccountIneligible { .. } => {
                (S::FORBIDDEN, Some("ACCOUNT_INELIGIBLE"), "account_ineligible", Operator)
            }
            Self::AdminOnly { .. } => (S::FORBIDDEN, Some("ADMIN_ONLY"), "admin_only", Client),
            Self::ApiKeyExpired { .. } => {
                (S::UNAUTHORIZED, Some("API_KEY_EXPIRED"), "api_key_expired", Client)
            }
            Self::ApiKeyInvalid => {
                (S::UNAUTHORIZED, Some("API_KEY_INVALID"), "api_key_invalid", Client)
            }
            Self::ApiKeyMissing => {
                (S::UNAUTHORIZED, Some("API_KEY_MISSING"), "api_key_missing", Client)
            }
            Self::BadPageToken => (S::BAD_REQUEST, None, "bad_page_token", Client),
            Self::BodyTooLarge { .. } => {
                (S::PAYLOAD_TOO_LARGE, Some("BODY_TOO_LARGE"), "body_too_large", Client)
            }
            Self::BudgetExhausted(_) => {
                (S::TOO_MANY_REQUESTS, Some("BUDGET_EXHAUSTED"), "budget_exhausted", Client)
            }
            Self::CircuitOpen { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("CIRCUIT_OPEN"), "circuit_open", Upstream)
            }
            Self::Conflict => (S::CONFLICT, None, "conflict", Client),
            Self::ConnectionsExhausted => {
                (S::SERVICE_UNAVAILABLE, Some("OVERLOADED"), "connections_exhausted", Proxy)
            }
            // Metrics tell the logins of keys from the operator's.
            Self::CredentialsMissing { kind: CredentialKind::KeysOwn, .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("CREDENTIALS_MISSING"),
                "own_credentials_missing",
                Client,
            ),
            Self::CredentialsRejected { kind: CredentialKind::KeysOwn, .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("CREDENTIALS_REJECTED"),
                "own_credentials_rejected",
                Client,
            ),
            Self::CredentialsUnreadable { kind: CredentialKind::KeysOwn, .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("CREDENTIALS_REJECTED"),
                "own_credentials_unreadable",
                Client,
            ),
            Self::CredentialsMissing { .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("CREDENTIALS_MISSING"),
                "credentials_missing",
                Operator,
            ),
            Self::CredentialsRejected { .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("CREDENTIALS_REJECTED"),
                "credentials_rejected",
                Operator,
            ),
            // The reason of `CredentialsRejected`, which clients know.
            Self::CredentialsUnreadable { .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("CREDENTIALS_REJECTED"),
                "credentials_unreadable",
                Operator,
            ),
            Self::FieldNotTaken { .. } => {
                (S::BAD_REQUEST, Some("FIELD_NOT_TAKEN"), "field_not_taken", Client)
            }
            Self::HostMissing => (S::BAD_REQUEST, Some("HOST_MISSING"), "host_missing", Client),
            Self::HostNotAllowed { .. } => {
                (S::FORBIDDEN, Some("HOST_NOT_ALLOWED"), "host_not_allowed", Client)
            }
            Self::Internal => (S::INTERNAL_SERVER_ERROR, Some("INTERNAL"), "internal", Proxy),
            // The reason of `CredentialsRejected`, which clients know.
            Self::KeyRefused { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("CREDENTIALS_REJECTED"), "key_refused", Operator)
            }
            Self::MalformedBody => {
                (S::BAD_REQUEST, Some("MALFORMED_BODY"), "malformed_body", Client)
            }
            Self::MalformedJson { .. } => {
                (S::BAD_REQUEST, Some("MALFORMED_JSON"), "malformed_json", Client)
            }
            Self::MethodNotAllowed { .. } => {
                (S::METHOD_NOT_ALLOWED, Some("METHOD_NOT_ALLOWED"), "method_not_allowed", Client)
            }
            Self::ModelNotAllowed { .. } => {
                (S::FORBIDDEN, Some("MODEL_NOT_ALLOWED"), "model_not_allowed", Client)
            }
            // The reason of `NotOffered`, which clients know.
            Self::NeedsProject { .. } => {
                (S::NOT_FOUND, Some("NOT_OFFERED_BY_UPSTREAM"), "needs_project", Client)
            }
            Self::NoAnswer { .. } => (S::BAD_GATEWAY, Some("NO_ANSWER"), "no_answer", Upstream),
            Self::NotAllowed { .. } => (S::FORBIDDEN, Some("NOT_ALLOWED"), "not_allowed", Operator),
            Self::NotFound { .. } => (S::NOT_FOUND, Some("NOT_FOUND"), "not_found", Client),
            Self::NotOffered { upstream: None, .. } => {
                (S::NOT_FOUND, Some("NOT_OFFERED_BY_CODE_ASSIST"), "not_offered", Client)
            }
            Self::NotOffered { .. } => {
                (S::NOT_FOUND, Some("NOT_OFFERED_BY_UPSTREAM"), "not_offered", Client)
            }
            Self::OriginNotAllowed { .. } => {
                (S::FORBIDDEN, Some("ORIGIN_NOT_ALLOWED"), "origin_not_allowed", Client)
            }
            Self::OutOfResources { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("UPSTREAM_UNREACHABLE"), "out_of_resources", Operator)
            }
            Self::Overloaded { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("OVERLOADED"), "overloaded", Proxy)
            }
            Self::ProjectRequired { .. } => {
                (S::FORBIDDEN, Some("PROJECT_REQUIRED"), "project_required", Operator)
            }
            Self::QueueTimeout { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("QUEUE_TIMEOUT"), "queue_timeout", Proxy)
            }
            Self::RateLimited { .. } => {
                (S::TOO_MANY_REQUESTS, Some("RATE_LIMITED"), "rate_limited", Client)
            }
            Self::Refused(refusal) => (refusal.status(), Some("REFUSED"), "refused", Client),
            Self::RequestTimeout => {
                (S::REQUEST_TIMEOUT, Some("REQUEST_TIMEOUT"), "request_timeout", Client)
            }
            Self::RpcNotAllowed { .. } => {
                (S::FORBIDDEN, Some("RPC_NOT_ALLOWED"), "rpc_not_allowed", Operator)
            }
            Self::SettingsInvalid { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("SETTINGS_INVALID"), "settings_invalid", Operator)
            }
            Self::ShuttingDown => {
                (S::SERVICE_UNAVAILABLE, Some("SHUTTING_DOWN"), "shutting_down", Proxy)
            }
            Self::TokenUnavailable { .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("UPSTREAM_UNREACHABLE"),
                "token_unavailable",
                Upstream,
            ),
            Self::TooManyAttempts { .. } => {
                (S::TOO_MANY_REQUESTS, Some("TOO_MANY_ATTEMPTS"), "too_many_attempts", Client)
            }
            Self::UnknownUpstream { .. } => {
                (S::BAD_REQUEST, Some("UNKNOWN_UPSTREAM"), "unknown_upstream", Client)
            }
            Self::UnsupportedEncoding { .. } => {
                (S::BAD_REQUEST, Some("UNSUPPORTED_ENCODING"), "unsupported_encoding", Client)
            }
            Self::UpgradeRequired => {
                (S::BAD_REQUEST, Some("WEBSOCKET_REQUIRED"), "upgrade_required", Client)
            }
            Self::UpgradeUnsupported => {
                (S::NOT_IMPLEMENTED, Some("WEBSOCKET_UNSUPPORTED"), "upgrade_unsupported", Operator)
            }
            Self::UpstreamDisconnected { .. } => {
                (S::BAD_GATEWAY, Some("UPSTREAM_DISCONNECTED"), "upstream_disconnected", Upstream)
            }
            Self::UpstreamIncomplete => {
                (S::BAD_GATEWAY, Some("UPSTREAM_INCOMPLETE"), "upstream_incomplete", Upstream)
            }
            Self::UpstreamMalformed { .. } => {
                (S::BAD_GATEWAY, Some("UPSTREAM_MALFORMED"), "upstream_malformed", Upstream)
            }
            Self::UpstreamNoEvents => {
                (S::BAD_GATEWAY, Some("UPSTREAM_MALFORMED"), "upstream_no_events", Upstream)
            }
            Self::UpstreamPage { .. } => {
                (S::BAD_GATEWAY, Some("UPSTREAM_MALFORMED"), "upstream_page", Upstream)
            }
            Self::UpstreamTimeout { .. } => {
                (S::GATEWAY_TIMEOUT, Some("UPSTREAM_TIMEOUT"), "upstream_timeout", Upstream)
            }
            Self::UpstreamUnreachable { .. } => (
                S::SERVICE_UNAVAILABLE,
                Some("UPSTREAM_UNREACHABLE"),
                "upstream_unreachable",
                Upstream,
            ),
            Self::UsageNotCounted => {
                (S::NOT_FOUND, Some("USAGE_NOT_COUNTED"), "usage_not_counted", Operator)
            }
            Self::UsageParameter { .. } => {
                (S::BAD_REQUEST, Some("BAD_PARAMETER"), "usage_parameter", Client)
            }
            Self::UsageUnreadable { .. } => {
                (S::SERVICE_UNAVAILABLE, Some("USAGE_UNREADABLE"), "usage_unreadable", Operator)
            }
            Self::ValidationRequired { .. } => {
                (S::FORBIDDEN, Some("VALIDATION_REQUIRED"), "validation_required", Operator)
            }
            Self::Upstream(error) => (error.http, None, "upstream_error", source_of(error.http)),
        };
        ErrorRow { status, reason, label, source }
    }
}

/// Who can act on an error of upstream's, by its status.
fn source_of(status: StatusCode) -> ErrorSource {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorSource::Operator,
        StatusCode::TOO_MANY_REQUESTS => ErrorSource::Upstream,
        status if status.is_client_error() => ErrorSource::Client,
        _ => ErrorSource::Upstream,
    }
}
