//! The answers that a connection owes, and whether the client takes them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::body::ProxyBody;
use http_body::{Body, Frame, SizeHint};

use crate::platform::TokioPlatform;

/// The answers of one connection that are not through.
#[derive(Debug, Default)]
pub(super) struct ResponseTracker {
    open: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    progress: Arc<Progress>,
    /// As it was at the last look.
    seen: u32,
    still: Duration,
}

/// How an answer goes out. No clock is read where bytes are moved.
#[derive(Debug, Default)]
struct Progress {
    asked: AtomicU32,
    /// There was something to send, and nobody has asked for more since.
    unread: AtomicBool,
}

impl ResponseTracker {
    /// An answer that is to come.
    pub(super) fn open(self: &Arc<Self>) -> PendingResponse {
        let progress = Arc::new(Progress::default());
        let open = Open { progress: Arc::clone(&progress), seen: 0, still: Duration::ZERO };
        self.list().push(open);
        PendingResponse { responses: Arc::clone(self), progress }
    }

    /// True when no answer is owed.
    pub(super) fn are_none(&self) -> bool {
        self.list().is_empty()
    }

    /// For how long the slowest client of them has taken nothing, as seen every so often.
    pub(super) fn look(&self, every: Duration) -> Duration {
        let mut list = self.list();
        let looked = list.iter_mut().map(|open| {
            let asked = open.progress.asked.load(Ordering::Relaxed);
            let still = open.progress.unread.load(Ordering::Relaxed) && asked == open.seen;
            open.still = if still { open.still + every } else { Duration::ZERO };
            open.seen = asked;
            open.still
        });
        looked.max().unwrap_or_default()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One answer that is owed until this is dropped.
#[derive(Debug)]
pub(super) struct PendingResponse {
    responses: Arc<ResponseTracker>,
    progress: Arc<Progress>,
}

impl PendingResponse {
    /// The answer with its body.
    pub(super) fn with(self, body: ProxyBody<TokioPlatform>) -> TrackedBody {
        TrackedBody { body, owed: self }
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        let mut list = self.responses.list();
        if let Some(at) = list.iter().position(|open| Arc::ptr_eq(&open.progress, &self.progress)) {
            list.swap_remove(at);
        }
    }
}

/// A body on its way to the client.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: ProxyBody<TokioPlatform>,
    owed: PendingResponse,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = <ProxyBody<TokioPlatform> as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.owed.progress.asked.fetch_add(1, Ordering::Relaxed);
        self.owed.progress.unread.store(frame.is_ready(), Ordering::Relaxed);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
