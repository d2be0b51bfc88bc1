//! Waiting for a turn among the processes that share a store (`spec.md` 16).

use std::time::Duration;

use crate::platform::Platform;
use crate::policy::lock::{FencingToken, LockResult};
use crate::time::Monotonic;

/// One that waits to do what must be done once.
#[derive(Debug)]
pub(super) struct Queue {
    joined: Monotonic,
    pause: Duration,
}

/// What to do now.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nobody else is there: do it.
    Alone,
    /// Some time has passed: see whether it has been done.
    Later,
    /// Do it, and release the turn.
    Now(FencingToken),
}

impl Queue {
    pub(super) fn join<P: Platform>(platform: &P) -> Self {
        Self { joined: platform.now(), pause: FIRST_LOOK }
    }

    /// Asks for a turn of `how_long`, and waits a little if there is none.
    ///
    /// Whoever has waited for longer than two turns may take goes on alone: better twice than never.
    pub(super) async fn turn<P: Platform>(
        &mut self,
        platform: &P,
        key: &str,
        how_long: Duration,
    ) -> Turn {
        match platform.claim(key, how_long).await {
            LockResult::NotShared => Turn::Alone,
            LockResult::Acquired(fence) => Turn::Now(fence),
            LockResult::Held if platform.now().since(self.joined) > 2 * how_long => Turn::Alone,
            LockResult::Held => {
                platform.timer(self.pause).await;
                self.pause = (self.pause * 2).min(LAST_LOOK);
                Turn::Later
            }
        }
    }
}

/// A refresh takes a quarter of a second.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(500);
