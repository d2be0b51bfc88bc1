//! Tracks the responses of a connection, and whether the client reads them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::ProxyBody;
use http_body::{Body, Frame, SizeHint};

use crate::platform::TokioPlatform;

/// The responses of one connection that have not ended.
#[derive(Debug, Default)]
pub(super) struct ResponseTracker {
    open: Mutex<Vec<OpenResponse>>,
}

#[derive(Debug)]
struct OpenResponse {
    progress: Arc<BodyProgress>,
    /// The count of polls at the last check.
    seen: u32,
    stalled: Duration,
}

/// How far hyper has read a body. Polling a body updates it without reading a clock.
#[derive(Debug, Default)]
struct BodyProgress {
    polls: AtomicU32,
    /// The last poll returned a frame, and hyper has not polled again: it waits for the client.
    unread: AtomicBool,
}

impl ResponseTracker {
    /// Registers a response, from the request's arrival until the guard is dropped.
    pub(super) fn register(self: &Arc<Self>) -> PendingResponse {
        let progress = Arc::new(BodyProgress::default());
        let open =
            OpenResponse { progress: Arc::clone(&progress), seen: 0, stalled: Duration::ZERO };
        self.open().push(open);
        PendingResponse { tracker: Arc::clone(self), progress }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open().is_empty()
    }

    /// Returns for how long the client has read nothing of the slowest response. `interval` is the
    /// time since the last call.
    pub(super) fn check(&self, interval: Duration) -> Duration {
        let mut open = self.open();
        let stalls = open.iter_mut().map(|response| {
            let polls = response.progress.polls.load(Ordering::Relaxed);
            let unread = response.progress.unread.load(Ordering::Relaxed);
            let stalled = unread && polls == response.seen;
            response.stalled = if stalled { response.stalled + interval } else { Duration::ZERO };
            response.seen = polls;
            response.stalled
        });
        stalls.max().unwrap_or_default()
    }

    fn open(&self) -> MutexGuard<'_, Vec<OpenResponse>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a response registered until it is dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct PendingResponse {
    tracker: Arc<ResponseTracker>,
    progress: Arc<BodyProgress>,
}

impl PendingResponse {
    pub(super) fn with_body(self, body: ProxyBody<TokioPlatform>) -> TrackedBody {
        TrackedBody { body, pending: self }
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        let mut open = self.tracker.open();
        let same = |response: &OpenResponse| Arc::ptr_eq(&response.progress, &self.progress);
        if let Some(at) = open.iter().position(same) {
            open.swap_remove(at);
        }
    }
}

/// A response body that records how far it has been read.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: ProxyBody<TokioPlatform>,
    pending: PendingResponse,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = <ProxyBody<TokioPlatform> as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.pending.progress.polls.fetch_add(1, Ordering::Relaxed);
        self.pending.progress.unread.store(frame.is_ready(), Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
