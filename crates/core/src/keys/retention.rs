//! How long usage is kept.

use std::sync::Mutex;
use std::time::Duration;

use super::Keys;
use crate::platform::Platform;
use crate::policy::budget::Day;
use crate::sync::lock;
use crate::time::Monotonic;

/// When old usage was removed last.
#[derive(Debug, Default)]
pub(super) struct Retention {
    last: Mutex<Option<Monotonic>>,
}

impl Retention {
    /// True at first, and then once an hour.
    fn is_due(&self, now: Monotonic) -> bool {
        let mut last = lock(&self.last);
        let is_due = last.is_none_or(|last| last + EVERY <= now);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

impl Keys {
    /// Removes usage that is older than so many days, at most once an hour. A failure is logged, and the
    /// next hour's try removes more.
    pub async fn remove_old_usage<P: Platform>(&self, platform: &P, days_kept: u32) {
        if lock(&self.accounts).is_empty() || !self.retention.is_due(platform.now()) {
            return;
        }
        let first_kept = Day::of(platform.wall_clock()).before(days_kept);
        if let Err(error) = platform.remove_usage(first_kept).await {
            tracing::warn!(
                "usage from before {first_kept} cannot be removed from the store: {error}"
            );
        }
    }
}

const EVERY: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_usage_is_removed_at_the_start_and_then_once_an_hour() {
        let retention = Retention::default();
        let at = |seconds: u64| Monotonic(seconds * 1_000_000);
        assert!(retention.is_due(at(5)));
        assert!(!retention.is_due(at(5)));
        assert!(!retention.is_due(at(3604)));
        assert!(retention.is_due(at(3605)));
        assert!(!retention.is_due(at(3606)));
    }
}
