//! The line for a place at work: who comes first is served first.

use std::time::Duration;

use crate::time::Monotonic;

/// So many at work, and the others behind them in the order they came.
#[derive(Debug)]
pub struct WaitQueue {
    places: usize,
    last: u64,
    /// Those at work in front, then those who wait, with the time at which each came.
    line: Vec<(Ticket, Monotonic)>,
}

/// A number in the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

impl WaitQueue {
    /// An empty line before so many places.
    pub const fn new(places: usize) -> Self {
        Self { places, last: 0, line: Vec::new() }
    }

    /// From now on there are so many places.
    pub fn set_places(&mut self, places: usize) {
        self.places = places;
    }

    /// The number of whoever comes last. Those who came very long ago will not leave any more: a
    /// Worker's runtime throws work away without telling anybody.
    pub fn join(&mut self, now: Monotonic) -> Ticket {
        self.line.retain(|(_, came)| now.since(*came) < LONGEST);
        self.last += 1;
        let ticket = Ticket(self.last);
        self.line.push((ticket, now));
        ticket
    }

    /// True once it is this one's turn.
    pub fn has_place(&self, ticket: Ticket) -> bool {
        self.line.iter().take(self.places).any(|(at_work, _)| *at_work == ticket)
    }

    /// Gives up a place, or the wait for one.
    pub fn leave(&mut self, ticket: Ticket) {
        self.line.retain(|(other, _)| *other != ticket);
    }

    /// How many are at work or wait.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// True when nobody is there.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }
}

/// Longer than any answer takes.
const LONGEST: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_in_the_order_of_coming() {
        let mut line = WaitQueue::new(2);
        let [first, second, third, fourth] = [(); 4].map(|()| line.join(Monotonic(0)));
        assert!(line.has_place(first) && line.has_place(second) && !line.has_place(third));
        line.leave(third);
        line.leave(first);
        assert!(line.has_place(second) && line.has_place(fourth));
        assert_eq!(line.len(), 2);
    }

    #[test]
    fn a_place_that_nobody_gave_back_is_free_again_after_an_hour() {
        let mut line = WaitQueue::new(1);
        line.join(Monotonic(0));
        let next = line.join(Monotonic(0) + LONGEST);
        assert!(line.has_place(next));
    }
}
