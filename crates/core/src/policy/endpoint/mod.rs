//! The choice among several endpoints (`docs/RESILIENCE.md`).

use std::time::Duration;

use super::breaker::{self, Breaker};
use crate::time::Monotonic;

/// The endpoint of a call, which counts as in flight until [`Endpoints::end`] or
/// [`Endpoints::leave`].
///
/// A choice cannot be cloned, so that it ends once. Its holder must end it even when the holder's
/// future is dropped; [`super::in_flight::InFlightGuard`] does that.
#[derive(Debug)]
#[must_use = "the call counts as in flight until the choice is ended"]
pub struct EndpointChoice {
    /// The endpoint's position in the settings.
    pub index: usize,
    /// True when the call is the probe of a half-open breaker.
    pub is_probe: bool,
    permit: breaker::Permit,
}

/// The breakers of all endpoints are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEndpointError {
    /// The time until the first of the breakers permits a probe.
    pub after: Duration,
}

/// What matters for the next try after a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterCall {
    /// The state of the endpoint's breaker.
    pub state: breaker::State,
    /// True when another endpoint may be called at once that the request has not tried.
    pub more_endpoints: bool,
    /// How long the breakers of all endpoints stay open; zero when one of them permits a call.
    pub all_open_for: Duration,
}

/// The endpoints of one upstream, each with its breaker.
#[derive(Debug)]
pub struct Endpoints {
    all: Vec<EndpointState>,
    /// Where the next choice begins to look, so that equal endpoints are used round robin.
    next: usize,
    /// The breakers' timeout, for the error of an upstream without endpoints.
    timeout: Duration,
}

#[derive(Debug)]
struct EndpointState {
    breaker: Breaker,
    in_flight: usize,
}

impl Endpoints {
    /// `count` endpoints that have had no calls. Each has a breaker with this `threshold` and
    /// `timeout`.
    pub fn new(count: usize, threshold: u32, timeout: Duration) -> Self {
        let endpoint = || EndpointState { breaker: Breaker::new(threshold, timeout), in_flight: 0 };
        Self { all: (0..count).map(|_| endpoint()).collect(), next: 0, timeout }
    }

    /// Chooses the endpoint for the next call of a request that has tried the endpoints `tried`.
    ///
    /// Endpoints whose breakers are open are left out. Untried endpoints come before tried ones;
    /// among equals the endpoint with the fewest calls in flight is chosen.
    pub fn choose(
        &mut self,
        now: Monotonic,
        tried: &[usize],
    ) -> Result<EndpointChoice, NoEndpointError> {
        let count = self.all.len();
        let mut best: Option<(bool, usize, usize)> = None;
        for step in 0..count {
            let index = if count == 1 { 0 } else { (self.next + step) % count };
            let endpoint = &self.all[index];
            if endpoint.breaker.open_for(now).is_some() {
                continue;
            }
            let candidate = (tried.contains(&index), endpoint.in_flight, index);
            if best.is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                best = Some(candidate);
            }
        }
        let Some((_, _, index)) = best else { return Err(self.shortest_wait(now)) };
        self.next = index + 1;
        let endpoint = &mut self.all[index];
        match endpoint.breaker.ask(now) {
            breaker::BreakerVerdict::Permit(permit) => {
                endpoint.in_flight += 1;
                let is_probe = endpoint.breaker.state(now) == breaker::State::HalfOpen;
                Ok(EndpointChoice { index, is_probe, permit })
            }
            breaker::BreakerVerdict::Open { after } => Err(NoEndpointError { after }),
        }
    }

    /// Records that the answer has begun ([`breaker::CallOutcome::Alive`]); the call stays in flight.
    /// Returns the state of the endpoint's breaker.
    pub fn alive(&mut self, choice: &EndpointChoice, now: Monotonic) -> breaker::State {
        let Some(endpoint) = self.all.get_mut(choice.index) else { return breaker::State::Closed };
        endpoint.breaker.record(choice.permit, breaker::CallOutcome::Alive, now);
        endpoint.breaker.state(now)
    }

    /// The error of [`choose`](Self::choose), without a choice: `None` when an endpoint may be
    /// called.
    pub fn all_open(&self, now: Monotonic) -> Option<NoEndpointError> {
        (!self.may_call_other_than(now, &[])).then(|| self.shortest_wait(now))
    }

    /// Records how a call ended. `tried` are all endpoints that the request has tried, this one
    /// included.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn end(
        &mut self,
        choice: EndpointChoice,
        outcome: breaker::CallOutcome,
        tried: &[usize],
        now: Monotonic,
    ) -> AfterCall {
        let mut state = breaker::State::Closed;
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            endpoint.breaker.record(choice.permit, outcome, now);
            state = endpoint.breaker.state(now);
        }
        // After a success nothing is left to ask: this endpoint takes calls.
        let (mut more_endpoints, mut all_open_for) = (false, Duration::ZERO);
        if outcome == breaker::CallOutcome::Failure || state != breaker::State::Closed {
            more_endpoints = self.may_call_other_than(now, tried);
            all_open_for = self.all_open(now).map_or(Duration::ZERO, |all_open| all_open.after);
        }
        AfterCall { state, more_endpoints, all_open_for }
    }

    /// Ends a call that says nothing about the endpoint. It needs no clock, so a `Drop` can call it.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn leave(&mut self, choice: EndpointChoice) {
        // `breaker::CallOutcome::Neutral` never changes the breaker: there is nothing to record.
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        }
    }

    /// The state of each breaker, in the order of the settings.
    pub fn states(&self, now: Monotonic) -> impl Iterator<Item = breaker::State> {
        self.all.iter().map(move |endpoint| endpoint.breaker.state(now))
    }

    /// True when an endpoint that is not among `tried` may be called at once.
    fn may_call_other_than(&self, now: Monotonic, tried: &[usize]) -> bool {
        let mut others = (0..).zip(&self.all).filter(|(index, _)| !tried.contains(index));
        others.any(|(_, endpoint)| endpoint.breaker.open_for(now).is_none())
    }

    fn shortest_wait(&self, now: Monotonic) -> NoEndpointError {
        let waits = self.all.iter().filter_map(|endpoint| endpoint.breaker.open_for(now));
        NoEndpointError { after: waits.min().unwrap_or(self.timeout) }
    }
}

#[cfg(test)]
mod tests;
