//! Conversions of the modules' errors into the request's error.

use http::StatusCode;

use super::{BrokenAt, CredentialKind, Error};
use crate::google::error::UpstreamError;
use crate::json::JsonError;
use crate::platform::{BodyError, RequestBodyError, SendError};
use crate::policy::endpoint::NoEndpointError;

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Disconnected(_) => Self::UpstreamDisconnected { at: BrokenAt::Answer },
            BodyError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Passes on upstream's error. Google's 401, and its refusal of the operator's key, become an error of the
/// proxy's credentials, since clients would take either for a wrong key of their own (`docs/ERRORS.md`).
impl From<UpstreamError> for Error {
    fn from(error: UpstreamError) -> Self {
        if error.is_key_refused() || error.has_reason("ACCESS_TOKEN_TYPE_UNSUPPORTED") {
            return Self::KeyRefused { why: error.message, details: error.details };
        }
        if error.http == StatusCode::UNAUTHORIZED {
            let kind = CredentialKind::GeminiCli;
            return Self::CredentialsRejected { why: error.message, kind, details: error.details };
        }
        Self::Upstream(Box::new(error))
    }
}

/// For a client's body only. Malformed JSON of upstream's is [`Error::UpstreamMalformed`].
impl From<JsonError> for Error {
    fn from(error: JsonError) -> Self {
        Self::MalformedJson { detail: error.to_string() }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connect(why) => Self::UpstreamUnreachable { why },
            SendError::Disconnected(_) => Self::UpstreamDisconnected { at: BrokenAt::Request },
            SendError::NotProcessed(_) => Self::UpstreamDisconnected { at: BrokenAt::Unprocessed },
            SendError::Resources(why) => Self::OutOfResources { why },
            SendError::ShuttingDown => Self::ShuttingDown,
            SendError::StreamReset(_) => Self::UpstreamDisconnected { at: BrokenAt::Stream },
            SendError::Client(error) => error.into(),
        }
    }
}

impl From<RequestBodyError> for Error {
    fn from(error: RequestBodyError) -> Self {
        match error {
            RequestBodyError::Malformed => Self::MalformedBody,
            // No client that has left will read this error.
            RequestBodyError::Disconnected | RequestBodyError::TooSlow => Self::RequestTimeout,
        }
    }
}

impl Error {
    /// The error for a request for `model` that no endpoint may take.
    pub(crate) fn circuit_open(error: NoEndpointError, model: &str) -> Self {
        let model = error.only_the_model.then(|| model.to_owned());
        Self::CircuitOpen { after: error.after, model }
    }
}
