//! How the errors of single modules become the request's.

use http::StatusCode;

use super::Error;
use crate::google::error::UpstreamError;
use crate::json::JsonError;
use crate::platform::{BodyError, SendError};
use crate::policy::endpoint::NoEndpointError;

impl From<BodyError> for Error {
    fn from(broken: BodyError) -> Self {
        match broken {
            BodyError::Disconnected(_) => Self::UpstreamDisconnected,
            BodyError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

/// Upstream's own error. A 401 of Google's becomes an error of the proxy's credentials: clients
/// would read a 401 as their own key being wrong (`docs/ERRORS.md`).
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

impl From<SendError> for Error {
    fn from(unreachable: SendError) -> Self {
        match unreachable {
            SendError::Connect(why) => Self::UpstreamUnreachable { why },
            SendError::Disconnected(_) => Self::UpstreamDisconnected,
            SendError::ShuttingDown => Self::ShuttingDown,
        }
    }
}

impl From<NoEndpointError> for Error {
    fn from(none: NoEndpointError) -> Self {
        Self::CircuitOpen { after: none.after }
    }
}
