//! What the policies guarantee for any sequence of events.

mod key_guesses;
mod model_breakers;
mod wait_queue;

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::policy::breaker::{self, Breaker};
use code_assist_core::internals::policy::cache::{
    self, Abandoned, CacheDirective, CacheKey, CachedAnswer, FlightLease, ResponseCache,
};
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{Caller, KeyDigest, Monotonic, Payload};
use http::{HeaderMap, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;

const TIMEOUT: Duration = Duration::from_millis(100);

/// Something that happens to a breaker.
#[derive(Debug, Clone)]
enum BreakerEvent {
    Ask,
    /// The outcome of one of the calls in flight, by its position from the oldest.
    Record(usize, breaker::CallOutcome),
    Wait(Duration),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_open_breaker_permits_no_call_and_a_half_open_one_permits_one_probe_per_timeout(
        threshold in 1_u32..5,
        events in prop::collection::vec(event(), 0..200),
    ) {
        let mut breaker = Breaker::new(threshold, TIMEOUT);
        let (mut now, mut in_flight, mut last_probe) = (Monotonic(1), Vec::new(), None);
        for event in events {
            match event {
                BreakerEvent::Ask => {
                    let (before, open_for) = (breaker.state(now), breaker.open_for(now));
                    match breaker.ask(now) {
                        breaker::BreakerVerdict::Permit(permit) => {
                            prop_assert!(before != breaker::State::Open && open_for.is_none());
                            if before == breaker::State::HalfOpen {
                                let apart = last_probe.is_none_or(|at| now.since(at) >= TIMEOUT);
                                prop_assert!(apart, "two probes within a timeout");
                                prop_assert_eq!(breaker.state(now), breaker::State::HalfOpen);
                                last_probe = Some(now);
                            }
                            in_flight.push(permit);
                        }
                        breaker::BreakerVerdict::Open { after } => {
                            prop_assert!(before != breaker::State::Closed);
                            prop_assert_eq!(open_for, Some(after));
                            prop_assert!(!after.is_zero() && after <= TIMEOUT);
                        }
                    }
                }
                BreakerEvent::Record(_, _) if in_flight.is_empty() => {}
                BreakerEvent::Record(which, outcome) => {
                    let which = which % in_flight.len();
                    let before = breaker.state(now);
                    breaker.record(in_flight[which], outcome, None, now);
                    if outcome != breaker::CallOutcome::Alive {
                        let _ = in_flight.remove(which);
                    }
                    let closed = breaker::State::Closed;
                    if before != closed && breaker.state(now) == closed {
                        // A probe closed the breaker; the next opening has its own first probe.
                        last_probe = None;
                    }
                    if outcome == breaker::CallOutcome::Neutral {
                        if before == breaker::State::HalfOpen {
                            // A probe that says nothing makes way for the next one.
                            last_probe = None;
                        }
                        prop_assert_eq!(breaker.state(now), before);
                    }
                }
                BreakerEvent::Wait(how_long) => now = now + how_long,
            }
        }
        // After any events, and with any calls that never ended, the breaker recovers.
        let now = now + TIMEOUT;
        let breaker::BreakerVerdict::Permit(probe) = breaker.ask(now) else {
            return Err(TestCaseError::fail("the breaker permits no probe after the timeout"));
        };
        breaker.record(probe, breaker::CallOutcome::Success, None, now);
        prop_assert_eq!(breaker.state(now), breaker::State::Closed);
    }

    #[test]
    fn constant_failures_cost_upstream_the_threshold_and_one_probe_per_timeout(
        threshold in 1_u32..20,
        waits in prop::collection::vec(0_u64..30_000, 1..300),
    ) {
        let mut breaker = Breaker::new(threshold, TIMEOUT);
        let (mut now, mut sent) = (Monotonic(0), 0_u64);
        for wait in waits {
            now = now + Duration::from_micros(wait);
            if let breaker::BreakerVerdict::Permit(permit) = breaker.ask(now) {
                sent += 1;
                breaker.record(permit, breaker::CallOutcome::Failure, None, now);
            }
        }
        let timeouts = now.0 / u64::try_from(TIMEOUT.as_micros()).unwrap();
        prop_assert!(sent <= u64::from(threshold) + timeouts, "{} in {}", sent, timeouts);
    }

    #[test]
    fn the_rate_limiter_lets_exactly_the_limit_through_in_any_window(
        limit in 1_u32..8,
        asks in prop::collection::vec((0_usize..3, select(vec![0, 1, 7, 20, 50, 99, 100, 250])), 0..300),
    ) {
        let window = Duration::from_micros(100);
        let mut limiter = RateLimiter::new(limit, window).unwrap();
        let callers = [
            Caller::new(Some(KeyDigest::of("alice")), None),
            Caller::new(None, Some([192, 0, 2, 1].into())),
            Caller::new(None, None),
        ];
        let mut passed: [Vec<Monotonic>; 3] = Default::default();
        let mut now = Monotonic(0);
        for (which, wait) in asks {
            now = now + Duration::from_micros(wait);
            let recent: Vec<_> =
                passed[which].iter().copied().filter(|at| *at + window > now).collect();
            let standing = limiter.ask(&callers[which], now);
            let full = recent.len() == limit as usize;
            prop_assert!(recent.len() <= limit as usize);
            let until_oldest = full.then(|| (recent[0] + window).since(now));
            prop_assert_eq!(standing.refused, until_oldest);
            let counted = recent.len() + usize::from(!full);
            prop_assert_eq!(standing.remaining as usize, limit as usize - counted);
            if !full {
                passed[which].push(now);
            }
        }
    }

    #[test]
    fn a_large_limit_is_never_exceeded_in_any_window_and_the_stated_wait_suffices(
        limit in 1025_u32..1400,
        bursts in prop::collection::vec((1_u32..900, 0_u64..60_000, 0_u64..60), 1..20),
    ) {
        let window = Duration::from_micros(100_000);
        let mut limiter = RateLimiter::new(limit, window).unwrap();
        let caller = Caller::new(None, None);
        let (mut passed, mut now): (Vec<Monotonic>, _) = (Vec::new(), Monotonic(0));
        for (count, wait, pace) in bursts {
            now = now + Duration::from_micros(wait);
            for _ in 0..count {
                now = now + Duration::from_micros(pace);
                match limiter.ask(&caller, now).refused {
                    None => passed.push(now),
                    Some(after) => {
                        let then = now + after;
                        prop_assert!(limiter.ask(&caller, then).refused.is_none());
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
    fn equal_requests_share_fresh_answers_to_their_own_key_and_none_waits_for_ever(
        window in select(vec![0_u64, 50, 1000]),
        ttl in select(vec![0_u64, 100, 5000]),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        let limits = cache::CacheLimits {
            window: Duration::from_millis(window),
            ttl: Duration::from_millis(ttl),
            bytes: 40_000,
            lease: LEASE,
        };
        let mut model = CacheModel::new(limits);
        for step in steps {
            model.apply(step)?;
        }
        // The leaders never report. When their leases are void, one answer for each key suffices.
        model.now = model.now + LEASE;
        for which in 0..model.clients.len() {
            if let Client::Waiting { key, arrived } = model.clients[which] {
                let client = model.ask(key, arrived)?;
                let Client::Leading { key, lease } = client else {
                    prop_assert!(matches!(client, Client::Answered), "a request still waits");
                    continue;
                };
                model.settle(key, lease, 2);
            }
        }
    }
}

const LEASE: Duration = Duration::from_secs(10);

/// Something that happens to the clients of the response cache.
#[derive(Debug, Clone, Copy)]
enum Step {
    Arrive(usize),
    Fail(usize),
    /// A leader gets an answer of this many bytes that is not kept.
    ShareInFlight(usize, usize),
    Leave(usize),
    Poll(usize),
    /// A leader gets an answer of this many bytes.
    Settle(usize, usize),
    Wait(u64),
}

enum Client {
    Answered,
    Leading { key: usize, lease: FlightLease },
    Waiting { key: usize, arrived: Monotonic },
}

/// The response cache, and what a test knows of it from outside.
struct CacheModel {
    cache: ResponseCache,
    limits: cache::CacheLimits,
    clients: Vec<Client>,
    now: Monotonic,
    /// When each key was last settled.
    settled: [Option<Monotonic>; 3],
    /// When an answer that is not kept last came for each key.
    shared_in_flight: [Option<Monotonic>; 3],
    /// When each key's leader began; `None` once there may be another leader.
    leader: [Option<Monotonic>; 3],
    /// When each key's leader last failed: requests from before that ask upstream themselves.
    failed: [Option<Monotonic>; 3],
}

impl CacheModel {
    fn new(limits: cache::CacheLimits) -> Self {
        Self {
            cache: ResponseCache::new(limits),
            limits,
            clients: Vec::new(),
            now: Monotonic(1),
            settled: [None; 3],
            shared_in_flight: [None; 3],
            leader: [None; 3],
            failed: [None; 3],
        }
    }

    fn apply(&mut self, step: Step) -> Result<(), TestCaseError> {
        let count = self.clients.len().max(1);
        match step {
            Step::Arrive(key) => {
                let client = self.ask(key, self.now)?;
                self.clients.push(client);
            }
            Step::Poll(which) => {
                if let Some(Client::Waiting { key, arrived }) = self.clients.get(which % count) {
                    self.clients[which % count] = self.ask(*key, *arrived)?;
                }
            }
            Step::Settle(which, size) => {
                if let Some((key, lease)) = self.leading(which % count) {
                    self.settle(key, lease, size);
                }
            }
            Step::ShareInFlight(which, size) => {
                if let Some((key, lease)) = self.leading(which % count) {
                    self.share_in_flight(key, lease, size);
                }
            }
            Step::Fail(which) => {
                if let Some((key, lease)) = self.leading(which % count) {
                    self.leader[key] = None;
                    self.failed[key] = Some(self.now);
                    self.cache.give_up(lease, Abandoned::Failed, self.now);
                }
            }
            Step::Leave(which) => {
                if let Some((key, lease)) = self.leading(which % count) {
                    self.leader[key] = None;
                    self.cache.give_up(lease, Abandoned::Gone, self.now);
                }
            }
            Step::Wait(millis) => self.now = self.now + Duration::from_millis(millis),
        }
        Ok(())
    }

    fn ask(&mut self, key: usize, arrived: Monotonic) -> Result<Client, TestCaseError> {
        let sharing = !self.limits.window.is_zero();
        let alone = self.failed[key].is_some_and(|failed| arrived <= failed);
        let led = self.leader[key].is_some_and(|since| self.now < since + LEASE);
        match self.cache.ask(&cache_key(key), CacheDirective::Any, arrived, self.now) {
            Some(cache::CacheVerdict::Lead(lease)) => {
                prop_assert!(alone || !(sharing && led), "two leaders although none has failed");
                if !alone {
                    self.leader[key] = Some(self.now);
                }
                Ok(Client::Leading { key, lease })
            }
            None => {
                prop_assert!(sharing);
                Ok(Client::Waiting { key, arrived })
            }
            Some(cache::CacheVerdict::Hit(answer)) => {
                prop_assert_eq!(&answer.body[..2], [key.to_le_bytes()[0], KEPT]);
                let fresh = |at| at <= arrived && self.now < at + self.limits.ttl;
                prop_assert!(self.settled[key].is_some_and(fresh));
                Ok(Client::Answered)
            }
            Some(cache::CacheVerdict::Coalesced(answer)) => {
                prop_assert_eq!(usize::from(answer.body[0]), key);
                let fresh = |at| arrived < at || self.now < at + self.limits.window;
                let is_shared = match answer.body[1] {
                    KEPT => self.settled[key].is_some_and(fresh),
                    _ => self.shared_in_flight[key].is_some_and(|at| arrived < at),
                };
                prop_assert!(sharing && is_shared);
                Ok(Client::Answered)
            }
            Some(cache::CacheVerdict::Bypass) => {
                prop_assert!(!self.cache.is_on());
                Ok(Client::Answered)
            }
            other => Err(TestCaseError::fail(format!("{other:?}"))),
        }
    }

    fn share_in_flight(&mut self, key: usize, lease: FlightLease, size: usize) {
        self.leader[key] = None;
        if size < self.limits.bytes / 16 {
            self.shared_in_flight[key] = Some(self.now);
        } else {
            self.failed[key] = Some(self.now);
        }
        self.cache.share_in_flight(lease, answer(key, NOT_KEPT, size), self.now);
    }

    fn settle(&mut self, key: usize, lease: FlightLease, size: usize) {
        let answer = answer(key, KEPT, size);
        self.leader[key] = None;
        if size < self.limits.bytes / 16 {
            self.settled[key] = Some(self.now);
        } else {
            self.failed[key] = Some(self.now);
        }
        self.cache.settle(lease, answer, self.now);
    }

    fn leading(&mut self, which: usize) -> Option<(usize, FlightLease)> {
        let client = self.clients.get_mut(which)?;
        match std::mem::replace(client, Client::Answered) {
            Client::Leading { key, lease } => Some((key, lease)),
            other => {
                *client = other;
                None
            }
        }
    }
}

/// The second byte of an answer.
const KEPT: u8 = 1;
const NOT_KEPT: u8 = 0;

fn answer(key: usize, kept: u8, size: usize) -> CachedAnswer {
    let mut body = vec![0; size];
    (body[0], body[1]) = (key.to_le_bytes()[0], kept);
    CachedAnswer { status: StatusCode::OK, headers: HeaderMap::new(), body: Bytes::from(body) }
}

fn cache_key(key: usize) -> CacheKey {
    let body = Payload::from(Bytes::from(key.to_string()));
    CacheKey::new(None, "countTokens", "m", &body, None)
}

fn event() -> impl Strategy<Value = BreakerEvent> {
    let outcome = select(vec![
        breaker::CallOutcome::Alive,
        breaker::CallOutcome::Failure,
        breaker::CallOutcome::Neutral,
        breaker::CallOutcome::Success,
    ]);
    // Most outcomes are failures, else the breaker would hardly ever open.
    let outcome = prop_oneof![2 => Just(breaker::CallOutcome::Failure), 1 => outcome];
    let wait = select(vec![0, 1, 10, 50, 99, 100, 101]).prop_map(Duration::from_millis);
    prop_oneof![
        4 => Just(BreakerEvent::Ask),
        4 => (0_usize..8, outcome).prop_map(|(which, outcome)| BreakerEvent::Record(which, outcome)),
        1 => wait.prop_map(BreakerEvent::Wait),
    ]
}

/// Sizes of answers. The largest one takes more than an eighth of the limit.
fn sizes() -> impl Strategy<Value = usize> {
    select(vec![2, 1500, 8000])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..3).prop_map(Step::Arrive),
        4 => (0_usize..40).prop_map(Step::Poll),
        2 => (0_usize..40, sizes()).prop_map(|(which, size)| Step::Settle(which, size)),
        1 => (0_usize..40, sizes()).prop_map(|(which, size)| Step::ShareInFlight(which, size)),
        1 => (0_usize..40).prop_map(Step::Fail),
        1 => (0_usize..40).prop_map(Step::Leave),
        2 => select(vec![1, 20, 60, 150, 1200, 12_000]).prop_map(Step::Wait),
    ]
}
