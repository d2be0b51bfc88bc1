//! Which project to use, and whose turn it is to discover it (`spec.md` 9).

use std::sync::Arc;
use std::time::Duration;

use super::lease::{Lease, Leases};
use crate::error::Error;
use crate::time::{Monotonic, Timestamp};

/// What a request does about its project.
#[derive(Debug)]
pub enum Verdict {
    /// Have it discovered in the background, then ask again.
    Discover(Lease),
    /// There is none; this was found out a moment ago.
    Refused(Error),
    /// Put it into the envelope.
    Use(Arc<str>),
    /// Somebody is discovering it: ask again a little later.
    Wait,
}

/// How a discovery ended.
#[derive(Debug)]
pub enum Outcome {
    /// The account's project, good until then.
    Found(String, Timestamp),
    /// None, remembered for so long that a broken account is not hammered.
    Refused(Error, Duration),
}

/// The project in use.
#[derive(Debug, Default)]
pub struct Projects {
    known: Option<(Arc<str>, Timestamp)>,
    refused: Option<(Error, Monotonic)>,
    leases: Leases,
    /// Upstream has refused this one: look no more at the store, ask Google.
    distrusted: Option<Arc<str>>,
    /// Google was asked about a refused one and has named it again: until then it stays.
    confirmed_until: Option<Monotonic>,
}

impl Projects {
    /// What to do for a request.
    pub fn ask(&mut self, clock: Timestamp, now: Monotonic) -> Verdict {
        if let Some((project, _)) = self.known.as_ref().filter(|(_, until)| clock < *until) {
            return Verdict::Use(Arc::clone(project));
        }
        if self.leases.out(now) {
            return Verdict::Wait;
        }
        if let Some((refusal, _)) = self.refused.as_ref().filter(|(_, until)| now < *until) {
            return Verdict::Refused(refusal.clone());
        }
        match self.leases.take(now, LEASE) {
            Some(lease) => Verdict::Discover(lease),
            None => Verdict::Wait,
        }
    }

    /// How it stands, in a word: `known`, `unknown` or `refused`.
    pub fn standing(&self, clock: Timestamp, now: Monotonic) -> &'static str {
        let known = self.known.as_ref().is_some_and(|(_, until)| clock < *until);
        match self.refused.as_ref().is_some_and(|(_, until)| now < *until) {
            _ if known => "known",
            true => "refused",
            false => "unknown",
        }
    }

    /// Takes note of how a lease's work ended.
    pub fn settle(&mut self, lease: Lease, outcome: Outcome, now: Monotonic) {
        if !self.leases.settle(lease) {
            return;
        }
        match outcome {
            Outcome::Found(project, until) => {
                let again = self.distrusted.take().is_some_and(|refused| *refused == *project);
                self.confirmed_until = again.then(|| now + CONFIRMED);
                self.known = Some((project.into(), until));
                self.refused = None;
            }
            Outcome::Refused(refusal, how_long) => {
                self.known = None;
                self.refused = Some((refusal, now + how_long));
            }
        }
    }

    /// Upstream would not have this project: it is discovered anew, and not from the store. One that
    /// Google has just named again is kept for a while: the trouble lies elsewhere (a licence), and
    /// asking for each request would not help.
    pub fn drop_value(&mut self, project: &str, now: Monotonic) {
        if self.confirmed_until.is_some_and(|until| now < until) {
            return;
        }
        if let Some((known, _)) = self.known.take_if(|(known, _)| &**known == project) {
            self.distrusted = Some(known);
        }
    }

    /// The credentials are another account's, which has another project than the one that is known
    /// or just being found out.
    pub fn forget(&mut self) {
        *self = Self { leases: std::mem::take(&mut self.leases), ..Self::default() };
        self.leases.void();
    }

    /// The credentials have changed: what stood against them may stand no more.
    pub fn reopen(&mut self) {
        self.refused = None;
    }

    /// False when the stored project has just been refused by upstream.
    pub fn trusts_store(&self) -> bool {
        self.distrusted.is_none()
    }
}

/// Longer than a discovery with its bounded poll may take.
const LEASE: Duration = Duration::from_secs(180);

/// How long a project stays that Google has named again after upstream refused it.
const CONFIRMED: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    #[test]
    fn of_a_hundred_cold_callers_one_discovers() {
        let mut projects = Projects::default();
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
        let mut projects = Projects::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        let refused = Outcome::Refused(Error::ProjectRequired, Duration::from_secs(30));
        projects.settle(lease, refused, Monotonic(0));
        assert!(matches!(projects.ask(NOW, Monotonic(29_999_999)), Verdict::Refused(_)));
        assert!(matches!(projects.ask(NOW, Monotonic(30_000_000)), Verdict::Discover(_)));
    }

    #[test]
    fn another_account_never_gets_the_last_ones_project() {
        let mut projects = Projects::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        projects.forget();
        let Verdict::Discover(_) = projects.ask(NOW, Monotonic(1)) else { panic!("forgotten") };
        let late = Outcome::Found("old".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, late, Monotonic(2));
        assert!(matches!(projects.ask(NOW, Monotonic(2)), Verdict::Wait));
    }

    #[test]
    fn a_project_that_upstream_refuses_is_dropped_once() {
        let mut projects = Projects::default();
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(0)) else { panic!("cold") };
        let found = Outcome::Found("old".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, found, Monotonic(0));
        projects.drop_value("another", Monotonic(1));
        assert!(matches!(projects.ask(NOW, Monotonic(1)), Verdict::Use(_)));
        projects.drop_value("old", Monotonic(1));
        assert!(!projects.trusts_store());
        let Verdict::Discover(lease) = projects.ask(NOW, Monotonic(1)) else { panic!("dropped") };
        let found = Outcome::Found("new".to_owned(), NOW + Duration::from_secs(3600));
        projects.settle(lease, found, Monotonic(2));
        projects.drop_value("old", Monotonic(3));
        assert!(matches!(projects.ask(NOW, Monotonic(3)), Verdict::Use(it) if &*it == "new"));
    }

    #[test]
    fn a_project_that_google_names_again_stays_for_a_while() {
        let mut projects = Projects::default();
        let mut discoveries = 0;
        for second in 0..60 {
            let now = Monotonic(0) + Duration::from_secs(second);
            if let Verdict::Discover(lease) = projects.ask(NOW, now) {
                discoveries += 1;
                let found = Outcome::Found("p".to_owned(), NOW + Duration::from_secs(3600));
                projects.settle(lease, found, now);
            }
            projects.drop_value("p", now);
        }
        assert_eq!(discoveries, 3, "the first, one to make sure, and one half a minute later");
    }
}
