//! Why a request got no connection, no response, or not all of its body. No text holds a secret.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::{BodyError, SendError};

use super::resources::lacks_resources;

/// Why no connection could be opened. Cheap to clone, since one failed dial fails every waiter.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("no connection within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("an address without scheme and host")]
    IncompleteAddress,
    #[error(transparent)]
    InvalidAddress(Arc<http::Error>),
    /// The name, the TCP connection, the corporate proxy or TLS failed.
    #[error(transparent)]
    Dial(Arc<dyn Error + Send + Sync>),
    /// This machine has no file handle, memory, buffer or local port left.
    #[error(transparent)]
    Resources(Arc<dyn Error + Send + Sync>),
    /// The connection was open, and HTTP failed on it before the first request.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("the proxy is stopping")]
    ShuttingDown,
}

impl ConnectError {
    /// Classifies the failure of a dial to `host`.
    pub(super) fn of_dial(error: Box<dyn Error + Send + Sync>, host: &str) -> Self {
        let is_local = lacks_resources(&*error, host);
        let error = Arc::from(error);
        if is_local { Self::Resources(error) } else { Self::Dial(error) }
    }
}

impl From<ConnectError> for SendError {
    fn from(error: ConnectError) -> Self {
        let why = with_causes(&error);
        match error {
            ConnectError::Resources(_) => Self::Resources(why),
            ConnectError::ShuttingDown => Self::ShuttingDown,
            _ => Self::Connect(why),
        }
    }
}

/// Why an open connection ended, or a request or a body on it did.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Http1(Arc<hyper::Error>),
    #[error(transparent)]
    Http2(Arc<h2::Error>),
    #[error(transparent)]
    Io(Arc<io::Error>),
    #[error("no SETTINGS within {} ms", .0.as_millis())]
    NoSettings(Duration),
    #[error("no answer to a PING within {} ms", .0.as_millis())]
    NoPong(Duration),
    #[error("the connection has no PING handle")]
    NoPingHandle,
    #[error("the peer allows no streams")]
    NoStreams,
    #[error("closed")]
    Closed,
    #[error("no longer needed")]
    Unneeded,
    #[error("the proxy is stopping")]
    ShuttingDown,
}

impl From<hyper::Error> for ConnectionError {
    fn from(error: hyper::Error) -> Self {
        Self::Http1(Arc::new(error))
    }
}

impl From<h2::Error> for ConnectionError {
    fn from(error: h2::Error) -> Self {
        Self::Http2(Arc::new(error))
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<ConnectionError> for BodyError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ShuttingDown => Self::ShuttingDown,
            error => Self::Disconnected(with_causes(&error)),
        }
    }
}

/// Why a request on an open connection got no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The request may have reached the peer, which may have carried it out.
    #[error(transparent)]
    Interrupted(ConnectionError),
    /// The peer has not processed the request and never will, so that it can be sent again.
    #[error(transparent)]
    Unprocessed(ConnectionError),
}

impl RequestError {
    /// Classifies the break of a connection. `was_dead` says that the connection had ended before the
    /// request was written.
    pub(super) fn of_break(error: ConnectionError, was_dead: bool) -> Self {
        if was_dead { Self::Unprocessed(error) } else { Self::Interrupted(error) }
    }
}

impl From<RequestError> for SendError {
    fn from(error: RequestError) -> Self {
        let why = with_causes(&error);
        match error {
            RequestError::Interrupted(ConnectionError::ShuttingDown)
            | RequestError::Unprocessed(ConnectionError::ShuttingDown) => Self::ShuttingDown,
            RequestError::Interrupted(ConnectionError::Http2(error))
                if error.is_reset() && error.is_remote() =>
            {
                Self::StreamReset(why)
            }
            RequestError::Interrupted(_) => Self::Disconnected(why),
            RequestError::Unprocessed(_) => Self::NotProcessed(why),
        }
    }
}

/// Formats an error with its causes: the outermost one alone says "client error (Connect)".
pub(super) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = next.source();
    }
    text
}
