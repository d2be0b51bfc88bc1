//! The breakers of an endpoint's models, one for each model and operation that has failed.

use std::time::Duration;

use super::{Breaker, BreakerVerdict, CallOutcome, Permit, State};
use crate::time::Monotonic;

/// What a model's breaker guards: one operation of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelOperation<'a> {
    /// The model's name as it is sent upstream.
    pub model: &'a str,
    /// The name of the API's method, such as `generateContent`.
    pub operation: &'static str,
}

/// The permission for one call, as far as the model's breaker is concerned.
#[derive(Debug, Clone, Copy)]
pub struct ModelPermit {
    permit: Permit,
    /// True when the call is the probe of a half-open breaker.
    pub is_probe: bool,
}

impl ModelPermit {
    /// For a model that has no breaker: it has the serial of a breaker that has never opened, as the one that a
    /// failure will make.
    pub const WITHOUT_BREAKER: Self = Self { permit: Permit { serial: 0 }, is_probe: false };
}

/// A model whose breaker is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestingModel<'a> {
    /// The model and its operation.
    pub of: ModelOperation<'a>,
    /// The breaker's state, not closed.
    pub state: State,
    /// The time until the next probe may go, zero when it may go now.
    pub open_for: Duration,
}

/// The breakers of the models of one endpoint.
///
/// A model has a breaker only after a failure, so that models that work cost nothing.
#[derive(Debug)]
pub struct ModelBreakers {
    threshold: u32,
    timeout: Duration,
    /// The most recent failure is last.
    all: Vec<ModelBreaker>,
}

#[derive(Debug)]
struct ModelBreaker {
    model: Box<str>,
    operation: &'static str,
    breaker: Breaker,
}

impl ModelBreakers {
    /// No breakers yet. Each will open after `threshold` failures in a row, for `timeout`.
    pub fn new(threshold: u32, timeout: Duration) -> Self {
        Self { threshold, timeout, all: Vec::new() }
    }

    /// True if no model has a breaker.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How long the breaker refuses calls; `None` when it permits one.
    pub fn open_for(&self, of: ModelOperation<'_>, now: Monotonic) -> Option<Duration> {
        self.all[self.position(of)?].breaker.open_for(now)
    }

    /// Permits a call that [`Self::open_for`] does not refuse, as a probe if the breaker's timeout is
    /// over.
    pub fn permit(&mut self, of: ModelOperation<'_>, now: Monotonic) -> Option<ModelPermit> {
        let Some(at) = self.position(of) else { return Some(ModelPermit::WITHOUT_BREAKER) };
        let breaker = &mut self.all[at].breaker;
        match breaker.ask(now) {
            BreakerVerdict::Permit(permit) => {
                Some(ModelPermit { permit, is_probe: breaker.state(now) == State::HalfOpen })
            }
            BreakerVerdict::Open { .. } => None,
        }
    }

    /// Records how a call ended, see [`Breaker::record`]. Returns true when this opens the breaker.
    pub fn record(
        &mut self,
        of: ModelOperation<'_>,
        permit: ModelPermit,
        outcome: CallOutcome,
        body: u64,
        now: Monotonic,
    ) -> bool {
        let at = match self.position(of) {
            Some(at) => at,
            None if outcome == CallOutcome::Failure => self.add(of, now),
            None => return false,
        };
        let breaker = &mut self.all[at].breaker;
        let before = breaker.state(now);
        breaker.record(permit.permit, outcome, Some(body), now);
        let opened = before != State::Open && breaker.state(now) == State::Open;
        match outcome {
            CallOutcome::Failure => self.all[at..].rotate_left(1),
            _ if breaker.is_new() => drop(self.all.remove(at)),
            _ => {}
        }
        opened
    }

    /// The models whose breakers are not closed. A model that no request has asked for during
    /// [`FORGOTTEN_AFTER`] timeouts is forgotten.
    pub fn resting(&mut self, now: Monotonic) -> impl Iterator<Item = RestingModel<'_>> {
        let long = FORGOTTEN_AFTER * self.timeout;
        self.all.retain(|entry| !entry.breaker.is_forgotten(long, now));
        self.all.iter().filter_map(move |entry| {
            let state = entry.breaker.state(now);
            (state != State::Closed).then(|| RestingModel {
                of: ModelOperation { model: &entry.model, operation: entry.operation },
                state,
                open_for: entry.breaker.open_for(now).unwrap_or_default(),
            })
        })
    }

    fn position(&self, of: ModelOperation<'_>) -> Option<usize> {
        let same =
            |entry: &ModelBreaker| entry.operation == of.operation && *entry.model == *of.model;
        self.all.iter().position(same)
    }

    /// Adds a breaker and returns its place. When there are too many, the closed one with the oldest
    /// failure makes way, else the one that failed first.
    fn add(&mut self, of: ModelOperation<'_>, now: Monotonic) -> usize {
        if self.all.len() >= MOST_MODELS {
            let closed = |entry: &ModelBreaker| entry.breaker.state(now) == State::Closed;
            self.all.remove(self.all.iter().position(closed).unwrap_or(0));
        }
        self.all.push(ModelBreaker {
            model: of.model.into(),
            operation: of.operation,
            breaker: Breaker::new(self.threshold, self.timeout),
        });
        self.all.len() - 1
    }
}

/// How many timeouts after its opening a model that is not asked for counts as resting.
const FORGOTTEN_AFTER: u32 = 10;

/// More models and operations than fail at one time. Clients choose the name of a model, so the number
/// needs a bound.
const MOST_MODELS: usize = 64;
