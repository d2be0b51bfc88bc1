//! Opens a connection and drives it to its end.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use code_assist_core::PayloadBuf;
use h2::{Ping, PingPong};
use tokio::io::AsyncWrite;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::shared::SharedConnection;
use super::silence::SilenceWatch;
use super::unflushed::Unflushed;
use crate::clock::{self, Timer};
use crate::http_client::connector::IoStream;
use crate::http_client::error::{ConnectionError, with_causes};
use crate::http_client::idle::ReadCount;
use crate::http_client::lock;
use crate::http_client::origin::Origin;
use crate::http_client::pool::PoolOptions;

/// What the pool, the streams and the task that drives a connection share.
#[derive(Debug)]
pub(in crate::http_client) struct ConnectionState {
    /// Streams that the peer allows at once. One until its SETTINGS have come, since any peer allows
    /// that many.
    limit: AtomicUsize,
    /// Streams in use. It leaves zero only under the origin's lock.
    pub(in crate::http_client) streams: AtomicUsize,
    pub(in crate::http_client) reads: ReadCount,
    /// The peer's SETTINGS have come.
    settled: AtomicBool,
    /// The count of reads at which the connection was silent. A read ends the silence by itself, without
    /// a store. `NO_READS`: it has not been silent yet.
    silent_at: AtomicU64,
    /// Requests wait for the connection to prove that it is alive.
    checking: AtomicBool,
    closing: AtomicBool,
    /// A shutdown ends the connection with its streams.
    aborting: AtomicBool,
    /// Wakes the driver for `checking`, `closing` or `aborting`.
    wake: Notify,
    ended: AtomicBool,
    /// Why the connection ended, if the driver knows better than the stream.
    reason: OnceLock<ConnectionError>,
}

impl ConnectionState {
    fn new(streams: usize, reads: ReadCount) -> Self {
        Self {
            limit: AtomicUsize::new(1),
            streams: AtomicUsize::new(streams),
            reads,
            settled: AtomicBool::new(false),
            silent_at: AtomicU64::new(NO_READS),
            checking: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            aborting: AtomicBool::new(false),
            wake: Notify::new(),
            ended: AtomicBool::new(false),
            reason: OnceLock::new(),
        }
    }

    /// How many more streams the peer allows now.
    pub(in crate::http_client) fn free_streams(&self) -> usize {
        // See `take_stream`: a request that finds none free waits.
        self.limit().saturating_sub(self.streams.load(Ordering::SeqCst))
    }

    /// Counts one more stream, if at least `open` are open and the peer allows one more.
    pub(in crate::http_client) fn take_stream(&self, open: usize) -> bool {
        // In one order for all threads with the count of waiting requests: either this sees the end of a
        // stream, or that end sees who waits.
        let order = Ordering::SeqCst;
        let one_more = |streams| (open..self.limit()).contains(&streams).then_some(streams + 1);
        self.streams.fetch_update(order, order, one_more).is_ok()
    }

    /// How many streams the peer allows at once.
    pub(in crate::http_client) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// True if the connection may be dead, since nothing has come in for a while.
    pub(in crate::http_client) fn is_silent(&self) -> bool {
        self.reads.get() == self.silent_at.load(Ordering::Relaxed)
    }

    /// Lets no request use the connection until a byte comes in.
    pub(in crate::http_client) fn set_silent(&self) {
        self.silent_at.store(self.reads.get(), Ordering::Relaxed);
    }

    /// Sends a PING, unless a check is under way. The driver reports to the origin when a byte comes in,
    /// or when none does in time.
    pub(in crate::http_client) fn check(&self) {
        if !self.checking.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Ends the connection when its last stream has ended.
    pub(in crate::http_client) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Ends the connection and its streams.
    fn abort(&self) {
        self.aborting.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(in crate::http_client) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The reason why a stream failed: the driver's, if it has one.
    pub(super) fn error(&self, error: h2::Error) -> ConnectionError {
        self.reason.get().cloned().unwrap_or_else(|| error.into())
    }

    fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Ends a check when a byte has come in.
    fn end_answered_check(&self, origin: Option<&Arc<Origin>>) {
        if !self.checking.load(Ordering::Relaxed) || self.is_silent() {
            return;
        }
        self.checking.store(false, Ordering::Relaxed);
        if let Some(origin) = origin {
            origin.check_answered();
        }
    }

    /// Ends a check that had no answer. Returns true if the connection has no streams, so that it can be
    /// closed. Open streams keep it until the PING itself counts as lost, since they may have been carried
    /// out and are not sent again.
    fn end_failed_check(self: &Arc<Self>, origin: Option<&Arc<Origin>>) -> bool {
        self.checking.store(false, Ordering::Relaxed);
        if let Some(origin) = origin {
            origin.check_failed(self);
        }
        self.streams.load(Ordering::Relaxed) == 0
    }

    /// Takes over the peer's stream limit when its SETTINGS have come or changed.
    fn update_limit(self: &Arc<Self>, allowed: usize, origin: Option<&Arc<Origin>>) {
        if allowed == NOT_SETTLED || self.limit() == allowed && self.is_settled() {
            return;
        }
        let first = !self.settled.swap(true, Ordering::Relaxed);
        self.limit.store(allowed, Ordering::Relaxed);
        if let Some(origin) = origin {
            origin.limit_changed(self, first);
        }
    }
}

/// Sends the HTTP/2 preface. `streams` permits count as taken from the start. The future drives the
/// connection and reports its limit and its end to `origin`.
pub(in crate::http_client) async fn start(
    stream: IoStream,
    options: PoolOptions,
    streams: usize,
    origin: Option<Arc<Origin>>,
    abort: watch::Receiver<bool>,
) -> Result<(Arc<SharedConnection>, impl Future<Output = ()> + Send), ConnectionError> {
    let reads = stream.reads();
    let stream = Arc::new(Mutex::new(stream));
    let (requests, mut connection) = h2::client::Builder::new()
        .initial_max_send_streams(NOT_SETTLED)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false)
        .handshake(Unflushed(Arc::clone(&stream)))
        .await?;
    let pings = connection.ping_pong().ok_or(ConnectionError::NoPingHandle)?;
    let state = Arc::new(ConnectionState::new(streams, reads));
    let shared = SharedConnection::new(requests, Arc::clone(&state), origin.clone());
    let driver = Driver { connection, stream, pings, state, options, origin };
    Ok((shared, driver.run(abort)))
}

/// All that the task of a connection owns.
struct Driver {
    connection: h2::client::Connection<Unflushed, PayloadBuf>,
    stream: Arc<Mutex<IoStream>>,
    pings: PingPong,
    state: Arc<ConnectionState>,
    options: PoolOptions,
    origin: Option<Arc<Origin>>,
}

impl Driver {
    async fn run(self, mut abort: watch::Receiver<bool>) {
        let (state, origin) = (Arc::clone(&self.state), self.origin.clone());
        // A task beside this one, since every step of the connection would look at the channel, which all
        // connections share. Its streams learn of the abort by the connection's end.
        let aborting = Arc::clone(&self.state);
        let watching = tokio::spawn(async move {
            // An error means that the sender was dropped: the process is ending.
            let _ = abort.wait_for(|abort| *abort).await;
            aborting.abort();
        });
        let error = self.drive().await;
        watching.abort();
        state.ended.store(true, Ordering::Relaxed);
        tracing::debug!("an upstream connection ended: {}", with_causes(&error));
        if let Some(origin) = origin {
            origin.connection_ended(&state, state.is_settled(), error);
        }
    }

    /// Drives the connection to its end, and returns why it ended.
    async fn drive(self) -> ConnectionError {
        let Self { mut connection, stream, mut pings, state, options, origin } = self;
        let mut watch = SilenceWatch::new(options, clock::now());
        let mut look_at = watch.next_look(false, clock::now());
        let mut yield_first = true;
        let mut drive = |cx: &mut Context<'_>| {
            // Yields once, so that requests that are ready now go out with the same write.
            if std::mem::take(&mut yield_first) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            yield_first = true;
            let polled = Pin::new(&mut connection).poll(cx);
            state.update_limit(connection.max_concurrent_send_streams(), origin.as_ref());
            state.end_answered_check(origin.as_ref());
            if let Poll::Ready(ended) = polled {
                return Poll::Ready(ended.map_or_else(Into::into, |()| ConnectionError::Closed));
            }
            match Pin::new(&mut *lock(&stream)).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(error.into()),
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            }
        };
        loop {
            tokio::select! {
                biased;
                error = poll_fn(&mut drive) => return error,
                pong = poll_fn(|cx| pings.poll_pong(cx)), if watch.awaits_pong() => {
                    if let Err(error) = pong {
                        return error.into();
                    }
                    watch.end_ping();
                }
                () = state.wake.notified() => {
                    if state.aborting.load(Ordering::Relaxed) {
                        let _ = state.reason.set(ConnectionError::ShuttingDown);
                        return ConnectionError::ShuttingDown;
                    }
                    if state.closing.load(Ordering::Relaxed) {
                        // No request handle is left, so h2 sends GOAWAY and closes.
                        let _ = timeout(GOAWAY_TIMEOUT, poll_fn(&mut drive)).await;
                        return ConnectionError::Unneeded;
                    }
                    let now = clock::now();
                    watch.look(state.reads.get(), now);
                    watch.begin_check(now);
                    if !watch.awaits_pong() && pings.send_ping(Ping::opaque()).is_ok() {
                        watch.begin_ping(now);
                    }
                    look_at = watch.next_look(state.is_settled(), now);
                }
                () = Timer::at(look_at) => {
                    let now = clock::now();
                    watch.look(state.reads.get(), now);
                    let failed = if !state.is_settled() && watch.lacks_settings(now) {
                        Some(ConnectionError::NoSettings(options.settings_timeout))
                    } else if watch.lacks_pong(now) {
                        Some(ConnectionError::NoPong(options.ping_timeout))
                    } else if watch.take_failed_check(now)
                        && state.end_failed_check(origin.as_ref())
                    {
                        Some(ConnectionError::NoPong(options.check_timeout))
                    } else {
                        None
                    };
                    if let Some(error) = failed {
                        let _ = state.reason.set(error.clone());
                        return error;
                    }
                    if state.is_settled() && watch.is_silent(now) {
                        state.set_silent();
                    }
                    let busy = state.streams.load(Ordering::Relaxed) > 0;
                    // No PING on an idle connection: servers count PINGs without traffic as abuse.
                    if busy && watch.wants_ping(now) && pings.send_ping(Ping::opaque()).is_ok() {
                        watch.begin_ping(now);
                    }
                    look_at = watch.next_look(state.is_settled(), now);
                }
            }
        }
    }
}

/// A stream limit that no SETTINGS can name: the peer's have not come yet.
const NOT_SETTLED: usize = usize::MAX - 1;

/// A count of reads that no connection reaches.
const NO_READS: u64 = u64::MAX;

/// Bytes that may be under way on one stream to a client that does not read. The core reserves memory
/// for them with each request.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Room for a thousand such streams, so that clients that do not read cannot block the other streams
/// of their connection.
const CONNECTION_WINDOW: u32 = 1024 * STREAM_WINDOW;

/// Bytes of a streamed request that may wait for the connection, beside one piece of the client's.
const SEND_BUFFER: usize = 64 * 1024;

const MAX_HEADER_LIST: u32 = 64 * 1024;

const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);
