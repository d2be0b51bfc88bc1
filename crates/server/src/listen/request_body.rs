//! The errors of clients' bodies, as the core reads them.

use std::error::Error as _;
use std::io;

use code_assist_core::RequestBodyError;

/// Says whether a client has left or has broken HTTP's framing. hyper reports the second as an error in
/// the data that it has read.
pub(super) fn classify(error: &hyper::Error) -> RequestBodyError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            RequestBodyError::Malformed
        }
        _ => RequestBodyError::Disconnected,
    }
}
