//! A call's stay at an endpoint, which ends by itself when it is dropped.
//!
//! The one room of this folder that holds a lock: a dropped future cannot be asked to tidy up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::{Outcome, State};
use super::endpoint::{EndpointChoice, Endpoints, NoEndpointError};
use crate::time::Monotonic;

/// A call that is in flight at an endpoint.
#[derive(Debug)]
pub struct InFlightGuard {
    endpoints: Arc<Mutex<Endpoints>>,
    choice: Option<EndpointChoice>,
    /// The endpoint's number.
    pub index: usize,
    /// It is the probe of a breaker that has been open.
    pub is_probe: bool,
}

impl InFlightGuard {
    /// Goes to the best endpoint there is for a call that has been at `tried` before.
    pub fn begin(
        endpoints: &Arc<Mutex<Endpoints>>,
        now: Monotonic,
        tried: &[usize],
    ) -> Result<Self, NoEndpointError> {
        let (choice, state) = {
            let mut endpoints = lock(endpoints);
            let choice = endpoints.choose(now, tried)?;
            let state = endpoints.state(choice.index, now);
            (choice, state)
        };
        let index = choice.index;
        let is_probe = state == State::HalfOpen;
        Ok(Self { endpoints: Arc::clone(endpoints), choice: Some(choice), index, is_probe })
    }

    /// The answer has begun. Says what the endpoint's breaker does now.
    pub fn alive(&self, now: Monotonic) -> State {
        let mut endpoints = lock(&self.endpoints);
        if let Some(choice) = &self.choice {
            endpoints.alive(choice, now);
        }
        endpoints.state(self.index, now)
    }

    /// The call is over. Says what the endpoint's breaker does now.
    pub fn end(mut self, outcome: Outcome, now: Monotonic) -> State {
        let mut endpoints = lock(&self.endpoints);
        if let Some(choice) = self.choice.take() {
            endpoints.end(choice, outcome, now);
        }
        endpoints.state(self.index, now)
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
