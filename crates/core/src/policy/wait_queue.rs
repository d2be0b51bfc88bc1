//! The queue for concurrency permits, first come first served.

use std::time::Duration;

use crate::time::Monotonic;

/// The holders of permits, and the waiters behind them in the order in which they came.
#[derive(Debug)]
pub struct WaitQueue {
    permits: usize,
    last: u64,
    /// The holders in front, then the waiters, each with the time at which it joined.
    tickets: Vec<(Ticket, Monotonic)>,
}

/// A position in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a ticket stays in the queue until it leaves"]
pub struct Ticket(u64);

impl WaitQueue {
    /// An empty queue for this number of permits.
    pub const fn new(permits: usize) -> Self {
        Self { permits, last: 0, tickets: Vec::new() }
    }

    /// Changes the number of permits.
    pub fn set_permits(&mut self, permits: usize) {
        self.permits = permits;
    }

    /// Adds a ticket at the end. Tickets that joined an hour ago are dropped: a Worker's runtime
    /// discards work without running its destructors, so such a ticket may never leave.
    pub fn join(&mut self, now: Monotonic) -> Ticket {
        self.tickets.retain(|(_, joined)| now.since(*joined) < LONGEST);
        self.last += 1;
        let ticket = Ticket(self.last);
        self.tickets.push((ticket, now));
        ticket
    }

    /// True once the ticket holds a permit.
    pub fn has_permit(&self, ticket: Ticket) -> bool {
        self.tickets.iter().take(self.permits).any(|(holder, _)| *holder == ticket)
    }

    /// Removes a ticket, whether it holds a permit or waits for one.
    pub fn leave(&mut self, ticket: Ticket) {
        self.tickets.retain(|(other, _)| *other != ticket);
    }

    /// The number of holders and waiters.
    pub fn len(&self) -> usize {
        self.tickets.len()
    }

    /// True when there are no holders and no waiters.
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }
}

/// Longer than any answer takes.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_given_in_the_order_of_joining() {
        let mut queue = WaitQueue::new(2);
        let [first, second, third, fourth] = [(); 4].map(|()| queue.join(Monotonic(0)));
        assert!(queue.has_permit(first) && queue.has_permit(second) && !queue.has_permit(third));
        queue.leave(third);
        queue.leave(first);
        assert!(queue.has_permit(second) && queue.has_permit(fourth));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn a_permit_that_is_never_given_back_is_free_after_an_hour() {
        let mut queue = WaitQueue::new(1);
        let _ = queue.join(Monotonic(0));
        let next = queue.join(Monotonic(0) + LONGEST);
        assert!(queue.has_permit(next));
    }
}
