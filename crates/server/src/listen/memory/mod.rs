//! What a connection holds for its client, counted in the memory budget.
//!
//! Each connection may hold a little without a reservation, so that small requests are always served. Beyond that
//! it reserves in steps, of one of two shares of the budget: connections of which no request was
//! admitted have one, so that strangers leave memory to others, and all others have the second.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use code_assist_core::{Caller, MemoryBudget, MemoryReservation};

use super::places::Place;

/// The budget, and what connections hold of it.
#[derive(Debug)]
pub(super) struct ListenerMemory {
    budget: Arc<MemoryBudget>,
    holders: Mutex<Holders>,
}

impl ListenerMemory {
    pub(super) fn new(budget: Arc<MemoryBudget>) -> Arc<Self> {
        let holders = Holders {
            strangers: Share::new(budget.limit() / STRANGERS_SHARE),
            admitted: Share::new(budget.limit() / ADMITTED_SHARE),
            all: HashMap::new(),
            next: 0,
        };
        Arc::new(Self { budget, holders: Mutex::new(holders) })
    }

    /// How many connections may be open, so that all of them together hold at most half of the
    /// budget's size without a reservation.
    pub(super) fn most_connections(&self) -> usize {
        self.budget.limit() / 2 / CONNECTION_COST
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connections that hold more than what is free.
#[derive(Debug)]
struct Holders {
    strangers: Share,
    admitted: Share,
    all: HashMap<u64, Holder>,
    next: u64,
}

#[derive(Debug)]
struct Holder {
    /// The address of a stranger, else the caller of the first admitted request.
    caller: Caller,
    is_admitted: bool,
    bytes: usize,
    place: Arc<Place>,
}

/// A part of the budget.
#[derive(Debug)]
struct Share {
    limit: usize,
    used: usize,
    callers: HashMap<Caller, usize>,
}

impl Share {
    fn new(limit: usize) -> Self {
        Self { limit, used: 0, callers: HashMap::new() }
    }

    fn of(&self, caller: Caller) -> usize {
        self.callers.get(&caller).copied().unwrap_or(0)
    }

    fn add(&mut self, caller: Caller, bytes: usize) {
        self.used += bytes;
        *self.callers.entry(caller).or_default() += bytes;
    }

    fn remove(&mut self, caller: Caller, bytes: usize) {
        self.used -= bytes;
        if let Some(its) = self.callers.get_mut(&caller) {
            *its -= bytes;
            if *its == 0 {
                self.callers.remove(&caller);
            }
        }
    }

    /// Another caller that holds more than half.
    fn heaviest_but(&self, caller: Caller) -> Option<Caller> {
        let mut others = self.callers.iter().filter(|(other, _)| **other != caller);
        others.find(|(_, bytes)| **bytes > self.limit / 2).map(|(other, _)| *other)
    }
}

impl Holders {
    fn share(&mut self, is_admitted: bool) -> &mut Share {
        if is_admitted { &mut self.admitted } else { &mut self.strangers }
    }

    /// Counts more bytes of a connection, and closes others where its share is used up. False if there
    /// are none to close. `most` bounds what one caller holds.
    fn grow(&mut self, id: u64, new: impl FnOnce() -> Holder, more: usize, most: usize) -> bool {
        let holder = self.all.entry(id).or_insert_with(new);
        let (caller, is_admitted, wanted) =
            (holder.caller, holder.is_admitted, holder.bytes + more);
        let fits = loop {
            let share = self.share(is_admitted);
            if share.of(caller) + more > most || more > share.limit {
                break false;
            }
            if share.used + more <= share.limit {
                break true;
            }
            let of = share.heaviest_but(caller);
            let closed =
                if is_admitted { self.close_idle(of) } else { self.close_stranger(id, of, wanted) };
            if !closed {
                break false;
            }
        };
        if fits {
            self.share(is_admitted).add(caller, more);
        }
        if let Some(holder) = self.all.get_mut(&id) {
            holder.bytes += if fits { more } else { 0 };
        }
        self.forget_if_empty(id);
        fits
    }

    fn shrink(&mut self, id: u64, less: usize) {
        // A connection that was closed for another one counts no more.
        let Some(holder) = self.all.get_mut(&id) else { return };
        let less = less.min(holder.bytes);
        holder.bytes -= less;
        let (caller, is_admitted) = (holder.caller, holder.is_admitted);
        self.share(is_admitted).remove(caller, less);
        self.forget_if_empty(id);
    }

    fn forget_if_empty(&mut self, id: u64) {
        if self.all.get(&id).is_some_and(|holder| holder.bytes == 0) {
            self.all.remove(&id);
        }
    }

    /// Moves what a connection holds to the share of those that were admitted.
    fn admit(&mut self, id: u64, caller: Caller) {
        let Some(holder) = self.all.get_mut(&id) else { return };
        let (stranger, bytes) = (holder.caller, holder.bytes);
        (holder.caller, holder.is_admitted) = (caller, true);
        self.strangers.remove(stranger, bytes);
        self.admitted.add(caller, bytes);
    }

    /// Closes the stranger that holds most: of one caller; or of all that hold no less than `wanted` or
    /// have had their time to be admitted.
    fn close_stranger(&mut self, but: u64, of: Option<Caller>, wanted: usize) -> bool {
        let strangers = self.all.iter().filter(|(id, holder)| {
            let may_be = match of {
                Some(of) => of == holder.caller,
                None => holder.bytes >= wanted || !holder.place.is_young(),
            };
            **id != but && !holder.is_admitted && may_be
        });
        let largest = strangers.max_by_key(|(_, holder)| holder.bytes).map(|(id, _)| *id);
        let Some(holder) = largest.and_then(|id| self.all.remove(&id)) else { return false };
        self.strangers.remove(holder.caller, holder.bytes);
        holder.place.close_for_memory();
        true
    }

    /// Closes the idle connection that holds most: of one caller if it has any, else of all.
    fn close_idle(&mut self, of: Option<Caller>) -> bool {
        let idle =
            self.all.iter().filter(|(_, holder)| holder.is_admitted && holder.place.is_idle());
        let largest = idle.max_by_key(|(_, holder)| (Some(holder.caller) == of, holder.bytes));
        let Some(id) = largest.map(|(id, _)| *id) else { return false };
        if !self.all.get(&id).is_some_and(|holder| holder.place.close_idle_for_memory()) {
            return false;
        }
        if let Some(holder) = self.all.remove(&id) {
            self.admitted.remove(holder.caller, holder.bytes);
        }
        true
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct ConnectionMemory {
    shared: Arc<ListenerMemory>,
    id: u64,
    address: Caller,
    place: Arc<Place>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    used: usize,
    reservation: Option<MemoryReservation>,
    /// The caller of the first admitted request.
    admitted: Option<Caller>,
}

impl ConnectionMemory {
    pub(super) fn new(shared: &Arc<ListenerMemory>, address: Caller, place: Arc<Place>) -> Self {
        let mut holders = shared.holders();
        holders.next += 1;
        let id = holders.next;
        drop(holders);
        Self { shared: Arc::clone(shared), id, address, place, held: Mutex::default() }
    }

    /// Holds more bytes. False, with nothing changed, while there is no room for them.
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
            let freed = reservation.bytes() - kept;
            reservation.shrink_to(kept);
            if kept == 0 {
                held.reservation = None;
            }
            self.shared.holders().shrink(self.id, freed);
        }
    }

    /// Counts bytes of a stranger that the core has reserved. `None` while there is no room for them.
    pub(super) fn count_reserved(&self, bytes: usize) -> Option<StrangersBytes> {
        let is_admitted = self.held().admitted.is_some();
        let bytes = if is_admitted { 0 } else { bytes };
        let fits = bytes == 0 || self.count(None, bytes);
        fits.then(|| StrangersBytes { shared: Arc::clone(&self.shared), id: self.id, bytes })
    }

    /// A request of this connection was admitted. What the connection holds counts for this caller from
    /// now on, also where it has requests of others.
    pub(super) fn admitted(&self, caller: Caller) {
        let mut held = self.held();
        if held.admitted.is_none() {
            held.admitted = Some(caller);
            self.shared.holders().admit(self.id, caller);
        }
    }

    fn reserve(&self, held: &mut Held, used: usize) -> bool {
        let has = held.reservation.as_ref().map_or(0, MemoryReservation::bytes);
        let more = to_reserve(used).saturating_sub(has);
        if more == 0 {
            return true;
        }
        if !self.count(held.admitted, more) {
            return false;
        }
        let fits = match &mut held.reservation {
            Some(reservation) => reservation.try_grow(more),
            none => {
                *none = self.shared.budget.try_reserve(self.address, more);
                none.is_some()
            }
        };
        if !fits {
            let mut holders = self.shared.holders();
            holders.shrink(self.id, more);
            // Its memory is free soon, for the next one that asks.
            holders.close_idle(None);
        }
        fits
    }

    /// Counts more bytes in the share of this connection.
    fn count(&self, admitted: Option<Caller>, more: usize) -> bool {
        let budget = &self.shared.budget;
        let mut holders = self.shared.holders();
        // Where keys have shares, one key leaves half to the others.
        let has_shares = admitted.is_some() && budget.most_for_one() < budget.limit();
        let most = if has_shares { holders.admitted.limit / 2 } else { usize::MAX };
        let new = || Holder {
            caller: admitted.unwrap_or(self.address),
            is_admitted: admitted.is_some(),
            bytes: 0,
            place: Arc::clone(&self.place),
        };
        holders.grow(self.id, new, more, most)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        self.shared.holders().shrink(self.id, usize::MAX);
    }
}

/// Bytes in the strangers' share, until it is dropped.
#[derive(Debug)]
pub(super) struct StrangersBytes {
    shared: Arc<ListenerMemory>,
    id: u64,
    bytes: usize,
}

impl Drop for StrangersBytes {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.holders().shrink(self.id, self.bytes);
        }
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

/// All others hold at most this part.
const ADMITTED_SHARE: usize = 4;
