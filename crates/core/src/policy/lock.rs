//! Whose turn it is among processes that share a store: what the store keeps for each piece of work.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The turns of one piece of work. The store keeps it as it is, and takes the time from its own
/// clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockRecord {
    /// The number of the last turn that was given.
    last: u64,
    /// The number of the turn that wrote last.
    wrote: u64,
    /// Until when the last turn lasts, unless it was released: Unix milliseconds.
    until: Option<u64>,
}

impl LockRecord {
    /// A turn of `how_long`, unless somebody has one.
    pub fn claim(&mut self, clock: Timestamp, how_long: Duration) -> LockResult {
        if self.until.is_some_and(|until| clock.0 < until) {
            return LockResult::Held;
        }
        self.last += 1;
        self.until = Some((clock + how_long).0);
        LockResult::Acquired(FencingToken(self.last))
    }

    /// Ends a turn. One that is over already ends nobody else's.
    pub fn release(&mut self, fence: FencingToken) {
        if fence.0 == self.last {
            self.until = None;
        }
    }

    /// Whether the holder of this turn may still write: nobody who came after it has.
    pub fn write(&mut self, fence: FencingToken) -> bool {
        let may = fence.0 >= self.wrote;
        if may {
            self.wrote = fence.0;
        }
        may
    }
}

/// What [`LockRecord::claim`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockResult {
    /// Nobody to take turns with.
    NotShared,
    /// It is ours.
    Acquired(FencingToken),
    /// Somebody else is at it: look at the store again a little later.
    Held,
}

/// Tells turns apart: a later one has a greater number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct FencingToken(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(10);

    fn granted(claim: LockResult) -> FencingToken {
        let LockResult::Acquired(fence) = claim else { panic!("{claim:?}") };
        fence
    }

    #[test]
    fn there_is_one_turn_at_a_time_and_it_ends_by_itself() {
        let mut turns = LockRecord::default();
        let first = granted(turns.claim(Timestamp(0), TURN));
        assert_eq!(turns.claim(Timestamp(9), TURN), LockResult::Held);
        let second = granted(turns.claim(Timestamp(10), TURN));
        assert!(second > first);
    }

    #[test]
    fn a_released_turn_is_free_at_once_and_a_late_release_frees_nothing() {
        let mut turns = LockRecord::default();
        let first = granted(turns.claim(Timestamp(0), TURN));
        turns.release(first);
        granted(turns.claim(Timestamp(1), TURN));
        turns.release(first);
        assert_eq!(turns.claim(Timestamp(2), TURN), LockResult::Held);
    }

    #[test]
    fn a_late_holder_does_not_undo_what_the_next_one_wrote() {
        let mut turns = LockRecord::default();
        let late = granted(turns.claim(Timestamp(0), TURN));
        let next = granted(turns.claim(Timestamp(10), TURN));
        assert!(turns.write(next) && turns.write(next), "a holder may write twice");
        assert!(!turns.write(late));
    }
}
