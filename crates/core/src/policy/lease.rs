//! The right to do a piece of work that must be done once, however many want it.

use std::time::Duration;

use crate::time::Monotonic;

/// Proof that its holder is the one who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    serial: u64,
}

/// Hands out one lease at a time. A lease that is not settled in time is void, so that work which
/// was lost (a dropped task, a dead isolate) is taken up by somebody else.
#[derive(Debug, Default)]
pub struct Leases {
    serial: u64,
    held_until: Option<Monotonic>,
}

impl Leases {
    /// A lease for `how_long`, unless one is out.
    pub fn take(&mut self, now: Monotonic, how_long: Duration) -> Option<Lease> {
        if self.out(now) {
            return None;
        }
        self.serial += 1;
        self.held_until = Some(now + how_long);
        Some(Lease { serial: self.serial })
    }

    /// True while somebody works.
    pub fn out(&self, now: Monotonic) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Voids the lease that is out: what its holder is about to find is of no use any more.
    pub fn void(&mut self) {
        self.held_until = None;
    }

    /// Takes a lease back. False for one that was voided, or has been void for so long that another
    /// was handed out: a late holder must not overwrite what the newer one found.
    pub fn settle(&mut self, lease: Lease) -> bool {
        let current = lease.serial == self.serial && self.held_until.is_some();
        if current {
            self.held_until = None;
        }
        current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn there_is_one_lease_at_a_time() {
        let mut leases = Leases::default();
        let first = leases.take(Monotonic(0), LONG).unwrap();
        assert_eq!(leases.take(Monotonic(1), LONG), None);
        assert!(leases.settle(first));
        assert!(leases.take(Monotonic(2), LONG).is_some());
    }

    #[test]
    fn a_lost_lease_is_void_after_its_time_and_its_late_holder_is_told() {
        let mut leases = Leases::default();
        let lost = leases.take(Monotonic(0), LONG).unwrap();
        let second = leases.take(Monotonic(0) + LONG, LONG).unwrap();
        assert!(!leases.settle(lost));
        assert!(leases.settle(second));
        assert!(!leases.settle(second), "a lease is settled once");
    }

    #[test]
    fn a_voided_lease_is_worth_nothing() {
        let mut leases = Leases::default();
        let voided = leases.take(Monotonic(0), LONG).unwrap();
        leases.void();
        assert!(!leases.settle(voided));
        let second = leases.take(Monotonic(1), LONG).unwrap();
        assert!(!leases.settle(voided) && leases.out(Monotonic(2)));
        assert!(leases.settle(second));
    }
}
