//! What the policies promise whatever happens, in whatever order.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::policy::breaker::{Breaker, Outcome, State, Verdict};
use code_assist_core::internals::policy::cache::{
    self, Abandoned, CacheDirective, CacheKey, CachedAnswer, FlightLease, Limits, ResponseCache,
};
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{Caller, Monotonic, Payload};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;

const REST: Duration = Duration::from_millis(100);

/// Something that happens to a breaker.
#[derive(Debug, Clone)]
enum Happening {
    Ask,
    /// One of the calls under way, counted from the oldest, ends or goes on so.
    Record(usize, Outcome),
    Wait(Duration),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_breaker_lets_nothing_through_while_it_rests_and_one_probe_per_timeout(
        threshold in 1_u32..5,
        happenings in prop::collection::vec(happening(), 0..200),
    ) {
        let mut breaker = Breaker::new(threshold, REST);
        let (mut now, mut under_way, mut last_probe) = (Monotonic(1), Vec::new(), None);
        for happening in happenings {
            match happening {
                Happening::Ask => {
                    let (before, resting) = (breaker.state(now), breaker.open_for(now));
                    match breaker.ask(now) {
                        Verdict::Permit(permit) => {
                            prop_assert!(before != State::Open && resting.is_none());
                            if before == State::HalfOpen {
                                let apart = last_probe.is_none_or(|at| now.since(at) >= REST);
                                prop_assert!(apart, "two probes within a timeout");
                                prop_assert_eq!(breaker.state(now), State::HalfOpen);
                                last_probe = Some(now);
                            }
                            under_way.push(permit);
                        }
                        Verdict::Open { after } => {
                            prop_assert!(before != State::Closed);
                            prop_assert_eq!(resting, Some(after));
                            prop_assert!(!after.is_zero() && after <= REST);
                        }
                    }
                }
                Happening::Record(_, _) if under_way.is_empty() => {}
                Happening::Record(which, outcome) => {
                    let which = which % under_way.len();
                    let before = breaker.state(now);
                    breaker.record(under_way[which], outcome, now);
                    if outcome != Outcome::Alive {
                        let _ = under_way.remove(which);
                    }
                    if before != State::Closed && breaker.state(now) == State::Closed {
                        // Closed by a probe: the next opening is another story.
                        last_probe = None;
                    }
                    if outcome == Outcome::Neutral {
                        prop_assert_eq!(breaker.state(now), before);
                    }
                }
                Happening::Wait(how_long) => now = now + how_long,
            }
        }
        // Whatever has happened, and whoever has been lost: it recovers.
        let now = now + REST;
        let Verdict::Permit(probe) = breaker.ask(now) else {
            return Err(TestCaseError::fail("wedged"));
        };
        breaker.record(probe, Outcome::Success, now);
        prop_assert_eq!(breaker.state(now), State::Closed);
    }

    #[test]
    fn a_storm_of_failures_costs_upstream_the_threshold_and_one_probe_per_timeout(
        threshold in 1_u32..20,
        waits in prop::collection::vec(0_u64..30_000, 1..300),
    ) {
        let mut breaker = Breaker::new(threshold, REST);
        let (mut now, mut sent) = (Monotonic(0), 0_u64);
        for wait in waits {
            now = now + Duration::from_micros(wait);
            if let Verdict::Permit(permit) = breaker.ask(now) {
                sent += 1;
                breaker.record(permit, Outcome::Failure, now);
            }
        }
        let timeouts = now.0 / u64::try_from(REST.as_micros()).unwrap();
        prop_assert!(sent <= u64::from(threshold) + timeouts, "{} in {}", sent, timeouts);
    }

    #[test]
    fn in_any_window_the_limit_passes_and_no_more_and_nobody_is_refused_before(
        limit in 1_u32..8,
        asks in prop::collection::vec((0_usize..3, select(vec![0, 1, 7, 20, 50, 99, 100, 250])), 0..300),
    ) {
        let window = Duration::from_micros(100);
        let mut limiter = RateLimiter::new(limit, window).unwrap();
        let callers = [
            Caller::new(Some("alice".into()), None),
            Caller::new(None, Some([192, 0, 2, 1].into())),
            Caller::new(None, None),
        ];
        let mut passed: [Vec<Monotonic>; 3] = Default::default();
        let mut now = Monotonic(0);
        for (who, wait) in asks {
            now = now + Duration::from_micros(wait);
            let recent: Vec<_> =
                passed[who].iter().copied().filter(|at| *at + window > now).collect();
            let standing = limiter.ask(&callers[who], now);
            let full = recent.len() == limit as usize;
            prop_assert!(recent.len() <= limit as usize);
            let until_oldest = full.then(|| (recent[0] + window).since(now));
            prop_assert_eq!(standing.refused, until_oldest);
            let counted = recent.len() + usize::from(!full);
            prop_assert_eq!(standing.remaining as usize, limit as usize - counted);
            if !full {
                passed[who].push(now);
            }
        }
    }

    #[test]
    fn a_great_limit_is_never_exceeded_in_any_window_and_a_wait_is_honest(
        limit in 1025_u32..1400,
        bursts in prop::collection::vec((1_u32..900, 0_u64..60_000, 0_u64..60), 1..20),
    ) {
        let window = Duration::from_micros(100_000);
        let mut limiter = RateLimiter::new(limit, window).unwrap();
        let who = Caller::new(None, None);
        let (mut passed, mut now): (Vec<Monotonic>, _) = (Vec::new(), Monotonic(0));
        for (count, wait, pace) in bursts {
            now = now + Duration::from_micros(wait);
            for _ in 0..count {
                now = now + Duration::from_micros(pace);
                match limiter.ask(&who, now).refused {
                    None => passed.push(now),
                    Some(after) => {
                        let then = now + after;
                        prop_assert!(limiter.ask(&who, then).refused.is_none());
                        passed.push(then);
                        now = then;
                    }
                }
            }
        }
        for pair in passed.windows(limit as usize + 1) {
            prop_assert!(pair[limit as usize].since(pair[0]) >= window);
        }
    }

    #[test]
    fn equal_questions_share_answers_that_are_theirs_and_fresh_and_nobody_waits_for_ever(
        window in select(vec![0_u64, 50, 1000]),
        ttl in select(vec![0_u64, 100, 5000]),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let limits = Limits {
            window: Duration::from_millis(window),
            ttl: Duration::from_millis(ttl),
            bytes: 40_000,
            lease: LEASE,
        };
        let mut room = Room::new(limits);
        for step in steps {
            room.go(step)?;
        }
        // Those who lead are lost. When their leases are void, one answer each suffices.
        room.now = room.now + LEASE;
        for which in 0..room.clients.len() {
            if let Client::Waiting { question, arrived } = room.clients[which] {
                let client = room.ask(question, arrived)?;
                let Client::Leading { question, lease } = client else {
                    prop_assert!(matches!(client, Client::Answered), "still waiting");
                    continue;
                };
                room.settle(question, lease, 1);
            }
        }
    }
}

const LEASE: Duration = Duration::from_secs(10);

/// Something that happens to the clients of the repeats.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive(usize),
    Fail(usize),
    Leave(usize),
    Poll(usize),
    /// With an answer of so many bytes.
    Settle(usize, usize),
    Wait(u64),
}

enum Client {
    Answered,
    Leading { question: usize, lease: FlightLease },
    Waiting { question: usize, arrived: Monotonic },
}

/// The repeats and what is known about them from outside.
struct Room {
    repeats: ResponseCache,
    limits: Limits,
    clients: Vec<Client>,
    now: Monotonic,
    /// When each question was last settled.
    settled: [Option<Monotonic>; 3],
    /// When each question's leader began; `None` as soon as it may not be the only one.
    leader: [Option<Monotonic>; 3],
    /// When an answer last failed to come: whoever is of before asks for itself.
    failed: [Option<Monotonic>; 3],
}

impl Room {
    fn new(limits: Limits) -> Self {
        Self {
            repeats: ResponseCache::new(limits),
            limits,
            clients: Vec::new(),
            now: Monotonic(1),
            settled: [None; 3],
            leader: [None; 3],
            failed: [None; 3],
        }
    }

    fn go(&mut self, step: Step) -> Result<(), TestCaseError> {
        let count = self.clients.len().max(1);
        match step {
            Step::Arrive(question) => {
                let client = self.ask(question, self.now)?;
                self.clients.push(client);
            }
            Step::Poll(which) => {
                if let Some(Client::Waiting { question, arrived }) = self.clients.get(which % count)
                {
                    self.clients[which % count] = self.ask(*question, *arrived)?;
                }
            }
            Step::Settle(which, size) => {
                if let Some((question, lease)) = self.leading(which % count) {
                    self.settle(question, lease, size);
                }
            }
            Step::Fail(which) => {
                if let Some((question, lease)) = self.leading(which % count) {
                    self.leader[question] = None;
                    self.failed[question] = Some(self.now);
                    self.repeats.give_up(lease, Abandoned::Failed, self.now);
                }
            }
            Step::Leave(which) => {
                if let Some((question, lease)) = self.leading(which % count) {
                    self.leader[question] = None;
                    self.repeats.give_up(lease, Abandoned::Gone, self.now);
                }
            }
            Step::Wait(millis) => self.now = self.now + Duration::from_millis(millis),
        }
        Ok(())
    }

    fn ask(&mut self, question: usize, arrived: Monotonic) -> Result<Client, TestCaseError> {
        let sharing = !self.limits.window.is_zero();
        let alone = self.failed[question].is_some_and(|failed| arrived <= failed);
        let led = self.leader[question].is_some_and(|since| self.now < since + LEASE);
        match self.repeats.ask(&named(question), CacheDirective::Any, arrived, self.now) {
            Some(cache::Verdict::Lead(lease)) => {
                prop_assert!(alone || !(sharing && led), "two leaders though none has failed");
                if !alone {
                    self.leader[question] = Some(self.now);
                }
                Ok(Client::Leading { question, lease })
            }
            None => {
                prop_assert!(sharing);
                Ok(Client::Waiting { question, arrived })
            }
            Some(cache::Verdict::Hit(answer)) => {
                prop_assert_eq!(usize::from(answer.body[0]), question);
                let fresh = |at| at <= arrived && self.now < at + self.limits.ttl;
                prop_assert!(self.settled[question].is_some_and(fresh));
                Ok(Client::Answered)
            }
            Some(cache::Verdict::Coalesced(answer)) => {
                prop_assert_eq!(usize::from(answer.body[0]), question);
                let fresh = |at| arrived < at || self.now < at + self.limits.window;
                prop_assert!(sharing && self.settled[question].is_some_and(fresh));
                Ok(Client::Answered)
            }
            Some(cache::Verdict::Bypass) => {
                prop_assert!(!self.repeats.is_on());
                Ok(Client::Answered)
            }
            other => Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    fn settle(&mut self, question: usize, lease: FlightLease, size: usize) {
        let body = Bytes::from(vec![question.to_le_bytes()[0]; size]);
        let answer = CachedAnswer { status: StatusCode::OK, headers: HeaderMap::new(), body };
        self.leader[question] = None;
        if size < self.limits.bytes / 16 {
            self.settled[question] = Some(self.now);
        } else {
            self.failed[question] = Some(self.now);
        }
        self.repeats.settle(lease, answer, self.now);
    }

    fn leading(&mut self, which: usize) -> Option<(usize, FlightLease)> {
        let client = self.clients.get_mut(which)?;
        match std::mem::replace(client, Client::Answered) {
            Client::Leading { question, lease } => Some((question, lease)),
            other => {
                *client = other;
                None
            }
        }
    }
}

fn named(question: usize) -> CacheKey {
    let body = Payload::from(Bytes::from(question.to_string()));
    CacheKey::new(None, "countTokens", "m", &body, None)
}

fn happening() -> impl Strategy<Value = Happening> {
    let outcome =
        select(vec![Outcome::Alive, Outcome::Failure, Outcome::Neutral, Outcome::Success]);
    // Failures have a majority, or it would hardly ever open.
    let outcome = prop_oneof![2 => Just(Outcome::Failure), 1 => outcome];
    let wait = select(vec![0, 1, 10, 50, 99, 100, 101]).prop_map(Duration::from_millis);
    prop_oneof![
        4 => Just(Happening::Ask),
        4 => (0_usize..8, outcome).prop_map(|(which, outcome)| Happening::Record(which, outcome)),
        1 => wait.prop_map(Happening::Wait),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Step::Arrive),
        4 => (0_usize..40).prop_map(Step::Poll),
        // The last one takes more than an eighth of the budget.
        2 => (0_usize..40, select(vec![1, 1500, 8000])).prop_map(|(which, size)| Step::Settle(which, size)),
        1 => (0_usize..40).prop_map(Step::Fail),
        1 => (0_usize..40).prop_map(Step::Leave),
        2 => select(vec![1, 20, 60, 150, 1200, 12_000]).prop_map(Step::Wait),
    ]
}
