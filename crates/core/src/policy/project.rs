//! The account's project, and which request starts its discovery (`docs/CREDENTIALS.md`).
//!
//! Failures are opaque values of type `E`: the policy keeps and returns them.

use std::sync::Arc;
use std::time::Duration;

use super::lease::{Lease, Leases};
use crate::shards::HasReadyPart;
use crate::time::{Monotonic, Timestamp};

/// What a request does about its project.
#[derive(Debug)]
#[must_use = "a verdict may carry a lease"]
pub enum ProjectVerdict<E> {
    /// Start the discovery in the background, then ask again.
    Discover(Lease),
    /// Fail: a recent discovery found no project. The duration is what is left until the next one.
    Failed(E, Duration),
    /// Put this project into the envelope.
    Use(Arc<str>),
    /// Ask again a little later: a discovery is in progress.
    Wait,
}

/// How a discovery ended.
#[derive(Debug)]
pub enum DiscoveryOutcome<E> {
    /// No project was found. The failure is kept for this long, so that a broken account does not
    /// cause a discovery for each request.
    Failed(E, Duration),
    /// The account's project, and the time until which it may be used.
    Found(String, Timestamp),
}

/// The project in use, and what is known of its discovery.
#[derive(Debug)]
pub struct ProjectState<E> {
    known: Option<(Arc<str>, Timestamp)>,
    failed: Option<(E, Monotonic)>,
    leases: Leases,
    /// A project that upstream has rejected. The next discovery asks Google, not the store.
    invalidated: Option<Arc<str>>,
    /// Until when a project stays in use that Google named again after upstream had rejected it.
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
    /// Decides what a request does.
    pub fn ask(&mut self, clock: Timestamp, now: Monotonic) -> ProjectVerdict<E> {
        if let Some((project, _)) = self.known.as_ref().filter(|(_, until)| clock < *until) {
            return ProjectVerdict::Use(Arc::clone(project));
        }
        if self.leases.is_held(now) {
            return ProjectVerdict::Wait;
        }
        if let Some((error, until)) = self.failed.as_ref().filter(|(_, until)| now < *until) {
            return ProjectVerdict::Failed(error.clone(), until.since(now));
        }
        match self.leases.take(now, LEASE) {
            Some(lease) => ProjectVerdict::Discover(lease),
            None => ProjectVerdict::Wait,
        }
    }

    /// True when there is a project to use.
    pub fn is_known(&self, clock: Timestamp) -> bool {
        self.known.as_ref().is_some_and(|(_, until)| clock < *until)
    }

    /// The state for health: `known`, `unknown` or `refused`.
    pub fn state(&self, clock: Timestamp, now: Monotonic) -> &'static str {
        let known = self.is_known(clock);
        let failed = self.failed.as_ref().is_some_and(|(_, until)| now < *until);
        if known {
            "known"
        } else if failed {
            "refused"
        } else {
            "unknown"
        }
    }

    /// Records how the lease's discovery ended.
    pub fn settle(&mut self, lease: Lease, outcome: DiscoveryOutcome<E>, now: Monotonic) {
        if !self.leases.settle(lease) {
            return;
        }
        match outcome {
            DiscoveryOutcome::Found(project, until) => {
                let again = self.invalidated.take().is_some_and(|refused| *refused == *project);
                self.confirmed_until = again.then(|| now + CONFIRMED);
                self.known = Some((project.into(), until));
                self.failed = None;
            }
            DiscoveryOutcome::Failed(error, how_long) => {
                self.known = None;
                self.failed = Some((error, now + how_long));
            }
        }
    }

    /// Records that upstream rejected this project: the next request discovers it again. A project
    /// that Google has just named again is kept for a while: the cause lies elsewhere (a licence),
    /// and another discovery would not help.
    pub fn invalidate(&mut self, project: &str, now: Monotonic) {
        if self.confirmed_until.is_some_and(|until| now < until) {
            return;
        }
        if let Some((known, _)) = self.known.take_if(|(known, _)| &**known == project) {
            self.invalidated = Some(known);
        }
    }

    /// Clears everything, a discovery in progress included: the credentials are another account's.
    pub fn clear(&mut self) {
        *self = Self { leases: std::mem::take(&mut self.leases), ..Self::default() };
        self.leases.void();
    }

    /// Clears an earlier failure: the credentials have changed.
    pub fn retry_now(&mut self) {
        self.failed = None;
    }

    /// False when upstream has just rejected the stored project.
    pub fn trusts_store(&self) -> bool {
        self.invalidated.is_none()
    }
}

/// A project, and the time until which it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyProject {
    project: Arc<str>,
    until: Timestamp,
}

impl ReadyProject {
    /// The project, as [`ProjectState::ask`] would return it: `None` if there is more to decide.
    pub fn project(&self, clock: Timestamp) -> Option<Arc<str>> {
        (clock < self.until).then(|| Arc::clone(&self.project))
    }
}

impl<E> HasReadyPart for ProjectState<E> {
    type Ready = ReadyProject;

    fn ready(&self) -> Option<ReadyProject> {
        let (project, until) = self.known.as_ref()?;
        Some(ReadyProject { project: Arc::clone(project), until: *until })
    }

    fn copy(ready: &ReadyProject) -> ReadyProject {
        ReadyProject { project: Arc::from(&*ready.project), until: ready.until }
    }
}

/// Longer than a discovery takes, whose polling is bounded.
const LEASE: Duration = Duration::from_secs(180);

/// How long a project stays in use that Google named again after upstream had rejected it.
const CONFIRMED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    #[test]
    fn of_a_hundred_requests_without_a_project_one_discovers_it() {
        let mut state = ProjectState::<&str>::default();
        let ProjectVerdict::Discover(lease) = state.ask(NOW, Monotonic(0)) else {
            panic!("no project is known")
        };
        for _ in 0..99 {
            assert!(matches!(state.ask(NOW, Monotonic(1)), ProjectVerdict::Wait));
        }
        let found = DiscoveryOutcome::Found("p".to_owned(), NOW + Duration::from_secs(3600));
        state.settle(lease, found, Monotonic(2));
        assert!(matches!(state.ask(NOW, Monotonic(3)), ProjectVerdict::Use(it) if &*it == "p"));
        let later = NOW + Duration::from_secs(3600);
        assert!(matches!(state.ask(later, Monotonic(4)), ProjectVerdict::Discover(_)));
    }

    #[test]
    fn a_failed_discovery_is_kept_for_its_time() {
        let mut state = ProjectState::<&str>::default();
        let ProjectVerdict::Discover(lease) = state.ask(NOW, Monotonic(0)) else {
            panic!("no project is known")
        };
        let failed = DiscoveryOutcome::Failed("required", Duration::from_secs(30));
        state.settle(lease, failed, Monotonic(0));
        assert!(matches!(
            state.ask(NOW, Monotonic(29_999_999)),
            ProjectVerdict::Failed("required", _)
        ));
        assert!(matches!(state.ask(NOW, Monotonic(30_000_000)), ProjectVerdict::Discover(_)));
    }

    #[test]
    fn another_account_never_gets_the_previous_accounts_project() {
        let mut state = ProjectState::<&str>::default();
        let ProjectVerdict::Discover(lease) = state.ask(NOW, Monotonic(0)) else {
            panic!("no project is known")
        };
        state.clear();
        let ProjectVerdict::Discover(_) = state.ask(NOW, Monotonic(1)) else {
            panic!("the project was cleared")
        };
        let late = DiscoveryOutcome::Found("old".to_owned(), NOW + Duration::from_secs(3600));
        state.settle(lease, late, Monotonic(2));
        assert!(matches!(state.ask(NOW, Monotonic(2)), ProjectVerdict::Wait));
    }

    #[test]
    fn a_project_that_upstream_rejects_is_invalidated_once() {
        let mut state = ProjectState::<&str>::default();
        let ProjectVerdict::Discover(lease) = state.ask(NOW, Monotonic(0)) else {
            panic!("no project is known")
        };
        let found = DiscoveryOutcome::Found("old".to_owned(), NOW + Duration::from_secs(3600));
        state.settle(lease, found, Monotonic(0));
        state.invalidate("another", Monotonic(1));
        assert!(matches!(state.ask(NOW, Monotonic(1)), ProjectVerdict::Use(_)));
        state.invalidate("old", Monotonic(1));
        assert!(!state.trusts_store());
        let ProjectVerdict::Discover(lease) = state.ask(NOW, Monotonic(1)) else {
            panic!("the project was invalidated")
        };
        let found = DiscoveryOutcome::Found("new".to_owned(), NOW + Duration::from_secs(3600));
        state.settle(lease, found, Monotonic(2));
        state.invalidate("old", Monotonic(3));
        assert!(matches!(state.ask(NOW, Monotonic(3)), ProjectVerdict::Use(it) if &*it == "new"));
    }

    #[test]
    fn a_project_that_google_names_again_stays_in_use_for_a_while() {
        let mut state = ProjectState::<&str>::default();
        let mut discoveries = 0;
        for second in 0..60 {
            let now = Monotonic(0) + Duration::from_secs(second);
            if let ProjectVerdict::Discover(lease) = state.ask(NOW, now) {
                discoveries += 1;
                let found =
                    DiscoveryOutcome::Found("p".to_owned(), NOW + Duration::from_secs(3600));
                state.settle(lease, found, now);
            }
            state.invalidate("p", now);
        }
        assert_eq!(discoveries, 3, "the first, one after the rejection, and one after `CONFIRMED`");
    }
}
