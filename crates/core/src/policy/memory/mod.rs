//! The memory budget: how much is held for clients, and by which caller.
//!
//! A reservation is taken before the bytes are read, and is given back when it is dropped. Like
//! [`super::in_flight`], this policy holds a lock: the guard must reach the budget from `drop`.
//!
//! Two rules decide who gets memory that becomes free:
//! - A large reservation waits with a [`MemoryTicket`]: memory that becomes free goes to the oldest
//!   ticket whose caller may have it. Ordinary requests ([`REQUEST_BASE`]) do not wait behind large ones.
//! - A reservation that grows goes before all tickets, since its end sets memory free. It may wait if it
//!   fits besides all that reservations hold that wait to grow; else it is refused, since requests that
//!   hold a part and wait for more would wait for each other. So the one that began to wait last can
//!   always have its memory when those have ended that do not wait.
//!
//! What reservations give back stays with the thread for the next ones ([`Credits`]), up to a quarter of the limit:
//! requests end and begin in bursts. It is taken back before anything is refused.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::caller::Caller;
use crate::shards::{Credits, Replica, Replicas};
use crate::sync::lock;

/// `MEMORY_BUDGET_BYTES`, and what is reserved of it.
///
/// Its own memory is bounded by the number of reservations: only callers that hold something are known.
#[derive(Debug)]
pub struct MemoryBudget(Replicas<BudgetState>);

/// What the budget shares with its reservations.
#[derive(Debug)]
struct BudgetState {
    limit: usize,
    held: Mutex<Held>,
    /// What reservations have given back to the next ones. It counts as used, until a reservation that does not
    /// fit otherwise takes it back.
    credits: Credits,
    /// [`MemoryBudget::most_for_one`]; less than the limit where there are shares.
    most_for_one: AtomicUsize,
    /// How many tickets wait. A reservation must not overtake them with credit.
    waiting: AtomicUsize,
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
    /// What the reservations hold that wait to grow, by caller; `None` where there are no shares.
    growing: HashMap<Option<Caller>, usize>,
}

#[derive(Debug, Clone, Copy)]
struct WaitingTicket {
    number: u64,
    owner: Caller,
    /// The owner where there are shares.
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
            growing: HashMap::new(),
        };
        let state = BudgetState {
            limit,
            held: Mutex::new(held),
            credits: Credits::new(limit / 4),
            most_for_one: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
        };
        Arc::new(Self(Replicas::of(&Arc::new(state))))
    }

    /// Sets the callers' share by the number of `PROXY_API_KEYS`: half of the limit where there are
    /// several, so that one key leaves memory to the others. Reservations that exist stay.
    pub fn set_keys(&self, keys: usize) {
        let state = self.0.own();
        let mut held = state.held();
        held.share = (keys > 1).then_some(state.limit / 2);
        state.most_for_one.store(held.share.unwrap_or(state.limit), Relaxed);
    }

    /// The budget in bytes.
    pub fn limit(&self) -> usize {
        self.0.own().limit
    }

    /// How many bytes are reserved.
    pub fn used(&self) -> usize {
        let state = self.0.own();
        let held = state.held();
        held.used.saturating_sub(state.credits.sum())
    }

    /// True while too little is free for one more ordinary request.
    pub fn is_exhausted(&self) -> bool {
        self.limit().saturating_sub(self.used()) < REQUEST_BASE
    }

    /// The most bytes that one caller may hold.
    pub fn most_for_one(&self) -> usize {
        self.0.own().most_for_one.load(Relaxed)
    }

    /// Reserves bytes for a caller, or returns `None` while too little is free.
    pub fn try_reserve(&self, caller: Caller, bytes: usize) -> Option<MemoryReservation> {
        self.reserve_within(self.limit(), caller, bytes)
    }

    /// Reserves bytes for an answer of the proxy's own, such as its metrics. A sixteenth beyond the
    /// limit is kept for these, so that they can be read while clients' requests fill the budget.
    pub fn try_reserve_own(&self, caller: Caller, bytes: usize) -> Option<MemoryReservation> {
        let limit = self.limit() + self.limit() / 16;
        let mut reservation = self.reserve_within(limit, caller, bytes)?;
        reservation.is_own = true;
        Some(reservation)
    }

    /// Begins to wait for bytes. Returns `None` if too many wait, of this caller or in all.
    pub fn wait(&self, owner: Caller, bytes: usize) -> Option<MemoryTicket> {
        let state = self.0.own();
        let mut held = state.held();
        let all = held.tickets.len();
        // One caller has half of the tickets, or an eighth where that many are taken.
        let is_of_many = || {
            held.tickets.iter().filter(|ticket| ticket.owner == owner).count() >= MOST_TICKETS / 8
        };
        if all >= MOST_TICKETS || (all >= MOST_TICKETS / 2 && is_of_many()) {
            return None;
        }
        held.last_ticket += 1;
        let caller = held.share.is_some().then_some(owner);
        let waiting = WaitingTicket { number: held.last_ticket, owner, caller, bytes };
        held.tickets.push_back(waiting);
        state.waiting.store(held.tickets.len(), Relaxed);
        Some(MemoryTicket { budget: Arc::clone(state), waiting })
    }

    fn reserve_within(
        &self,
        limit: usize,
        caller: Caller,
        bytes: usize,
    ) -> Option<MemoryReservation> {
        let state = self.0.own();
        let caller = if state.try_take_credit(bytes) {
            None
        } else {
            let mut held = state.held();
            let caller = held.share.is_some().then_some(caller);
            let fits = |held: &Held| match bytes > REQUEST_BASE {
                true => held.fits_behind(u64::MAX, limit, caller, bytes),
                false => held.fits(limit, caller, bytes),
            };
            if !state.fits_at_last(&mut held, fits) {
                return None;
            }
            held.add(caller, bytes);
            caller
        };
        Some(MemoryReservation { budget: Arc::clone(state), caller, is_own: false, bytes })
    }

    #[cfg(test)]
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.own().held()
    }
}

impl BudgetState {
    /// Takes credit. Only while no ticket waits and there are no shares: a share must know what each caller holds.
    fn try_take_credit(&self, bytes: usize) -> bool {
        self.waiting.load(Relaxed) == 0
            && self.most_for_one.load(Relaxed) == self.limit
            && self.credits.take(bytes)
    }

    /// True if it fits, if need be once all credit is taken back.
    fn fits_at_last(&self, held: &mut Held, fits: impl Fn(&Held) -> bool) -> bool {
        if fits(held) {
            return true;
        }
        let credit = self.credits.take_all();
        held.used -= credit;
        credit > 0 && fits(held)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }
}

impl Held {
    /// True if so many bytes are free for a caller besides what the tickets before `number` may take.
    fn fits_behind(&self, number: u64, limit: usize, caller: Option<Caller>, bytes: usize) -> bool {
        // Usually the budget is full while tickets wait, and they need not be looked at.
        if !self.fits(limit, caller, bytes) {
            return false;
        }
        let mut used = self.used;
        // What each caller holds and claims. A ticket that its caller's share keeps out has no claim.
        let mut of_callers: HashMap<Caller, usize> = HashMap::new();
        for ticket in self.tickets.iter().take_while(|ticket| ticket.number < number) {
            if ticket.bytes > limit {
                continue;
            }
            if let (Some(caller), Some(share)) = (ticket.caller, self.share) {
                let its = of_callers.entry(caller).or_insert_with(|| self.of_caller(caller));
                if !is_within(*its, ticket.bytes, share) {
                    continue;
                }
                *its += ticket.bytes;
            }
            used = used.saturating_add(ticket.bytes);
            if !is_within(used, bytes, limit) {
                return false;
            }
        }
        true
    }

    /// True if so many bytes are free for a caller.
    fn fits(&self, limit: usize, caller: Option<Caller>, bytes: usize) -> bool {
        is_within(self.used, bytes, limit)
            && match (caller, self.share) {
                (Some(caller), Some(share)) => is_within(self.of_caller(caller), bytes, share),
                _ => true,
            }
    }

    /// What a caller holds.
    fn of_caller(&self, caller: Caller) -> usize {
        self.callers.get(&caller).copied().unwrap_or(0)
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

/// True if `more` bytes beside those `used` are within the limit.
fn is_within(used: usize, more: usize, limit: usize) -> bool {
    used.checked_add(more).is_some_and(|sum| sum <= limit)
}

/// Bytes that are held for a caller. Dropping the reservation gives them back.
#[derive(Debug)]
#[must_use = "the bytes are given back when the reservation is dropped"]
pub struct MemoryReservation {
    budget: Replica<BudgetState>,
    /// `None` if there were no shares when it was made: then it counts for no caller until its end.
    caller: Option<Caller>,
    /// It may be beyond the limit: a client's reservation must not get its bytes as credit.
    is_own: bool,
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
        let (limit, caller) = (self.budget.limit, self.caller);
        let fits = self.budget.fits_at_last(&mut held, |held| held.fits(limit, caller, more));
        if fits {
            held.add(caller, more);
            self.bytes += more;
        }
        fits
    }

    /// Begins to wait for more bytes. Returns `None` if it might wait for reservations that wait to grow
    /// themselves.
    pub fn wait_to_grow(&self, more: usize) -> Option<GrowthWait> {
        let needed = self.bytes.saturating_add(more);
        let mut held = self.budget.held();
        let of_all = held.growing.values().sum();
        let of_caller = held.growing.get(&self.caller).copied().unwrap_or(0);
        let share = held.share.filter(|_| self.caller.is_some()).unwrap_or(self.budget.limit);
        if !is_within(of_all, needed, self.budget.limit) || !is_within(of_caller, needed, share) {
            return None;
        }
        *held.growing.entry(self.caller).or_default() += self.bytes;
        drop(held);
        let (budget, caller) = (Arc::clone(&self.budget), self.caller);
        Some(GrowthWait { budget, caller, bytes: self.bytes })
    }

    /// The most bytes that this reservation may ever have.
    pub fn most(&self) -> usize {
        self.budget.most_for_one.load(Relaxed)
    }

    /// Gives back all but `bytes`. A reservation that is smaller stays as it is.
    pub fn shrink_to(&mut self, bytes: usize) {
        let Some(less @ 1..) = self.bytes.checked_sub(bytes) else { return };
        // Without a ticket that waits, the next request of this thread probably needs as much.
        let is_kept = self.caller.is_none()
            && !self.is_own
            && self.budget.waiting.load(Relaxed) == 0
            && self.budget.credits.give(less);
        if !is_kept {
            self.budget.held().remove(self.caller, less);
        }
        self.bytes = bytes;
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
    budget: Replica<BudgetState>,
    waiting: WaitingTicket,
}

impl MemoryTicket {
    /// Reserves the bytes, or returns `None` while too little is free for them and for the tickets before.
    pub fn try_take(&self) -> Option<MemoryReservation> {
        let WaitingTicket { number, caller, bytes, .. } = self.waiting;
        let mut held = self.budget.held();
        let limit = self.budget.limit;
        let fits = |held: &Held| held.fits_behind(number, limit, caller, bytes);
        if !self.budget.fits_at_last(&mut held, fits) {
            return None;
        }
        held.add(caller, bytes);
        drop(held);
        let budget = Arc::clone(&self.budget);
        Some(MemoryReservation { budget, caller, is_own: false, bytes })
    }
}

impl Drop for MemoryTicket {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        held.tickets.retain(|other| other.number != self.waiting.number);
        self.budget.waiting.store(held.tickets.len(), Relaxed);
    }
}

/// The wait of a reservation that grows. Dropping it ends the wait.
#[derive(Debug)]
#[must_use = "the wait ends when it is dropped"]
pub struct GrowthWait {
    budget: Replica<BudgetState>,
    caller: Option<Caller>,
    /// What its reservation held when the wait began.
    bytes: usize,
}

impl Drop for GrowthWait {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        if let Some(its) = held.growing.get_mut(&self.caller) {
            *its -= self.bytes;
            if *its == 0 {
                held.growing.remove(&self.caller);
            }
        }
    }
}

/// What a request that asks upstream reserves besides its body: its head, the buffers of its two
/// connections, and the part of its answer that the client has not taken yet. At most that much was
/// measured of streams that are not read (`docs/OPERATING.md`).
pub const REQUEST_BASE: usize = 192 << 10;

/// How much of an answer [`REQUEST_BASE`] covers.
pub const SMALL_ANSWER: usize = 64 << 10;

/// The most reservations that wait with a ticket, so that their order stays cheap to keep.
const MOST_TICKETS: usize = 1000;
