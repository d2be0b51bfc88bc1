//! The guard of a call in flight at an endpoint.
//!
//! This is the only policy that holds a lock: a dropped future runs its destructors and no other
//! code, so the guard must reach the endpoints from `drop`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker;
use super::endpoint::{AfterCall, EndpointChoice, Endpoints, NoEndpointError};
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
    /// Begins a call at the best endpoint for a request that has tried the endpoints `tried`. The
    /// breakers are asked here and nowhere else in a try.
    pub fn begin(
        endpoints: &Arc<Mutex<Endpoints>>,
        now: Monotonic,
        tried: &[usize],
    ) -> Result<Self, NoEndpointError> {
        let choice = lock(endpoints).choose(now, tried)?;
        let (index, is_probe) = (choice.index, choice.is_probe);
        Ok(Self { endpoints: Arc::clone(endpoints), choice: Some(choice), index, is_probe })
    }

    /// Records that the answer has begun. Returns the state of the endpoint's breaker.
    pub fn alive(&self, now: Monotonic) -> breaker::State {
        match &self.choice {
            Some(choice) => lock(&self.endpoints).alive(choice, now),
            None => breaker::State::Closed,
        }
    }

    /// Ends the call. `tried` are all endpoints that the request has tried, this one included.
    pub fn end(
        mut self,
        outcome: breaker::CallOutcome,
        tried: &[usize],
        now: Monotonic,
    ) -> AfterCall {
        let choice = self.choice.take().expect("only `end`, which consumes the guard, takes it");
        lock(&self.endpoints).end(choice, outcome, tried, now)
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
