//! The bodies of clients, as the core reads them.

#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use code_assist_core::RequestBodyError;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::clock;

/// A body with the errors that the core knows.
///
/// hyper wakes an HTTP/1.1 connection whenever a piece of a body is taken, since there is room for the next one.
/// After the last piece of a body of known length that would cost a poll for nothing, so it is held back.
pub(super) struct RequestBody {
    incoming: Incoming,
    is_http1: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, version: Version) -> Self {
        Self { incoming, is_http1: version < Version::HTTP_2 }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        // In HTTP/2, taking the last piece may also open the connection's window.
        let held = self.is_http1.then(clock::hold_wakes);
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if let Some(held) = held
            && matches!(polled, Poll::Ready(Some(Ok(_))))
            && self.incoming.is_end_stream()
        {
            held.discard();
        }
        polled.map_err(|error| classify(&error))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Says whether a client has left or has broken HTTP's framing. hyper reports the second as an error in
/// the data that it has read.
fn classify(error: &hyper::Error) -> RequestBodyError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            RequestBodyError::Malformed
        }
        _ => RequestBodyError::Disconnected,
    }
}
