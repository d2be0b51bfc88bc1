//! One request and its response on a stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use code_assist_core::{Payload, PayloadBuf, RequestBodyError, SendError};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};

use super::shared::SharedConnection;
use crate::http_client::client_body::ClientBody;
use crate::http_client::error::{ConnectionError, RequestError};

/// The right to open one stream. Dropping it returns the right.
#[derive(Debug)]
#[must_use]
pub(in crate::http_client) struct StreamPermit {
    connection: Arc<SharedConnection>,
}

impl StreamPermit {
    /// Wraps a permit that the connection's count includes already.
    pub(super) fn new(connection: Arc<SharedConnection>) -> Self {
        Self { connection }
    }

    /// Sends a request, which is taken out of its place. Dropping the future, or the body, resets the stream.
    pub(in crate::http_client) async fn send(
        self,
        request: &mut Request<Payload>,
    ) -> Result<Response<Incoming>, RequestError> {
        let answer = {
            let mut requests = self.ready().await.map_err(RequestError::Unprocessed)?;
            let (mut head, payload) = std::mem::take(request).into_parts();
            prepare(&mut head);
            if !payload.is_empty() || head.method == Method::POST {
                head.headers.insert(CONTENT_LENGTH, content_length(payload.len()));
            }
            let is_empty = payload.is_empty();
            let (answer, mut body) = requests
                .send_request(Request::from_parts(head, ()), is_empty)
                .map_err(|error| {
                    self.connection.retire();
                    RequestError::Unprocessed(self.error(error))
                })?;
            if !is_empty {
                // h2 sends the body as the peer's windows open. Until then it holds references to the
                // payload's bytes, not copies. An error means that the stream has ended already. The
                // answer tells why.
                let _ = body.send_data(payload.into(), true);
            }
            answer
        };
        match answer.await {
            Ok(response) => Ok(self.receive(response)),
            Err(error) if is_unprocessed(&error) => {
                if error.is_go_away() {
                    self.connection.retire();
                }
                Err(RequestError::Unprocessed(self.error(error)))
            }
            Err(error) => {
                let idle_end = self.connection.idle_end().filter(|_| error.is_io());
                let reads = &self.connection.state.reads;
                let was_dead = idle_end.is_some_and(|idle_end| idle_end.was_dead(reads));
                Err(RequestError::of_break(self.error(error), was_dead))
            }
        }
    }

    /// Sends a request whose body is read while it is sent. Dropping the future, or the response body, resets
    /// the stream.
    pub(in crate::http_client) async fn send_streamed<B>(
        self,
        request: Request<()>,
        mut body: ClientBody<'_, B>,
    ) -> Result<Response<Incoming>, SendError>
    where
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let is_empty = body.length() == Some(0);
        let (mut head, ()) = request.into_parts();
        prepare(&mut head);
        head.headers.remove(CONTENT_LENGTH);
        if let Some(length) = body.content_length(&head.method) {
            head.headers.insert(CONTENT_LENGTH, length);
        }
        let mut requests = self.ready().await.map_err(RequestError::Unprocessed)?;
        let head = Request::from_parts(head, ());
        let (answer, mut stream) = requests.send_request(head, is_empty).map_err(|error| {
            self.connection.retire();
            RequestError::Unprocessed(self.error(error))
        })?;
        drop(requests);
        let sending = async {
            if is_empty {
                return std::future::pending().await;
            }
            loop {
                // Without capacity the stream has ended. The answer tells why.
                if !has_capacity(&mut stream).await {
                    return std::future::pending().await;
                }
                let piece = match body.next().await {
                    Ok(piece) => piece,
                    Err(error) => return error,
                };
                let is_last = piece.is_none();
                let piece = Payload::from(piece.unwrap_or_default()).into();
                if stream.send_data(piece, is_last).is_err() || is_last {
                    return std::future::pending().await;
                }
            }
        };
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            error = sending => {
                stream.send_reset(Reason::CANCEL);
                return Err(SendError::Client(error));
            }
        };
        // What an early answer leaves of the connection's window is for others.
        stream.reserve_capacity(0);
        match answer {
            Ok(response) => Ok(self.receive(response)),
            Err(error) if is_unprocessed(&error) => {
                if error.is_go_away() {
                    self.connection.retire();
                }
                Err(RequestError::Unprocessed(self.error(error)).into())
            }
            Err(error) => Err(RequestError::Interrupted(self.error(error)).into()),
        }
    }

    /// Waits until h2 takes one more request.
    async fn ready(&self) -> Result<SendRequest<PayloadBuf>, ConnectionError> {
        let mut requests = self.connection.requests.clone();
        match poll_fn(|cx| requests.poll_ready(cx)).await {
            Ok(()) => Ok(requests),
            Err(error) => {
                self.connection.retire();
                Err(self.error(error))
            }
        }
    }

    fn receive(self, response: Response<RecvStream>) -> Response<Incoming> {
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|stream| Incoming { stream, left: length, permit: Some(self) })
    }

    /// The reason why the stream failed.
    fn error(&self, error: h2::Error) -> ConnectionError {
        self.connection.state.error(error)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.connection.release();
    }
}

/// Makes the head one of HTTP/2.
fn prepare(head: &mut Parts) {
    head.version = Version::HTTP_2;
    head.headers.remove(HOST);
}

/// The value of `content-length`. The conversion of `http` allocates twice.
fn content_length(length: u64) -> HeaderValue {
    let mut digits = itoa::Buffer::new();
    HeaderValue::from_str(digits.format(length)).unwrap_or_else(|_| HeaderValue::from(length))
}

/// Waits until the stream takes more. False if it has ended.
async fn has_capacity(stream: &mut h2::SendStream<PayloadBuf>) -> bool {
    // A single byte, so that a slow client does not keep the connection's window from other requests.
    stream.reserve_capacity(1);
    while stream.capacity() == 0 {
        if !matches!(poll_fn(|cx| stream.poll_capacity(cx)).await, Some(Ok(_))) {
            return false;
        }
    }
    true
}

/// True if the peer says that it has not processed the request (RFC 9113 8.7). h2 reports a GOAWAY to
/// the streams above its last stream id only. The others end with the connection, as an IO error.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// A response body. Dropped before its end, it resets its stream.
#[derive(Debug)]
pub(in crate::http_client) struct Incoming {
    stream: RecvStream,
    /// What is left of `content-length`, if there is one.
    left: Option<u64>,
    permit: Option<StreamPermit>,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = ConnectionError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionError>>> {
        if self.permit.is_none() {
            return Poll::Ready(None);
        }
        match ready!(self.stream.poll_data(cx)) {
            None => {
                self.permit = None;
                Poll::Ready(None)
            }
            Some(Ok(data)) => {
                // The window opens as soon as the frame is passed on, which keeps backpressure: the
                // body of a client that reads slowly is not polled.
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                if self.stream.is_end_stream() {
                    self.permit = None;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // RFC 9113 8.1: the response is complete, and the peer does not want the rest of the
            // request.
            Some(Err(error)) if error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => {
                self.permit = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                let permit = self.permit.take();
                Poll::Ready(permit.map(|permit| Err(permit.error(error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.permit.is_none() || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
