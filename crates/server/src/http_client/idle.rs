//! Tells a connection that died while it was idle from one that broke during a request, and notices
//! that the machine has slept.
//!
//! A server, or a firewall on the way, may close an idle connection at the moment in which the next
//! request is written to it. Such a request has reached no server. It looks like a request whose
//! server died, except that the break comes at once: the end of the connection is under way already,
//! or the first bytes of the request are answered with a reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Counts the reads of a connection that brought bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadCount(Arc<AtomicU64>);

impl ReadCount {
    /// Counts one. A connection has one reader at a time, so that no count is lost.
    pub(super) fn increase(&self) {
        self.0.store(self.get() + 1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The moment in which an idle connection got a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdleEnd {
    at: Instant,
    reads: u64,
}

impl IdleEnd {
    pub(super) fn new(at: Instant, reads: &ReadCount) -> Self {
        Self { at, reads: reads.get() }
    }

    /// True for a connection that breaks now if it was dead before the request: no byte has come in
    /// since then, and the break comes at once.
    pub(super) fn was_dead(self, reads: &ReadCount) -> bool {
        reads.get() == self.reads && self.at.elapsed() < AT_ONCE
    }
}

/// Notices that the machine has slept.
///
/// Under Linux and macOS the monotonic clock, and every timer with it, stands still while the machine
/// sleeps. A connection then seems to have been idle for seconds when hours have passed. The wall clock
/// runs on, so that it gains on the monotonic one. Its other steps forward (a time server, a user) look
/// the same, and cost one check. A step back may hide a sleep: the connection is then used as after a
/// short pause. Under Windows the monotonic clock runs on too, and timers see the sleep.
#[derive(Debug)]
pub(super) struct SleepWatch {
    at: Instant,
    wall: SystemTime,
}

impl SleepWatch {
    pub(super) fn new(at: Instant, wall: SystemTime) -> Self {
        Self { at, wall }
    }

    /// True if the machine has slept for longer than `limit` since the last call.
    pub(super) fn has_slept(&mut self, limit: Duration, now: Instant, wall: SystemTime) -> bool {
        let passed = wall.duration_since(self.wall).unwrap_or_default();
        let awake = now - self.at;
        *self = Self::new(now, wall);
        passed.saturating_sub(awake) > limit
    }
}

/// How long the news of a dead connection may take: one round trip to any server on Earth, with some
/// delay at both ends. It is shorter than almost every generation, so that a server that breaks the
/// connection within this time has hardly carried out the request.
const AT_ONCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_was_dead_if_it_breaks_within_200_ms_without_a_byte() {
        let reads = ReadCount::default();
        reads.increase();
        let idle_end = IdleEnd::new(Instant::now(), &reads);
        assert!(idle_end.was_dead(&reads));
        tokio::time::advance(Duration::from_millis(199)).await;
        assert!(idle_end.was_dead(&reads));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!idle_end.was_dead(&reads));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_brought_a_byte_since_was_not_dead() {
        let reads = ReadCount::default();
        let idle_end = IdleEnd::new(Instant::now(), &reads);
        reads.increase();
        assert!(!idle_end.was_dead(&reads));
    }

    #[test]
    fn a_wall_clock_that_gains_on_the_monotonic_one_shows_that_the_machine_has_slept() {
        let (at, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let seconds = Duration::from_secs;
        let mut sleep = SleepWatch::new(at, wall);
        let mut has_slept = |awake, passed| {
            sleep.has_slept(seconds(10), at + seconds(awake), wall + seconds(passed))
        };
        assert!(!has_slept(0, 0));
        assert!(!has_slept(3600, 3610));
        assert!(has_slept(3601, 3622));
        assert!(!has_slept(3602, 3623));
        // A step back is no sleep.
        assert!(!has_slept(3603, 23));
    }
}
