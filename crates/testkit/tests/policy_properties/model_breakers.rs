//! What the breakers of models guarantee for any sequence of requests.

use std::collections::BTreeSet;
use std::time::Duration;

use code_assist_core::Monotonic;
use code_assist_core::internals::policy::breaker::{self, CallOutcomes, ModelOperation};
use code_assist_core::internals::policy::endpoint::{
    BreakerScope, EndpointChoice, Endpoints, Tries,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::TIMEOUT;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_one_model_fails_at_never_keeps_another_model_from_upstream(
        threshold in 1_u32..4,
        events in prop::collection::vec(model_event(), 0..200),
    ) {
        // The same calls for `flash`, with and without those for `pro`.
        let all = verdicts(threshold, &events, |_| true);
        let alone = verdicts(threshold, &events, |model| model == FLASH);
        prop_assert_eq!(all, alone);
    }

    #[test]
    fn a_resting_model_is_called_again_only_as_one_probe_per_timeout(
        threshold in 1_u32..4,
        events in prop::collection::vec(model_event(), 0..200),
    ) {
        let mut endpoints = Endpoints::new(1, threshold, TIMEOUT);
        let mut now = Monotonic(1);
        let mut last_probe = None;
        for event in events {
            now = now + event.after;
            let scope = event.scope();
            let before = endpoints.resting(now).find(|(_, it)| it.of.model == event.model);
            let before = before.map(|(_, resting)| resting.state);
            match endpoints.choose(scope, &Tries::default(), now) {
                Ok(choice) => {
                    prop_assert_ne!(before, Some(breaker::State::Open));
                    if before == Some(breaker::State::HalfOpen) && event.model == PRO {
                        let apart = last_probe.is_none_or(|at| now.since(at) >= TIMEOUT);
                        prop_assert!(apart, "two probes within a timeout");
                        last_probe = Some(now);
                    }
                    event.end(&mut endpoints, choice, now);
                    let rests = endpoints.resting(now).any(|(_, it)| it.of.model == PRO);
                    last_probe = last_probe.filter(|_| rests);
                }
                Err(error) => {
                    prop_assert!(before.is_some() && error.only_the_model);
                    prop_assert!(!error.after.is_zero() && error.after <= TIMEOUT);
                }
            }
        }
        // After any events every model can be called again.
        let now = now + TIMEOUT;
        for model in [FLASH, PRO] {
            prop_assert!(endpoints.all_open(of_model(model), now).is_none());
        }
    }

    #[test]
    fn a_model_rests_only_after_as_many_different_bodies_have_failed_as_the_threshold_says(
        threshold in 1_u32..6,
        bodies in prop::collection::vec(0_u64..5, 0..100),
    ) {
        let mut endpoints = Endpoints::new(1, threshold, TIMEOUT);
        let mut failed = BTreeSet::new();
        for body in bodies {
            let event = ModelEvent { model: PRO, after: Duration::ZERO, fails: true, body, tries: 3 };
            let Ok(choice) = endpoints.choose(event.scope(), &Tries::default(), Monotonic(1)) else {
                break;
            };
            event.end(&mut endpoints, choice, Monotonic(1));
            failed.insert(body);
            let rests = endpoints.all_open(event.scope(), Monotonic(1)).is_some();
            prop_assert_eq!(rests, failed.len() >= threshold as usize, "{:?}", failed);
        }
    }
}

const FLASH: &str = "flash";
const PRO: &str = "pro";

/// A request for a model, with all its tries.
#[derive(Debug, Clone)]
struct ModelEvent {
    model: &'static str,
    /// The time since the event before.
    after: Duration,
    fails: bool,
    body: u64,
    /// Tries after the first one, each of which fails too.
    tries: u32,
}

impl ModelEvent {
    fn scope(&self) -> BreakerScope<'static> {
        of_model(self.model)
    }

    /// Ends the first try, and makes the others.
    fn end(&self, endpoints: &mut Endpoints, choice: EndpointChoice, now: Monotonic) {
        let outcomes = if self.fails { OVERLOADED } else { CallOutcomes::SUCCESS };
        let mut tries = Tries::default();
        let mut next = Some(choice);
        for _ in 0..=self.tries {
            let Some(choice) = next.take() else { break };
            if self.fails {
                tries.failed(choice.index, outcomes);
            }
            let _ = endpoints.end(choice, self.scope(), outcomes, self.body, &tries, now);
            next = endpoints.choose(self.scope(), &tries, now).ok().filter(|_| self.fails);
        }
        if let Some(choice) = next {
            endpoints.leave(choice);
        }
    }
}

/// The model has failed, and the endpoint works.
const OVERLOADED: CallOutcomes =
    CallOutcomes { endpoint: breaker::CallOutcome::Success, model: breaker::CallOutcome::Failure };

fn of_model(model: &'static str) -> BreakerScope<'static> {
    BreakerScope::Model(ModelOperation { model, operation: "generateContent" })
}

fn model_event() -> impl Strategy<Value = ModelEvent> {
    let after = select(vec![0, 0, 1, 10, 50, 99, 100]).prop_map(Duration::from_millis);
    let fails = prop_oneof![3 => Just(true), 1 => Just(false)];
    (select(vec![FLASH, PRO]), after, fails, 0_u64..6, 0_u32..3).prop_map(
        |(model, after, fails, body, tries)| ModelEvent { model, after, fails, body, tries },
    )
}

/// Which of the requests for `flash` go upstream, when the requests for the `included` models are made.
fn verdicts(threshold: u32, events: &[ModelEvent], included: impl Fn(&str) -> bool) -> Vec<bool> {
    let mut endpoints = Endpoints::new(1, threshold, TIMEOUT);
    let mut now = Monotonic(1);
    let mut sent = Vec::new();
    for event in events {
        now = now + event.after;
        if !included(event.model) {
            continue;
        }
        let choice = endpoints.choose(event.scope(), &Tries::default(), now);
        if event.model == FLASH {
            sent.push(choice.is_ok());
        }
        if let Ok(choice) = choice {
            event.end(&mut endpoints, choice, now);
        }
    }
    sent
}
