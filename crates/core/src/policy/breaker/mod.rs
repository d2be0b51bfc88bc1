//! Whether an endpoint that keeps failing is left alone for a while (`docs/RESILIENCE.md`).

use std::time::Duration;

use crate::failure::FailureClass;
use crate::time::Monotonic;

/// What a call does about its endpoint's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Call, and [`record`](Breaker::record) how it went.
    Permit(Permit),
    /// Leave the endpoint alone for so long, never zero.
    Open {
        /// What is left until the next probe may go.
        after: Duration,
    },
}

/// A breaker's yes to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    serial: u64,
}

/// How a permitted call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer has begun and is still coming: its end is recorded later, with the same permit.
    /// Closes a half-open breaker, since a stream may take longer than anybody wants to wait for
    /// the probe's result; forgives no failures, since the stream may yet break.
    Alive,
    /// No connection, a time-out, a 5xx, a broken stream.
    Failure,
    /// Nothing was learned: the client left before the answer, or we are stopping. Neither counts
    /// nor forgives; a probe that ends so leaves the breaker waiting for the next one.
    Neutral,
    /// An answer below 500 that has come to its end.
    Success,
}

impl Outcome {
    /// The outcome of a call that has failed.
    ///
    /// A 4xx is no failure of the endpoint (`docs/RESILIENCE.md`). It is an answer of a working
    /// endpoint, so it interrupts a row of failures and closes a half-open breaker. Otherwise five
    /// 500s spread over a day of 400s would open the breaker, and a probe that met a 429 would
    /// leave a healthy endpoint shut.
    pub fn of(class: FailureClass) -> Self {
        match class {
            FailureClass::Account
            | FailureClass::Project
            | FailureClass::Quota
            | FailureClass::RateLimited
            | FailureClass::Request
            | FailureClass::Throttled
            | FailureClass::Unauthenticated => Self::Success,
            FailureClass::Disconnected
            | FailureClass::GatewayTimeout
            | FailureClass::Malformed
            | FailureClass::ServerError
            | FailureClass::TimedOut
            | FailureClass::Unavailable
            | FailureClass::UnknownServerError
            | FailureClass::Unreachable => Self::Failure,
            FailureClass::Local | FailureClass::ShuttingDown => Self::Neutral,
        }
    }
}

/// What the breaker does with calls, as in the literature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Calls pass.
    Closed,
    /// One probe may pass, or is under way.
    HalfOpen,
    /// No call passes. The worst, so the greatest.
    Open,
}

/// The breaker of one endpoint.
#[derive(Debug)]
pub struct Breaker {
    threshold: u32,
    timeout: Duration,
    phase: Phase,
    /// Grows with each opening and each probe, so that results find out whether they still matter.
    serial: u64,
}

#[derive(Debug)]
enum Phase {
    Closed {
        /// In a row.
        failures: u32,
        /// What permits of this phase carry.
        serial: u64,
    },
    Open {
        /// The serial at the opening: probes carry greater ones.
        serial: u64,
        /// When the next probe may go: after the rest, or when the probe under way is given up.
        until: Monotonic,
        /// The latest probe, while its result is awaited.
        probe: Option<u64>,
    },
}

impl Breaker {
    /// A closed breaker that opens after `threshold` failures in a row, for `timeout`.
    pub fn new(threshold: u32, timeout: Duration) -> Self {
        Self {
            threshold: threshold.max(1),
            // The clock is in microseconds: a shorter rest would be none.
            timeout: timeout.max(Duration::from_micros(1)),
            phase: Phase::Closed { failures: 0, serial: 0 },
            serial: 0,
        }
    }

    /// What a call does. Half-open, this hands out the one probe; a probe that is not heard of for
    /// the length of the time-out is given up, and another is let through.
    pub fn ask(&mut self, now: Monotonic) -> Verdict {
        let (until, probe) = match &mut self.phase {
            Phase::Closed { serial, .. } => return Verdict::Permit(Permit { serial: *serial }),
            Phase::Open { until, probe, .. } => (until, probe),
        };
        if now < *until {
            return Verdict::Open { after: until.since(now) };
        }
        self.serial += 1;
        *until = now + self.timeout;
        *probe = Some(self.serial);
        Verdict::Permit(Permit { serial: self.serial })
    }

    /// Takes note of how a call went.
    ///
    /// What was permitted before the opening does not matter after it. The success of a probe that
    /// had been given up does: the endpoint may be slower than the time-out. Its failure does not:
    /// a newer probe is under way.
    pub fn record(&mut self, permit: Permit, outcome: Outcome, now: Monotonic) {
        match &mut self.phase {
            Phase::Closed { failures, serial } if *serial == permit.serial => match outcome {
                Outcome::Failure => {
                    *failures += 1;
                    if *failures >= self.threshold {
                        self.open(now);
                    }
                }
                Outcome::Success => *failures = 0,
                Outcome::Alive | Outcome::Neutral => {}
            },
            Phase::Open { serial, probe, .. } if *serial < permit.serial => match outcome {
                Outcome::Alive | Outcome::Success => {
                    self.phase = Phase::Closed { failures: 0, serial: permit.serial };
                }
                Outcome::Failure if *probe == Some(permit.serial) => self.open(now),
                Outcome::Failure | Outcome::Neutral => {}
            },
            Phase::Closed { .. } | Phase::Open { .. } => {}
        }
    }

    /// How long calls have to wait; `None` when [`ask`](Self::ask) would permit one.
    pub fn resting(&self, now: Monotonic) -> Option<Duration> {
        match &self.phase {
            Phase::Open { until, .. } if now < *until => Some(until.since(now)),
            Phase::Closed { .. } | Phase::Open { .. } => None,
        }
    }

    /// The state, for health and metrics.
    pub fn state(&self, now: Monotonic) -> State {
        match &self.phase {
            Phase::Closed { .. } => State::Closed,
            Phase::Open { until, probe: None, .. } if now < *until => State::Open,
            Phase::Open { .. } => State::HalfOpen,
        }
    }

    fn open(&mut self, now: Monotonic) {
        self.serial += 1;
        self.phase = Phase::Open { serial: self.serial, until: now + self.timeout, probe: None };
    }
}

#[cfg(test)]
mod tests;
