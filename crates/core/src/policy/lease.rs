//! Leases: the right to do a piece of work that this process must do once at a time.

use std::time::Duration;

use crate::time::Monotonic;

/// The right to do the work.
#[must_use = "a lease that is not settled delays the next one"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    serial: u64,
}

/// Grants one lease at a time. A lease that is not settled in time is void, so that the work of a
/// dropped task or a dead isolate is done by another request.
#[derive(Debug, Default)]
pub struct Leases {
    serial: u64,
    held_until: Option<Monotonic>,
}

impl Leases {
    /// Grants a lease for `how_long`, unless one is held.
    pub fn take(&mut self, now: Monotonic, how_long: Duration) -> Option<Lease> {
        if self.is_held(now) {
            return None;
        }
        self.serial += 1;
        self.held_until = Some(now + how_long);
        Some(Lease { serial: self.serial })
    }

    /// True while a lease is held.
    pub fn is_held(&self, now: Monotonic) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// Voids the lease that is held: the result of its work is no longer wanted.
    pub fn void(&mut self) {
        self.held_until = None;
    }

    /// Ends a lease. False for a lease that was voided or replaced: a late holder must not overwrite
    /// the result of a newer one. A lease that has run out and was not replaced still counts.
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
    fn one_lease_is_granted_at_a_time() {
        let mut leases = Leases::default();
        let first = leases.take(Monotonic(0), LONG).unwrap();
        assert_eq!(leases.take(Monotonic(1), LONG), None);
        assert!(leases.settle(first));
        assert!(leases.take(Monotonic(2), LONG).is_some());
    }

    #[test]
    fn a_lease_that_is_not_settled_is_replaced_and_settling_it_late_fails() {
        let mut leases = Leases::default();
        let lost = leases.take(Monotonic(0), LONG).unwrap();
        let second = leases.take(Monotonic(0) + LONG, LONG).unwrap();
        assert!(!leases.settle(lost));
        assert!(leases.settle(second));
        assert!(!leases.settle(second), "a lease is settled once");
    }

    #[test]
    fn a_voided_lease_cannot_be_settled() {
        let mut leases = Leases::default();
        let voided = leases.take(Monotonic(0), LONG).unwrap();
        leases.void();
        assert!(!leases.settle(voided));
        let second = leases.take(Monotonic(1), LONG).unwrap();
        assert!(!leases.settle(voided) && leases.is_held(Monotonic(2)));
        assert!(leases.settle(second));
    }
}
