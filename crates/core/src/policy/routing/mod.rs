//! What an upstream is known to be unable to do, so that a request goes to another one at once
//! (`docs/RESILIENCE.md`), and which provider has given a signature ([`affinity`]).
//!
//! Each failure is remembered for what it concerns: the whole account, or one model. When its time is
//! over, one request at a time asks the upstream again as a probe. An exhausted quota is in
//! [`super::quota`], and what cannot be reached rests behind a breaker, in [`super::breaker`].
//!
//! Errors are opaque values of type `E`: the policy keeps and returns them.

pub mod affinity;

use std::time::Duration;

use crate::failure::FailoverReason;
use crate::sync::IsEmpty;
use crate::time::Monotonic;

/// What one upstream is known to be unable to do. Every request asks, so an empty memory must cost
/// almost nothing.
#[derive(Debug)]
pub struct InabilityMemory<E> {
    known: Vec<Inability<E>>,
}

/// One remembered failure.
#[derive(Debug)]
struct Inability<E> {
    scope: Scope,
    reason: FailoverReason,
    error: E,
    /// When the next request may ask the upstream as a probe.
    probe: Monotonic,
}

/// What a failure concerns.
#[derive(Debug, PartialEq, Eq)]
enum Scope {
    /// Every request.
    Upstream,
    /// The requests for a model with this method: a model may lack a method.
    Model { method: &'static str, model: String },
}

/// What a request does with an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "the verdict says whether the upstream is asked"]
pub enum RoutingVerdict<E> {
    /// Ask it: nothing is known.
    Ask,
    /// Ask it whether the failure is over, and report the result.
    Probe,
    /// Go to another upstream; this one has failed so.
    Unable(FailoverReason, E),
}

impl<E> Default for InabilityMemory<E> {
    fn default() -> Self {
        Self { known: Vec::new() }
    }
}

impl<E> IsEmpty for InabilityMemory<E> {
    fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Scope {
    fn of(reason: FailoverReason, method: &'static str, model: &str) -> Option<(Self, Duration)> {
        Some(match reason {
            FailoverReason::Account => (Self::Upstream, ACCOUNT),
            FailoverReason::Billing => (Self::Upstream, BILLING),
            FailoverReason::NotFound if model.len() <= LONGEST_NAME => {
                (Self::Model { method, model: model.to_owned() }, NOT_FOUND)
            }
            FailoverReason::Capacity
            | FailoverReason::NotFound
            | FailoverReason::Quota
            | FailoverReason::Unreachable => return None,
        })
    }

    fn covers(&self, of_method: &'static str, of_model: &str) -> bool {
        match self {
            Self::Upstream => true,
            Self::Model { method, model } => *method == of_method && *model == of_model,
        }
    }
}

impl<E: Clone> InabilityMemory<E> {
    /// Decides what a request does. A probe that ends without a result is followed by another one after
    /// a minute.
    pub fn ask(&mut self, method: &'static str, model: &str, now: Monotonic) -> RoutingVerdict<E> {
        let mut verdict = RoutingVerdict::Ask;
        let covering = |it: &&mut Inability<E>| it.scope.covers(method, model);
        for inability in self.known.iter_mut().filter(covering) {
            if now < inability.probe {
                return RoutingVerdict::Unable(inability.reason, inability.error.clone());
            }
            inability.probe = now + PROBE_RESULT;
            verdict = RoutingVerdict::Probe;
        }
        verdict
    }

    /// Remembers a failure, unless it says nothing of the requests that follow. True if it is news.
    pub fn note(
        &mut self,
        reason: FailoverReason,
        method: &'static str,
        model: &str,
        error: E,
        now: Monotonic,
    ) -> bool {
        let Some((scope, lasts)) = Scope::of(reason, method, model) else { return false };
        let probe = now + lasts;
        let same = |it: &&mut Inability<E>| it.scope == scope && it.reason == reason;
        if let Some(known) = self.known.iter_mut().find(same) {
            (known.error, known.probe) = (error, probe);
            return false;
        }
        if self.known.len() >= MOST {
            // The one that is probed first. What concerns the whole upstream is worth more.
            let least = |it: &Inability<E>| (it.scope == Scope::Upstream, it.probe);
            let first = (0..self.known.len()).min_by_key(|&at| least(&self.known[at]));
            first.map(|at| self.known.swap_remove(at));
        }
        self.known.push(Inability { scope, reason, error, probe });
        true
    }

    /// Records that the upstream has served a request for this model. True if that is news.
    pub fn served(&mut self, method: &'static str, model: &str) -> bool {
        let before = self.known.len();
        self.known.retain(|it| !it.scope.covers(method, model));
        self.known.len() < before
    }

    /// Forgets what concerns the account: its credential has changed.
    pub fn forget_account(&mut self) {
        self.known.retain(|it| it.reason != FailoverReason::Account);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// What is known, in no order. The last value is the time until the next probe.
    pub fn known(
        &self,
        now: Monotonic,
    ) -> impl Iterator<Item = (FailoverReason, &E, Option<(&str, &'static str)>, Duration)> {
        self.known.iter().map(move |it| {
            let model = match &it.scope {
                Scope::Upstream => None,
                Scope::Model { method, model } => Some((&**model, *method)),
            };
            (it.reason, &it.error, model, it.probe.since(now))
        })
    }
}

/// How long a refused account is left alone. Its operator has to act, and sees the result soon.
const ACCOUNT: Duration = Duration::from_secs(300);

/// How long an account without money is left alone.
const BILLING: Duration = Duration::from_secs(600);

/// How long a model counts as unknown: models do not come by the minute.
const NOT_FOUND: Duration = Duration::from_secs(3600);

/// Longer than most answers take.
const PROBE_RESULT: Duration = Duration::from_secs(60);

/// Clients choose the names of models, and each remembered failure has its error.
const MOST: usize = 64;

/// Longer than any model's name.
const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests;
