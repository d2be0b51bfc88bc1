//! One HTTP/2 connection: many streams, a task that drives it, PING when it falls silent.
//!
//! It stands on `h2` itself, for the peer's stream limit and to do without a task and a channel
//! for each request.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use code_assist_core::payload::Payload;
use h2::client::SendRequest;
use h2::{Ping, PingPong, Reason, RecvStream};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::connector::Wire;
use super::pool::{Origin, Rules, lock};
use super::{Failed, chain};

/// What the pool and the task that drives a connection tell each other.
#[derive(Debug)]
pub(super) struct Line {
    /// Streams that the peer allows at once. Until its SETTINGS are there, the one stream that any
    /// peer allows.
    limit: AtomicUsize,
    /// Streams in use. Changed under the pool's lock.
    pub(super) streams: AtomicUsize,
    settled: AtomicBool,
    closing: AtomicBool,
    nudge: Notify,
    ended: AtomicBool,
    /// Why it ended, when we know better than the stream.
    reason: OnceLock<String>,
}

impl Line {
    /// Streams that it can still take.
    pub(super) fn free(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        limit.saturating_sub(self.streams.load(Ordering::Relaxed))
    }

    /// How many streams the peer allows at once.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Asks the peer for a sign of life.
    pub(super) fn probe(&self) {
        self.nudge.notify_one();
    }

    /// Ends the connection when its last stream has ended.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.nudge.notify_one();
    }

    /// True when it is no use any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn why(&self, error: &h2::Error) -> String {
        self.reason.get().cloned().unwrap_or_else(|| chain(error))
    }
}

/// Starts to speak on a wire, with so many streams counted already. The future drives the
/// connection and, with an `origin`, tells it how the connection fares.
pub(super) async fn start(
    wire: Wire,
    rules: Rules,
    streams: usize,
    origin: Option<Arc<Origin>>,
) -> Result<(SendRequest<Bytes>, Arc<Line>, impl Future<Output = ()> + Send), String> {
    let heard = wire.heard();
    let wire = Arc::new(Mutex::new(wire));
    let (requests, mut connection) = h2::client::Builder::new()
        .initial_max_send_streams(NOT_SETTLED)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEAD)
        .enable_push(false)
        .handshake(Unflushed(Arc::clone(&wire)))
        .await
        .map_err(|error| chain(&error))?;
    let line = Arc::new(Line {
        limit: AtomicUsize::new(1),
        streams: AtomicUsize::new(streams),
        settled: AtomicBool::new(false),
        closing: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        nudge: Notify::new(),
        reason: OnceLock::new(),
    });
    let Some(pings) = connection.ping_pong() else {
        return Err("no PING on this connection".to_owned());
    };
    let driven = Arc::clone(&line);
    let driver = async move {
        let why = drive(connection, wire, pings, heard, &driven, rules, origin.as_ref()).await;
        driven.ended.store(true, Ordering::Relaxed);
        tracing::debug!("an upstream connection ended: {why}");
        if let Some(origin) = origin {
            origin.ended(&driven, driven.settled.load(Ordering::Relaxed), &why);
        }
    };
    Ok((requests, line, driver))
}

/// Drives a connection to its end, and says why it ended.
async fn drive(
    mut connection: h2::client::Connection<Unflushed, Bytes>,
    wire: Arc<Mutex<Wire>>,
    mut pings: PingPong,
    heard: Arc<AtomicBool>,
    line: &Arc<Line>,
    rules: Rules,
    origin: Option<&Arc<Origin>>,
) -> String {
    let mut asked = false;
    let mut look = Instant::now() + rules.settings_timeout;
    let mut others_first = true;
    let mut drive = |cx: &mut Context<'_>| {
        // Requests that are ready to be sent right now shall go out with the same write.
        if std::mem::take(&mut others_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        others_first = true;
        let polled = Pin::new(&mut connection).poll(cx);
        learn_limit(connection.max_concurrent_send_streams(), line, origin);
        if let Poll::Ready(ended) = polled {
            return Poll::Ready(ended.map_or_else(|error| chain(&error), |()| "closed".to_owned()));
        }
        match Pin::new(&mut *lock(&wire)).poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(chain(&error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    };
    loop {
        tokio::select! {
            biased;
            why = poll_fn(&mut drive) => return why,
            pong = poll_fn(|cx| pings.poll_pong(cx)), if asked => {
                if let Err(error) = pong {
                    return chain(&error);
                }
                asked = false;
                look = Instant::now() + rules.ping_every;
            }
            () = line.nudge.notified() => {
                if line.closing.load(Ordering::Relaxed) {
                    // All handles are gone or going: h2 says GOAWAY and closes.
                    let _ = timeout(FAREWELL, poll_fn(&mut drive)).await;
                    return "not needed any more".to_owned();
                }
                if !asked && pings.send_ping(Ping::opaque()).is_ok() {
                    asked = true;
                    look = Instant::now() + rules.ping_timeout;
                }
            }
            () = sleep_until(look) => {
                let silent = !heard.swap(false, Ordering::Relaxed);
                let verdict = if !line.settled.load(Ordering::Relaxed) {
                    Err(format!("no SETTINGS within {} ms", rules.settings_timeout.as_millis()))
                } else if asked && silent {
                    Err(format!("no answer to a PING within {} ms", rules.ping_timeout.as_millis()))
                } else {
                    Ok(())
                };
                if let Err(why) = verdict {
                    let _ = line.reason.set(why.clone());
                    return why;
                }
                let busy = line.streams.load(Ordering::Relaxed) > 0;
                look = Instant::now() + rules.ping_every;
                // An idle connection is left alone: servers count PINGs without traffic as abuse.
                if silent && busy && !asked && pings.send_ping(Ping::opaque()).is_ok() {
                    asked = true;
                    look = Instant::now() + rules.ping_timeout;
                }
            }
        }
    }
}

/// A wire as h2 has it. h2 flushes after every frame; what is written in one go is flushed once,
/// by whoever drives.
#[derive(Debug)]
struct Unflushed(Arc<Mutex<Wire>>);

impl AsyncRead for Unflushed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_read(cx, buf)
    }
}

impl AsyncWrite for Unflushed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *lock(&self.0)).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        lock(&self.0).is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.0)).poll_shutdown(cx)
    }
}

/// Takes over the peer's stream limit when its SETTINGS have come or changed.
fn learn_limit(allowed: usize, line: &Arc<Line>, origin: Option<&Arc<Origin>>) {
    if allowed == NOT_SETTLED || line.limit() == allowed && line.settled.load(Ordering::Relaxed) {
        return;
    }
    let first = !line.settled.swap(true, Ordering::Relaxed);
    line.limit.store(allowed, Ordering::Relaxed);
    if let Some(origin) = origin {
        origin.learned(line, first);
    }
}

/// The right to one stream. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Lease {
    requests: SendRequest<Bytes>,
    line: Arc<Line>,
    /// None: the connection is for this one request.
    origin: Option<Arc<Origin>>,
}

impl Lease {
    /// A place that has been counted already.
    pub(super) fn new(
        requests: SendRequest<Bytes>,
        line: Arc<Line>,
        origin: Option<Arc<Origin>>,
    ) -> Self {
        Self { requests, line, origin }
    }

    /// Sends a request. Dropping the future, or the body, resets the stream.
    pub(super) async fn send(
        mut self,
        request: Box<Request<Payload>>,
    ) -> Result<Response<Incoming>, Failed> {
        let (mut head, payload) = request.into_parts();
        head.version = Version::HTTP_2;
        head.headers.remove(HOST);
        if !payload.is_empty() || head.method == Method::POST {
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
        }
        if let Err(error) = poll_fn(|cx| self.requests.poll_ready(cx)).await {
            self.retire();
            return Err(Failed::Unsent(self.line.why(&error)));
        }
        let head = Request::from_parts(head, ());
        let (response, body) = match self.requests.send_request(head, payload.is_empty()) {
            Ok(sent) => sent,
            Err(error) => {
                self.retire();
                return Err(Failed::Unsent(self.line.why(&error)));
            }
        };
        write(body, &payload);
        drop(payload);
        match response.await {
            Ok(response) => {
                let length = response.headers().get(CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                Ok(response.map(|stream| Incoming { stream, left: length, lease: Some(self) }))
            }
            Err(error) if is_unprocessed(&error) => {
                if error.is_go_away() {
                    self.retire();
                }
                Err(Failed::Unsent(self.line.why(&error)))
            }
            Err(error) => Err(Failed::BodyError(self.line.why(&error))),
        }
    }

    fn retire(&self) {
        if let Some(origin) = &self.origin {
            origin.retire(&self.line);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &self.origin {
            Some(origin) => origin.release(&self.line),
            None => self.line.close(),
        }
    }
}

/// Hands the whole body over. h2 sends it as the peer's windows open; until then it keeps
/// references to our bytes, not copies.
fn write(mut stream: h2::SendStream<Bytes>, payload: &Payload) {
    if payload.is_empty() {
        return;
    }
    // An error means that the stream has ended already: its response says how.
    if payload.len() <= ONE_FRAME {
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

/// The peer has said that it did nothing about this request (RFC 9113 8.7).
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// A response body. Dropped before its end, it resets its stream.
#[derive(Debug)]
pub(super) struct Incoming {
    stream: RecvStream,
    left: Option<u64>,
    lease: Option<Lease>,
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = String;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let Some(lease) = &self.lease else { return Poll::Ready(None) };
        let line = Arc::clone(&lease.line);
        match ready!(self.stream.poll_data(cx)) {
            None => {
                self.lease = None;
                Poll::Ready(None)
            }
            Some(Ok(data)) => {
                // What was handed on may be replaced: a slow reader does not poll us.
                let _ = self.stream.flow_control().release_capacity(data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                if self.stream.is_end_stream() {
                    self.lease = None;
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            // RFC 9113 8.1: the whole answer was sent, and the rest of the request is not wanted.
            Some(Err(error)) if error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => {
                self.lease = None;
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                self.lease = None;
                Poll::Ready(Some(Err(line.why(&error))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none() || self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A limit that no SETTINGS can name: the peer's have not come yet.
const NOT_SETTLED: usize = usize::MAX - 1;

/// What one stream may have on its way to a client that does not read.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Wide enough for a thousand such streams: clients that do not read must not hold up the others
/// on their connection.
const CONNECTION_WINDOW: u32 = 1024 * STREAM_WINDOW;

const LARGEST_HEAD: u32 = 64 * 1024;

/// The largest DATA frame of a peer that has not asked for larger ones.
const ONE_FRAME: u64 = 16 * 1024;

const FAREWELL: Duration = Duration::from_secs(1);
