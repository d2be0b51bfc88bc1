//! The guard of a call in flight at an endpoint.
//!
//! Like [`super::memory`], this policy holds a lock: a dropped future runs its destructors and no other
//! code, so the guard must reach the endpoints from `drop`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::{self, CallOutcomes};
use super::endpoint::{AfterCall, BreakerScope, EndpointChoice, Endpoints, NoEndpointError, Tries};
use crate::time::Monotonic;

/// A call in flight at an endpoint. Dropping the guard ends the call without an outcome.
#[derive(Debug)]
#[must_use = "the call is over when the guard is dropped"]
pub struct InFlightGuard {
    endpoints: Arc<Mutex<Endpoints>>,
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
        endpoints: &Arc<Mutex<Endpoints>>,
        scope: BreakerScope<'_>,
        tries: &Tries,
        now: Monotonic,
    ) -> Result<Self, NoEndpointError> {
        let choice = lock(endpoints).choose(scope, tries, now)?;
        let (index, is_probe) = (choice.index, choice.is_probe);
        Ok(Self { endpoints: Arc::clone(endpoints), choice: Some(choice), index, is_probe })
    }

    /// Records that the answer has begun. Returns the state of the endpoint's breaker.
    pub fn alive(&self, scope: BreakerScope<'_>, now: Monotonic) -> breaker::State {
        match &self.choice {
            Some(choice) => lock(&self.endpoints).alive(choice, scope, now),
            None => breaker::State::Closed,
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
        lock(&self.endpoints).end(choice, scope, outcomes, body, tries, now)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        if let Some(choice) = self.choice.take() {
            lock(&self.endpoints).leave(choice);
        }
    }
}

// Policies do not import `sync`.
fn lock(endpoints: &Mutex<Endpoints>) -> MutexGuard<'_, Endpoints> {
    endpoints.lock().unwrap_or_else(PoisonError::into_inner)
}
