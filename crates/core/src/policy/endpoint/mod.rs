//! Which of several endpoints a call goes to (`docs/RESILIENCE.md`).

use std::time::Duration;

use super::breaker::{self, Breaker, Outcome, Permit, State};
use crate::time::Monotonic;

/// An endpoint to call, counted as in flight until [`Endpoints::end`] or [`Endpoints::leave`].
///
/// A choice cannot be cloned, so that it ends once. Its holder must end it, also when its own
/// future is dropped: [`super::in_flight::InFlightGuard`] does.
#[derive(Debug)]
#[must_use = "it counts as in flight until it is ended"]
pub struct EndpointChoice {
    /// Its number, to say which have been tried.
    pub index: usize,
    /// The call is the probe of a breaker that has been open.
    pub is_probe: bool,
    permit: Permit,
}

/// No endpoint may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEndpointError {
    /// How long until the first of them may be.
    pub after: Duration,
}

/// What the end of a call says about the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterCall {
    /// What the endpoint's breaker does now.
    pub state: State,
    /// An endpoint that this request has not tried would take a call at once.
    pub more_endpoints: bool,
    /// How long no endpoint takes a call; zero when one does.
    pub all_open_for: Duration,
}

/// All endpoints, each with its breaker.
#[derive(Debug)]
pub struct Endpoints {
    all: Vec<Endpoint>,
    /// Where the next choice begins to look, so that equal endpoints are used round robin.
    next: usize,
    /// For the answer when there is none at all.
    timeout: Duration,
}

#[derive(Debug)]
struct Endpoint {
    breaker: Breaker,
    in_flight: usize,
}

impl Endpoints {
    /// `count` endpoints without any calls yet; `threshold` and `timeout` are each breaker's.
    pub fn new(count: usize, threshold: u32, timeout: Duration) -> Self {
        let endpoint = || Endpoint { breaker: Breaker::new(threshold, timeout), in_flight: 0 };
        Self { all: (0..count).map(|_| endpoint()).collect(), next: 0, timeout }
    }

    /// Where to send a call that has been sent to `tried` before: of the endpoints whose breakers
    /// let it, the untried ones first, and among those the one with the fewest calls in flight.
    /// When only tried ones are left, it goes back to one of them.
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
            if endpoint.breaker.resting(now).is_some() {
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
            breaker::Verdict::Permit(permit) => {
                endpoint.in_flight += 1;
                let is_probe = endpoint.breaker.state(now) == State::HalfOpen;
                Ok(EndpointChoice { index, is_probe, permit })
            }
            breaker::Verdict::Open { after } => Err(NoEndpointError { after }),
        }
    }

    /// The answer has begun: see [`Outcome::Alive`]. The call stays in flight. Returns what the
    /// endpoint's breaker does now.
    pub fn alive(&mut self, choice: &EndpointChoice, now: Monotonic) -> State {
        let Some(endpoint) = self.all.get_mut(choice.index) else { return State::Closed };
        endpoint.breaker.record(choice.permit, Outcome::Alive, now);
        endpoint.breaker.state(now)
    }

    /// How long no endpoint takes a call; `None` when [`choose`](Self::choose) would find one.
    pub fn all_open(&self, now: Monotonic) -> Option<NoEndpointError> {
        (!self.takes_calls(now, &[])).then(|| self.shortest_wait(now))
    }

    /// Records how a call of a request ended that has been at `tried`, this endpoint included.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn end(
        &mut self,
        choice: EndpointChoice,
        outcome: Outcome,
        tried: &[usize],
        now: Monotonic,
    ) -> AfterCall {
        let mut state = State::Closed;
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            endpoint.breaker.record(choice.permit, outcome, now);
            state = endpoint.breaker.state(now);
        }
        // After a success nothing is left to ask: this endpoint takes calls.
        let (mut more_endpoints, mut all_open_for) = (false, Duration::ZERO);
        if outcome == Outcome::Failure || state != State::Closed {
            more_endpoints = self.takes_calls(now, tried);
            all_open_for = self.all_open(now).map_or(Duration::ZERO, |all_open| all_open.after);
        }
        AfterCall { state, more_endpoints, all_open_for }
    }

    /// The call is over and nothing was learned: what a `Drop` can say without a clock.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn leave(&mut self, choice: EndpointChoice) {
        // A neutral outcome changes nothing about the breaker at any time.
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        }
    }

    /// What each breaker does, in the order of the settings.
    pub fn states(&self, now: Monotonic) -> impl Iterator<Item = State> {
        self.all.iter().map(move |endpoint| endpoint.breaker.state(now))
    }

    /// True when an endpoint that is not among `tried` would take a call at once.
    fn takes_calls(&self, now: Monotonic, tried: &[usize]) -> bool {
        let mut others = (0..).zip(&self.all).filter(|(index, _)| !tried.contains(index));
        others.any(|(_, endpoint)| endpoint.breaker.resting(now).is_none())
    }

    fn shortest_wait(&self, now: Monotonic) -> NoEndpointError {
        let waits = self.all.iter().filter_map(|endpoint| endpoint.breaker.resting(now));
        NoEndpointError { after: waits.min().unwrap_or(self.timeout) }
    }
}

#[cfg(test)]
mod tests;
