//! The memory of used-up quotas: upstream's answer is repeated until the quota's reset, without a
//! call (`docs/RESILIENCE.md`, `docs/reference/protocol.md` 7.5).
//!
//! Answers are opaque values of type `A`: the policy keeps and returns them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Timestamp;

/// The models whose quota is used up. Every request asks, so an empty memory must cost almost
/// nothing.
#[derive(Debug)]
pub struct QuotaMemory<A> {
    exhausted: BTreeMap<String, Exhausted<A>>,
}

/// A used-up quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted<A> {
    /// What upstream answered.
    pub answer: A,
    /// When upstream gave the answer. A wall clock before this has been set back, and then the time
    /// until the reset is unknown.
    pub since: Timestamp,
    /// When the quota is reset, for `Retry-After`.
    pub reset: Timestamp,
    /// When upstream is asked again: at the reset or earlier.
    pub until: Timestamp,
}

impl<A> Default for QuotaMemory<A> {
    fn default() -> Self {
        Self { exhausted: BTreeMap::new() }
    }
}

impl<A: Clone> QuotaMemory<A> {
    /// Upstream's answer for this model and the time until the reset; `None` when upstream is to be
    /// asked. The wall clock counts: resets are hours away, and a monotonic clock may stop while a
    /// laptop sleeps.
    pub fn ask(&mut self, model: &str, clock: Timestamp) -> Option<(A, Duration)> {
        let exhausted = self.exhausted.get(model)?;
        if !exhausted.holds(clock) {
            self.exhausted.remove(model);
            return None;
        }
        Some((exhausted.answer.clone(), clock.until(exhausted.reset)))
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
        self.insert(model.to_owned(), Exhausted { answer, since: clock, reset, until }, clock);
        true
    }

    /// All used-up quotas, for other processes of the same account.
    pub fn entries(&self, clock: Timestamp) -> impl Iterator<Item = (&str, &Exhausted<A>)> {
        let held = self.exhausted.iter().filter(move |(_, exhausted)| exhausted.holds(clock));
        held.map(|(model, exhausted)| (&**model, exhausted))
    }

    /// Adds what another process of the same account knows, unless this process knows something
    /// newer.
    pub fn learn(&mut self, model: String, mut exhausted: Exhausted<A>, clock: Timestamp) {
        exhausted.until = exhausted.until.min(clock + LONGEST);
        let known = self.exhausted.get(&model).is_some_and(|own| own.since >= exhausted.since);
        if known || model.len() > LONGEST_NAME || !exhausted.holds(clock) {
            return;
        }
        self.insert(model, exhausted, clock);
    }

    /// Clears everything: the credentials are another account's.
    pub fn clear(&mut self) {
        self.exhausted.clear();
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
}

impl<A> Exhausted<A> {
    fn holds(&self, clock: Timestamp) -> bool {
        self.since <= clock && clock < self.until
    }
}

/// How long an answer without a delay is kept.
const UNSTATED: Duration = Duration::from_secs(60);

/// The longest time that an answer is kept: daily quotas are reset by then, and a wrong delay must
/// not lock a model for good.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// More models than Code Assist has.
const MOST_MODELS: usize = 256;

/// Longer than any model's name. Clients choose the name, so its length needs a bound.
const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    fn after(secs: u64) -> Timestamp {
        NOW + Duration::from_secs(secs)
    }

    fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    fn count(quotas: &QuotaMemory<&str>, clock: Timestamp) -> usize {
        quotas.entries(clock).count()
    }

    #[test]
    fn upstreams_answer_is_repeated_with_the_time_left_until_the_reset() {
        let mut quotas = QuotaMemory::default();
        assert!(quotas.note("pro", "exhausted", secs(7200), NOW));
        assert_eq!(quotas.ask("pro", after(3599)), Some(("exhausted", Duration::from_secs(3601))));
    }

    #[test]
    fn an_answer_holds_for_its_model_until_the_reset() {
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", "exhausted", secs(100), NOW);
        assert!(quotas.ask("flash", NOW).is_none());
        assert!(quotas.ask("pro", after(99)).is_some());
        assert_eq!((count(&quotas, after(99)), count(&quotas, after(100))), (1, 0));
        assert!(quotas.ask("pro", after(100)).is_none());
        assert!(quotas.ask("pro", after(99)).is_none(), "an entry that has ended is dropped");
    }

    #[test]
    fn an_answer_without_a_delay_holds_for_a_minute() {
        let mut quotas = QuotaMemory::default();
        assert!(quotas.note("pro", "exhausted", None, NOW));
        assert_eq!(quotas.ask("pro", after(59)), Some(("exhausted", Duration::from_secs(1))));
        assert!(quotas.ask("pro", after(60)).is_none());
    }

    #[test]
    fn upstream_is_asked_again_after_a_day_and_the_reset_stays_as_stated() {
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", "exhausted", secs(2 * 86_400), NOW);
        let left = quotas.ask("pro", after(86_399)).map(|(_, left)| left);
        assert_eq!(left, secs(86_401));
        assert!(quotas.ask("pro", after(86_400)).is_none());
    }

    #[test]
    fn a_quota_with_a_delay_of_zero_is_not_kept() {
        let mut quotas = QuotaMemory::default();
        assert!(!quotas.note("pro", "exhausted", secs(0), NOW));
        assert!(quotas.ask("pro", NOW).is_none());
    }

    #[test]
    fn a_wall_clock_that_was_set_back_or_ahead_does_not_lock_a_model() {
        for clock in [Timestamp(NOW.0 - 1), after(1_000_000)] {
            let mut quotas = QuotaMemory::default();
            quotas.note("pro", "exhausted", secs(7200), NOW);
            assert!(quotas.ask("pro", clock).is_none());
        }
    }

    #[test]
    fn a_later_answer_replaces_an_earlier_one() {
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", "first", secs(7200), NOW);
        quotas.note("pro", "second", secs(400), NOW);
        assert_eq!(quotas.ask("pro", NOW), Some(("second", Duration::from_secs(400))));
    }

    #[test]
    fn a_process_takes_over_the_quotas_of_another_unless_they_are_older() {
        let (mut one, mut other) = (QuotaMemory::default(), QuotaMemory::default());
        one.note("pro", "exhausted", secs(100), NOW);
        let entries: Vec<_> =
            one.entries(after(10)).map(|(model, it)| (model.to_owned(), it.clone())).collect();
        for (model, exhausted) in entries.clone() {
            other.learn(model, exhausted, after(10));
        }
        assert_eq!(other.ask("pro", after(40)), Some(("exhausted", Duration::from_secs(60))));
        other.note("pro", "newer", secs(100), after(50));
        for (model, exhausted) in entries.clone() {
            other.learn(model, exhausted, after(50));
        }
        assert_eq!(other.ask("pro", after(60)), Some(("newer", Duration::from_secs(90))));
        let mut late = QuotaMemory::default();
        for (model, exhausted) in entries {
            late.learn(model, exhausted, after(100));
        }
        assert_eq!(count(&late, after(100)), 0, "the entry no longer holds");
    }

    #[test]
    fn the_number_of_models_is_bounded_and_the_quota_that_ends_first_is_dropped() {
        let mut quotas = QuotaMemory::default();
        quotas.note("brief", "exhausted", secs(400), NOW);
        for n in 0..MOST_MODELS + 50 {
            assert!(quotas.note(&format!("m{n}"), "exhausted", secs(7200), NOW));
        }
        assert_eq!(count(&quotas, NOW), MOST_MODELS);
        assert!(quotas.ask("brief", NOW).is_none());
        assert!(!quotas.note(&"x".repeat(257), "exhausted", None, NOW));
        quotas.clear();
        assert_eq!(count(&quotas, NOW), 0);
    }
}
