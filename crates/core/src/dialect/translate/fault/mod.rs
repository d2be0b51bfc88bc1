//! An error in the words of OpenAI's and Anthropic's dialects (`docs/reference/dialects.md` 1.4).
//!
//! Each error belongs to one row of a table, and the row has the names that clients act on. Google's own
//! `status` and `details` stay in the answer. The dialects' own files write it.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::json::{push_string, push_written};
use crate::dialect::{Dialect, gemini};
use crate::error::{Error, Refusal, RefusalCode};
use crate::failure::{FailoverReason, FailureClass};
use crate::google::error::UpstreamError;
use crate::google::status::canonical;

/// An error as a client of OpenAI's or Anthropic's dialect gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status.
    pub status: StatusCode,
    /// The `type`, in the words of the dialect.
    pub kind: &'static str,
    /// OpenAI's `code`.
    pub code: Option<Cow<'static, str>>,
    /// OpenAI's `param`: the path of the field at fault.
    pub param: Option<String>,
    /// What happened and what to do.
    pub message: String,
    /// The value of `x-should-retry`, on which the SDKs of both vendors act.
    pub should_retry: Option<bool>,
    /// Google's `status`, such as `RESOURCE_EXHAUSTED`.
    pub google_status: Cow<'static, str>,
    /// The `details`, a JSON value; empty if there are none. They are Google's or the proxy's own, as the
    /// Gemini API has them. Anthropic's errors about threads have an object of Anthropic's.
    pub details: Bytes,
    /// The row of the table.
    class: FaultClass,
}

impl Fault {
    /// The error in the words of `dialect`. The Gemini dialect has words of its own and gets OpenAI's.
    pub fn of(error: &Error, dialect: Dialect) -> Self {
        let class = FaultClass::of(error);
        let row = class.row();
        let is_anthropic = dialect == Dialect::Anthropic;
        let http = error.status();
        let mut fault = Self {
            status: match class {
                FaultClass::Busy | FaultClass::Overloaded if is_anthropic => overloaded(),
                // Some come as a 429, and waiting for a rate limit would be in vain.
                FaultClass::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
                // A 401 would be about the client's own key.
                FaultClass::Credentials => StatusCode::SERVICE_UNAVAILABLE,
                _ => http,
            },
            kind: if is_anthropic { row.anthropic } else { row.openai },
            code: match row.code {
                Code::Absent => None,
                Code::Fixed(code) => Some(Cow::Borrowed(code)),
                Code::Reason => Some(Cow::Owned(reason(error).to_ascii_lowercase())),
            },
            param: class.param().map(str::to_owned),
            message: error.message(),
            should_retry: row.should_retry,
            google_status: match error {
                Error::Upstream(upstream) => Cow::Owned(upstream.status.clone()),
                _ => Cow::Borrowed(canonical(http)),
            },
            details: gemini::error::details(error),
            class,
        };
        if let Error::Refused(refusal) = error {
            fault.read_refusal(refusal);
        }
        if let Error::FieldNotTaken { field, .. } = error {
            fault.param = Some(field.clone());
        }
        if is_anthropic {
            fault.use_anthropics_words();
        }
        fault
    }

    /// The same error for an endpoint that has the prompt in another field than `messages`.
    #[must_use]
    pub fn for_prompt_in(mut self, field: &str) -> Self {
        if self.class == FaultClass::TooLong {
            self.param = Some(field.to_owned());
        }
        self
    }

    /// The code of a failed answer of OpenAI's Responses API. The SDKs have an enum for it, and clients
    /// stop at `context_length_exceeded` and `invalid_prompt`.
    pub fn response_code(&self) -> &'static str {
        match self.class {
            FaultClass::TooLong => "context_length_exceeded",
            FaultClass::Quota | FaultClass::RateLimited => "rate_limit_exceeded",
            _ if self.status.is_client_error() => "invalid_prompt",
            _ => "server_error",
        }
    }

    fn read_refusal(&mut self, refusal: &Refusal) {
        self.param = (!refusal.path.is_empty()).then(|| refusal.path.clone());
        if let Some(code) = thread_code(refusal.code) {
            self.details = Bytes::from(format!(r#"{{"error_code":"{code}"}}"#));
        }
    }

    /// Anthropic's messages begin with the path of the field, and clients look for its own words for a
    /// prompt that is too long.
    fn use_anthropics_words(&mut self) {
        if self.class == FaultClass::TooLong {
            self.message = match numbers(&self.message)[..] {
                [is, most, ..] => format!("prompt is too long: {is} tokens > {most} maximum"),
                _ => format!("prompt is too long: {}", self.message),
            };
            return;
        }
        let Some(path) = &self.param else { return };
        let has_path = self.message.strip_prefix(&**path).is_some_and(|rest| rest.starts_with(':'));
        if !has_path {
            self.message = format!("{path}: {}", self.message);
        }
    }
}

/// Appends Google's `status` and `details`, which both dialects have behind members of their own.
pub(in crate::dialect) fn push_googles(fault: &Fault, out: &mut BytesMut) {
    out.put_slice(br#","status":"#);
    push_string(&fault.google_status, out);
    if let Ok(details) = std::str::from_utf8(&fault.details)
        && !details.is_empty()
    {
        out.put_slice(br#","details":"#);
        push_written(details, out);
    }
}

/// The headers that belong to the error in these dialects, besides those of [`Error::headers`].
pub fn headers(fault: &Fault) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(should_retry) = fault.should_retry {
        let value = if should_retry { "true" } else { "false" };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(value));
    }
    headers
}

/// The rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FaultClass {
    /// Nothing more can be charged to the account.
    Billing,
    /// The proxy takes no request now: it is full, or stopping, or it spares a failing upstream.
    Busy,
    /// The same request is under way, or an idempotency key was used again.
    Conflict,
    /// The operator's credentials or settings.
    Credentials,
    /// The account, the project or the web page may not do this.
    Forbidden,
    /// The request itself.
    Invalid,
    /// A field has a value that it cannot have.
    InvalidValue,
    /// The client's own key.
    Key,
    /// Wrong keys came too often from this address.
    KeyGuesses,
    /// The path does not take this HTTP method.
    Method,
    /// The model ended its answer without content.
    NoAnswer,
    /// There is no such model.
    NoModel,
    /// What the client refers to is not there.
    NotFound,
    /// The path or the method is not offered here.
    NotOffered,
    /// The model or its service has no capacity.
    Overloaded,
    /// An earlier answer that is not kept.
    PreviousResponse,
    /// A quota is used up until its reset.
    Quota,
    /// Too many requests for now.
    RateLimited,
    /// The client sent its request too slowly.
    RequestTimeout,
    /// The proxy or upstream has failed.
    Server,
    /// Upstream did not answer in time.
    Timeout,
    /// The body is too large.
    TooLarge,
    /// The prompt has more tokens than the model takes.
    TooLong,
    /// Upstream or the proxy's runtime does not have this.
    Unimplemented,
    /// A field that has no form in a Gemini request.
    UnsupportedParameter,
    /// A value that has no form in a Gemini request.
    UnsupportedValue,
}

/// The words of one row.
struct FaultRow {
    /// OpenAI's `type`.
    openai: &'static str,
    code: Code,
    /// Anthropic's `type`.
    anthropic: &'static str,
    should_retry: Option<bool>,
}

/// OpenAI's `code` in a row.
enum Code {
    Absent,
    Fixed(&'static str),
    /// Google's reason or the proxy's, in lower case.
    Reason,
}

impl FaultClass {
    fn row(self) -> FaultRow {
        use Code::{Absent, Fixed, Reason};
        let no = Some(false);
        let (openai, code, anthropic, should_retry) = match self {
            Self::Billing => (QUOTA, Fixed(QUOTA), "billing_error", no),
            Self::Busy => (SERVER, Reason, "overloaded_error", None),
            Self::Conflict => (INVALID, Fixed("idempotency_error"), INVALID, no),
            Self::Credentials => (SERVER, Reason, "api_error", no),
            Self::Forbidden => ("permission_error", Reason, "permission_error", no),
            Self::Invalid => (INVALID, Absent, INVALID, no),
            Self::InvalidValue => (INVALID, Fixed("invalid_value"), INVALID, no),
            Self::Key => (INVALID, Fixed("invalid_api_key"), "authentication_error", no),
            Self::KeyGuesses => ("rate_limit_error", Reason, "rate_limit_error", no),
            Self::Method => (INVALID, Reason, INVALID, no),
            Self::NoAnswer => (SERVER, Reason, "api_error", None),
            Self::NoModel => (INVALID, Fixed("model_not_found"), "not_found_error", no),
            Self::NotFound => (INVALID, Absent, "not_found_error", no),
            Self::NotOffered => (INVALID, Fixed("unsupported_endpoint"), "not_found_error", no),
            Self::Overloaded => (SERVER, Fixed("model_overloaded"), "overloaded_error", None),
            Self::PreviousResponse => (INVALID, Fixed("previous_response_not_found"), INVALID, no),
            Self::Quota => (QUOTA, Fixed(QUOTA), "rate_limit_error", no),
            Self::RateLimited => {
                ("rate_limit_error", Fixed("rate_limit_exceeded"), "rate_limit_error", None)
            }
            Self::RequestTimeout => (INVALID, Reason, "timeout_error", None),
            Self::Server => (SERVER, Reason, "api_error", None),
            Self::Timeout => (SERVER, Fixed("upstream_timeout"), "timeout_error", None),
            Self::TooLarge => (INVALID, Fixed("request_too_large"), "request_too_large", no),
            Self::TooLong => (INVALID, Fixed("context_length_exceeded"), INVALID, no),
            Self::Unimplemented => (SERVER, Reason, "api_error", no),
            Self::UnsupportedParameter => (INVALID, Fixed("unsupported_parameter"), INVALID, no),
            Self::UnsupportedValue => (INVALID, Fixed("unsupported_value"), INVALID, no),
        };
        FaultRow { openai, code, anthropic, should_retry }
    }

    /// The field at fault, where the row names one.
    fn param(self) -> Option<&'static str> {
        match self {
            Self::NoModel => Some("model"),
            Self::TooLong => Some("messages"),
            _ => None,
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::AccountIneligible { .. }
            | Error::AdminOnly { .. }
            | Error::HostNotAllowed { .. }
            | Error::ModelNotAllowed { .. }
            | Error::NotAllowed { .. }
            | Error::OriginNotAllowed { .. }
            | Error::ProjectRequired { .. }
            | Error::RpcNotAllowed { .. }
            | Error::ValidationRequired { .. } => Self::Forbidden,
            Error::ApiKeyExpired { .. } | Error::ApiKeyInvalid | Error::ApiKeyMissing => Self::Key,
            Error::BudgetExhausted(budget) if budget.may_pass => Self::RateLimited,
            Error::BudgetExhausted(_) => Self::Quota,
            Error::BadPageToken
            | Error::HostMissing
            | Error::MalformedBody
            | Error::MalformedJson { .. }
            | Error::UnknownUpstream { .. }
            | Error::UsageParameter { .. }
            | Error::UnsupportedEncoding { .. }
            | Error::UpgradeRequired => Self::Invalid,
            Error::BodyTooLarge { .. } => Self::TooLarge,
            Error::CircuitOpen { .. }
            | Error::ConnectionsExhausted
            | Error::Overloaded { .. }
            | Error::QueueTimeout { .. }
            | Error::ShuttingDown => Self::Busy,
            Error::Conflict => Self::Conflict,
            Error::CredentialsMissing { .. }
            | Error::CredentialsRejected { .. }
            | Error::CredentialsUnreadable { .. }
            | Error::KeyRefused { .. }
            | Error::SettingsInvalid { .. } => Self::Credentials,
            Error::FieldNotTaken { .. } => Self::UnsupportedParameter,
            Error::Internal
            | Error::OutOfResources { .. }
            | Error::TokenUnavailable { .. }
            | Error::UpstreamDisconnected { .. }
            | Error::UpstreamIncomplete
            | Error::UpstreamMalformed { .. }
            | Error::UpstreamNoEvents
            | Error::UpstreamPage { .. }
            | Error::UpstreamUnreachable { .. }
            | Error::UsageUnreadable { .. } => Self::Server,
            Error::MethodNotAllowed { .. } => Self::Method,
            Error::NoAnswer { .. } => Self::NoAnswer,
            Error::NotFound { what } if what.starts_with("models/") => Self::NoModel,
            Error::NeedsProject { .. }
            | Error::NotFound { .. }
            | Error::NotOffered { .. }
            | Error::UsageNotCounted => Self::NotOffered,
            Error::RateLimited { .. } => Self::RateLimited,
            Error::Refused(refusal) => Self::of_refusal(refusal),
            Error::RequestTimeout => Self::RequestTimeout,
            Error::TooManyAttempts { .. } => Self::KeyGuesses,
            Error::UpgradeUnsupported => Self::Unimplemented,
            Error::Upstream(error) => Self::of_upstream(error),
            Error::UpstreamTimeout { .. } => Self::Timeout,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        match refusal.code {
            RefusalCode::InvalidValue => Self::InvalidValue,
            // OpenAI has no code for it.
            RefusalCode::ItemNotFound => Self::Invalid,
            RefusalCode::ModelNotFound => Self::NoModel,
            RefusalCode::ResponseNotFound if refusal.path.is_empty() => Self::NotFound,
            RefusalCode::ResponseNotFound => Self::PreviousResponse,
            RefusalCode::ThreadNotFound | RefusalCode::ThreadUnsupported => Self::Invalid,
            RefusalCode::UnsupportedEndpoint => Self::NotOffered,
            RefusalCode::UnsupportedParameter => Self::UnsupportedParameter,
            RefusalCode::UnsupportedValue => Self::UnsupportedValue,
        }
    }

    fn of_upstream(error: &UpstreamError) -> Self {
        let failure = error.failure();
        match error.http.as_u16() {
            429 | 503 if failure.no_capacity => Self::Overloaded,
            402 => Self::Billing,
            _ if matches!(failure.class, FailureClass::Quota | FailureClass::Billing) => {
                Self::Quota
            }
            429 => Self::RateLimited,
            // The operator's own account: no client of these dialects signs in at Google.
            401 => Self::Credentials,
            403 => Self::Forbidden,
            // A file or a cache can be missing too.
            404 if error.failover_reason() == Some(FailoverReason::NotFound) => Self::NoModel,
            404 => Self::NotFound,
            405 => Self::Method,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            501 => Self::Unimplemented,
            503 => Self::Overloaded,
            504 => Self::Timeout,
            500.. => Self::Server,
            _ if is_too_long(&error.message) => Self::TooLong,
            _ => Self::Invalid,
        }
    }
}

/// The reason behind an error, for programs.
fn reason(error: &Error) -> &str {
    match error {
        Error::NoAnswer { reason, .. } => reason,
        other => other.short_reason(),
    }
}

/// The name that Anthropic's SDKs look for before they send a whole history in place of a thread.
fn thread_code(code: RefusalCode) -> Option<&'static str> {
    match code {
        RefusalCode::ThreadNotFound => Some("thread_not_found"),
        RefusalCode::ThreadUnsupported => Some("thread_unsupported_request"),
        _ => None,
    }
}

/// True for what Google says of a prompt with too many tokens. `The input token count (1200000) exceeds
/// the maximum number of tokens allowed (1048576).` is the usual form; Vertex AI has also written `the
/// input token count is 1200000 but model only supports up to 1048576`.
fn is_too_long(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("input token count")
        && (message.contains("exceeds") || message.contains("only supports up to"))
}

/// The whole numbers that follow the words `token count`.
fn numbers(text: &str) -> Vec<&str> {
    let from = text.to_ascii_lowercase().find("token count").unwrap_or_default();
    let digits = text[from..].split(|c: char| !c.is_ascii_digit());
    digits.filter(|digits| !digits.is_empty()).collect()
}

/// Anthropic's status for too much load.
fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

const INVALID: &str = "invalid_request_error";
const QUOTA: &str = "insufficient_quota";
const SERVER: &str = "server_error";

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[cfg(test)]
mod tests;
