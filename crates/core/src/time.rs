//! The times of the two clocks. The core reads no clock: every function that needs the time takes it as
//! an argument.

use std::ops::Add;
use std::time::Duration;

/// A time of the wall clock, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// As in RFC 3339, in UTC and with whole seconds: `2026-11-26T12:00:00Z`.
    pub fn rfc3339(self) -> String {
        let seconds = i64::try_from(self.0 / 1000).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
    }

    /// The time until `later`, zero if that has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, how_long: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(how_long.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A point on the platform's monotonic clock, in microseconds from an arbitrary zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Monotonic(pub u64);

impl Monotonic {
    /// The time since `earlier`, zero if the clock did not advance.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Whole microseconds, rounded.
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000 + (u64::from(duration.subsec_nanos()) + 500) / 1000
}

/// Milliseconds to three decimals, since the clock counts microseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    micros(duration) as f64 / 1000.0
}

impl Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, how_long: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(how_long.as_micros()).unwrap_or(u64::MAX)))
    }
}
