//! Tracks the responses of a connection, and whether the client reads them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use code_assist_core::{BodyError, Caller, ConnectionEnd, Error, OnAdmission, ProxyBody};
use http::header::HOST;
use http::{Request, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::connection::{ClientConnection, RefusedRequest, UnreadBody};
use super::early::{AwaitedBody, Next};
use super::memory::StrangersBytes;
use crate::http_version::HttpVersion;
use crate::platform::TokioPlatform;

/// A response that the client has not taken yet: from the request's arrival until the last piece of
/// the body has been sent.
pub(super) struct OpenResponse {
    connection: Arc<ClientConnection>,
    /// Polling the body changes these two, without reading a clock.
    polls: AtomicU32,
    /// The last poll returned a frame, and hyper has not polled again: it waits for the client.
    unread: AtomicBool,
    is_admitted: AtomicBool,
    /// The request counts as in flight for its connection's place.
    in_flight: AtomicBool,
    unread_body: Mutex<PendingBody>,
    /// Memory that is held for the body.
    held: AtomicUsize,
    /// Memory that is held for an HTTP/2 request's head until the core has answered: a connection has many,
    /// and the core may let them wait.
    head: AtomicUsize,
    /// The same, where the core has reserved it.
    counted: OnceLock<StrangersBytes>,
    /// The task of an HTTP/2 stream. Aborting it resets the stream.
    task: OnceLock<AbortHandle>,
}

/// A request body that the service has not read.
#[derive(Default)]
struct PendingBody {
    length: u64,
    held: Option<UnreadBody>,
}

impl OnAdmission for OpenResponse {
    fn admitted(&self, caller: Caller) -> bool {
        self.is_admitted.store(true, Ordering::Relaxed);
        self.connection.admitted(caller);
        if self.connection.version == HttpVersion::Http1 {
            return true;
        }
        let mut unread = self.unread_body.lock().unwrap_or_else(PoisonError::into_inner);
        if unread.length > 0 {
            unread.held = self.connection.hold_unread(unread.length);
        }
        unread.length == 0 || unread.held.is_some()
    }

    fn refused(&self) {
        if self.in_flight.swap(false, Ordering::Relaxed) {
            self.connection.place.place.end_request();
        }
    }
}

impl OpenResponse {
    pub(super) fn with_body(self: Arc<Self>, body: ProxyBody<TokioPlatform>) -> TrackedBody {
        TrackedBody { body: Some(TrackedContent::Answer(body)), rest: Bytes::new(), response: self }
    }

    /// The body of an answer that is awaited.
    pub(super) fn with_awaited(self: Arc<Self>, body: Box<AwaitedBody>) -> TrackedBody {
        let body = Some(TrackedContent::Awaited(body));
        TrackedBody { body, rest: Bytes::new(), response: self }
    }

    /// The body of an answer that has none.
    pub(super) fn without_body(self: Arc<Self>) -> TrackedBody {
        TrackedBody { body: None, rest: Bytes::new(), response: self }
    }

    /// Waits until the connection is to be closed for its memory.
    pub(super) async fn evicted(&self) {
        self.connection.place.place.evicted().await;
    }

    /// True if the client has left while it waits for this response.
    pub(super) fn has_left(&self, cx: &mut Context<'_>) -> bool {
        self.connection.has_left(cx)
    }

    /// An error if the request cannot be processed.
    pub(super) fn check(&self, request: &Request<Incoming>) -> Result<(), Error> {
        // RFC 9112, section 3.2.
        let hosts = request.headers().get_all(HOST).iter().take(2).count();
        if hosts > 1 || (request.version() == Version::HTTP_11 && hosts == 0) {
            return Err(Error::HostMissing);
        }
        let place = &self.connection.place;
        if place.is_spare() && !PROBES.contains(&request.uri().path()) {
            place.ended(ConnectionEnd::PlacesExhausted);
            return Err(Error::ConnectionsExhausted);
        }
        if self.connection.version == HttpVersion::Http1 {
            return Ok(());
        }
        let head = head_size(request);
        if head > FREE_HEAD {
            self.connection.hold_head(head)?;
            self.head.store(head, Ordering::Relaxed);
        }
        let body = request.body();
        if !body.is_end_stream() {
            let mut unread = self.unread_body.lock().unwrap_or_else(PoisonError::into_inner);
            unread.length = body.size_hint().upper().unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// The request is answered. Only the proxy's own answers are refused for want of memory: the
    /// core has reserved memory for all others. Such a request changes nothing, so the client may repeat it.
    pub(super) fn answered(&self, body: &ProxyBody<TokioPlatform>) -> Result<(), RefusedRequest> {
        if self.connection.version == HttpVersion::Http2 {
            let mut unread = self.unread_body.lock().unwrap_or_else(PoisonError::into_inner);
            unread.held = None;
            self.connection.release(self.head.swap(0, Ordering::Relaxed));
        }
        if self.is_admitted.load(Ordering::Relaxed) {
            return Ok(());
        }
        // It says nothing about its client.
        self.refused();
        match body.size_hint().exact() {
            Some(length) if self.connection.version == HttpVersion::Http2 => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if body.has_reserved_memory() {
                    let _ = self.counted.set(self.connection.count_reserved(length)?);
                } else {
                    self.connection.hold_response(length)?;
                    self.held.fetch_add(length, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// True if the request counts as in flight, until now.
    pub(super) fn take_in_flight(&self) -> bool {
        self.in_flight.swap(false, Ordering::Relaxed)
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed) + self.head.load(Ordering::Relaxed)
    }
}

impl Drop for OpenResponse {
    fn drop(&mut self) {
        let connection = Arc::clone(&self.connection);
        connection.end_request(self);
    }
}

/// The open responses of a connection, and how long the client has taken nothing of each.
#[derive(Default)]
pub(super) struct OpenResponses {
    open: Vec<WatchedResponse>,
    /// An HTTP/2 response whose task has not been spawned.
    newest: Weak<OpenResponse>,
}

struct WatchedResponse {
    response: Weak<OpenResponse>,
    /// The count of polls at the last check.
    seen: u32,
    stalled: Duration,
}

/// How long a client may take nothing of a response.
#[derive(Debug, Clone, Copy)]
pub(super) struct StallTimeouts {
    pub(super) admitted: Duration,
    /// For a request that needed no key, or had none.
    pub(super) stranger: Duration,
}

impl StallTimeouts {
    pub(super) fn of(self, is_admitted: bool) -> Duration {
        if is_admitted { self.admitted } else { self.stranger }
    }
}

/// The result of a check of all responses.
#[derive(Default)]
pub(super) struct Stalls {
    /// The responses that the client has not read in time.
    pub(super) stalled: Vec<Arc<OpenResponse>>,
    /// No other response is open.
    pub(super) are_all: bool,
    /// Keeps the last references until the lock is released.
    _others: Vec<Arc<OpenResponse>>,
}

impl OpenResponses {
    pub(super) fn register(&mut self, connection: &Arc<ClientConnection>) -> Arc<OpenResponse> {
        let response = Arc::new(OpenResponse {
            connection: Arc::clone(connection),
            polls: AtomicU32::new(0),
            unread: AtomicBool::new(false),
            is_admitted: AtomicBool::new(false),
            in_flight: AtomicBool::new(true),
            unread_body: Mutex::default(),
            held: AtomicUsize::new(0),
            head: AtomicUsize::new(0),
            counted: OnceLock::new(),
            task: OnceLock::new(),
        });
        let watched = Arc::downgrade(&response);
        if connection.version == HttpVersion::Http2 {
            self.newest = Weak::clone(&watched);
        }
        self.open.push(WatchedResponse { response: watched, seen: 0, stalled: Duration::ZERO });
        response
    }

    pub(super) fn remove(&mut self, response: &OpenResponse) {
        let same = |open: &WatchedResponse| std::ptr::eq(open.response.as_ptr(), response);
        if let Some(at) = self.open.iter().position(same) {
            self.open.swap_remove(at);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The task of the newest response has been spawned.
    pub(super) fn set_task(&mut self, task: impl FnOnce() -> AbortHandle) {
        let newest = std::mem::take(&mut self.newest);
        // The response lives in the task, which may have ended.
        if newest.strong_count() > 0
            && let Some(response) = newest.upgrade()
        {
            let _ = response.task.set(task());
        }
    }

    /// Finds the responses that the client has not read for too long. `interval` is the time since
    /// the last call.
    pub(super) fn check(&mut self, interval: Duration, stall_timeouts: StallTimeouts) -> Stalls {
        let mut stalls = Stalls { are_all: true, ..Stalls::default() };
        for open in &mut self.open {
            let Some(response) = open.response.upgrade() else { continue };
            let polls = response.polls.load(Ordering::Relaxed);
            let unread = response.unread.load(Ordering::Relaxed);
            let stalled = unread && polls == open.seen;
            open.stalled = if stalled { open.stalled + interval } else { Duration::ZERO };
            open.seen = polls;
            let is_admitted = response.is_admitted.load(Ordering::Relaxed);
            if open.stalled >= stall_timeouts.of(is_admitted) {
                stalls.stalled.push(response);
            } else {
                stalls.are_all = false;
                stalls._others.push(response);
            }
        }
        stalls
    }
}

impl Stalls {
    /// Resets the stalled streams. False if that cannot be done for some: hyper has given the last
    /// piece to the HTTP/2 layer, which has no way to take it back.
    pub(super) fn reset_streams(&self) -> bool {
        let mut all = true;
        for response in &self.stalled {
            match response.task.get() {
                Some(task) if !task.is_finished() => {
                    if let Some(proxy) = response.connection.place.proxy() {
                        proxy.metrics().connections().stream_stalled();
                    }
                    task.abort();
                }
                _ => all = false,
            }
        }
        all
    }
}

/// A response body in pieces that records how far it has been read.
///
/// What hyper has taken is out of sight until it is sent. With small pieces most of a large answer stays
/// here, and a client that reads slowly is seen to read.
pub(super) struct TrackedBody {
    body: Option<TrackedContent>,
    /// What is left of the last frame.
    rest: Bytes,
    response: Arc<OpenResponse>,
}

/// What a response consists of.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every response is the large one, and a box would cost each an allocation"
)]
enum TrackedContent {
    Answer(ProxyBody<TokioPlatform>),
    /// Heartbeats until the answer is there.
    Awaited(Box<AwaitedBody>),
}

impl TrackedBody {
    fn next_piece(&mut self, mut bytes: Bytes) -> Frame<SentBytes> {
        let version = self.response.connection.version;
        let longest = match version {
            HttpVersion::Http1 => HTTP1_PIECE,
            HttpVersion::Http2 => HTTP2_PIECE,
        };
        if bytes.len() > longest {
            self.rest = bytes.split_off(longest);
        }
        // A stream is open until its last byte is sent. hyper forgets the body before that. In HTTP/1
        // the socket shows whether its client reads.
        let response = (version == HttpVersion::Http2).then(|| Arc::clone(&self.response));
        Frame::data(SentBytes { bytes, _response: response })
    }
}

impl Body for TrackedBody {
    type Data = SentBytes;
    type Error = <ProxyBody<TokioPlatform> as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<SentBytes>, Self::Error>>> {
        self.response.polls.fetch_add(1, Ordering::Relaxed);
        if !self.rest.is_empty() {
            self.response.unread.store(true, Ordering::Relaxed);
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.next_piece(rest))));
        }
        let this = &mut *self;
        if let Some(TrackedContent::Awaited(awaited)) = &mut this.body {
            let next = awaited.poll_next(cx, &this.response);
            this.response.unread.store(next.is_ready(), Ordering::Relaxed);
            if next.is_pending() && this.response.has_left(cx) {
                return Poll::Ready(Some(Err(client_has_left())));
            }
            match ready!(next) {
                Next::Answered(body) => this.body = Some(TrackedContent::Answer(body)),
                Next::Heartbeat(beat) => return Poll::Ready(Some(Ok(this.next_piece(beat)))),
            }
        }
        let Some(TrackedContent::Answer(body)) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        self.response.unread.store(frame.is_ready(), Ordering::Relaxed);
        if frame.is_pending() && self.response.has_left(cx) {
            return Poll::Ready(Some(Err(client_has_left())));
        }
        Poll::Ready(match ready!(frame) {
            // The proxy sends no trailers.
            Some(Ok(frame)) => frame.into_data().ok().map(|bytes| Ok(self.next_piece(bytes))),
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        let is_end = match &self.body {
            None => true,
            Some(TrackedContent::Answer(body)) => body.is_end_stream(),
            Some(TrackedContent::Awaited(_)) => false,
        };
        self.rest.is_empty() && is_end
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            None => SizeHint::with_exact(0),
            Some(TrackedContent::Answer(body)) => body.size_hint(),
            Some(TrackedContent::Awaited(_)) => SizeHint::default(),
        }
    }
}

/// A piece of a body on its way to the client.
pub(super) struct SentBytes {
    bytes: Bytes,
    /// Keeps the response open until the piece is sent.
    _response: Option<Arc<OpenResponse>>,
}

impl Buf for SentBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        self.bytes.copy_to_bytes(count)
    }
}

/// Ends a response whose client has left. hyper closes the connection.
fn client_has_left() -> BodyError {
    BodyError::Disconnected("the client has left".to_owned())
}

/// The memory that a request's head takes, about: its bytes, and the buffer that they were read into.
fn head_size(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    2 * (fields.sum::<usize>() + path)
}

/// A head of so many bytes is part of what each stream costs anyway.
const FREE_HEAD: usize = 4 << 10;

/// What load balancers and orchestrators ask for.
const PROBES: [&str; 3] = ["/health", "/live", "/ready"];

/// As much as hyper buffers of an HTTP/1 response before it waits for the socket.
const HTTP1_PIECE: usize = 64 * 1024;

/// The usual size of an HTTP/2 frame (RFC 9113 4.2).
const HTTP2_PIECE: usize = 16 * 1024;
