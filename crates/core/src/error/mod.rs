//! Every way to say no, and the one place where a no gets its words (`spec.md` 7).
//!
//! A message says what happened, whose turn it is, and what to do next. It never holds a secret or
//! a query string.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use crate::access::AccessError;
use crate::dialect::gemini::route::RouteError;
use crate::google::error::UpstreamError;
use crate::google::status::{Detail, Link, Status};
use crate::json::JsonError;
use crate::platform::{BodyError, SendError};
use crate::provider::code_assist::models::PageTokenError;
use crate::provider::request::UrlError;

/// A no, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Google does not let this account use Code Assist.
    AccountIneligible {
        /// Each upstream reason code with its message, such as `UNSUPPORTED_CLIENT`.
        reasons: Vec<(String, String)>,
    },
    /// The client's key is not one of `PROXY_API_KEYS`.
    ApiKeyInvalid,
    /// The client shows no key.
    ApiKeyMissing,
    /// `pageToken` is not one that this list gave out.
    BadPageToken,
    /// The request body is longer than `MAX_REQUEST_BODY_BYTES`.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Every endpoint's breaker is open.
    CircuitOpen {
        /// What is left until the next try.
        after: Duration,
    },
    /// An `Idempotency-Key` came again with another body.
    Conflict,
    /// There is nothing to sign in with.
    CredentialsMissing {
        /// Where was looked, and what to do.
        why: String,
    },
    /// Google does not accept what we sign in with.
    CredentialsRejected {
        /// What Google said.
        why: String,
    },
    /// The `Host` of a request to a loopback address is no loopback name.
    HostNotAllowed {
        /// What the client called us.
        host: String,
    },
    /// A bug of ours.
    Internal,
    /// The request body is not exactly one JSON object.
    MalformedJson {
        /// What is wrong, with line and column.
        detail: String,
    },
    /// The path is known, the HTTP method is not one of its own.
    MethodNotAllowed {
        /// The value for `Allow`.
        allow: &'static str,
    },
    /// Nothing is at this path.
    NotFound {
        /// What was not found: a path without its query, or `models/x`.
        what: String,
    },
    /// The public API has it, Code Assist has not.
    NotOffered {
        /// The public method or collection.
        what: String,
        /// The model in the path, if there was one.
        model: Option<String>,
    },
    /// A web page of another origin.
    OriginNotAllowed {
        /// The page's origin.
        origin: String,
    },
    /// The account needs a project of its own and none is set.
    ProjectRequired,
    /// No place in line came free in `QUEUE_TIMEOUT_MS`.
    QueueTimeout {
        /// When to try again.
        after: Duration,
    },
    /// The proxy's own limit.
    RateLimited {
        /// When the next request is allowed.
        after: Duration,
    },
    /// The client sent its request too slowly.
    RequestTimeout,
    /// Nothing can be served with these settings.
    SettingsInvalid {
        /// Every problem, without the values of secrets.
        problems: Vec<String>,
    },
    /// The proxy is stopping.
    ShuttingDown,
    /// A `Content-Encoding` that is not read here, or a body that does not decode.
    UnsupportedEncoding {
        /// The encoding, or what is wrong with it.
        what: String,
    },
    /// Upstream's own error, passed on.
    Upstream(Box<UpstreamError>),
    /// The connection broke before the answer was complete.
    UpstreamDisconnected,
    /// Upstream's answer is not what the protocol says.
    UpstreamMalformed {
        /// What is wrong with it.
        what: String,
    },
    /// Upstream did not answer in time.
    UpstreamTimeout {
        /// What did not come.
        awaited: Awaited,
        /// How long it was waited for.
        after: Duration,
    },
    /// No connection to upstream.
    UpstreamUnreachable {
        /// What went wrong, without secrets.
        why: String,
    },
    /// The account's owner must pass a check in a browser first.
    ValidationRequired {
        /// What Google says.
        message: String,
        /// Where to do it.
        link: Option<String>,
    },
}

/// What did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The response head, within `FIRST_BYTE_TIMEOUT_MS`.
    FirstByte,
    /// The next piece of a body, within `STREAM_IDLE_TIMEOUT_MS`.
    NextChunk,
}

/// Whose turn it is to mend things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorSource {
    /// The program that sent the request.
    Client,
    /// Who runs the proxy: credentials, project, licence.
    Operator,
    /// This program, or the load on it.
    Proxy,
    /// Google, or the way there.
    Upstream,
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadPageToken | Self::MalformedJson { .. } | Self::UnsupportedEncoding { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::ApiKeyInvalid | Self::ApiKeyMissing => StatusCode::UNAUTHORIZED,
            Self::AccountIneligible { .. }
            | Self::HostNotAllowed { .. }
            | Self::OriginNotAllowed { .. }
            | Self::ProjectRequired
            | Self::ValidationRequired { .. } => StatusCode::FORBIDDEN,
            Self::NotFound { .. } | Self::NotOffered { .. } => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::UpstreamDisconnected | Self::UpstreamMalformed { .. } => StatusCode::BAD_GATEWAY,
            Self::CircuitOpen { .. }
            | Self::CredentialsMissing { .. }
            | Self::CredentialsRejected { .. }
            | Self::QueueTimeout { .. }
            | Self::SettingsInvalid { .. }
            | Self::ShuttingDown
            | Self::UpstreamUnreachable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(fault) => fault.http,
        }
    }

    /// The reason of our `ErrorInfo` detail. `None` for upstream's own errors, and where the spec
    /// names no reason.
    pub fn reason(&self) -> Option<&'static str> {
        self.words().0
    }

    /// A short name for metrics, one for each variant.
    pub fn label(&self) -> &'static str {
        self.words().1
    }

    /// Whose turn it is to mend things.
    pub fn source(&self) -> ErrorSource {
        match self {
            Self::ApiKeyInvalid
            | Self::ApiKeyMissing
            | Self::BadPageToken
            | Self::BodyTooLarge { .. }
            | Self::Conflict
            | Self::HostNotAllowed { .. }
            | Self::MalformedJson { .. }
            | Self::MethodNotAllowed { .. }
            | Self::NotFound { .. }
            | Self::NotOffered { .. }
            | Self::OriginNotAllowed { .. }
            | Self::RateLimited { .. }
            | Self::RequestTimeout
            | Self::UnsupportedEncoding { .. } => ErrorSource::Client,
            Self::AccountIneligible { .. }
            | Self::CredentialsMissing { .. }
            | Self::CredentialsRejected { .. }
            | Self::ProjectRequired
            | Self::SettingsInvalid { .. }
            | Self::ValidationRequired { .. } => ErrorSource::Operator,
            Self::Internal | Self::QueueTimeout { .. } | Self::ShuttingDown => ErrorSource::Proxy,
            Self::CircuitOpen { .. }
            | Self::UpstreamDisconnected
            | Self::UpstreamMalformed { .. }
            | Self::UpstreamTimeout { .. }
            | Self::UpstreamUnreachable { .. } => ErrorSource::Upstream,
            Self::Upstream(fault) => match fault.http {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ErrorSource::Operator,
                StatusCode::TOO_MANY_REQUESTS => ErrorSource::Upstream,
                status if status.is_client_error() => ErrorSource::Client,
                _ => ErrorSource::Upstream,
            },
        }
    }

    /// How long the client should wait before it tries again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { after }
            | Self::QueueTimeout { after }
            | Self::RateLimited { after } => Some(*after),
            Self::Upstream(fault) => fault.retry_delay,
            _ => None,
        }
    }

    /// The body: `{"error":{…}}`. Ours is one line; upstream's is as upstream wrote it.
    pub fn body(&self) -> Bytes {
        if let Self::Upstream(fault) = self {
            return fault.body.clone();
        }
        let mut status = Status::new(self.status(), self.message());
        if let Some(reason) = self.reason() {
            status = status.with(Detail::ErrorInfo {
                reason: Cow::Borrowed(reason),
                domain: Cow::Borrowed(DOMAIN),
                metadata: self.metadata(),
            });
        }
        if let Some(after) = self.retry_after() {
            status = status.with(Detail::RetryInfo(after));
        }
        let links = self.links();
        if !links.is_empty() {
            status = status.with(Detail::Help { links });
        }
        status.to_json()
    }

    /// The headers that belong to this refusal, besides those of every answer: `Allow`,
    /// `Retry-After` in whole seconds rounded up, `WWW-Authenticate`.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::MethodNotAllowed { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            Self::ApiKeyInvalid | Self::ApiKeyMissing => {
                // `Basic` would make browsers ask for a password.
                let challenge = HeaderValue::from_static("Bearer realm=\"code-assist-proxy\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            _ => {}
        }
        if let Some(after) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        headers
    }

    /// What happened and what to do, for people.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// Reason and label of each variant.
    fn words(&self) -> (Option<&'static str>, &'static str) {
        match self {
            Self::AccountIneligible { .. } => (Some("ACCOUNT_INELIGIBLE"), "account_ineligible"),
            Self::ApiKeyInvalid => (Some("API_KEY_INVALID"), "api_key_invalid"),
            Self::ApiKeyMissing => (Some("API_KEY_MISSING"), "api_key_missing"),
            Self::BadPageToken => (None, "bad_page_token"),
            Self::BodyTooLarge { .. } => (Some("BODY_TOO_LARGE"), "body_too_large"),
            Self::CircuitOpen { .. } => (Some("CIRCUIT_OPEN"), "circuit_open"),
            Self::Conflict => (None, "conflict"),
            Self::CredentialsMissing { .. } => (Some("CREDENTIALS_MISSING"), "credentials_missing"),
            Self::CredentialsRejected { .. } => {
                (Some("CREDENTIALS_REJECTED"), "credentials_rejected")
            }
            Self::HostNotAllowed { .. } => (Some("HOST_NOT_ALLOWED"), "host_not_allowed"),
            Self::Internal => (Some("INTERNAL"), "internal"),
            Self::MalformedJson { .. } => (Some("MALFORMED_JSON"), "malformed_json"),
            Self::MethodNotAllowed { .. } => (Some("METHOD_NOT_ALLOWED"), "method_not_allowed"),
            Self::NotFound { .. } => (Some("NOT_FOUND"), "not_found"),
            Self::NotOffered { .. } => (Some("NOT_OFFERED_BY_CODE_ASSIST"), "not_offered"),
            Self::OriginNotAllowed { .. } => (Some("ORIGIN_NOT_ALLOWED"), "origin_not_allowed"),
            Self::ProjectRequired => (Some("PROJECT_REQUIRED"), "project_required"),
            Self::QueueTimeout { .. } => (Some("QUEUE_TIMEOUT"), "queue_timeout"),
            Self::RateLimited { .. } => (Some("RATE_LIMITED"), "rate_limited"),
            Self::SettingsInvalid { .. } => (Some("SETTINGS_INVALID"), "settings_invalid"),
            Self::RequestTimeout => (Some("REQUEST_TIMEOUT"), "request_timeout"),
            Self::ShuttingDown => (Some("SHUTTING_DOWN"), "shutting_down"),
            Self::UnsupportedEncoding { .. } => {
                (Some("UNSUPPORTED_ENCODING"), "unsupported_encoding")
            }
            Self::Upstream(_) => (None, "upstream_error"),
            Self::UpstreamDisconnected => (Some("UPSTREAM_DISCONNECTED"), "upstream_disconnected"),
            Self::UpstreamMalformed { .. } => (Some("UPSTREAM_MALFORMED"), "upstream_malformed"),
            Self::UpstreamTimeout { .. } => (Some("UPSTREAM_TIMEOUT"), "upstream_timeout"),
            Self::UpstreamUnreachable { .. } => {
                (Some("UPSTREAM_UNREACHABLE"), "upstream_unreachable")
            }
            Self::ValidationRequired { .. } => (Some("VALIDATION_REQUIRED"), "validation_required"),
        }
    }

    fn metadata(&self) -> Vec<(Cow<'static, str>, String)> {
        match self {
            Self::AccountIneligible { reasons } if !reasons.is_empty() => {
                let codes: Vec<&str> = reasons.iter().map(|(code, _)| code.as_str()).collect();
                vec![(Cow::Borrowed("upstreamReasons"), codes.join(","))]
            }
            Self::NotOffered { what, .. } => vec![(Cow::Borrowed("asked"), what.clone())],
            Self::ValidationRequired { link: Some(link), .. } => {
                vec![(Cow::Borrowed("validation_url"), link.clone())]
            }
            _ => Vec::new(),
        }
    }

    fn links(&self) -> Vec<Link> {
        match self {
            Self::AccountIneligible { .. } => vec![SET_UP_LICENCE, API_KEY],
            Self::ProjectRequired => vec![SET_UP_LICENCE],
            Self::ValidationRequired { link: Some(link), .. } => {
                vec![Link {
                    description: Cow::Borrowed("Verify your account"),
                    url: Cow::Owned(link.clone()),
                }]
            }
            Self::NotOffered { .. } => vec![API_KEY],
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccountIneligible { reasons } => write_ineligible(f, reasons),
            Self::ApiKeyInvalid => f.write_str(
                "The API key is not one of this proxy's keys. The proxy does not take Google API \
                 keys: ask its operator for a key of PROXY_API_KEYS.",
            ),
            Self::ApiKeyMissing => f.write_str(
                "This proxy needs an API key. Send one of its PROXY_API_KEYS in the header \
                 x-goog-api-key (or Authorization: Bearer, x-api-key, ?key=).",
            ),
            Self::BadPageToken => f.write_str(
                "Invalid pageToken. Use the nextPageToken of the page before, or leave it out to \
                 start again.",
            ),
            Self::BodyTooLarge { limit } => write!(
                f,
                "The request body is larger than the {limit} bytes that this proxy accepts. Send \
                 less, or have its operator raise MAX_REQUEST_BODY_BYTES."
            ),
            Self::CircuitOpen { after } => write!(
                f,
                "Code Assist has failed several times in a row, so no request is sent to it now. \
                 The next one is let through in {}; try again then.",
                Plain(*after)
            ),
            Self::Conflict => f.write_str(
                "This Idempotency-Key was used before with a different body. Use a new key for a \
                 new request.",
            ),
            Self::CredentialsMissing { why } => write!(
                f,
                "The proxy has no Google credentials: {} Sign in with the official Gemini CLI on \
                 the proxy's machine, or set GCP_SERVICE_ACCOUNT to the JSON of its \
                 oauth_creds.json, then run `code-assist-proxy check`.",
                Sentence(why)
            ),
            Self::CredentialsRejected { why } => write!(
                f,
                "Google does not accept the proxy's credentials: {} This is not about your API \
                 key. Sign in again with the official Gemini CLI, then run `code-assist-proxy \
                 check`.",
                Sentence(why)
            ),
            Self::HostNotAllowed { host } => write!(
                f,
                "This proxy listens on a loopback address without keys, so it answers only under \
                 loopback names, not as {host:?}. Use http://127.0.0.1 or http://localhost, or \
                 have its operator set PROXY_API_KEYS."
            ),
            Self::Internal => f.write_str(
                "The proxy has run into a bug of its own; your request may be fine. Please report \
                 it with the x-request-id of this answer.",
            ),
            Self::MalformedJson { detail } => write!(
                f,
                "The request body is not exactly one JSON object: {} Nothing was sent to Google.",
                Sentence(detail)
            ),
            Self::MethodNotAllowed { allow } => {
                write!(f, "This path does not take this HTTP method. It takes: {allow}.")
            }
            Self::NotFound { what } => write!(
                f,
                "{what} is not found. This proxy offers {OFFERED}; GET / lists all its paths."
            ),
            Self::NotOffered { what, model } => write_not_offered(f, what, model.as_deref()),
            Self::OriginNotAllowed { origin } => write!(
                f,
                "Web pages from {origin:?} may not use this proxy, because it has no keys set. \
                 Have its operator add the origin to ALLOWED_ORIGINS, or set PROXY_API_KEYS."
            ),
            Self::ProjectRequired => f.write_str(
                "This Google account uses Code Assist through an organisation's licence, and that \
                 needs a Google Cloud project. Set GEMINI_PROJECT_ID to the id (not the number) of \
                 the project that holds the licence, then run `code-assist-proxy check`.",
            ),
            Self::QueueTimeout { after } => write!(
                f,
                "The proxy has as many requests under way as it is allowed, and none ended in \
                 time. Try again in {}, or have its operator raise MAX_CONCURRENT_REQUESTS.",
                Plain(*after)
            ),
            Self::RateLimited { after } => write!(
                f,
                "You have reached this proxy's own rate limit (RATE_LIMIT_MAX_REQUESTS), not \
                 Google's. Please retry in {}.",
                Plain(*after)
            ),
            Self::RequestTimeout => f.write_str(
                "The request did not arrive in time: the client or the way here was too slow. \
                 Send it again.",
            ),
            Self::SettingsInvalid { problems } => write!(
                f,
                "The proxy's settings cannot be used, and nothing was sent to Google: {}. Its \
                 operator has to mend them and deploy again.",
                problems.join("; ")
            ),
            Self::ShuttingDown => {
                f.write_str("The proxy is shutting down. Send the request again in a moment.")
            }
            Self::UnsupportedEncoding { what } => write!(
                f,
                "The request body cannot be decoded: {} Send it plain or with Content-Encoding: \
                 gzip.",
                Sentence(what)
            ),
            Self::Upstream(fault) => f.write_str(&fault.message),
            Self::UpstreamDisconnected => f.write_str(
                "The connection to Code Assist broke before the answer was complete. The request \
                 may have been carried out; send it again if that does no harm.",
            ),
            Self::UpstreamMalformed { what } => write!(
                f,
                "Code Assist answered something that is not its protocol: {} If it goes on, \
                 please report it with the x-request-id of this answer.",
                Sentence(what)
            ),
            Self::UpstreamTimeout { awaited: Awaited::FirstByte, after } => write!(
                f,
                "Code Assist did not begin to answer within {}. Try again, or have the operator \
                 raise FIRST_BYTE_TIMEOUT_MS.",
                Plain(*after)
            ),
            Self::UpstreamTimeout { awaited: Awaited::NextChunk, after } => write!(
                f,
                "Code Assist fell silent for {} in the middle of its answer. Try again, or have \
                 the operator raise STREAM_IDLE_TIMEOUT_MS.",
                Plain(*after)
            ),
            Self::UpstreamUnreachable { why } => write!(
                f,
                "Code Assist cannot be reached: {} Check the network, HTTPS_PROXY and \
                 CODE_ASSIST_ENDPOINT of the proxy, then run `code-assist-proxy check`.",
                Sentence(why)
            ),
            Self::ValidationRequired { message, link } => {
                write!(
                    f,
                    "Google wants the owner of the proxy's account to verify it first: {}",
                    Sentence(message)
                )?;
                match link {
                    Some(link) => write!(f, " Open {link} in a browser, then try again."),
                    None => f.write_str(" Sign in with the official Gemini CLI to be led there."),
                }
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<PageTokenError> for Error {
    fn from(_: PageTokenError) -> Self {
        Self::BadPageToken
    }
}

impl From<BodyError> for Error {
    fn from(broken: BodyError) -> Self {
        match broken {
            BodyError::Disconnected(_) => Self::UpstreamDisconnected,
            BodyError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

impl From<AccessError> for Error {
    fn from(denied: AccessError) -> Self {
        match denied {
            AccessError::HostNotAllowed { host } => Self::HostNotAllowed { host },
            AccessError::KeyInvalid => Self::ApiKeyInvalid,
            AccessError::KeyMissing => Self::ApiKeyMissing,
            AccessError::OriginNotAllowed { origin } => Self::OriginNotAllowed { origin },
        }
    }
}

/// Upstream's own error, except that a 401 of Google's is never shown as one of ours: clients would
/// read it as their key being wrong (`spec.md` 7).
impl From<UpstreamError> for Error {
    fn from(fault: UpstreamError) -> Self {
        if fault.http == StatusCode::UNAUTHORIZED {
            return Self::CredentialsRejected { why: fault.message };
        }
        Self::Upstream(Box::new(fault))
    }
}

/// For a client's body. Upstream's is [`Error::UpstreamMalformed`].
impl From<JsonError> for Error {
    fn from(malformed: JsonError) -> Self {
        Self::MalformedJson { detail: malformed.to_string() }
    }
}

impl From<UrlError> for Error {
    /// The settings check the endpoint and the route checks the path: this cannot be.
    fn from(_: UrlError) -> Self {
        Self::Internal
    }
}

impl From<RouteError> for Error {
    fn from(no: RouteError) -> Self {
        match no {
            RouteError::NotFound { path } => Self::NotFound { what: path },
            RouteError::NotOffered { what, model } => Self::NotOffered { what, model },
            RouteError::WrongMethod { allow } => Self::MethodNotAllowed { allow },
        }
    }
}

impl From<SendError> for Error {
    fn from(unreachable: SendError) -> Self {
        match unreachable {
            SendError::Connect(why) => Self::UpstreamUnreachable { why },
            SendError::Disconnected(_) => Self::UpstreamDisconnected,
            SendError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

fn write_ineligible(f: &mut fmt::Formatter<'_>, reasons: &[(String, String)]) -> fmt::Result {
    f.write_str("Google does not let this account use Code Assist.")?;
    for (code, message) in reasons {
        write!(f, " {code}: {}", Sentence(message))?;
    }
    if reasons.iter().any(|(code, _)| code == "UNSUPPORTED_CLIENT") {
        f.write_str(
            " Individual accounts (free, Pro, Ultra) have not worked with the Gemini CLI's sign-in \
             since 2026-06-18.",
        )?;
    }
    f.write_str(
        " Use an account with a Code Assist Standard or Enterprise licence and set \
         GEMINI_PROJECT_ID to its project, or use the Gemini API with an API key of its own.",
    )
}

/// The first sentence is Google's own, so that clients which look for it find it.
fn write_not_offered(f: &mut fmt::Formatter<'_>, what: &str, model: Option<&str>) -> fmt::Result {
    match model {
        Some(model) => write!(
            f,
            "models/{model} is not found for API version v1beta, or is not supported for {what}. \
             Call ListModels to see the list of available models and their supported methods."
        )?,
        None => write!(f, "{what} is not found for API version v1beta, or is not supported.")?,
    }
    write!(f, " Code Assist, which this proxy speaks to, offers {OFFERED}.")?;
    let instead = match what {
        "cachedContents" => {
            " Send the whole prompt with each request; Google caches it implicitly."
        }
        "files" | "media" | "upload" => " Send the data inline, as inlineData, instead.",
        "bidiGenerateContent" => " Use streamGenerateContent instead of the Live API.",
        "openai" => " Point the client at the Gemini API, at /v1beta, instead.",
        _ => " For anything else use the Gemini API with an API key of its own.",
    };
    f.write_str(instead)
}

/// Somebody else's words, made to end like a sentence.
struct Sentence<'a>(&'a str);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.trim();
        if text.is_empty() {
            return f.write_str("it does not say why.");
        }
        f.write_str(text)?;
        if text.ends_with(['.', '!', '?', '…']) { Ok(()) } else { f.write_str(".") }
    }
}

/// A duration as [`crate::google::error`] and Google's clients read it in prose: `1.5s`.
struct Plain(Duration);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) {
            return write!(f, "{}s", millis / 1000);
        }
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        write!(f, "{}s", text.trim_end_matches('0'))
    }
}

/// Rounded up: to come back a moment early would be one refusal more.
fn whole_seconds(delay: Duration) -> u64 {
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

/// The domain of our `ErrorInfo` details.
const DOMAIN: &str = "code-assist-proxy";

const OFFERED: &str = "generateContent, streamGenerateContent and countTokens on models/{model}, \
                       and the list of models";

const SET_UP_LICENCE: Link = Link {
    description: Cow::Borrowed("Set up Gemini Code Assist Standard or Enterprise"),
    url: Cow::Borrowed("https://cloud.google.com/gemini/docs/codeassist/set-up-gemini"),
};

const API_KEY: Link = Link {
    description: Cow::Borrowed("Get a Gemini API key"),
    url: Cow::Borrowed("https://aistudio.google.com/apikey"),
};

#[cfg(test)]
mod tests;
