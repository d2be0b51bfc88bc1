//! Quotas that are used up: upstream's answer is remembered until their reset, and given without
//! asking upstream (`docs/RESILIENCE.md`, `docs/reference/protocol.md` 7.5).
//!
//! Answers are opaque values of type `A`: the policy remembers them and gives them back.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Timestamp;

/// The models whose quota is used up. Asked for every request: an empty memory costs next to
/// nothing.
#[derive(Debug)]
pub struct QuotaMemory<A> {
    exhausted: BTreeMap<String, Exhausted<A>>,
}

/// A quota that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted<A> {
    /// What upstream answered.
    pub answer: A,
    /// When upstream said so. A wall clock that is behind this has been set back, and then nothing
    /// is known about how far the reset is.
    pub since: Timestamp,
    /// When the quota is reset, for `Retry-After`.
    pub reset: Timestamp,
    /// When upstream is asked again, whatever it said.
    pub until: Timestamp,
}

impl<A> Default for QuotaMemory<A> {
    fn default() -> Self {
        Self { exhausted: BTreeMap::new() }
    }
}

impl<A: Clone> QuotaMemory<A> {
    /// What upstream has answered for this model and would answer again, and how long until the
    /// reset. The wall clock counts, since resets are hours away and a monotonic clock may stop
    /// while a laptop sleeps.
    pub fn ask(&mut self, model: &str, clock: Timestamp) -> Option<(A, Duration)> {
        let exhausted = self.exhausted.get(model)?;
        if !exhausted.holds(clock) {
            self.exhausted.remove(model);
            return None;
        }
        Some((exhausted.answer.clone(), clock.until(exhausted.reset)))
    }

    /// Remembers an answer that holds until the quota's reset, `delay` from now. True if it is
    /// remembered.
    ///
    /// An answer that states no delay is remembered for a minute, and none for longer than a day.
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

    /// Every quota that is used up, for other processes of the same account.
    pub fn entries(&self, clock: Timestamp) -> impl Iterator<Item = (&str, &Exhausted<A>)> {
        let held = self.exhausted.iter().filter(move |(_, exhausted)| exhausted.holds(clock));
        held.map(|(model, exhausted)| (&**model, exhausted))
    }

    /// Remembers what another process of the same account has learned, unless it is older than what
    /// this one knows.
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

    /// Where there is no room, drops what no longer holds, else the entry that would end first.
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

/// How long an answer that states no delay is remembered.
const UNSTATED: Duration = Duration::from_secs(60);

/// After a day at the latest upstream is asked again: daily quotas are back by then, and a broken
/// answer must not lock a model for good.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// More models than Code Assist has.
const MOST_MODELS: usize = 256;

/// Longer than any model's name; clients choose what stands here.
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
    fn upstreams_answer_is_repeated_with_what_is_left_of_the_delay() {
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
        assert!(quotas.ask("pro", after(99)).is_none(), "an entry that has ended is gone");
    }

    #[test]
    fn without_a_stated_delay_an_answer_holds_for_a_minute() {
        let mut quotas = QuotaMemory::default();
        assert!(quotas.note("pro", "exhausted", None, NOW));
        assert_eq!(quotas.ask("pro", after(59)), Some(("exhausted", Duration::from_secs(1))));
        assert!(quotas.ask("pro", after(60)).is_none());
    }

    #[test]
    fn after_a_day_upstream_is_asked_again_and_the_reset_stays_as_stated() {
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", "exhausted", secs(2 * 86_400), NOW);
        let left = quotas.ask("pro", after(86_399)).map(|(_, left)| left);
        assert_eq!(left, secs(86_401));
        assert!(quotas.ask("pro", after(86_400)).is_none());
    }

    #[test]
    fn a_quota_that_is_back_at_once_is_not_remembered() {
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
    fn what_one_process_has_learned_another_takes_over_unless_it_is_older() {
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
    fn the_models_remembered_are_bounded_and_the_one_that_ends_first_gives_way() {
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
