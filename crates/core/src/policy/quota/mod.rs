//! The memory of exhausted quotas: upstream's answer is repeated until the quota's reset, without a
//! call (`docs/RESILIENCE.md`, `docs/reference/protocol.md` 7.5).
//!
//! Answers are opaque values of type `A`: the policy keeps and returns them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::sync::IsEmpty;
use crate::time::Timestamp;

/// The models whose quota is exhausted. Every request asks, so an empty memory must cost almost
/// nothing.
#[derive(Debug)]
pub struct QuotaMemory<A> {
    exhausted: BTreeMap<String, Exhausted<A>>,
    /// When a model was last seen to work again. What other processes know from before is ignored.
    recovered: BTreeMap<String, Timestamp>,
    /// When the memory was cleared.
    cleared: Option<Timestamp>,
}

/// An exhausted quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted<A> {
    /// What upstream answered.
    pub answer: A,
    /// When upstream gave the answer. A wall clock long before this has been set back, and then the time
    /// until the reset is unknown.
    pub since: Timestamp,
    /// When the quota is reset, for `Retry-After`.
    pub reset: Timestamp,
    /// When the memory of it ends: at the reset or earlier.
    pub until: Timestamp,
    /// When the next request may ask upstream as a probe.
    probe: Timestamp,
}

/// What a request for a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the verdict says whether upstream is asked"]
pub enum QuotaVerdict<A> {
    /// Ask upstream: nothing is known.
    Ask,
    /// Repeat upstream's answer.
    Exhausted(A, Duration),
    /// Ask upstream whether the quota is still exhausted, and report a success with
    /// [`QuotaMemory::recovered`].
    Probe,
}

impl<A> Default for QuotaMemory<A> {
    fn default() -> Self {
        Self { exhausted: BTreeMap::new(), recovered: BTreeMap::new(), cleared: None }
    }
}

impl<A> Exhausted<A> {
    /// A quota whose `answer` came at `since`.
    pub fn new(answer: A, since: Timestamp, reset: Timestamp, until: Timestamp) -> Self {
        Self { answer, since, reset, until, probe: since + PROBE_EVERY }
    }

    fn holds(&self, clock: Timestamp) -> bool {
        self.since <= clock + CLOCKS_DIFFER && clock < self.until
    }
}

impl<A> IsEmpty for QuotaMemory<A> {
    /// True when no quota is known to be exhausted.
    fn is_empty(&self) -> bool {
        self.exhausted.is_empty()
    }
}

impl<A: Clone> QuotaMemory<A> {
    /// Decides what a request for this model does. `anew` is true if the client wants upstream to be
    /// asked. The wall clock counts: resets are hours away, and a monotonic clock may stop while a
    /// laptop sleeps.
    ///
    /// Of all requests one in ten minutes is a probe, since upstream sometimes states a reset that is
    /// days too late. A probe that ends without saying anything of the quota is followed by another
    /// after a minute.
    pub fn ask(&mut self, model: &str, anew: bool, clock: Timestamp) -> QuotaVerdict<A> {
        let Some(exhausted) = self.exhausted.get_mut(model) else { return QuotaVerdict::Ask };
        if !exhausted.holds(clock) {
            self.exhausted.remove(model);
            return QuotaVerdict::Ask;
        }
        if anew || exhausted.probe <= clock {
            exhausted.probe = clock + PROBE_RESULT;
            return QuotaVerdict::Probe;
        }
        QuotaVerdict::Exhausted(exhausted.answer.clone(), clock.until(exhausted.reset))
    }

    /// Keeps upstream's answer until the quota's reset, which is `delay` from now. False when the
    /// answer is not kept.
    ///
    /// An answer without a delay is kept for a minute. No answer is kept for longer than a day.
    pub fn note(
        &mut self,
        model: &str,
        answer: A,
        delay: Option<Duration>,
        clock: Timestamp,
    ) -> bool {
        let delay = delay.unwrap_or(UNSTATED);
        if delay.is_zero() || model.len() > LONGEST_NAME {
            return false;
        }
        let (reset, until) = (clock + delay, clock + delay.min(LONGEST));
        self.recovered.remove(model);
        self.insert(model.to_owned(), Exhausted::new(answer, clock, reset, until), clock);
        true
    }

    /// Records that upstream has served this model. False when nothing was known of it.
    pub fn recovered(&mut self, model: &str, clock: Timestamp) -> bool {
        let known = self.exhausted.remove(model).is_some();
        if known {
            self.add_recovered(model.to_owned(), clock);
        }
        known
    }

    /// All exhausted quotas, for other processes of the same account.
    pub fn entries(&self, clock: Timestamp) -> impl Iterator<Item = (&str, &Exhausted<A>)> {
        let held = self.exhausted.iter().filter(move |(_, exhausted)| exhausted.holds(clock));
        held.map(|(model, exhausted)| (&**model, exhausted))
    }

    /// The models that have worked again, and since when, for other processes of the same account.
    pub fn recoveries(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.recovered.iter().map(|(model, at)| (&**model, *at))
    }

    /// Adds what another process of the same account knows, unless this process knows something
    /// newer.
    pub fn learn(&mut self, model: String, mut exhausted: Exhausted<A>, clock: Timestamp) {
        exhausted.until = exhausted.until.min(clock + LONGEST);
        let since = exhausted.since;
        let newer = self.exhausted.get(&model).is_some_and(|own| own.since >= since)
            || self.recovered.get(&model).is_some_and(|at| *at >= since)
            || self.cleared.is_some_and(|at| at >= since);
        if newer || model.len() > LONGEST_NAME || !exhausted.holds(clock) {
            return;
        }
        self.insert(model, exhausted, clock);
    }

    /// Adds that another process of the same account has seen this model work again.
    pub fn learn_recovery(&mut self, model: &str, at: Timestamp, clock: Timestamp) {
        let known = self.recovered.get(model).is_some_and(|own| *own >= at);
        let longer_ago = clock.0.saturating_sub(at.0) > LONGEST.as_millis() as u64;
        if known || longer_ago || at > clock + CLOCKS_DIFFER || model.len() > LONGEST_NAME {
            return;
        }
        if self.exhausted.get(model).is_some_and(|own| own.since <= at) {
            self.exhausted.remove(model);
        }
        self.add_recovered(model.to_owned(), at);
    }

    /// Clears everything: the credentials are another account's, or the operator asks for it. What
    /// other processes know from before is ignored.
    pub fn clear(&mut self, clock: Timestamp) {
        *self = Self { cleared: Some(clock), ..Self::default() };
    }

    /// Inserts an entry. When the memory is full, entries that have ended are dropped, else the one
    /// that would end first.
    fn insert(&mut self, model: String, exhausted: Exhausted<A>, clock: Timestamp) {
        if self.exhausted.len() >= MOST_MODELS && !self.exhausted.contains_key(&model) {
            self.exhausted.retain(|_, other| other.holds(clock));
        }
        if self.exhausted.len() >= MOST_MODELS && !self.exhausted.contains_key(&model) {
            let first = self.exhausted.iter().min_by_key(|(_, other)| other.until);
            if let Some(model) = first.map(|(model, _)| model.clone()) {
                self.exhausted.remove(&model);
            }
        }
        self.exhausted.insert(model, exhausted);
    }

    /// Remembers a recovery. When there are too many, the oldest is dropped.
    fn add_recovered(&mut self, model: String, at: Timestamp) {
        if self.recovered.len() >= MOST_MODELS && !self.recovered.contains_key(&model) {
            let oldest = self.recovered.iter().min_by_key(|(_, at)| **at);
            if let Some(model) = oldest.map(|(model, _)| model.clone()) {
                self.recovered.remove(&model);
            }
        }
        self.recovered.insert(model, at);
    }
}

/// How often upstream is asked although a quota is known to be exhausted.
const PROBE_EVERY: Duration = Duration::from_secs(600);
/// Longer than most answers take.
const PROBE_RESULT: Duration = Duration::from_secs(60);

/// By how much a request's clock may be behind that of the request which noted an answer: another thread
/// has read its clock earlier in its step, and another machine's clock may be slow.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

/// How long an answer without a delay is kept.
const UNSTATED: Duration = Duration::from_secs(60);

/// The longest time that an answer is kept: daily quotas are reset by then, and a wrong delay must
/// not lock a model for good.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// More models than Code Assist has.
const MOST_MODELS: usize = 256;

/// Longer than any model's name. Clients choose the name, so its length needs a bound.
const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests;
