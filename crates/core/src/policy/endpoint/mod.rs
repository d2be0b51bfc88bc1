//! Which of several endpoints a call goes to (`spec.md` 10).

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{self, Breaker, Outcome, Permit, State, Transitions};
use crate::time::Monotonic;

/// An endpoint to call, counted as in flight until [`Endpoints::end`] or [`Endpoints::leave`].
///
/// It cannot be cloned, so that it ends once; whoever holds it must see to it that it does, also
/// when its future is dropped.
#[derive(Debug)]
#[must_use = "it counts as in flight until it is ended"]
pub struct EndpointChoice {
    /// Its number, to say which have been tried.
    pub index: usize,
    /// Its base URL, as it was given to [`Endpoints::new`].
    pub url: Arc<str>,
    permit: Permit,
}

/// No endpoint may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEndpointError {
    /// How long until the first of them may be.
    pub after: Duration,
}

/// One endpoint, for health and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health<'a> {
    /// Its base URL.
    pub url: &'a str,
    /// Its breaker.
    pub state: State,
    /// Its breaker's changes.
    pub transitions: Transitions,
    /// What is left of its rest.
    pub resting: Option<Duration>,
    /// Calls that have not ended.
    pub in_flight: usize,
    /// Failures in a row.
    pub failures: u32,
    /// The last result that taught something, and when it came. `None` before any traffic.
    pub last: Option<(Outcome, Monotonic)>,
}

/// All endpoints, each with its breaker.
#[derive(Debug)]
pub struct Endpoints {
    all: Vec<Endpoint>,
    /// Where the next choice begins to look, so that equals take turns.
    turn: usize,
    /// For the answer when there is none at all.
    timeout: Duration,
}

#[derive(Debug)]
struct Endpoint {
    url: Arc<str>,
    breaker: Breaker,
    in_flight: usize,
    last: Option<(Outcome, Monotonic)>,
}

impl Endpoints {
    /// Endpoints nobody has called yet; `threshold` and `timeout` are each breaker's.
    pub fn new(
        urls: impl IntoIterator<Item = impl Into<Arc<str>>>,
        threshold: u32,
        timeout: Duration,
    ) -> Self {
        let endpoint = |url: Arc<str>| Endpoint {
            url,
            breaker: Breaker::new(threshold, timeout),
            in_flight: 0,
            last: None,
        };
        Self { all: urls.into_iter().map(Into::into).map(endpoint).collect(), turn: 0, timeout }
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
            let index = if count == 1 { 0 } else { (self.turn + step) % count };
            let endpoint = &self.all[index];
            if endpoint.breaker.resting(now).is_some() {
                continue;
            }
            let candidate = (tried.contains(&index), endpoint.in_flight, index);
            if best.is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                best = Some(candidate);
            }
        }
        let Some((_, _, index)) = best else { return Err(self.resting(now)) };
        self.turn = index + 1;
        let endpoint = &mut self.all[index];
        match endpoint.breaker.ask(now) {
            breaker::Verdict::Permit(permit) => {
                endpoint.in_flight += 1;
                Ok(EndpointChoice { index, url: Arc::clone(&endpoint.url), permit })
            }
            breaker::Verdict::Open { after } => Err(NoEndpointError { after }),
        }
    }

    /// True when a call that has failed at `tried` could go somewhere else at once.
    pub fn elsewhere(&self, now: Monotonic, tried: &[usize]) -> bool {
        let mut others = (0..).zip(&self.all).filter(|(index, _)| !tried.contains(index));
        others.any(|(_, endpoint)| endpoint.breaker.resting(now).is_none())
    }

    /// The answer has begun: see [`Outcome::Alive`]. The call stays in flight.
    pub fn alive(&mut self, choice: &EndpointChoice, now: Monotonic) {
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.breaker.record(choice.permit, Outcome::Alive, now);
            endpoint.last = Some((Outcome::Alive, now));
        }
    }

    /// How long nobody may be called; `None` when [`choose`](Self::choose) would find one.
    pub fn rest(&self, now: Monotonic) -> Option<NoEndpointError> {
        (!self.elsewhere(now, &[])).then(|| self.resting(now))
    }

    /// Takes note of how a call ended.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn end(&mut self, choice: EndpointChoice, outcome: Outcome, now: Monotonic) {
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
            endpoint.breaker.record(choice.permit, outcome, now);
            if outcome != Outcome::Neutral {
                endpoint.last = Some((outcome, now));
            }
        }
    }

    /// The call is over and nothing was learned: what a `Drop` can say without a clock.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn leave(&mut self, choice: EndpointChoice) {
        // A neutral outcome changes nothing about the breaker at any time.
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight = endpoint.in_flight.saturating_sub(1);
        }
    }

    /// All of them as they are now, in the order of the settings.
    pub fn health(&self, now: Monotonic) -> impl Iterator<Item = Health<'_>> {
        self.all.iter().map(move |endpoint| Health {
            url: &endpoint.url,
            state: endpoint.breaker.state(now),
            transitions: endpoint.breaker.transitions(),
            resting: endpoint.breaker.resting(now),
            in_flight: endpoint.in_flight,
            failures: endpoint.breaker.failures(),
            last: endpoint.last,
        })
    }

    /// What an endpoint's breaker does.
    pub fn state(&self, index: usize, now: Monotonic) -> State {
        self.all.get(index).map_or(State::Closed, |endpoint| endpoint.breaker.state(now))
    }

    /// The worst breaker's state, for `/health`.
    pub fn worst(&self, now: Monotonic) -> State {
        let states = self.all.iter().map(|endpoint| endpoint.breaker.state(now));
        states.max().unwrap_or(State::Closed)
    }

    fn resting(&self, now: Monotonic) -> NoEndpointError {
        let rests = self.all.iter().filter_map(|endpoint| endpoint.breaker.resting(now));
        NoEndpointError { after: rests.min().unwrap_or(self.timeout) }
    }
}

#[cfg(test)]
mod tests;
