//! The memory budget: how much is held for clients, and by which caller.
//!
//! A reservation is taken before the bytes are read, and is given back when it is dropped. Like
//! [`super::in_flight`], this policy holds a lock: the guard must reach the budget from `drop`.
//!
//! Two rules decide who gets memory that becomes free:
//! - A large reservation waits with a [`MemoryTicket`]: memory that becomes free goes to the oldest
//!   ticket whose caller may have it. Ordinary requests ([`REQUEST_BASE`]) do not wait behind large ones.
//! - A reservation that grows goes before all tickets, since its end sets memory free. But of a caller's
//!   reservations only one may wait to grow, and the others are refused: requests that all hold a part
//!   and wait for more would wait for each other.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
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
    /// The reservations that wait with a ticket, the oldest first.
    tickets: VecDeque<WaitingTicket>,
    last_ticket: u64,
    /// The callers of which a reservation waits to grow; `None` where there are no shares.
    growing: Vec<Option<Caller>>,
}

#[derive(Debug, Clone, Copy)]
struct WaitingTicket {
    number: u64,
    caller: Option<Caller>,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget without shares of which nothing is reserved.
    pub fn new(limit: usize) -> Arc<Self> {
        let held = Held {
            share: None,
            used: 0,
            callers: HashMap::new(),
            tickets: VecDeque::new(),
            last_ticket: 0,
            growing: Vec::new(),
        };
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

    /// True while too little is free for one more ordinary request.
    pub fn is_exhausted(&self) -> bool {
        self.limit.saturating_sub(self.used()) < REQUEST_BASE
    }

    /// The most bytes that one caller may hold.
    pub fn most_for_one(&self) -> usize {
        self.held().share.unwrap_or(self.limit)
    }

    /// Reserves bytes for a caller, or returns `None` while too little is free.
    pub fn try_reserve(
        self: &Arc<Self>,
        caller: Caller,
        bytes: usize,
    ) -> Option<MemoryReservation> {
        self.reserve_within(self.limit, caller, bytes)
    }

    /// Reserves bytes for an answer of the proxy's own, such as its metrics. A sixteenth beyond the
    /// limit is kept for these, so that they can be read while clients' requests fill the budget.
    pub fn try_reserve_own(
        self: &Arc<Self>,
        caller: Caller,
        bytes: usize,
    ) -> Option<MemoryReservation> {
        self.reserve_within(self.limit + self.limit / 16, caller, bytes)
    }

    /// Begins to wait for bytes. Returns `None` if there are too many that wait.
    pub fn wait(self: &Arc<Self>, caller: Caller, bytes: usize) -> Option<MemoryTicket> {
        let mut held = self.held();
        if held.tickets.len() >= MOST_TICKETS {
            return None;
        }
        held.last_ticket += 1;
        let caller = held.share.is_some().then_some(caller);
        let waiting = WaitingTicket { number: held.last_ticket, caller, bytes };
        held.tickets.push_back(waiting);
        drop(held);
        Some(MemoryTicket { budget: Arc::clone(self), waiting })
    }

    fn reserve_within(
        self: &Arc<Self>,
        limit: usize,
        caller: Caller,
        bytes: usize,
    ) -> Option<MemoryReservation> {
        let mut held = self.held();
        let caller = held.share.is_some().then_some(caller);
        let claimed = if bytes > REQUEST_BASE { held.claimed(limit, u64::MAX) } else { 0 };
        if !held.fits(limit, caller, bytes, claimed) {
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
    /// What the tickets before this one may take as soon as it is free.
    fn claimed(&self, limit: usize, number: u64) -> usize {
        let before = self.tickets.iter().take_while(|ticket| ticket.number < number);
        // A ticket whose caller has its share already has no claim.
        let may_have =
            before.filter(|it| self.fits(usize::MAX, it.caller, it.bytes, 0) && it.bytes <= limit);
        may_have.fold(0, |sum, ticket| sum.saturating_add(ticket.bytes))
    }

    /// True if so many bytes are free for a caller besides those that others have `claimed`.
    fn fits(&self, limit: usize, caller: Option<Caller>, bytes: usize, claimed: usize) -> bool {
        let within =
            |used: usize, limit: usize| used.checked_add(bytes).is_some_and(|it| it <= limit);
        within(self.used.saturating_add(claimed), limit)
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

    /// Reserves more bytes. False, with nothing changed, while too little is free.
    #[must_use = "nothing is reserved if too little is free"]
    pub fn try_grow(&mut self, more: usize) -> bool {
        let mut held = self.budget.held();
        let fits = held.fits(self.budget.limit, self.caller, more, 0);
        if fits {
            held.add(self.caller, more);
            self.bytes += more;
        }
        fits
    }

    /// Begins to wait for more bytes. Returns `None` while another reservation of the same caller waits
    /// for more.
    pub fn wait_to_grow(&self) -> Option<GrowthWait> {
        let mut held = self.budget.held();
        if held.growing.contains(&self.caller) {
            return None;
        }
        held.growing.push(self.caller);
        drop(held);
        Some(GrowthWait { budget: Arc::clone(&self.budget), caller: self.caller })
    }

    /// The most bytes that this reservation may ever have.
    pub fn most(&self) -> usize {
        self.budget.most_for_one()
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

/// The position of a large reservation among those that wait. Dropping the ticket ends the wait.
#[derive(Debug)]
pub struct MemoryTicket {
    budget: Arc<MemoryBudget>,
    waiting: WaitingTicket,
}

impl MemoryTicket {
    /// Reserves the bytes, or returns `None` while too little is free for them and for the tickets before.
    pub fn try_take(&self) -> Option<MemoryReservation> {
        let WaitingTicket { number, caller, bytes } = self.waiting;
        let mut held = self.budget.held();
        let claimed = held.claimed(self.budget.limit, number);
        if !held.fits(self.budget.limit, caller, bytes, claimed) {
            return None;
        }
        held.add(caller, bytes);
        drop(held);
        Some(MemoryReservation { budget: Arc::clone(&self.budget), caller, bytes })
    }
}

impl Drop for MemoryTicket {
    fn drop(&mut self) {
        self.budget.held().tickets.retain(|other| other.number != self.waiting.number);
    }
}

/// The wait of a reservation that grows. Dropping it ends the wait.
#[derive(Debug)]
#[must_use = "the wait ends when it is dropped"]
pub struct GrowthWait {
    budget: Arc<MemoryBudget>,
    caller: Option<Caller>,
}

impl Drop for GrowthWait {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        if let Some(at) = held.growing.iter().position(|caller| *caller == self.caller) {
            held.growing.swap_remove(at);
        }
    }
}

/// What a request that asks upstream reserves besides its body: its head, the buffers of its two
/// connections, and the part of its answer that the client has not taken yet. At most that much was
/// measured of streams that are not read (`docs/RESILIENCE.md`).
pub const REQUEST_BASE: usize = 192 << 10;

/// How much of an answer [`REQUEST_BASE`] covers.
pub const SMALL_ANSWER: usize = 64 << 10;

/// The most reservations that wait with a ticket, so that their order stays cheap to keep.
const MOST_TICKETS: usize = 1000;
