//! What a connection holds for its client, counted in the memory budget.
//!
//! Each connection may hold a little without a reservation, so that small requests are always served. Beyond that
//! it reserves in steps. Strangers, which are connections of which no request was admitted yet, share a
//! part of the budget, so that they leave the rest to the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use code_assist_core::{Caller, MemoryBudget, MemoryReservation};

/// The budget, and what connections without an admitted request hold of it.
#[derive(Debug)]
pub(super) struct ListenerMemory {
    budget: Arc<MemoryBudget>,
    strangers: AtomicUsize,
    strangers_limit: usize,
}

impl ListenerMemory {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Arc<Self> {
        let strangers_limit = budget.limit() / STRANGERS_SHARE;
        Arc::new(Self { budget, strangers: AtomicUsize::new(0), strangers_limit })
    }

    /// How many connections may be open, so that all of them together hold at most half of the
    /// budget's size without a reservation.
    pub(super) fn most_connections(&self) -> usize {
        self.budget.limit() / 2 / CONNECTION_COST
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct ConnectionMemory {
    shared: Arc<ListenerMemory>,
    caller: Caller,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    used: usize,
    reservation: Option<MemoryReservation>,
    /// The part of the reservation that counts for the strangers' share.
    of_strangers: usize,
    is_admitted: bool,
}

impl ConnectionMemory {
    pub(super) fn new(shared: &Arc<ListenerMemory>, caller: Caller) -> Self {
        Self { shared: Arc::clone(shared), caller, held: Mutex::default() }
    }

    /// Holds more bytes. False, with nothing changed, while too little is free.
    #[must_use = "nothing is held if too little is free"]
    pub(super) fn try_hold(&self, bytes: usize) -> bool {
        let mut held = self.held();
        let used = held.used + bytes;
        let fits = self.reserve(&mut held, used);
        if fits {
            held.used = used;
        }
        fits
    }

    pub(super) fn release(&self, bytes: usize) {
        let mut held = self.held();
        held.used -= bytes;
        let wanted = to_reserve(held.used);
        // A step remains, so that one more stream and one less do not ask the budget each time.
        let kept = if wanted == 0 { 0 } else { wanted + STEP };
        if let Some(reservation) = &mut held.reservation
            && reservation.bytes() > kept
        {
            reservation.shrink_to(kept);
            if kept == 0 {
                held.reservation = None;
            }
            let freed = held.of_strangers.saturating_sub(kept);
            held.of_strangers -= freed;
            self.shared.strangers.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    /// Counts bytes of a stranger that the core has reserved. `None` while too little is free.
    pub(super) fn count_reserved(&self, bytes: usize) -> Option<StrangersBytes> {
        let bytes = if self.held().is_admitted { 0 } else { bytes };
        let shared = &self.shared;
        let others = shared.strangers.fetch_add(bytes, Ordering::Relaxed);
        let counted = StrangersBytes { shared: Arc::clone(shared), bytes };
        (others + bytes <= shared.strangers_limit).then_some(counted)
    }

    /// A request of this connection was admitted.
    pub(super) fn admitted(&self) {
        let mut held = self.held();
        held.is_admitted = true;
        let of_strangers = std::mem::take(&mut held.of_strangers);
        self.shared.strangers.fetch_sub(of_strangers, Ordering::Relaxed);
    }

    fn reserve(&self, held: &mut Held, used: usize) -> bool {
        let has = held.reservation.as_ref().map_or(0, MemoryReservation::bytes);
        let more = to_reserve(used).saturating_sub(has);
        if more == 0 {
            return true;
        }
        let shared = &self.shared;
        if !held.is_admitted {
            let others = shared.strangers.fetch_add(more, Ordering::Relaxed);
            if others + more > shared.strangers_limit {
                shared.strangers.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        }
        let fits = match &mut held.reservation {
            Some(reservation) => reservation.try_grow(more),
            none => {
                *none = shared.budget.try_reserve(self.caller, more);
                none.is_some()
            }
        };
        match (fits, held.is_admitted) {
            (true, false) => held.of_strangers += more,
            (false, false) => {
                shared.strangers.fetch_sub(more, Ordering::Relaxed);
            }
            (_, true) => {}
        }
        fits
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        let of_strangers = self.held().of_strangers;
        self.shared.strangers.fetch_sub(of_strangers, Ordering::Relaxed);
    }
}

/// Bytes in the strangers' share, until it is dropped.
#[derive(Debug)]
pub(super) struct StrangersBytes {
    shared: Arc<ListenerMemory>,
    bytes: usize,
}

impl Drop for StrangersBytes {
    fn drop(&mut self) {
        self.shared.strangers.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn to_reserve(used: usize) -> usize {
    used.saturating_sub(FREE).next_multiple_of(STEP)
}

/// What a connection may cost before anything is reserved for it: 21 KB when it is idle (measured),
/// and [`FREE`].
const CONNECTION_COST: usize = 40 << 10;

/// What a connection holds without a reservation.
const FREE: usize = 16 << 10;

const STEP: usize = 16 << 10;

/// Connections without an admitted request hold at most this part of the budget.
const STRANGERS_SHARE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    fn connections<const N: usize>(budget: usize) -> (Arc<MemoryBudget>, [ConnectionMemory; N]) {
        let budget = MemoryBudget::new(budget);
        let shared = ListenerMemory::new(Arc::clone(&budget));
        (budget, std::array::from_fn(|_| ConnectionMemory::new(&shared, Caller::Unknown)))
    }

    #[test]
    fn a_little_is_free_and_the_rest_is_reserved_in_steps_and_given_back() {
        let (budget, [one]) = connections(1024 * KIB);
        assert!(one.try_hold(16 * KIB));
        assert_eq!(budget.used(), 0);
        assert!(one.try_hold(1));
        assert_eq!(budget.used(), 16 * KIB);
        assert!(one.try_hold(40 * KIB));
        assert_eq!(budget.used(), 48 * KIB);
        one.release(40 * KIB);
        assert_eq!(budget.used(), 32 * KIB, "a step more than needed");
        one.release(1);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn strangers_share_an_eighth_and_an_admitted_connection_does_not_count_among_them() {
        let (budget, [one, two, three]) = connections(1024 * KIB);
        assert!(one.try_hold(16 * KIB + 100 * KIB));
        assert!(two.try_hold(16 * KIB), "what is free is always to be had");
        assert!(!two.try_hold(32 * KIB));
        one.admitted();
        assert!(two.try_hold(32 * KIB));
        assert!(one.try_hold(500 * KIB));
        drop((one, two));
        assert_eq!(budget.used(), 0);
        assert!(three.try_hold(16 * KIB + 128 * KIB));
        assert!(!three.try_hold(1));
    }

    #[test]
    fn what_the_core_has_reserved_counts_for_the_strangers_share_only() {
        let (budget, [one, two]) = connections(1024 * KIB);
        let answer = one.count_reserved(100 * KIB).unwrap();
        assert_eq!(budget.used(), 0);
        assert!(two.count_reserved(29 * KIB).is_none());
        assert!(!two.try_hold(16 * KIB + 29 * KIB));
        drop(answer);
        let _answer = two.count_reserved(128 * KIB).unwrap();
        one.admitted();
        assert!(one.count_reserved(500 * KIB).is_some());
    }

    #[test]
    fn no_connection_gets_more_than_the_budget_has() {
        let (_budget, [one]) = connections(256 * KIB);
        one.admitted();
        assert!(one.try_hold(272 * KIB));
        assert!(!one.try_hold(1));
        one.release(16 * KIB);
        assert!(one.try_hold(16 * KIB));
    }
}
