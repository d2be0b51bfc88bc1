//! Every way in which a request can fail, and for each its status, reason, label and source
//! (`docs/ERRORS.md`).
//!
//! An error does not depend on the client's dialect: [`crate::dialect`] writes it. The message says what
//! happened, who has to act, and what to do next. It never holds a secret or a query string.

mod details;
mod failover;
mod from;
mod message;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::failure::{Failure, FailureClass};
use crate::google::error::UpstreamError;
use crate::time::Timestamp;

/// Why a request gets no answer from a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Google does not let this account use Code Assist.
    AccountIneligible {
        /// Each upstream reason code with its message, such as `UNSUPPORTED_CLIENT`.
        reasons: Vec<(String, String)>,
        /// It is the account of a key's own login.
        of_key: bool,
    },
    /// Only the operator, or a key with `admin`, may read this.
    AdminOnly {
        /// The path.
        what: &'static str,
    },
    /// The client's key has expired.
    ApiKeyExpired {
        /// Since when.
        since: Timestamp,
    },
    /// The client's key is none that the operator has set.
    ApiKeyInvalid,
    /// The client sends no key.
    ApiKeyMissing,
    /// `pageToken` does not come from the list.
    BadPageToken,
    /// The request body is longer than it may be.
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
        /// What sets the limit.
        bound: BodyBound,
    },
    /// The budget of the client's key is used up, or requests in flight have reserved the rest.
    BudgetExhausted(Box<ExhaustedBudget>),
    /// No endpoint may be called, since circuit breakers are open.
    CircuitOpen {
        /// How long until the next call is let through.
        after: Duration,
        /// The model that failed, if other models can be called.
        model: Option<String>,
    },
    /// Nearly all connections that may be open have a request in flight.
    ConnectionsExhausted,
    /// An `Idempotency-Key` was used again with a different body.
    Conflict,
    /// The proxy has no Google credentials.
    CredentialsMissing {
        /// Where the proxy has looked for them, and what to do.
        why: String,
        /// Of which kind they are.
        kind: CredentialKind,
    },
    /// Google does not accept the proxy's credentials.
    CredentialsRejected {
        /// What Google said.
        why: String,
        /// Of which kind they are.
        kind: CredentialKind,
        /// Google's details, a JSON array; empty if there are none.
        details: Bytes,
    },
    /// The proxy cannot read or use the credentials that it has been given.
    CredentialsUnreadable {
        /// Where they are and why they cannot be used.
        why: String,
        /// Of which kind they are.
        kind: CredentialKind,
    },
    /// The body has a field that the upstream does not take, and that must not be dropped in silence.
    FieldNotTaken {
        /// The path of the field.
        field: String,
        /// Why it is not taken.
        why: &'static str,
    },
    /// A request in HTTP/1.1 has no `Host`, or one in HTTP/1 has several.
    HostMissing,
    /// The `Host` of a request to a loopback address is no loopback name.
    HostNotAllowed {
        /// The value of `Host`.
        host: String,
    },
    /// A bug in the proxy.
    Internal,
    /// Google does not accept the operator's API key.
    KeyRefused {
        /// What Google said.
        why: String,
        /// Google's details, a JSON array; empty if there are none.
        details: Bytes,
    },
    /// The framing of the request body is broken.
    MalformedBody,
    /// The request body is not exactly one JSON object.
    MalformedJson {
        /// What is wrong, with line and column.
        detail: String,
    },
    /// The path is known, but does not take this HTTP method.
    MethodNotAllowed {
        /// The value for `Allow`.
        allow: &'static str,
    },
    /// The operator does not let the client's key use this model.
    ModelNotAllowed {
        /// The model, by the name that upstream knows. `None` where the request may use any model, and the
        /// proxy does not read which.
        model: Option<String>,
    },
    /// The path or model does not exist.
    NotFound {
        /// The path without its query, or `models/x`.
        what: String,
    },
    /// The upstream is at Vertex AI in express mode, and only a project has this.
    NeedsProject {
        /// The method or collection.
        what: String,
        /// The upstream.
        upstream: String,
        /// The upstreams that have it.
        others: Vec<String>,
    },
    /// The model has ended its answer without any content, and not because it had nothing to say.
    NoAnswer {
        /// Gemini's `finishReason`.
        reason: String,
        /// What Gemini says about it.
        message: Option<String>,
    },
    /// The operator does not let clients use this method.
    NotAllowed {
        /// The method or collection.
        what: String,
    },
    /// The Gemini API has this method, but the upstream does not.
    NotOffered {
        /// The public method or collection.
        what: String,
        /// The model in the path, if there was one.
        model: Option<String>,
        /// The upstream that would have been asked; `None` where Code Assist is the only one.
        upstream: Option<String>,
        /// The upstreams that have the method.
        others: Vec<String>,
        /// The provider that has the method, where no upstream in use has it.
        provider: Option<&'static str>,
    },
    /// The proxy's machine has no file handle, memory, buffer or local port left for a connection.
    OutOfResources {
        /// What the operating system says.
        why: String,
    },
    /// Too little of the memory budget is free for the request or its answer.
    Overloaded {
        /// How long to wait before the next attempt.
        after: Duration,
    },
    /// The request comes from a web page of an origin that is not allowed.
    OriginNotAllowed {
        /// The page's origin.
        origin: String,
    },
    /// The account needs a project of its own and none is set.
    ProjectRequired {
        /// It is the account of a key's own login.
        of_key: bool,
    },
    /// No concurrency permit became free within `QUEUE_TIMEOUT_MS`.
    QueueTimeout {
        /// How long to wait before the next attempt.
        after: Duration,
        /// True when the caller holds its share of the permits, and not all permits are held.
        own_share: bool,
    },
    /// The caller has reached a rate limit of the proxy's own.
    RateLimited {
        /// Which one it is.
        limit: RateLimitName,
        /// How long until the next request is allowed.
        after: Duration,
    },
    /// The request asks for what has no form in a Gemini request.
    Refused(Box<Refusal>),
    /// The client sent its request too slowly.
    RequestTimeout,
    /// `CODE_ASSIST_PROTOCOL` does not allow this method of Code Assist's own protocol.
    RpcNotAllowed {
        /// The method, or the name of an operation.
        rpc: String,
    },
    /// The settings cannot be used, so nothing can be served.
    SettingsInvalid {
        /// Every problem, without the values of secrets.
        problems: Vec<String>,
    },
    /// The proxy is stopping.
    ShuttingDown,
    /// Google's token endpoint issues no access token now.
    TokenUnavailable {
        /// What the last try ended with, without secrets.
        why: String,
        /// How long until the proxy tries again; zero where that is not known.
        after: Duration,
    },
    /// Too many wrong keys came from the client's address.
    TooManyAttempts {
        /// How long until a key from there is checked again.
        after: Duration,
    },
    /// The client names an upstream that is not configured.
    UnknownUpstream {
        /// The name that the client sent.
        name: String,
        /// The names of those in use.
        known: Vec<String>,
    },
    /// The proxy does not read this `Content-Encoding`, or the body does not decode.
    UnsupportedEncoding {
        /// The encoding, or what is wrong with it.
        what: String,
    },
    /// The path is that of a WebSocket, and the request asks for none.
    UpgradeRequired,
    /// The proxy's runtime cannot connect WebSockets.
    UpgradeUnsupported,
    /// Upstream's own error, passed on to the client.
    Upstream(Box<UpstreamError>),
    /// The connection broke before the answer was complete.
    UpstreamDisconnected {
        /// How far the call had come.
        at: BrokenAt,
    },
    /// Upstream ended an answer without saying why it has ended.
    UpstreamIncomplete,
    /// Upstream's answer does not follow the protocol.
    UpstreamMalformed {
        /// What is wrong with it.
        what: String,
    },
    /// Upstream ended a stream without an event for the client.
    UpstreamNoEvents,
    /// A page of a load balancer or a captive portal came in place of the API's answer.
    UpstreamPage {
        /// What came, without its text.
        what: String,
    },
    /// Upstream did not answer in time.
    UpstreamTimeout {
        /// What the proxy waited for.
        awaited: Awaited,
        /// How long the proxy has waited.
        after: Duration,
    },
    /// No connection to upstream could be made.
    UpstreamUnreachable {
        /// What went wrong, without secrets.
        why: String,
    },
    /// There are no `[[key]]` tables, so that no usage is counted.
    UsageNotCounted,
    /// A parameter of `/usage` cannot be read, or asks for too much.
    UsageParameter {
        /// What is wrong and what to write: whole sentences.
        problem: String,
    },
    /// The store does not say what was used.
    UsageUnreadable {
        /// What went wrong, without secrets.
        why: String,
    },
    /// The account's owner must pass a check in a browser first.
    ValidationRequired {
        /// What Google says.
        message: String,
        /// The page where the owner can do so.
        link: Option<String>,
    },
}

/// What a request of another dialect asks for, and why it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A name for programs, in the words of the client's dialect.
    pub code: RefusalCode,
    /// The path of the field, as the client's dialect writes paths. Empty if no field is at fault.
    pub path: String,
    /// What is wrong and what to do: whole sentences.
    pub message: String,
}

/// The names that clients of other dialects act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// The request is not what the dialect asks for.
    InvalidValue,
    /// An item that the client refers to is not kept here.
    ItemNotFound,
    /// There is no such model.
    ModelNotFound,
    /// An earlier answer that the client refers to is not kept here.
    ResponseNotFound,
    /// The continuation of a thread, which is not kept here.
    ThreadNotFound,
    /// A thread, which is not kept here.
    ThreadUnsupported,
    /// The dialect has this path, and it is not offered here.
    UnsupportedEndpoint,
    /// A field that would change the kind of the answer.
    UnsupportedParameter,
    /// A value that would change the kind of the answer.
    UnsupportedValue,
}

impl Refusal {
    /// The HTTP status.
    fn status(&self) -> StatusCode {
        match self.code {
            RefusalCode::ModelNotFound | RefusalCode::UnsupportedEndpoint => StatusCode::NOT_FOUND,
            // Named in the path of the URL, and not in a field.
            RefusalCode::ResponseNotFound if self.path.is_empty() => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The error of a refusal.
    pub(crate) fn error(
        code: RefusalCode,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Error {
        Error::Refused(Box::new(Self { code, path: path.into(), message: message.into() }))
    }
}

/// What limits the length of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyBound {
    /// The caller's share of `MEMORY_BUDGET_BYTES`: the body would never fit.
    Budget,
    /// The length of the compressed body: gzip may unpack to 100 times its length.
    Ratio,
    /// `MAX_REQUEST_BODY_BYTES`.
    Setting,
}

/// A budget of a key that lets no request begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExhaustedBudget {
    /// The key of the `[[key]]` table that sets the limit, such as `tokens_per_day`.
    pub budget: &'static str,
    /// The limit, in tokens or in the currency of the prices.
    pub limit: String,
    /// What is used of it.
    pub used: String,
    /// When the budget begins anew.
    pub resets_at: Timestamp,
    /// How long to wait before the next attempt: until then, or less where requests in flight have
    /// reserved the rest.
    pub after: Duration,
    /// The limit is not used up: requests in flight have reserved the rest, and may need less.
    pub may_pass: bool,
}

/// The rate limits of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitName {
    /// `RATE_LIMIT_MAX_REQUESTS`, for every caller.
    AllCallers,
    /// `requests_per_minute` of a key.
    RequestsPerMinute,
    /// `tokens_per_minute` of a key.
    TokensPerMinute,
}

impl RateLimitName {
    /// The name of the setting.
    pub fn setting(self) -> &'static str {
        match self {
            Self::AllCallers => "RATE_LIMIT_MAX_REQUESTS",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
        }
    }
}

/// What did not arrive in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// Any step, within the time that the client allows with `X-Server-Timeout`.
    ClientDeadline,
    /// The response head, within `FIRST_BYTE_TIMEOUT_MS`.
    FirstByte,
    /// The next piece of a body, within `STREAM_IDLE_TIMEOUT_MS`.
    NextChunk,
}

/// How far a call had come when its connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenAt {
    /// The response head had arrived.
    Answer,
    /// The request was (at least partly) sent, and no response head had arrived.
    Request,
    /// Upstream has reset this request's stream before the response head, and the connection lives.
    Stream,
    /// Upstream has certainly not processed the request.
    Unprocessed,
}

/// Who can act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorSource {
    /// The program that sent the request.
    Client,
    /// The person who runs the proxy: credentials, project, licence.
    Operator,
    /// This program, or the load on it.
    Proxy,
    /// Google, or the network on the way there.
    Upstream,
}

/// The kinds of credentials, which the operator renews in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// A key of the operator's.
    ApiKey,
    /// The sign-in of the Gemini CLI.
    GeminiCli,
    /// A credential of Google Cloud. The reason says what to do.
    GoogleCloud,
    /// The login of the key that a request came with.
    KeysOwn,
    /// No provider has a credential, so that the operator may choose one.
    Unset,
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.row().status
    }

    /// The reason of the proxy's `ErrorInfo` detail. `None` for upstream's own errors, and where
    /// the contract names no reason.
    pub fn reason(&self) -> Option<&'static str> {
        self.row().reason
    }

    /// A short name for metrics, one for each variant.
    pub fn label(&self) -> &'static str {
        self.row().label
    }

    /// Who can act on the error.
    pub fn source(&self) -> ErrorSource {
        self.row().source
    }

    /// How long the client should wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::BudgetExhausted(budget) => Some(budget.after),
            Self::ConnectionsExhausted => Some(Duration::from_secs(1)),
            Self::CircuitOpen { after, .. }
            | Self::Overloaded { after }
            | Self::QueueTimeout { after, .. }
            | Self::RateLimited { after, .. }
            | Self::TooManyAttempts { after } => Some(*after),
            Self::TokenUnavailable { after, .. } => Some(*after).filter(|after| !after.is_zero()),
            Self::Upstream(error) => error.retry_delay,
            _ => None,
        }
    }

    /// The remembered error of a token endpoint, with what is left now until the next try. Other errors
    /// stay as they are.
    pub(crate) fn with_delay(self, left: Duration) -> Self {
        match self {
            Self::TokenUnavailable { why, .. } => Self::TokenUnavailable { why, after: left },
            other => other,
        }
    }

    /// What happened and what to do, for people.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The error as policies see it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Upstream(error) => error.failure(),
            Self::ShuttingDown => Failure::new(FailureClass::ShuttingDown),
            Self::OutOfResources { .. } => Failure::new(FailureClass::LocalResources),
            Self::UpstreamDisconnected { at } => Failure::new(match at {
                BrokenAt::Answer | BrokenAt::Stream => FailureClass::BrokenAnswer,
                BrokenAt::Request => FailureClass::Disconnected,
                BrokenAt::Unprocessed => FailureClass::NotProcessed,
            }),
            Self::UpstreamMalformed { .. } => Failure::new(FailureClass::Malformed),
            Self::NoAnswer { .. } | Self::UpstreamIncomplete => {
                Failure::new(FailureClass::NoAnswer)
            }
            Self::UpstreamNoEvents => Failure::new(FailureClass::NoEvents),
            Self::UpstreamPage { .. } => {
                Failure { is_page: true, ..Failure::new(FailureClass::Malformed) }
            }
            // The client's own deadline says nothing about upstream.
            Self::UpstreamTimeout { awaited: Awaited::ClientDeadline, .. } => {
                Failure::new(FailureClass::Local)
            }
            Self::UpstreamTimeout { .. } => Failure::new(FailureClass::TimedOut),
            Self::UpstreamUnreachable { .. } => Failure::new(FailureClass::Unreachable),
            _ => Failure::new(FailureClass::Local),
        }
    }
}

/// Too little of the memory budget is free. Memory becomes free whenever a request ends, so the
/// client may try again after a second.
pub(crate) const OVERLOADED: Error = Error::Overloaded { after: Duration::from_secs(1) };
