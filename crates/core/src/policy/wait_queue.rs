//! The queue for concurrency permits: fair among callers, first come first served for each of them.
//!
//! Callers that wait get permits one after the other, however many requests each of them has. A caller
//! that holds its share waits although permits are free, and delays no other caller.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::caller::Caller;
use crate::time::Monotonic;

/// The holders of permits and the requests that wait for one. Every operation takes time in the
/// logarithm of their number.
///
/// A permit is never idle while a caller waits that may have one more.
///
/// ```
/// # #[cfg(feature = "internals")] {
/// use code_assist_core::{Caller, KeyDigest, Monotonic, WaitQueue};
///
/// let (ann, bob) = (Caller::Key(KeyDigest::of("ann")), Caller::Key(KeyDigest::of("bob")));
/// let mut queue = WaitQueue::new(2, 2);
/// let [first, _, third, fourth] = [(); 4].map(|()| queue.join(ann, Monotonic(0)));
/// let last = queue.join(bob, Monotonic(0));
/// assert_eq!(queue.leave(first), Some(last), "ann held all permits, and bob none");
/// assert_eq!(queue.leave(last), Some(third));
/// assert_eq!(queue.leave(third), Some(fourth));
/// # }
/// ```
#[derive(Debug)]
pub struct WaitQueue {
    permits: usize,
    /// The most permits that one caller holds.
    share: usize,
    /// The permits that are held.
    held: usize,
    /// The last number that a ticket or a turn got.
    last: u64,
    tickets: BTreeMap<Ticket, TicketState>,
    /// The callers that have a ticket.
    callers: BTreeMap<Caller, CallerState>,
    /// The tickets that wait, by caller and then in the order of joining.
    waiting: BTreeSet<(Caller, Ticket)>,
    /// The callers that wait and hold less than their share, in the order in which they get a permit.
    turns: BTreeMap<u64, Caller>,
}

/// A position in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use = "a ticket stays in the queue until it leaves"]
pub struct Ticket(u64);

#[derive(Debug)]
struct TicketState {
    caller: Caller,
    joined: Monotonic,
    has_permit: bool,
}

#[derive(Debug, Default)]
struct CallerState {
    held: usize,
    waiting: usize,
    /// The key in `turns`.
    turn: Option<u64>,
}

impl WaitQueue {
    /// An empty queue for this number of permits, of which a caller holds at most `share`.
    pub const fn new(permits: usize, share: usize) -> Self {
        Self {
            permits,
            share,
            held: 0,
            last: 0,
            tickets: BTreeMap::new(),
            callers: BTreeMap::new(),
            waiting: BTreeSet::new(),
            turns: BTreeMap::new(),
        }
    }

    /// Changes the number of permits and the share, and returns the tickets that got a permit by it.
    pub fn set_limits(&mut self, permits: usize, share: usize) -> Vec<Ticket> {
        (self.permits, self.share) = (permits, share);
        let callers: Vec<Caller> = self.callers.keys().copied().collect();
        for caller in callers {
            self.update_turn(caller);
        }
        std::iter::from_fn(|| self.grant_next()).collect()
    }

    /// Changes the share, and returns the tickets that got a permit by it.
    pub fn set_share(&mut self, share: usize) -> Vec<Ticket> {
        self.set_limits(self.permits, share)
    }

    /// Adds a ticket. It has a permit at once if one is free and the caller holds less than its share.
    pub fn join(&mut self, caller: Caller, now: Monotonic) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        let state = self.callers.entry(caller).or_default();
        // With a permit free, no ticket waits that may have it.
        let has_permit = self.held < self.permits && state.held < self.share;
        self.tickets.insert(ticket, TicketState { caller, joined: now, has_permit });
        if has_permit {
            self.held += 1;
            state.held += 1;
        } else {
            state.waiting += 1;
            self.waiting.insert((caller, ticket));
            self.update_turn(caller);
        }
        ticket
    }

    /// True once the ticket holds a permit.
    pub fn has_permit(&self, ticket: Ticket) -> bool {
        self.tickets.get(&ticket).is_some_and(|state| state.has_permit)
    }

    /// Removes a ticket, whether it holds a permit or waits for one. Returns the ticket that got the
    /// permit.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Ticket> {
        let TicketState { caller, has_permit, .. } = self.tickets.remove(&ticket)?;
        let state = self.callers.get_mut(&caller)?;
        if has_permit {
            state.held -= 1;
            self.held -= 1;
        } else {
            state.waiting -= 1;
            self.waiting.remove(&(caller, ticket));
        }
        self.update_turn(caller);
        self.grant_next()
    }

    /// Removes tickets that joined an hour ago. A Worker's runtime discards work without running its
    /// destructors, so that such a ticket may never leave. Elsewhere a ticket always leaves, and a
    /// stream may take longer.
    pub fn remove_lost(&mut self, now: Monotonic) {
        while let Some((&oldest, state)) = self.tickets.first_key_value()
            && now.since(state.joined) >= LONGEST
        {
            self.leave(oldest);
        }
    }

    /// True when a caller holds its share while other callers may have more permits.
    pub fn is_at_share(&self, caller: &Caller) -> bool {
        let held = self.callers.get(caller).map_or(0, |state| state.held);
        self.share < self.permits && held >= self.share
    }

    /// True while a ticket waits.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The number of holders and waiters.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// True when there are no holders and no waiters.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Gives a free permit to the caller whose turn it is. A caller that may have a further one comes
    /// last then.
    fn grant_next(&mut self) -> Option<Ticket> {
        if self.held >= self.permits {
            return None;
        }
        let (_, caller) = self.turns.pop_first()?;
        let next = *self.waiting.range((caller, Ticket(0))..).next()?;
        let (_, ticket) = next;
        self.waiting.remove(&next);
        self.tickets.get_mut(&ticket)?.has_permit = true;
        self.held += 1;
        let state = self.callers.get_mut(&caller)?;
        state.turn = None;
        state.waiting -= 1;
        state.held += 1;
        self.update_turn(caller);
        debug_assert!(self.held <= self.permits, "more permits are held than there are");
        Some(ticket)
    }

    /// Gives the caller a turn if it may have one more permit and has no turn, or takes its turn away.
    /// Forgets a caller without a ticket.
    fn update_turn(&mut self, caller: Caller) {
        let Some(state) = self.callers.get_mut(&caller) else { return };
        let may_have_one = state.waiting > 0 && state.held < self.share;
        match state.turn {
            None if may_have_one => {
                self.last += 1;
                state.turn = Some(self.last);
                self.turns.insert(self.last, caller);
            }
            Some(turn) if !may_have_one => {
                state.turn = None;
                self.turns.remove(&turn);
            }
            _ => {}
        }
        if state.held == 0 && state.waiting == 0 {
            self.callers.remove(&caller);
        }
    }
}

/// Longer than any answer takes.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::KeyDigest;

    const NOON: Monotonic = Monotonic(0);

    fn caller(name: &str) -> Caller {
        Caller::Key(KeyDigest::of(name))
    }

    #[test]
    fn a_caller_gets_its_permits_in_the_order_of_joining() {
        let mut queue = WaitQueue::new(2, 2);
        let [first, second, third, fourth] = [(); 4].map(|()| queue.join(caller("ann"), NOON));
        assert!(queue.has_permit(first) && queue.has_permit(second) && !queue.has_permit(third));
        assert_eq!(queue.leave(third), None, "it held no permit");
        assert_eq!(queue.leave(first), Some(fourth));
        assert!(queue.has_permit(second) && queue.has_permit(fourth));
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.leave(first), None, "a ticket leaves once");
    }

    #[test]
    fn callers_that_wait_get_permits_in_turn_however_many_requests_each_has() {
        let mut queue = WaitQueue::new(1, 1);
        let mut holder = queue.join(caller("ann"), NOON);
        let names = ["ann", "ann", "ann", "bob", "bob", "eve"];
        let tickets = names.map(|name| (queue.join(caller(name), NOON), name));
        let mut order = Vec::new();
        while let Some(next) = queue.leave(holder) {
            order.extend(tickets.iter().filter(|(ticket, _)| *ticket == next).map(|it| it.1));
            holder = next;
        }
        assert_eq!(order, ["bob", "eve", "ann", "bob", "ann", "ann"]);
        assert!(queue.is_empty() && queue.callers.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn a_caller_at_its_share_waits_although_permits_are_free_and_delays_no_other_caller() {
        let mut queue = WaitQueue::new(4, 2);
        let [first, second, third] = [(); 3].map(|()| queue.join(caller("ann"), NOON));
        assert!(queue.has_permit(second) && !queue.has_permit(third));
        assert!(queue.is_at_share(&caller("ann")) && !queue.is_at_share(&caller("bob")));
        let bob = queue.join(caller("bob"), NOON);
        assert!(queue.has_permit(bob), "bob came after a request of ann's that waits");
        assert_eq!(queue.leave(bob), None, "the permit is not ann's");
        assert_eq!(queue.leave(first), Some(third));
    }

    #[test]
    fn a_greater_share_lets_waiting_requests_go_on() {
        let mut queue = WaitQueue::new(4, 1);
        let [_, second, third] = [(); 3].map(|()| queue.join(caller("ann"), NOON));
        assert_eq!(queue.set_share(2), [second]);
        assert_eq!(queue.set_share(1), []);
        assert_eq!(queue.leave(second), None, "the caller still holds its share");
        assert_eq!(queue.set_limits(1, 4), []);
        assert_eq!(queue.set_limits(2, 4), [third]);
    }

    #[test]
    fn a_permit_that_is_never_given_back_is_free_after_an_hour() {
        let mut queue = WaitQueue::new(1, 1);
        let _ = queue.join(caller("ann"), NOON);
        let next = queue.join(caller("bob"), NOON + LONGEST / 2);
        queue.remove_lost(NOON + LONGEST / 2);
        assert!(!queue.has_permit(next));
        queue.remove_lost(NOON + LONGEST);
        assert!(queue.has_permit(next));
        assert_eq!(queue.len(), 1);
    }
}
