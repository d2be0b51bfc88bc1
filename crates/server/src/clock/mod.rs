//! The clocks, read at most once a step, and timers that cost a request next to nothing.
//!
//! A step is one poll of a task that carries requests. It takes some microseconds, and many parts of the
//! program ask for the time in it. The first one reads the clock, and the others get what it has read.
//! Work that takes long runs in no step, but on threads of its own ([`Platform::heavy`]). Outside of
//! steps every question reads the clock.
//!
//! All timers of a task share one timer of the runtime's, its alarm. A step can also hold back wake-ups of
//! its own task that are for nothing.
//!
//! [`Platform::heavy`]: code_assist_core::Platform::heavy

mod step;
#[cfg(test)]
mod tests;
mod timer;

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(crate) use step::{hold_wakes, spawn, spawn_holding};
pub(crate) use timer::{HyperTimer, Timer};

/// The monotonic clock.
pub(crate) fn now() -> Instant {
    step::now().unwrap_or_else(Instant::now)
}

/// The monotonic clock, read anew. The rest of the step goes on with this time.
pub(crate) fn now_anew() -> Instant {
    step::forget_now();
    now()
}

/// The wall clock. In a step it may be the last reading of this thread, plus what the monotonic clock has
/// gone on since: a clock that is put back or forward is noticed [`READING_HOLDS`] later.
pub(crate) fn wall_clock() -> SystemTime {
    let Some(now) = step::now() else { return SystemTime::now() };
    if let Some((at, wall)) = WALL_CLOCK.get()
        && let Some(passed) = now.checked_duration_since(at)
        && passed < READING_HOLDS
    {
        return wall + passed;
    }
    let wall = SystemTime::now();
    WALL_CLOCK.set(Some((now, wall)));
    wall
}

thread_local! {
    /// This thread's last reading in a step.
    static WALL_CLOCK: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

const READING_HOLDS: Duration = Duration::from_millis(10);
