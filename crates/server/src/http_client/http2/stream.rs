//! One request and its response on a stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use code_assist_core::{Payload, RequestBodyError, SendError};
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};

use super::connection::ConnectionState;
use crate::http_client::client_body::ClientBody;
use crate::http_client::error::{ConnectionError, RequestError};
use crate::http_client::idle::IdleEnd;
use crate::http_client::origin::Origin;

/// The right to open one stream. Dropping it returns the right.
#[derive(Debug)]
#[must_use]
pub(in crate::http_client) struct StreamPermit {
    requests: SendRequest<Bytes>,
    connection: Arc<ConnectionState>,
    /// None: the connection is for this one request.
    origin: Option<Arc<Origin>>,
    /// When the connection was last idle; None since it was opened.
    idle_end: Option<IdleEnd>,
}

impl StreamPermit {
    /// Wraps a permit that the connection's count includes already.
    pub(in crate::http_client) fn new(
        requests: SendRequest<Bytes>,
        connection: Arc<ConnectionState>,
        origin: Option<Arc<Origin>>,
        idle_end: Option<IdleEnd>,
    ) -> Self {
        Self { requests, connection, origin, idle_end }
    }

    /// Sends a request. Dropping the future, or the body, resets the stream.
    pub(in crate::http_client) async fn send(
        mut self,
        request: Box<Request<Payload>>,
    ) -> Result<Response<Incoming>, RequestError> {
        let (mut head, payload) = request.into_parts();
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
        if !payload.is_empty() || head.method == Method::POST {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
        }
        if let Err(error) = poll_fn(|cx| self.requests.poll_ready(cx)).await {
            self.retire();
            return Err(RequestError::Unprocessed(self.connection.error(error)));
        }
        let head = Request::from_parts(head, ());
        let (response, body) = match self.requests.send_request(head, payload.is_empty()) {
            Ok(sent) => sent,
            Err(error) => {
                self.retire();
                return Err(RequestError::Unprocessed(self.connection.error(error)));
            }
        };
        write_body(body, &payload);
        drop(payload);
        match response.await {
            Ok(response) => {
                let length = response.headers().get(CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                Ok(response.map(|stream| Incoming { stream, left: length, permit: Some(self) }))
            }
            Err(error) if is_unprocessed(&error) => {
                if error.is_go_away() {
                    self.retire();
                }
                Err(RequestError::Unprocessed(self.connection.error(error)))
            }
            Err(error) => {
                let idle_end = self.idle_end.filter(|_| error.is_io());
                let was_dead =
                    idle_end.is_some_and(|idle_end| idle_end.was_dead(&self.connection.reads));
                Err(RequestError::of_break(self.connection.error(error), was_dead))
            }
        }
    }

    /// Sends a request whose body is read while it is sent. Dropping the future, or the response body, resets
    /// the stream.
    pub(in crate::http_client) async fn send_streamed<B>(
        mut self,
        request: Request<()>,
        mut body: ClientBody<'_, B>,
    ) -> Result<Response<Incoming>, SendError>
    where
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let is_empty = body.length() == Some(0);
        let (mut head, ()) = request.into_parts();
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
        head.headers.remove(CONTENT_LENGTH);
        if let Some(length) = body.content_length(&head.method) {
            head.headers.insert(CONTENT_LENGTH, length);
        }
        if let Err(error) = poll_fn(|cx| self.requests.poll_ready(cx)).await {
            self.retire();
            return Err(RequestError::Unprocessed(self.connection.error(error)).into());
        }
        let head = Request::from_parts(head, ());
        let (answer, mut stream) = match self.requests.send_request(head, is_empty) {
            Ok(sent) => sent,
            Err(error) => {
                self.retire();
                return Err(RequestError::Unprocessed(self.connection.error(error)).into());
            }
        };
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
                if stream.send_data(piece.unwrap_or_default(), is_last).is_err() || is_last {
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
            Ok(response) => {
                let length = response.headers().get(CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                Ok(response.map(|stream| Incoming { stream, left: length, permit: Some(self) }))
            }
            Err(error) if is_unprocessed(&error) => {
                if error.is_go_away() {
                    self.retire();
                }
                Err(RequestError::Unprocessed(self.connection.error(error)).into())
            }
            Err(error) => Err(RequestError::Interrupted(self.connection.error(error)).into()),
        }
    }

    fn retire(&self) {
        if let Some(origin) = &self.origin {
            origin.retire(&self.connection);
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        match &self.origin {
            Some(origin) => origin.release(&self.connection),
            None => self.connection.close(),
        }
    }
}

/// Gives the whole body to h2, which sends it as the peer's windows open. Until then h2 holds
/// references to the payload's bytes, not copies.
fn write_body(mut stream: h2::SendStream<Bytes>, payload: &Payload) {
    if payload.is_empty() {
        return;
    }
    // An error means that the stream has ended already. The response tells why.
    if payload.len() <= DATA_FRAME {
        let mut whole = BytesMut::with_capacity(usize::try_from(payload.len()).unwrap_or(0));
        payload.pieces().for_each(|piece| whole.extend_from_slice(piece));
        let _ = stream.send_data(whole.freeze(), true);
        return;
    }
    let mut pieces = payload.pieces().peekable();
    while let Some(piece) = pieces.next() {
        if stream.send_data(piece.clone(), pieces.peek().is_none()).is_err() {
            return;
        }
    }
}

/// Waits until the stream takes more. False if it has ended.
async fn has_capacity(stream: &mut h2::SendStream<Bytes>) -> bool {
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
        let Some(permit) = &self.permit else { return Poll::Ready(None) };
        let connection = Arc::clone(&permit.connection);
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
                self.permit = None;
                Poll::Ready(Some(Err(connection.error(error))))
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

/// The largest DATA frame that every peer accepts (RFC 9113 6.5.2). A body up to this size goes out
/// in one frame.
const DATA_FRAME: u64 = 16 * 1024;
