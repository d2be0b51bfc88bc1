//! The idle timeout of a body: how long upstream has sent nothing.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::platform::Platform;
use crate::time::Monotonic;

/// One timer for many chunks. When it ends, it starts again for what is left since the last chunk.
#[derive(Debug)]
pub(super) struct IdleTimer<P: Platform> {
    platform: P,
    pub(super) limit: Duration,
    /// Since when the body has waited for upstream. Time that a slow client takes does not count.
    since: Option<Monotonic>,
    timer: Option<P::Timer>,
}

impl<P: Platform> IdleTimer<P> {
    pub(super) fn new(platform: &P, limit: Duration) -> Self {
        Self { platform: platform.clone(), limit, since: None, timer: None }
    }

    /// The platform, for other timers of the same body.
    pub(super) fn platform(&self) -> &P {
        &self.platform
    }

    /// Records that a chunk has arrived.
    pub(super) fn reset(&mut self) {
        self.since = None;
    }

    /// Ready when upstream has been silent for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.platform.now();
            let silent = now.since(*self.since.get_or_insert(now));
            let Some(left) = self.limit.checked_sub(silent).filter(|left| !left.is_zero()) else {
                return Poll::Ready(());
            };
            let timer = self.timer.get_or_insert_with(|| self.platform.timer(left));
            ready!(Pin::new(timer).poll(cx));
            self.timer = None;
        }
    }
}
