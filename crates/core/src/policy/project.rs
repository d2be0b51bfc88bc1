//! Which project to use, and which request starts its discovery (`docs/CREDENTIALS.md`).
//!
//! Failures are opaque values of type `E`: the policy remembers them and gives them back.

use std::sync::Arc;
use std::time::Duration;

use super::lease::{Lease, Leases};
use crate::time::{Monotonic, Timestamp};

/// What a request does about its project.
#[derive(Debug)]
#[must_use = "a verdict may carry a lease"]
pub enum Verdict<E> {
    /// Start the discovery in the background, then ask again.
    Discover(Lease),
    /// A discovery has failed a moment ago.
    Failed(E),
    /// Put it into the envelope.
    Use(Arc<str>),
    /// A discovery is under way: ask again a little later.
    Wait,
}

/// How a discovery ended.
#[derive(Debug)]
pub enum Outcome<E> {
    /// There is no project. The failure is remembered this long, so that a broken account does not
    /// cost a discovery for each request.
    Failed(E, Duration),
    /// The account's project, good until then.
    Found(String, Timestamp),
}

/// The project in use.
#[derive(Debug)]
pub struct ProjectState<E> {
    known: Option<(Arc<str>, Timestamp)>,
    failed: Option<(E, Monotonic)>,
    leases: Leases,
    /// Upstream has rejected this project: the next discovery asks Google, not the store.
    invalidated: Option<Arc<str>>,
    /// Google has named a rejected project again: until this time it stays.
    confirmed_until: Option<Monotonic>,
}

impl<E> Default for ProjectState<E> {
    fn default() -> Self {
        Self {
            known: None,
            failed: None,
            leases: Leases::default(),
            invalidated: None,
            confirmed_until: None,
        }
    }
}

impl<E: Clone> ProjectState<E> {
    /// What to do for a request.
    pub fn ask(&mut self, clock: Timestamp, now: Monotonic) -> Verdict<E> {
        if let Some((project, _)) = self.known.as_ref().filter(|(_, until)| clock < *until) {
            return Verdict::Use(Arc::clone(project));
        }
        if self.leases.out(now) {
            return Verdict::Wait;
        }
        if let Some((error, _)) = self.failed.as_ref().filter(|(_, until)| now < *until) {
            return Verdict::Failed(error.clone());
        }
        match self.leases.take(now, LEASE) {
            Some(lease) => Verdict::Discover(lease),
            None => Verdict::Wait,
        }
    }

    /// The state for health: `known`, `unknown` or `refused`.
    pub fn standing(&self, clock: Timestamp, now: Monotonic) -> &'static str {
        let known = self.known.as_ref().is_some_and(|(_, until)| clock < *until);
        let failed = self.failed.as_ref().is_some_and(|(_, until)| now < *until);
        if known {
            "known"
        } else if failed {
            "refused"
        } else {
            "unknown"
        }
    }

    /// Records how a lease's work ended.
    pub fn settle(&mut self, lease: Lease, outcome: Outcome<E>, now: Monotonic) {
        if !self.leases.settle(lease) {
            return;
        }
        match outcome {
            Outcome::Found(project, until) => {
                let again = self.invalidated.take().is_some_and(|refused| *refused == *project);
                self.confirmed_until = again.then(|| now + CONFIRMED);
                self.known = Some((project.into(), until));
                self.failed = None;
            }
            Outcome::Failed(error, how_long) => {
                self.known = None;
                self.failed = Some((error, now + how_long));
            }
        }
    }

    /// Records that upstream rejected this project: it is discovered again, and not from the store.
    /// A project that Google has just named again is kept for a while, since the cause lies
    /// elsewhere (a licence) and another discovery would not help.
    pub fn invalidate(&mut self, project: &str, now: Monotonic) {
        if self.confirmed_until.is_some_and(|until| now < until) {
            return;
        }
        if let Some((known, _)) = self.known.take_if(|(known, _)| &**known == project) {
            self.invalidated = Some(known);
        }
    }

    /// Clears everything, a discovery under way included: the credentials are another account's.
    pub fn clear(&mut self) {
        *self = Self { leases: std::mem::take(&mut self.leases), ..Self::default() };
        self.leases.void();
    }

    /// The credentials have changed: an earlier failure no longer applies.
    pub fn retry_now(&mut self) {
        self.failed = None;
    }

    /// False when upstream has just rejected the stored project.
    pub fn trusts_store(&self) -> bool {
        self.invalidated.is_none()
    }
}

/// Longer than a discovery with its bounded poll may take.
const LEASE: Duration = Duration::from_secs(180);

/// How long a project stays that Google has named again after upstream rejected it.
const CONFIRMED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    #[test]
    fn of_a_hundred_cold_callers_one_discovers() {
        let mut projects = ProjectState::<&str>::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        for _ in 0..99 {
            assert!(matches!(projects.ask(NOW, Monotonic(1)), Verdict::Wait));
        }
        let found = Outcome::Found("p".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, found, Monotonic(2));
        assert!(matches!(projects.ask(NOW, Monotonic(3)), Verdict::Use(it) if &*it == "p"));
        let later = NOW + Duration::from_secs(3600);
        assert!(matches!(projects.ask(later, Monotonic(4)), Verdict::Discover(_)));
    }

    #[test]
    fn a_failure_is_remembered_briefly() {
        let mut projects = ProjectState::<&str>::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        let failed = Outcome::Failed("required", Duration::from_secs(30));
        projects.settle(lease, failed, Monotonic(0));
        assert!(matches!(projects.ask(NOW, Monotonic(29_999_999)), Verdict::Failed("required")));
        assert!(matches!(projects.ask(NOW, Monotonic(30_000_000)), Verdict::Discover(_)));
    }

    #[test]
    fn another_account_never_gets_the_project_of_the_account_before() {
        let mut projects = ProjectState::<&str>::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        projects.clear();
        let Verdict::Discover(_) = projects.ask(NOW, Monotonic(1)) else { panic!("forgotten") };
        let late = Outcome::Found("old".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, late, Monotonic(2));
        assert!(matches!(projects.ask(NOW, Monotonic(2)), Verdict::Wait));
    }

    #[test]
    fn a_project_that_upstream_rejects_is_invalidated_once() {
        let mut projects = ProjectState::<&str>::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        let found = Outcome::Found("old".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, found, Monotonic(0));
        projects.invalidate("another", Monotonic(1));
        assert!(matches!(projects.ask(NOW, Monotonic(1)), Verdict::Use(_)));
        projects.invalidate("old", Monotonic(1));
        assert!(!projects.trusts_store());
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(1)) else { panic!("dropped") };
        let found = Outcome::Found("new".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, found, Monotonic(2));
        projects.invalidate("old", Monotonic(3));
        assert!(matches!(projects.ask(NOW, Monotonic(3)), Verdict::Use(it) if &*it == "new"));
    }

    #[test]
    fn a_project_that_google_names_again_stays_for_a_while() {
        let mut projects = ProjectState::<&str>::default();
        let mut discoveries = 0;
        for second in 0..60 {
            let now = Monotonic(0) + Duration::from_secs(second);
            if let Verdict::Discover(lease) = projects.ask(NOW, now) {
                discoveries += 1;
                let found = Outcome::Found("p".to_owned(), NOW + Duration::from_secs(3600));
                projects.settle(lease, found, now);
            }
            projects.invalidate("p", now);
        }
        assert_eq!(discoveries, 3, "the first, one to make sure, and one half a minute later");
    }
}
