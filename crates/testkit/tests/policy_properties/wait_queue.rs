//! What the queue for concurrency permits guarantees for any sequence of events.

use std::collections::{BTreeMap, BTreeSet};

use code_assist_core::{Caller, KeyDigest, Monotonic, Ticket, WaitQueue};
use proptest::prelude::*;

/// Something that happens to a queue.
#[derive(Debug, Clone)]
enum Event {
    /// The caller with this number joins.
    Join(usize),
    /// The holder or waiter at this position leaves.
    Leave(usize),
    SetShare(usize),
}

/// What the queue has said, kept in the simplest form.
#[derive(Debug, Default)]
struct Seen {
    /// All tickets with their callers, in the order of joining.
    tickets: Vec<(Ticket, usize)>,
    holders: BTreeSet<Ticket>,
    /// For each pair of callers: whether the first has got a permit since the second began to wait for
    /// one that it may have.
    served_since: BTreeMap<(usize, usize), bool>,
}

impl Seen {
    fn held_by(&self, caller: usize) -> usize {
        let holds =
            |(ticket, of): &&(Ticket, usize)| *of == caller && self.holders.contains(ticket);
        self.tickets.iter().filter(holds).count()
    }

    fn first_waiter(&self, caller: usize) -> Option<Ticket> {
        let waits =
            |(ticket, of): &&(Ticket, usize)| *of == caller && !self.holders.contains(ticket);
        self.tickets.iter().find(waits).map(|(ticket, _)| *ticket)
    }

    /// The callers that wait and hold less than their share.
    fn eligible(&self, share: usize) -> BTreeSet<usize> {
        let may =
            |caller: &usize| self.first_waiter(*caller).is_some() && self.held_by(*caller) < share;
        (0..CALLERS).filter(may).collect()
    }

    /// Takes note of a permit, and checks that it is the right one.
    fn granted(&mut self, ticket: Ticket, share: usize) -> Result<(), TestCaseError> {
        let found = self.tickets.iter().find(|(other, _)| *other == ticket);
        let Some(&(_, caller)) = found else {
            return Err(TestCaseError::fail("a permit for a ticket that has left"));
        };
        let eligible = self.eligible(share);
        prop_assert!(eligible.contains(&caller), "the caller holds its share");
        prop_assert_eq!(self.first_waiter(caller), Some(ticket), "first come, first served");
        for other in eligible.into_iter().filter(|other| *other != caller) {
            let twice = self.served_since.insert((caller, other), true);
            prop_assert_ne!(twice, Some(true), "two permits for one caller, none for the other");
        }
        self.holders.insert(ticket);
        self.served_since.retain(|(_, other), _| *other != caller);
        Ok(())
    }

    /// Forgets the waits that have ended.
    fn forget(&mut self, share: usize) {
        let eligible = self.eligible(share);
        self.served_since.retain(|(_, other), _| eligible.contains(other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn permits_are_never_too_many_never_idle_and_given_to_callers_in_turn(
        permits in 0_usize..6,
        share in 1_usize..6,
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut queue = WaitQueue::new(permits, share);
        let mut share = share;
        let mut seen = Seen::default();
        for event in events {
            match event {
                Event::Join(caller) => {
                    let eligible_before = seen.eligible(share);
                    let ticket = queue.join(name(caller), Monotonic(0));
                    seen.tickets.push((ticket, caller));
                    if queue.has_permit(ticket) {
                        prop_assert!(eligible_before.is_empty(), "it went before those who wait");
                        seen.granted(ticket, share)?;
                    }
                }
                Event::Leave(_) if seen.tickets.is_empty() => {}
                Event::Leave(which) => {
                    let (ticket, _) = seen.tickets.remove(which % seen.tickets.len());
                    seen.holders.remove(&ticket);
                    seen.forget(share);
                    if let Some(next) = queue.leave(ticket) {
                        seen.granted(next, share)?;
                    }
                }
                Event::SetShare(to) => {
                    share = to;
                    seen.forget(share);
                    for next in queue.set_share(share) {
                        seen.granted(next, share)?;
                    }
                }
            }
            seen.forget(share);
            prop_assert!(seen.holders.len() <= permits);
            prop_assert_eq!(queue.len(), seen.tickets.len());
            for (ticket, _) in &seen.tickets {
                prop_assert_eq!(queue.has_permit(*ticket), seen.holders.contains(ticket));
            }
            let idle = seen.holders.len() < permits;
            prop_assert!(!idle || seen.eligible(share).is_empty(), "a permit is idle");
            for caller in 0..CALLERS {
                let at_share = share < permits && seen.held_by(caller) >= share;
                prop_assert_eq!(queue.is_at_share(&name(caller)), at_share);
            }
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..CALLERS).prop_map(Event::Join),
        5 => any::<usize>().prop_map(Event::Leave),
        1 => (1_usize..6).prop_map(Event::SetShare),
    ]
}

fn name(caller: usize) -> Caller {
    Caller::Key(KeyDigest::of(&caller.to_string()))
}

const CALLERS: usize = 4;
