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

/// The wall clock. In a step it is computed from the last reading of both clocks on this thread: a wall
/// clock that is put back or forward is noticed [`READINGS_HOLD`] later.
pub(crate) fn wall_clock() -> SystemTime {
    let Some(now) = step::now() else { return SystemTime::now() };
    let (at, wall) = readings(now);
    // A step that has read its time before this reading sees the wall clock of its own time.
    now.checked_duration_since(at).map_or_else(|| wall - (at - now), |passed| wall + passed)
}

/// The last readings of both clocks on this thread, made anew if they are too old.
///
/// Both are made at once. The time of the step can be older: its thread may have been interrupted since. A
/// wall clock read now and paired with that time would be ahead of the one that other threads see.
fn readings(now: Instant) -> (Instant, SystemTime) {
    if let Some(last) = READINGS.get()
        && now.saturating_duration_since(last.0) < READINGS_HOLD
    {
        return last;
    }
    let anew = (Instant::now(), SystemTime::now());
    READINGS.set(Some(anew));
    anew
}

thread_local! {
    /// This thread's last readings in a step.
    static READINGS: Cell<Option<(Instant, SystemTime)>> = const { Cell::new(None) };
}

/// Clocks that are set by the network run by 1/2000 too fast or too slow at most: within this, by 50 µs.
const READINGS_HOLD: Duration = Duration::from_millis(100);
