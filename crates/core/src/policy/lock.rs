//! The record of a distributed lock: what a shared store keeps for one piece of work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The state of one lock. The store keeps the record unchanged and takes the time from its own
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockRecord {
    /// The token of the last holder.
    last: u64,
    /// The token of the last holder that wrote.
    wrote: u64,
    /// When the last holder's lock ends, in Unix milliseconds; `None` after its release.
    until: Option<u64>,
}

impl LockRecord {
    /// Acquires the lock for `how_long`, unless it is held.
    #[must_use = "an acquired lock must be released"]
    pub fn claim(&mut self, clock: Timestamp, how_long: Duration) -> LockResult {
        if self.until.is_some_and(|until| clock.0 < until) {
            return LockResult::Held;
        }
        self.last += 1;
        self.until = Some((clock + how_long).0);
        LockResult::Acquired(FencingToken(self.last))
    }

    /// Extends the lock until `how_long` from now, with the same token. False if it was released, or if
    /// a later holder has taken it. A lock that has expired and that no other process has taken is
    /// the holder's again.
    pub fn renew(&mut self, clock: Timestamp, token: FencingToken, how_long: Duration) -> bool {
        let is_ours = token.0 == self.last && self.until.is_some();
        if is_ours {
            self.until = Some((clock + how_long).0);
        }
        is_ours
    }

    /// Releases the lock. A holder whose lock has ended does not release a later holder's.
    pub fn release(&mut self, token: FencingToken) {
        if token.0 == self.last {
            self.until = None;
        }
    }

    /// True when this holder may write: no later holder has written.
    pub fn write(&mut self, token: FencingToken) -> bool {
        let may = token.0 >= self.wrote;
        if may {
            self.wrote = token.0;
        }
        may
    }
}

/// The result of [`LockRecord::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockResult {
    /// No other process shares the store, so there is no lock.
    NotShared,
    /// The caller holds the lock.
    Acquired(FencingToken),
    /// Another process holds the lock: look at the store again a little later.
    Held,
}

/// The number of a holder: a later holder has a greater one. The store compares it, so that a late
/// write of an earlier holder is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FencingToken(pub u64);

/// The time to live of every distributed lock. The holder renews its lock while it works, so that this
/// is how long a holder that dies delays the others, however long the work takes.
pub const LOCK_TTL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_millis(10);

    fn acquired(claim: LockResult) -> FencingToken {
        let LockResult::Acquired(token) = claim else { panic!("{claim:?}") };
        token
    }

    #[test]
    fn a_lock_has_one_holder_and_ends_after_its_ttl() {
        let mut record = LockRecord::default();
        let first = acquired(record.claim(Timestamp(0), TTL));
        assert_eq!(record.claim(Timestamp(9), TTL), LockResult::Held);
        let second = acquired(record.claim(Timestamp(10), TTL));
        assert!(second > first);
    }

    #[test]
    fn a_released_lock_is_free_at_once_and_a_late_release_changes_nothing() {
        let mut record = LockRecord::default();
        let first = acquired(record.claim(Timestamp(0), TTL));
        record.release(first);
        let _ = acquired(record.claim(Timestamp(1), TTL));
        record.release(first);
        assert_eq!(record.claim(Timestamp(2), TTL), LockResult::Held);
    }

    #[test]
    fn a_renewed_lock_outlasts_its_first_ttl_and_keeps_its_token() {
        let mut record = LockRecord::default();
        let first = acquired(record.claim(Timestamp(0), TTL));
        assert!(record.renew(Timestamp(8), first, TTL));
        assert_eq!(record.claim(Timestamp(17), TTL), LockResult::Held);
        assert!(acquired(record.claim(Timestamp(18), TTL)) > first);
    }

    #[test]
    fn a_lock_that_expired_is_renewed_only_while_no_other_process_has_taken_it() {
        let mut record = LockRecord::default();
        let first = acquired(record.claim(Timestamp(0), TTL));
        assert!(record.renew(Timestamp(30), first, TTL), "no other process has taken it");
        let second = acquired(record.claim(Timestamp(40), TTL));
        assert!(!record.renew(Timestamp(41), first, TTL));
        assert_eq!(record.claim(Timestamp(49), TTL), LockResult::Held, "the second holder's");
        assert!(record.renew(Timestamp(50), second, TTL));
    }

    #[test]
    fn a_released_lock_is_not_renewed() {
        let mut record = LockRecord::default();
        let first = acquired(record.claim(Timestamp(0), TTL));
        record.release(first);
        assert!(!record.renew(Timestamp(1), first, TTL));
        let _ = acquired(record.claim(Timestamp(2), TTL));
    }

    #[test]
    fn a_late_holder_cannot_overwrite_a_later_holders_write() {
        let mut record = LockRecord::default();
        let late = acquired(record.claim(Timestamp(0), TTL));
        let next = acquired(record.claim(Timestamp(10), TTL));
        assert!(record.write(next) && record.write(next), "a holder may write twice");
        assert!(!record.write(late));
    }
}
