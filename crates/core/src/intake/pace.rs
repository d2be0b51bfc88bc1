//! How fast a body arrives. A least speed bounds how long a client that sends single bytes can
//! hold memory and a concurrency permit.

use std::time::Duration;

/// The bytes that have arrived in about the last minute.
///
/// The first minute is free. Then the floor of 2 KiB/s holds over each minute, not on average: what came
/// in a burst counts for a minute and no longer.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The bytes of each slot, in a ring: one more slot than the window has.
    slots: [u32; SLOTS],
    /// The number of the newest slot since the beginning.
    newest: u64,
}

impl Pace {
    /// Counts bytes that have arrived this long after the beginning. False if the body is too slow.
    pub(super) fn keeps_up(&mut self, since: Duration, bytes: usize) -> bool {
        let slot = since.as_secs() / SLOT_SECONDS;
        let passed = slot - self.newest.min(slot);
        for passed in 1..=passed.min(SLOTS as u64) {
            self.slots[index(self.newest + passed)] = 0;
        }
        self.newest = self.newest.max(slot);
        let newest = &mut self.slots[index(self.newest)];
        *newest = newest.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let Some(after_the_first) = since.checked_sub(WINDOW) else { return true };
        let received: u64 = self.slots.iter().map(|bytes| u64::from(*bytes)).sum();
        // In the second minute, the free first one is a part of the window.
        received >= LEAST_BYTES_PER_SECOND * after_the_first.min(WINDOW).as_secs()
    }
}

fn index(slot: u64) -> usize {
    usize::try_from(slot % SLOTS as u64).unwrap_or(0)
}

const WINDOW: Duration = Duration::from_secs(60);

/// A tenth of the slowest mobile network.
const LEAST_BYTES_PER_SECOND: u64 = 2 * 1024;

const SLOT_SECONDS: u64 = 5;

/// The slots of the window, and the one that is being filled.
const SLOTS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    /// The second at which a body of `burst` bytes at once, then `bytes` every `pause` seconds, is
    /// refused, if it is within an hour.
    fn refused_at(burst: usize, bytes: usize, pause: u64) -> Option<u64> {
        let mut pace = Pace::default();
        assert!(pace.keeps_up(Duration::ZERO, burst));
        let times = (1..).map(|n| n * pause).take_while(|at| *at <= 3600);
        times.into_iter().find(|at| !pace.keeps_up(Duration::from_secs(*at), bytes))
    }

    #[test]
    fn a_burst_counts_for_no_more_than_a_minute() {
        assert_eq!(refused_at(99 << 20, 1, 20), Some(80));
        assert_eq!(refused_at(99 << 20, 1, 1), Some(65));
        assert_eq!(refused_at(0, 1, 29), Some(87));
        assert_eq!(refused_at(0, 100, 1), Some(64), "the first minute is free");
    }

    #[test]
    fn an_upload_above_the_floor_is_never_refused() {
        for pause in [1, 7, 20, 29] {
            assert_eq!(
                refused_at(0, 2048 * usize::try_from(pause).unwrap(), pause),
                None,
                "{pause}"
            );
        }
        assert!(refused_at(0, 1900, 1).is_some());
    }

    #[test]
    fn after_a_pause_of_an_hour_only_new_bytes_count() {
        let mut pace = Pace::default();
        assert!(pace.keeps_up(Duration::ZERO, 1 << 20));
        assert!(!pace.keeps_up(Duration::from_secs(3600), 1000));
        assert!(pace.keeps_up(Duration::from_secs(3601), 1 << 20));
    }
}
