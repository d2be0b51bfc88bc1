//! How a call ended, as breakers see it.

use crate::failure::{Failure, FailureClass};

/// How a permitted call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The answer has begun; its end is recorded later with the same permit. This closes a
    /// half-open breaker, since other calls should not wait until the probe's stream ends. It does
    /// not reset the count of failures, since the stream may still break.
    Alive,
    /// The call failed, and what the breaker guards is at fault.
    Failure,
    /// The call says nothing about what the breaker guards: the client left before the answer, or
    /// the proxy is shutting down. The count of failures stays as it is. After such a probe the next
    /// call is the probe.
    Neutral,
    /// What the breaker guards works.
    Success,
}

/// How a call ended, for the two breakers that it may count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallOutcomes {
    /// For the endpoint's breaker.
    pub endpoint: CallOutcome,
    /// For the breaker of the model and the operation at that endpoint.
    pub model: CallOutcome,
}

impl CallOutcomes {
    /// The answer has begun.
    pub const ALIVE: Self = Self { endpoint: CallOutcome::Alive, model: CallOutcome::Alive };
    /// The call says nothing.
    pub const NEUTRAL: Self = Self { endpoint: CallOutcome::Neutral, model: CallOutcome::Neutral };
    /// A complete answer.
    pub const SUCCESS: Self = Self { endpoint: CallOutcome::Success, model: CallOutcome::Success };

    /// The outcomes of a call that has failed.
    ///
    /// An answer of the API, also an error, proves that the endpoint works. A 4xx is the answer of a
    /// working model too: it resets the count of failures and closes a half-open breaker. Otherwise
    /// five 500s spread over a day of 400s would open the breaker, and a probe that got a 429 would
    /// keep the breaker of a healthy model open.
    pub fn of(failure: Failure) -> Self {
        let of_endpoint = Self { endpoint: CallOutcome::Failure, model: CallOutcome::Neutral };
        let of_model = Self { endpoint: CallOutcome::Success, model: CallOutcome::Failure };
        match failure.class {
            FailureClass::Account
            | FailureClass::Billing
            | FailureClass::Credentials
            | FailureClass::NoAnswer
            | FailureClass::Project
            | FailureClass::Quota
            | FailureClass::RateLimited
            | FailureClass::Request
            | FailureClass::Throttled
            | FailureClass::Unauthenticated => Self::SUCCESS,
            FailureClass::Disconnected | FailureClass::Unreachable => of_endpoint,
            FailureClass::GatewayTimeout
            | FailureClass::Malformed
            | FailureClass::NoEvents
            | FailureClass::ServerError
            | FailureClass::Unavailable
            | FailureClass::UnknownServerError
                if failure.is_page =>
            {
                of_endpoint
            }
            FailureClass::BrokenAnswer
            | FailureClass::GatewayTimeout
            | FailureClass::Malformed
            | FailureClass::NoEvents
            | FailureClass::ServerError
            | FailureClass::Unavailable => of_model,
            // The endpoint may be at fault for silence and for refused streams. One slow or busy model
            // is the usual cause, and the others go on meanwhile.
            FailureClass::NotProcessed | FailureClass::TimedOut => {
                Self { endpoint: CallOutcome::Neutral, model: CallOutcome::Failure }
            }
            // Such as a 501: the model has not failed, and has not worked either.
            FailureClass::UnknownServerError => {
                Self { endpoint: CallOutcome::Success, model: CallOutcome::Neutral }
            }
            FailureClass::Local | FailureClass::LocalResources | FailureClass::ShuttingDown => {
                Self::NEUTRAL
            }
        }
    }

    /// True when one of the two is a failure.
    pub fn has_failed(self) -> bool {
        self.endpoint == CallOutcome::Failure || self.model == CallOutcome::Failure
    }
}
