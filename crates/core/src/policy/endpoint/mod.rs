//! The choice among several endpoints (`docs/RESILIENCE.md`).

use std::time::Duration;

use super::breaker::{
    self, Breaker, CallOutcome, CallOutcomes, ModelBreakers, ModelOperation, ModelPermit,
    RestingModel,
};
use crate::time::Monotonic;

/// Which breakers a call counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerScope<'a> {
    /// The endpoint's, as for the calls of the proxy's own.
    Endpoint,
    /// The endpoint's, and the one of the model and the operation at that endpoint.
    Model(ModelOperation<'a>),
    /// None, as for methods of the provider's own protocol that generate nothing. An open breaker of
    /// the endpoint refuses these calls too. Once its timeout is over they pass, but not as the probe:
    /// the Gemini CLI makes such calls before it generates.
    Nothing,
}

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
    /// True when the call is the probe of the endpoint's half-open breaker.
    pub is_probe: bool,
    permit: Option<breaker::Permit>,
    model_permit: Option<ModelPermit>,
    /// What an earlier try of the request has counted at this endpoint.
    counted: Counted,
    /// False if the endpoint does not count it as in flight: see [`Endpoints::calm`].
    is_in_flight: bool,
}

impl EndpointChoice {
    /// The choice of the only endpoint of calm ones, with their serial.
    pub fn calm(serial: u64, scope: BreakerScope<'_>, tries: &Tries) -> Self {
        let (permit, model_permit) = match scope {
            BreakerScope::Nothing => (None, None),
            BreakerScope::Endpoint => (Some(breaker::Permit::of_closed(serial)), None),
            BreakerScope::Model(_) => {
                (Some(breaker::Permit::of_closed(serial)), Some(ModelPermit::WITHOUT_BREAKER))
            }
        };
        let counted = tries.counted(0);
        Self { index: 0, is_probe: false, permit, model_permit, counted, is_in_flight: false }
    }

    /// True if the end of the call changes nothing, unless it has failed or something has failed meanwhile.
    pub fn changes_nothing(&self) -> bool {
        !self.is_in_flight
    }
}

/// The breakers at one endpoint for which a failure of a request has been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counted {
    endpoint: bool,
    model: bool,
}

/// The tries of one request. A request counts once for each breaker, however often it is tried.
#[derive(Debug, Default)]
pub struct Tries {
    endpoints: Vec<TriedEndpoint>,
}

#[derive(Debug)]
struct TriedEndpoint {
    index: usize,
    /// False when the endpoint may be tried again as if it had not been.
    is_tried: bool,
    counted: Counted,
}

impl Tries {
    /// Records that a try at this endpoint has failed with these outcomes.
    pub fn failed(&mut self, index: usize, outcomes: CallOutcomes) {
        let at = self.endpoints.iter().position(|endpoint| endpoint.index == index);
        let at = at.unwrap_or_else(|| {
            let counted = Counted::default();
            self.endpoints.push(TriedEndpoint { index, is_tried: true, counted });
            self.endpoints.len() - 1
        });
        let endpoint = &mut self.endpoints[at];
        endpoint.is_tried = true;
        endpoint.counted.endpoint |= outcomes.endpoint == CallOutcome::Failure;
        endpoint.counted.model |= outcomes.model == CallOutcome::Failure;
    }

    /// Records that the endpoint was not at fault for the last try: it may have the next one.
    pub fn excuse(&mut self, index: usize) {
        let tried = self.endpoints.iter_mut().find(|endpoint| endpoint.index == index);
        if let Some(endpoint) = tried {
            endpoint.is_tried = false;
        }
    }

    fn includes(&self, index: usize) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.index == index && endpoint.is_tried)
    }

    fn counted(&self, index: usize) -> Counted {
        let found = self.endpoints.iter().find(|endpoint| endpoint.index == index);
        found.map(|endpoint| endpoint.counted).unwrap_or_default()
    }
}

/// No endpoint may be called: at each one its own breaker or the model's is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoEndpointError {
    /// The time until the first endpoint may be called.
    pub after: Duration,
    /// True when at that endpoint only the model's breaker is open, so that other models can be
    /// called.
    pub only_the_model: bool,
}

/// What matters for the next try after a call has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AfterCall {
    /// The state of the endpoint's breaker.
    pub state: breaker::State,
    /// True when this call opened the model's breaker.
    pub model_opened: bool,
    /// True when another endpoint may be called at once that the request has not tried.
    pub more_endpoints: bool,
    /// How long no endpoint may be called; zero when one may be called at once.
    pub all_open_for: Duration,
}

impl AfterCall {
    /// After a call that nothing is known against.
    pub const CALM: Self = Self {
        state: breaker::State::Closed,
        model_opened: false,
        more_endpoints: false,
        all_open_for: Duration::ZERO,
    };
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
    models: ModelBreakers,
    in_flight: usize,
}

impl Endpoints {
    /// `count` endpoints that have had no calls. Each breaker has this `threshold` and `timeout`.
    pub fn new(count: usize, threshold: u32, timeout: Duration) -> Self {
        let endpoint = || EndpointState {
            breaker: Breaker::new(threshold, timeout),
            models: ModelBreakers::new(threshold, timeout),
            in_flight: 0,
        };
        Self { all: (0..count).map(|_| endpoint()).collect(), next: 0, timeout }
    }

    /// Chooses the endpoint for the next call of a request with these earlier `tries`.
    ///
    /// Endpoints where a breaker is open that the call counts for are left out. Untried endpoints
    /// come before tried ones; among equals the endpoint with the fewest calls in flight is chosen.
    pub fn choose(
        &mut self,
        scope: BreakerScope<'_>,
        tries: &Tries,
        now: Monotonic,
    ) -> Result<EndpointChoice, NoEndpointError> {
        let count = self.all.len();
        let mut best: Option<(bool, usize, usize)> = None;
        for step in 0..count {
            let index = if count == 1 { 0 } else { (self.next + step) % count };
            let endpoint = &self.all[index];
            if endpoint.open_for(scope, now).is_some() {
                continue;
            }
            let candidate = (tries.includes(index), endpoint.in_flight, index);
            if best.is_none_or(|best| (candidate.0, candidate.1) < (best.0, best.1)) {
                best = Some(candidate);
            }
        }
        let Some((_, _, index)) = best else { return Err(self.shortest_wait(scope, now)) };
        self.next = index + 1;
        let endpoint = &mut self.all[index];
        endpoint.in_flight += 1;
        let (permit, is_probe) = match scope {
            BreakerScope::Nothing => (None, false),
            BreakerScope::Endpoint | BreakerScope::Model(_) => match endpoint.breaker.ask(now) {
                breaker::BreakerVerdict::Permit(permit) => {
                    (Some(permit), endpoint.breaker.state(now) == breaker::State::HalfOpen)
                }
                breaker::BreakerVerdict::Open { .. } => (None, false),
            },
        };
        let model_permit = match scope {
            BreakerScope::Model(of) => endpoint.models.permit(of, now),
            BreakerScope::Endpoint | BreakerScope::Nothing => None,
        };
        let counted = tries.counted(index);
        Ok(EndpointChoice { index, is_probe, permit, model_permit, counted, is_in_flight: true })
    }

    /// Records that the answer has begun ([`CallOutcome::Alive`]); the call stays in flight. Returns
    /// the state of the endpoint's breaker.
    pub fn alive(
        &mut self,
        choice: &EndpointChoice,
        scope: BreakerScope<'_>,
        now: Monotonic,
    ) -> breaker::State {
        let Some(endpoint) = self.all.get_mut(choice.index) else { return breaker::State::Closed };
        endpoint.record(choice, scope, CallOutcomes::ALIVE, 0, now);
        endpoint.breaker.state(now)
    }

    /// The error of [`choose`](Self::choose), without a choice: `None` when an endpoint may be
    /// called.
    pub fn all_open(&self, scope: BreakerScope<'_>, now: Monotonic) -> Option<NoEndpointError> {
        let may_call = self.may_call_other_than(&Tries::default(), scope, now);
        (!may_call).then(|| self.shortest_wait(scope, now))
    }

    /// Records how a call ended. `body` is the hash of the request's body, and `tries` are all tries of
    /// the request, this one included if it has failed.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn end(
        &mut self,
        choice: EndpointChoice,
        scope: BreakerScope<'_>,
        outcomes: CallOutcomes,
        body: u64,
        tries: &Tries,
        now: Monotonic,
    ) -> AfterCall {
        let (mut state, mut model_opened) = (breaker::State::Closed, false);
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight -= usize::from(choice.is_in_flight);
            model_opened = endpoint.record(&choice, scope, outcomes, body, now);
            state = endpoint.breaker.state(now);
        }
        // After a success nothing is left to ask: this endpoint takes calls.
        let (mut more_endpoints, mut all_open_for) = (false, Duration::ZERO);
        if outcomes.has_failed() || state != breaker::State::Closed {
            more_endpoints = self.may_call_other_than(tries, scope, now);
            let all_open = self.all_open(scope, now);
            all_open_for = all_open.map_or(Duration::ZERO, |all_open| all_open.after);
        }
        AfterCall { state, model_opened, more_endpoints, all_open_for }
    }

    /// Ends a call that says nothing about the endpoint. It needs no clock, so a `Drop` can call it.
    #[expect(clippy::needless_pass_by_value, reason = "a choice ends once")]
    pub fn leave(&mut self, choice: EndpointChoice) {
        // [`CallOutcome::Neutral`] never changes a breaker: there is nothing to record.
        if let Some(endpoint) = self.all.get_mut(choice.index) {
            endpoint.in_flight -= usize::from(choice.is_in_flight);
        }
    }

    /// The serial of the breaker's permits if there is one endpoint that nothing is known against. Then there
    /// is no choice, a call that does not fail changes nothing, and it need not be counted as in flight:
    /// [`EndpointChoice::calm`] stands for [`Self::choose`].
    pub fn calm(&self) -> Option<u64> {
        let [only] = &self.all[..] else { return None };
        only.breaker.calm_serial().filter(|_| only.models.is_empty())
    }

    /// The state of each endpoint's breaker, in the order of the settings.
    pub fn states(&self, now: Monotonic) -> impl Iterator<Item = breaker::State> {
        self.all.iter().map(move |endpoint| endpoint.breaker.state(now))
    }

    /// The models whose breakers are not closed, each with the position of the endpoint.
    pub fn resting(&mut self, now: Monotonic) -> impl Iterator<Item = (usize, RestingModel<'_>)> {
        let all = self.all.iter_mut().enumerate();
        all.flat_map(move |(index, endpoint)| {
            endpoint.models.resting(now).map(move |model| (index, model))
        })
    }

    /// True when an endpoint that is not among `tries` may be called at once.
    fn may_call_other_than(&self, tries: &Tries, scope: BreakerScope<'_>, now: Monotonic) -> bool {
        let mut others = (0..).zip(&self.all).filter(|(index, _)| !tries.includes(*index));
        others.any(|(_, endpoint)| endpoint.open_for(scope, now).is_none())
    }

    fn shortest_wait(&self, scope: BreakerScope<'_>, now: Monotonic) -> NoEndpointError {
        let wait = |endpoint: &EndpointState| {
            let after = endpoint.open_for(scope, now)?;
            Some(NoEndpointError {
                after,
                only_the_model: endpoint.breaker.open_for(now).is_none(),
            })
        };
        let waits = self.all.iter().filter_map(wait);
        let none = NoEndpointError { after: self.timeout, only_the_model: false };
        waits.min_by_key(|wait| wait.after).unwrap_or(none)
    }
}

impl EndpointState {
    /// How long a call may not be made, because of either breaker.
    fn open_for(&self, scope: BreakerScope<'_>, now: Monotonic) -> Option<Duration> {
        let of_model = match scope {
            BreakerScope::Model(of) => self.models.open_for(of, now),
            BreakerScope::Endpoint | BreakerScope::Nothing => None,
        };
        self.breaker.open_for(now).max(of_model)
    }

    /// Records the outcomes with the permits of the choice. A failure is recorded once a request, but
    /// the failure of a probe always, since the breaker waits for it. Returns true when this opens the
    /// model's breaker.
    fn record(
        &mut self,
        choice: &EndpointChoice,
        scope: BreakerScope<'_>,
        outcomes: CallOutcomes,
        body: u64,
        now: Monotonic,
    ) -> bool {
        if let Some(permit) = choice.permit {
            let repeated = choice.counted.endpoint && !choice.is_probe;
            self.breaker.record(permit, once(outcomes.endpoint, repeated), None, now);
        }
        let (Some(permit), BreakerScope::Model(of)) = (choice.model_permit, scope) else {
            return false;
        };
        let repeated = choice.counted.model && !permit.is_probe;
        self.models.record(of, permit, once(outcomes.model, repeated), body, now)
    }
}

/// The outcome to record for a request whose failure may have been recorded before.
fn once(outcome: CallOutcome, repeated: bool) -> CallOutcome {
    match outcome {
        CallOutcome::Failure if repeated => CallOutcome::Neutral,
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests;
