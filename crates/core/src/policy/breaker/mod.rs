//! Circuit breakers (`docs/RESILIENCE.md`): [`Breaker`] is one, [`ModelBreakers`] holds those of the
//! models of an endpoint.

mod models;
mod outcome;

use std::time::Duration;

use crate::time::Monotonic;

pub use models::{ModelBreakers, ModelOperation, ModelPermit, RestingModel};
pub use outcome::{CallOutcome, CallOutcomes};

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a permitted call must be recorded"]
pub enum BreakerVerdict {
    /// Call, and [`record`](Breaker::record) the outcome.
    Permit(Permit),
    /// Do not call: the breaker is open.
    Open {
        /// The time until the next probe may go, never zero.
        after: Duration,
    },
}

/// Permission for one call.
#[must_use = "a permitted call must be recorded"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    serial: u64,
}

impl Permit {
    /// The permit that a closed breaker gives, see [`Breaker::calm_serial`].
    pub fn of_closed(serial: u64) -> Self {
        Self { serial }
    }
}

/// The three states of a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// All calls are permitted.
    Closed,
    /// One probe is permitted, or is in flight.
    HalfOpen,
    /// No call is permitted. The order of the variants is from best to worst.
    Open,
}

/// A circuit breaker.
///
/// ```
/// # #[cfg(feature = "internals")] {
/// use std::time::Duration;
///
/// use code_assist_core::Monotonic;
/// use code_assist_core::internals::policy::breaker::{Breaker, CallOutcome, State, BreakerVerdict};
///
/// let timeout = Duration::from_secs(60);
/// let mut breaker = Breaker::new(1, timeout);
/// let now = Monotonic(0);
/// let BreakerVerdict::Permit(permit) = breaker.ask(now) else { panic!("a new breaker is closed") };
/// breaker.record(permit, CallOutcome::Failure, None, now);
/// assert_eq!(breaker.ask(now), BreakerVerdict::Open { after: timeout });
///
/// // After the timeout one probe is permitted, and its success closes the breaker.
/// let later = now + timeout;
/// let BreakerVerdict::Permit(probe) = breaker.ask(later) else { panic!("the timeout is over") };
/// assert_eq!(breaker.state(later), State::HalfOpen);
/// breaker.record(probe, CallOutcome::Success, None, later);
/// assert_eq!(breaker.state(later), State::Closed);
/// # }
/// ```
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    timeout: Duration,
    circuit: Circuit,
    /// The number of openings and probes, from which a permit's age is seen.
    serial: u64,
}

#[derive(Debug)]
enum Circuit {
    Closed {
        /// Failures in a row.
        failures: u32,
        /// The hashes of the bodies that have failed since the last success, at most as many as the
        /// threshold.
        bodies: Vec<u64>,
        /// The serial of the permits that were given since the breaker closed.
        serial: u64,
    },
    Open {
        /// The serial at the opening; probes have greater ones.
        serial: u64,
        /// When the next probe may go: the timeout after the opening or after the last probe.
        until: Monotonic,
        /// The latest probe, until its result is recorded.
        probe: Option<u64>,
    },
}

impl Breaker {
    /// A closed breaker that opens after `threshold` failures in a row, for `timeout`.
    pub fn new(threshold: u32, timeout: Duration) -> Self {
        Self {
            threshold: threshold.max(1),
            // The clock counts microseconds: a shorter timeout would be zero.
            timeout: timeout.max(Duration::from_micros(1)),
            circuit: Circuit::closed(0),
            serial: 0,
        }
    }

    /// Decides whether a call may be made. Once the timeout is over, the first call is permitted as
    /// the probe. When a probe has no result after another timeout, the next one is permitted.
    pub fn ask(&mut self, now: Monotonic) -> BreakerVerdict {
        let (until, probe) = match &mut self.circuit {
            Circuit::Closed { serial, .. } => {
                return BreakerVerdict::Permit(Permit { serial: *serial });
            }
            Circuit::Open { until, probe, .. } => (until, probe),
        };
        if now < *until {
            return BreakerVerdict::Open { after: until.since(now) };
        }
        self.serial += 1;
        *until = now + self.timeout;
        *probe = Some(self.serial);
        BreakerVerdict::Permit(Permit { serial: self.serial })
    }

    /// Records how a call ended. With the hash of its body, a failure counts only if no equal body has
    /// failed since the last success: a body that always fails says nothing about others.
    ///
    /// After an opening, the outcomes of calls from before it are ignored. The success of a probe
    /// that was replaced still counts, since the endpoint may be slower than the timeout. The
    /// failure of such a probe is ignored, since a newer probe is in flight.
    pub fn record(
        &mut self,
        permit: Permit,
        outcome: CallOutcome,
        body: Option<u64>,
        now: Monotonic,
    ) {
        match &mut self.circuit {
            Circuit::Closed { failures, bodies, serial } if *serial == permit.serial => {
                match outcome {
                    CallOutcome::Failure => {
                        if let Some(body) = body {
                            if bodies.contains(&body) {
                                return;
                            }
                            bodies.push(body);
                        }
                        *failures += 1;
                        if *failures >= self.threshold {
                            self.open(now);
                        }
                    }
                    CallOutcome::Success => {
                        *failures = 0;
                        bodies.clear();
                    }
                    CallOutcome::Alive | CallOutcome::Neutral => {}
                }
            }
            Circuit::Open { serial, until, probe } if *serial < permit.serial => match outcome {
                CallOutcome::Alive | CallOutcome::Success => {
                    self.circuit = Circuit::closed(permit.serial);
                }
                CallOutcome::Failure if *probe == Some(permit.serial) => self.open(now),
                // The probe has said nothing, so the next call is the probe.
                CallOutcome::Neutral if *probe == Some(permit.serial) => {
                    (*until, *probe) = (now, None);
                }
                CallOutcome::Failure | CallOutcome::Neutral => {}
            },
            Circuit::Closed { .. } | Circuit::Open { .. } => {}
        }
    }

    /// How long the breaker refuses calls; `None` when [`ask`](Self::ask) would permit one.
    pub fn open_for(&self, now: Monotonic) -> Option<Duration> {
        match &self.circuit {
            Circuit::Open { until, .. } if now < *until => Some(until.since(now)),
            Circuit::Closed { .. } | Circuit::Open { .. } => None,
        }
    }

    /// The state for health and metrics.
    pub fn state(&self, now: Monotonic) -> State {
        match &self.circuit {
            Circuit::Closed { .. } => State::Closed,
            Circuit::Open { until, probe: None, .. } if now < *until => State::Open,
            Circuit::Open { .. } => State::HalfOpen,
        }
    }

    /// True for a breaker whose timeout ended `long` ago or earlier, without a probe since.
    fn is_forgotten(&self, long: Duration, now: Monotonic) -> bool {
        matches!(self.circuit, Circuit::Open { until, .. } if until + long <= now)
    }

    /// The serial of the permits of a closed breaker without failures.
    pub fn calm_serial(&self) -> Option<u64> {
        match self.circuit {
            Circuit::Closed { failures: 0, serial, .. } => Some(serial),
            Circuit::Closed { .. } | Circuit::Open { .. } => None,
        }
    }

    /// True for a breaker that has no failures and has never opened: a new one in its place would act
    /// in the same way.
    fn is_new(&self) -> bool {
        matches!(self.circuit, Circuit::Closed { failures: 0, serial: 0, .. })
    }

    fn open(&mut self, now: Monotonic) {
        self.serial += 1;
        self.circuit =
            Circuit::Open { serial: self.serial, until: now + self.timeout, probe: None };
    }
}

impl Circuit {
    fn closed(serial: u64) -> Self {
        Self::Closed { failures: 0, bodies: Vec::new(), serial }
    }
}

#[cfg(test)]
mod tests;
