//! The memory budget: how much is held for clients, and by which caller.
//!
//! A reservation is taken before the bytes are read, and is given back when it is dropped. Like
//! [`super::in_flight`], this policy holds a lock: the guard must reach the budget from `drop`.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::caller::Caller;

/// `MEMORY_BUDGET_BYTES`, and what is reserved of it.
///
/// Its own memory is bounded by the number of reservations: only callers that hold something are known.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: usize,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    /// The most that one caller may hold; `None` where there are no shares.
    share: Option<usize>,
    /// The sum of all reservations.
    used: usize,
    /// What each caller holds. Empty where there are no shares, so that nothing is paid for it there.
    callers: HashMap<Caller, usize>,
}

impl MemoryBudget {
    /// A budget without shares of which nothing is reserved.
    pub fn new(limit: usize) -> Arc<Self> {
        let held = Held { share: None, used: 0, callers: HashMap::new() };
        Arc::new(Self { limit, held: Mutex::new(held) })
    }

    /// Sets the callers' share by the number of `PROXY_API_KEYS`: half of the limit where there are
    /// several, so that one key leaves memory to the others. Reservations that exist stay.
    pub fn set_keys(&self, keys: usize) {
        self.held().share = (keys > 1).then_some(self.limit / 2);
    }

    /// The budget in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many bytes are reserved.
    pub fn used(&self) -> usize {
        self.held().used
    }

    /// True while there is no room for one more ordinary request.
    pub fn is_exhausted(&self) -> bool {
        self.limit.saturating_sub(self.used()) < REQUEST_BASE
    }

    /// False if a caller will never get so many bytes, however long it waits.
    pub fn could_ever_fit(&self, bytes: usize) -> bool {
        bytes <= self.held().share.unwrap_or(self.limit)
    }

    /// Reserves bytes for a caller, or returns `None` while there is no room for them.
    pub fn try_reserve(
        self: &Arc<Self>,
        caller: Caller,
        bytes: usize,
    ) -> Option<MemoryReservation> {
        let mut held = self.held();
        let caller = held.share.is_some().then_some(caller);
        if !held.fits(self.limit, caller, bytes) {
            return None;
        }
        held.add(caller, bytes);
        drop(held);
        Some(MemoryReservation { budget: Arc::clone(self), caller, bytes })
    }

    // Policies do not import `sync`.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn fits(&self, limit: usize, caller: Option<Caller>, bytes: usize) -> bool {
        let within =
            |used: usize, limit: usize| used.checked_add(bytes).is_some_and(|it| it <= limit);
        within(self.used, limit)
            && match (caller, self.share) {
                (Some(caller), Some(share)) => {
                    within(self.callers.get(&caller).copied().unwrap_or(0), share)
                }
                _ => true,
            }
    }

    fn add(&mut self, caller: Option<Caller>, bytes: usize) {
        self.used += bytes;
        if let Some(caller) = caller {
            *self.callers.entry(caller).or_default() += bytes;
        }
    }

    fn remove(&mut self, caller: Option<Caller>, bytes: usize) {
        self.used -= bytes;
        if let Some(caller) = caller
            && let Some(its) = self.callers.get_mut(&caller)
        {
            *its -= bytes;
            if *its == 0 {
                self.callers.remove(&caller);
            }
        }
    }
}

/// Bytes that are held for a caller. Dropping the reservation gives them back.
#[derive(Debug)]
#[must_use = "the bytes are given back when the reservation is dropped"]
pub struct MemoryReservation {
    budget: Arc<MemoryBudget>,
    /// `None` if there were no shares when it was made: then it counts for no caller until its end.
    caller: Option<Caller>,
    bytes: usize,
}

impl MemoryReservation {
    /// How many bytes are reserved.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reserves more bytes. False, with nothing changed, while there is no room for them.
    #[must_use = "without room nothing is reserved"]
    pub fn try_grow(&mut self, more: usize) -> bool {
        let mut held = self.budget.held();
        let fits = held.fits(self.budget.limit, self.caller, more);
        if fits {
            held.add(self.caller, more);
            self.bytes += more;
        }
        fits
    }

    /// Gives back all but `bytes`. A reservation that is smaller stays as it is.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.budget.held().remove(self.caller, self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// What a request that asks upstream reserves besides its body: its head, the buffers of its two
/// connections, and the part of its answer that the client has not taken yet.
pub const REQUEST_BASE: usize = 128 << 10;
