//! Quotas that are used up: upstream's answer is remembered until their reset, and given locally
//! (`spec.md` 10, `protocol.md` 7.5).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::google::error::{self, UpstreamError};
use crate::time::Timestamp;

/// The models whose quota is used up. Asked for every request: empty, it costs next to nothing.
#[derive(Debug, Default)]
pub struct Quotas {
    spent: BTreeMap<String, Spent>,
}

#[derive(Debug)]
struct Spent {
    fault: UpstreamError,
    /// When upstream said it. A wall clock that is behind this has been set back, and then there
    /// is no telling how far the reset is.
    since: Timestamp,
    /// When the quota comes back, for `Retry-After`.
    reset: Timestamp,
    /// When upstream is asked again, whatever it said.
    until: Timestamp,
}

impl Quotas {
    /// What upstream has said about this model and would say again: its own bytes, with what is
    /// left of the delay. It is the wall clock that counts, since resets are hours away and a
    /// monotonic clock may stop while a laptop sleeps.
    pub fn ask(&mut self, model: &str, clock: Timestamp) -> Option<UpstreamError> {
        let spent = self.spent.get(model)?;
        if !spent.holds(clock) {
            self.spent.remove(model);
            return None;
        }
        let mut fault = spent.fault.clone();
        fault.retry_delay = Some(clock.until(spent.reset));
        Some(fault)
    }

    /// Takes note of an answer, if it is one that holds until a quota's reset. True if so.
    ///
    /// An answer that states no delay is remembered for a minute, and none for longer than a day.
    pub fn note(&mut self, model: &str, fault: &UpstreamError, clock: Timestamp) -> bool {
        let delay = fault.retry_delay.unwrap_or(UNSTATED);
        if !fault.is_terminal_quota() || delay.is_zero() || model.len() > LONGEST_NAME {
            return false;
        }
        if !self.spent.contains_key(model) {
            self.make_room(clock);
        }
        let (reset, until) = (clock + delay, clock + delay.min(LONGEST));
        let spent = Spent { fault: fault.clone(), since: clock, reset, until };
        self.spent.insert(model.to_owned(), spent);
        true
    }

    /// What others may learn from: every quota of this account that is used up, and how long any of
    /// it holds.
    pub fn to_stored(&self, account: &str, clock: Timestamp) -> Option<(Bytes, Duration)> {
        let held = self.spent.iter().filter(|(_, spent)| spent.holds(clock));
        let rows: Vec<Row> = held
            .filter_map(|(model, spent)| {
                Some(Row {
                    model: model.clone(),
                    status: spent.fault.http.as_u16(),
                    body: String::from_utf8(spent.fault.body.to_vec()).ok()?,
                    since: spent.since.0,
                    reset: spent.reset.0,
                    until: spent.until.0,
                })
            })
            .collect();
        let ttl = rows.iter().map(|row| clock.until(Timestamp(row.until))).max()?;
        let text = serde_json::to_vec(&(account, rows)).ok()?;
        Some((Bytes::from(text), ttl))
    }

    /// Takes note of what another process has learned about the same account.
    pub fn learn(&mut self, stored: &Bytes, account: &str, clock: Timestamp) {
        let read: Option<(String, Vec<Row>)> = serde_json::from_slice(stored).ok();
        let Some((_, rows)) = read.filter(|(owner, _)| owner == account) else { return };
        for row in rows.into_iter().filter(|row| row.model.len() <= LONGEST_NAME) {
            let Ok(http) = StatusCode::from_u16(row.status) else { continue };
            let spent = Spent {
                fault: error::read(http, &HeaderMap::new(), &Bytes::from(row.body)),
                since: Timestamp(row.since),
                reset: Timestamp(row.reset),
                until: Timestamp(row.until).min(clock + LONGEST),
            };
            let known = self.spent.get(&row.model).is_some_and(|own| own.since >= spent.since);
            if known || !spent.holds(clock) {
                continue;
            }
            if !self.spent.contains_key(&row.model) {
                self.make_room(clock);
            }
            self.spent.insert(row.model, spent);
        }
    }

    /// The account is another one, or the quota has been raised: nothing is known any more.
    pub fn forget(&mut self) {
        self.spent.clear();
    }

    /// How many models have used up their quota, for health.
    pub fn count(&self, clock: Timestamp) -> usize {
        self.spent.values().filter(|spent| spent.holds(clock)).count()
    }

    /// Drops what no longer holds, and the one that would be forgotten first if all do.
    fn make_room(&mut self, clock: Timestamp) {
        if self.spent.len() < MOST_MODELS {
            return;
        }
        self.spent.retain(|_, spent| spent.holds(clock));
        if self.spent.len() >= MOST_MODELS {
            let first = self.spent.iter().min_by_key(|(_, spent)| spent.until);
            if let Some(model) = first.map(|(model, _)| model.clone()) {
                self.spent.remove(&model);
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Row {
    model: String,
    status: u16,
    body: String,
    since: u64,
    reset: u64,
    until: u64,
}

impl Spent {
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
    use crate::error::Error;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    fn fault(reason: &str, delay: Option<&str>) -> UpstreamError {
        let delay = delay.map_or_else(String::new, |delay| format!("Resets in {delay}."));
        let body = format!(
            r#"{{"error":{{"code":429,"message":"Exhausted. {delay}","status":"RESOURCE_EXHAUSTED", "details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}"}}]}}}}"#
        );
        error::read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &Bytes::from(body))
    }

    fn after(secs: u64) -> Timestamp {
        NOW + Duration::from_secs(secs)
    }

    #[test]
    fn upstreams_own_words_are_repeated_with_what_is_left_of_the_delay() {
        let mut quotas = Quotas::default();
        let fault = fault("QUOTA_EXHAUSTED", Some("2h"));
        assert!(quotas.note("pro", &fault, NOW));
        let told = quotas.ask("pro", after(3599)).unwrap();
        assert_eq!(told.body, fault.body);
        assert_eq!(told.retry_delay, Some(Duration::from_secs(3601)));
        let refusal = Error::from(told);
        assert_eq!(refusal.headers()["retry-after"], "3601");
        assert_eq!(refusal.body(), fault.body);
    }

    #[test]
    fn it_holds_for_that_model_until_the_reset() {
        let mut quotas = Quotas::default();
        quotas.note("pro", &fault("QUOTA_EXHAUSTED", Some("100s")), NOW);
        assert!(quotas.ask("flash", NOW).is_none());
        assert!(quotas.ask("pro", after(99)).is_some());
        assert_eq!((quotas.count(after(99)), quotas.count(after(100))), (1, 0));
        assert!(quotas.ask("pro", after(100)).is_none());
        assert!(quotas.ask("pro", after(99)).is_none(), "forgotten for good");
    }

    #[test]
    fn without_a_stated_delay_it_holds_for_a_minute() {
        for reason in ["QUOTA_EXHAUSTED", "INSUFFICIENT_G1_CREDITS_BALANCE"] {
            let mut quotas = Quotas::default();
            assert!(quotas.note("pro", &fault(reason, None), NOW));
            let left = quotas.ask("pro", after(59)).unwrap().retry_delay;
            assert_eq!(left, Some(Duration::from_secs(1)));
            assert!(quotas.ask("pro", after(60)).is_none());
        }
    }

    #[test]
    fn after_a_day_upstream_is_asked_again_but_the_reset_is_told_as_it_is() {
        let mut quotas = Quotas::default();
        quotas.note("pro", &fault("QUOTA_EXHAUSTED", Some("48h")), NOW);
        let left = quotas.ask("pro", after(86_399)).unwrap().retry_delay;
        assert_eq!(left, Some(Duration::from_secs(86_401)));
        assert!(quotas.ask("pro", after(86_400)).is_none());
    }

    #[test]
    fn what_a_little_waiting_mends_is_not_remembered() {
        let mut quotas = Quotas::default();
        assert!(!quotas.note("pro", &fault("RATE_LIMIT_EXCEEDED", Some("10s")), NOW));
        assert!(!quotas.note("pro", &fault("QUOTA_EXHAUSTED", Some("0s")), NOW));
        assert!(quotas.ask("pro", NOW).is_none());
    }

    #[test]
    fn a_clock_that_was_set_back_or_ahead_does_not_lock_a_model() {
        for clock in [Timestamp(NOW.0 - 1), after(1_000_000)] {
            let mut quotas = Quotas::default();
            quotas.note("pro", &fault("QUOTA_EXHAUSTED", Some("2h")), NOW);
            assert!(quotas.ask("pro", clock).is_none());
        }
    }

    #[test]
    fn a_later_answer_replaces_an_earlier_one() {
        let mut quotas = Quotas::default();
        quotas.note("pro", &fault("QUOTA_EXHAUSTED", Some("2h")), NOW);
        quotas.note("pro", &fault("QUOTA_EXHAUSTED", Some("400s")), NOW);
        assert_eq!(quotas.ask("pro", NOW).unwrap().retry_delay, Some(Duration::from_secs(400)));
    }

    #[test]
    fn what_one_process_has_learned_another_knows() {
        let (mut one, mut other) = (Quotas::default(), Quotas::default());
        let fault = fault("QUOTA_EXHAUSTED", Some("100s"));
        one.note("pro", &fault, NOW);
        let (stored, ttl) = one.to_stored("ada", after(10)).unwrap();
        assert_eq!(ttl, Duration::from_secs(90));
        other.learn(&stored, "bob", after(10));
        assert!(other.ask("pro", after(10)).is_none(), "it is another account's");
        other.learn(&stored, "ada", after(10));
        let told = other.ask("pro", after(40)).unwrap();
        assert_eq!((told.body, told.retry_delay), (fault.body, Some(Duration::from_secs(60))));
        assert!(other.ask("pro", after(100)).is_none());
        other.learn(&stored, "ada", after(100));
        assert_eq!(other.count(after(100)), 0, "it holds no more");
        assert!(one.to_stored("ada", after(100)).is_none());
        for bad in ["", "{}", "[]", r#"["ada",[{"model":"pro"}]]"#] {
            other.learn(&Bytes::from(bad), "ada", NOW);
        }
        assert_eq!(other.count(NOW), 0);
    }

    #[test]
    fn the_models_remembered_are_bounded_and_the_one_that_ends_first_gives_way() {
        let mut quotas = Quotas::default();
        quotas.note("brief", &fault("QUOTA_EXHAUSTED", Some("400s")), NOW);
        for n in 0..MOST_MODELS + 50 {
            assert!(quotas.note(&format!("m{n}"), &fault("QUOTA_EXHAUSTED", Some("2h")), NOW));
        }
        assert_eq!(quotas.count(NOW), MOST_MODELS);
        assert!(quotas.ask("brief", NOW).is_none());
        assert!(!quotas.note(&"x".repeat(257), &fault("QUOTA_EXHAUSTED", None), NOW));
        quotas.forget();
        assert_eq!(quotas.count(NOW), 0);
    }
}
