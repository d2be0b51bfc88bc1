//! A client's body on its way upstream, read piece by piece.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use code_assist_core::RequestBodyError;
use http::{HeaderValue, Method};
use http_body::Body;

/// A client's body. It is read only when the upstream connection takes more.
///
/// A body that ends before its announced length, or goes on after it, counts as broken: the upstream
/// request would not end where its head says.
pub(super) struct ClientBody<'a, B> {
    body: Pin<&'a mut B>,
    length: Option<u64>,
    left: Option<u64>,
}

impl<'a, B: Body<Data = Bytes, Error: Into<RequestBodyError>>> ClientBody<'a, B> {
    pub(super) fn new(body: Pin<&'a mut B>) -> Self {
        let length = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        Self { body, length, left: length }
    }

    /// The length, if it is known before the end.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The value of `content-length`. A method that defines no meaning for a body needs none without one
    /// (RFC 9110 8.6).
    pub(super) fn content_length(&self, method: &Method) -> Option<HeaderValue> {
        let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
        let length = self.length.filter(|length| *length > 0 || expects_body);
        length.map(HeaderValue::from)
    }

    /// The next piece, `None` at the end. Trailers are dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, RequestBodyError> {
        loop {
            let frame = poll_fn(|cx| self.body.as_mut().poll_frame(cx)).await;
            let Some(frame) = frame.transpose().map_err(Into::into)? else {
                let is_short = self.left.is_some_and(|left| left > 0);
                return if is_short { Err(RequestBodyError::Malformed) } else { Ok(None) };
            };
            let Ok(piece) = frame.into_data() else { continue };
            if piece.is_empty() {
                continue;
            }
            if let Some(left) = &mut self.left {
                let rest = left.checked_sub(piece.len() as u64);
                *left = rest.ok_or(RequestBodyError::Malformed)?;
            }
            return Ok(Some(piece));
        }
    }
}
