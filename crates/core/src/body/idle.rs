//! How long upstream has been silent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::platform::Platform;
use crate::time::Monotonic;

/// One timer for many chunks: when it ends, it looks at when the last chunk came and goes on from
/// there.
#[derive(Debug)]
pub(super) struct IdleTimer<P: Platform> {
    platform: P,
    pub(super) limit: Duration,
    /// Since when the body has waited for upstream. A client that is slow to take what there is does
    /// not make upstream silent.
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

    /// A chunk has come.
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
