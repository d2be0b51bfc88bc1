//! The endpoints that the requests of an upstream share, and the guard of a call in flight at one.
//!
//! Like [`super::memory`], this policy holds a lock: a dropped future runs its destructors and no other
//! code, so the guard must reach the endpoints from `drop`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::breaker::{self, CallOutcomes};
use super::endpoint::{AfterCall, BreakerScope, EndpointChoice, Endpoints, NoEndpointError, Tries};
use crate::shards::Replica;
use crate::sync::lock;
use crate::time::Monotonic;

/// The endpoints of an upstream.
///
/// While its only endpoint works, a call changes nothing, and needs no lock: see [`Endpoints::calm`].
#[derive(Debug)]
pub struct SharedEndpoints {
    /// What [`Endpoints::calm`] returned after the last change, plus one; zero stands for `None`.
    calm: AtomicU64,
    endpoints: Mutex<Endpoints>,
}

impl SharedEndpoints {
    /// Shares these endpoints.
    pub fn new(endpoints: Endpoints) -> Self {
        let calm = AtomicU64::new(word(endpoints.calm()));
        Self { calm, endpoints: Mutex::new(endpoints) }
    }

    /// Looks at the endpoints, or changes them.
    pub fn with<T>(&self, work: impl FnOnce(&mut Endpoints) -> T) -> T {
        let mut endpoints = lock(&self.endpoints);
        let result = work(&mut endpoints);
        let calm = word(endpoints.calm());
        if self.calm.load(Ordering::Relaxed) != calm {
            self.calm.store(calm, Ordering::Release);
        }
        result
    }

    /// See [`Endpoints::all_open`].
    pub fn all_open(&self, scope: BreakerScope<'_>, now: Monotonic) -> Option<NoEndpointError> {
        match self.calm() {
            Some(_) => None,
            None => self.with(|endpoints| endpoints.all_open(scope, now)),
        }
    }

    fn calm(&self) -> Option<u64> {
        self.calm.load(Ordering::Acquire).checked_sub(1)
    }
}

fn word(calm: Option<u64>) -> u64 {
    calm.map_or(0, |serial| serial + 1)
}

/// A call in flight at an endpoint. Dropping the guard ends the call without an outcome.
#[derive(Debug)]
#[must_use = "the call is over when the guard is dropped"]
pub struct InFlightGuard {
    endpoints: Replica<SharedEndpoints>,
    choice: Option<EndpointChoice>,
    /// The endpoint's position in the settings.
    pub index: usize,
    /// True when the call is the probe of a half-open breaker.
    pub is_probe: bool,
}

impl InFlightGuard {
    /// Begins a call at the best endpoint for a request with these earlier `tries`. The breakers are
    /// asked here and nowhere else in a try.
    pub fn begin(
        endpoints: &Replica<SharedEndpoints>,
        scope: BreakerScope<'_>,
        tries: &Tries,
        now: Monotonic,
    ) -> Result<Self, NoEndpointError> {
        let choice = match endpoints.calm() {
            Some(serial) => EndpointChoice::calm(serial, scope, tries),
            None => endpoints.with(|endpoints| endpoints.choose(scope, tries, now))?,
        };
        let (index, is_probe) = (choice.index, choice.is_probe);
        Ok(Self { endpoints: Arc::clone(endpoints), choice: Some(choice), index, is_probe })
    }

    /// Records that the answer has begun. Returns the state of the endpoint's breaker.
    pub fn alive(&self, scope: BreakerScope<'_>, now: Monotonic) -> breaker::State {
        match &self.choice {
            Some(choice) if self.endpoints.calm().is_none() => {
                self.endpoints.with(|endpoints| endpoints.alive(choice, scope, now))
            }
            _ => breaker::State::Closed,
        }
    }

    /// Ends the call. `body` is the hash of the request's body, and `tries` are all tries of the
    /// request, this one included if it has failed.
    pub fn end(
        mut self,
        scope: BreakerScope<'_>,
        outcomes: CallOutcomes,
        body: u64,
        tries: &Tries,
        now: Monotonic,
    ) -> AfterCall {
        let choice = self.choice.take().expect("only `end`, which consumes the guard, takes it");
        if choice.changes_nothing() && !outcomes.has_failed() && self.endpoints.calm().is_some() {
            return AfterCall::CALM;
        }
        self.endpoints.with(|endpoints| endpoints.end(choice, scope, outcomes, body, tries, now))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(choice) = self.choice.take()
            && !choice.changes_nothing()
        {
            self.endpoints.with(|endpoints| endpoints.leave(choice));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::failure::{Failure, FailureClass};
    use crate::policy::breaker::ModelOperation;

    const SCOPE: BreakerScope<'_> =
        BreakerScope::Model(ModelOperation { model: "pro", operation: "generateContent" });
    const TIMEOUT: Duration = Duration::from_secs(60);

    fn shared(count: usize) -> Replica<SharedEndpoints> {
        Arc::new(Arc::new(SharedEndpoints::new(Endpoints::new(count, 1, TIMEOUT))))
    }

    fn begin(shared: &Replica<SharedEndpoints>, now: Monotonic) -> InFlightGuard {
        InFlightGuard::begin(shared, SCOPE, &Tries::default(), now).unwrap()
    }

    fn end(call: InFlightGuard, outcomes: CallOutcomes, now: Monotonic) -> AfterCall {
        let mut tries = Tries::default();
        if outcomes.has_failed() {
            tries.failed(call.index, outcomes);
        }
        call.end(SCOPE, outcomes, 0, &tries, now)
    }

    fn broken() -> CallOutcomes {
        CallOutcomes::of(Failure::new(FailureClass::Unreachable))
    }

    #[test]
    fn while_the_only_endpoint_works_its_calls_take_no_lock() {
        let shared = shared(1);
        let _locked = shared.endpoints.lock().unwrap();
        assert_eq!(shared.all_open(SCOPE, Monotonic(0)), None);
        let call = begin(&shared, Monotonic(0));
        assert_eq!(call.alive(SCOPE, Monotonic(1)), breaker::State::Closed);
        assert_eq!(end(call, CallOutcomes::SUCCESS, Monotonic(2)), AfterCall::CALM);
        drop(begin(&shared, Monotonic(3)));
    }

    #[test]
    fn a_failure_of_a_call_that_began_without_the_lock_opens_the_breaker() {
        let shared = shared(1);
        let (call, other) = (begin(&shared, Monotonic(0)), begin(&shared, Monotonic(0)));
        assert_eq!(end(call, broken(), Monotonic(1)).state, breaker::State::Open);
        assert!(shared.all_open(SCOPE, Monotonic(2)).is_some());
        let _ = end(other, CallOutcomes::SUCCESS, Monotonic(2));
        assert!(shared.all_open(SCOPE, Monotonic(3)).is_some(), "it began before the opening");
        // The probe closes it, and the next permits are those of the closed breaker.
        let later = Monotonic(1) + TIMEOUT;
        let probe = begin(&shared, later);
        assert!(probe.is_probe);
        let _ = end(probe, CallOutcomes::SUCCESS, later);
        assert!(shared.calm().is_some());
        let call = begin(&shared, later);
        assert_eq!(end(call, broken(), later).state, breaker::State::Open);
    }

    #[test]
    fn calls_to_several_endpoints_are_counted() {
        let shared = shared(2);
        assert_eq!(shared.calm(), None);
        let calls = [begin(&shared, Monotonic(0)), begin(&shared, Monotonic(0))];
        assert_ne!(calls[0].index, calls[1].index);
    }
}
