//! A call in flight at an endpoint, which ends by itself when it is dropped.
//!
//! The only policy that holds a lock: a dropped future runs no code but its destructors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::{Outcome, State};
use super::endpoint::{AfterCall, EndpointChoice, Endpoints, NoEndpointError};
use crate::time::Monotonic;

/// A call that is in flight at an endpoint.
#[derive(Debug)]
#[must_use = "the call is over when the guard is dropped"]
pub struct InFlightGuard {
    endpoints: Arc<Mutex<Endpoints>>,
    choice: Option<EndpointChoice>,
    /// The endpoint's number.
    pub index: usize,
    /// The call is the probe of a breaker that has been open.
    pub is_probe: bool,
}

impl InFlightGuard {
    /// Asks the breakers for the best endpoint for a request that has been at `tried` before. The
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

    /// Records that the answer has begun. Returns what the endpoint's breaker does now.
    pub fn alive(&self, now: Monotonic) -> State {
        match &self.choice {
            Some(choice) => lock(&self.endpoints).alive(choice, now),
            None => State::Closed,
        }
    }

    /// Ends the call, of a request that has been at `tried`, this endpoint included.
    pub fn end(mut self, outcome: Outcome, tried: &[usize], now: Monotonic) -> AfterCall {
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

fn lock(endpoints: &Mutex<Endpoints>) -> MutexGuard<'_, Endpoints> {
    endpoints.lock().unwrap_or_else(PoisonError::into_inner)
}
