//! The one place where an error of Google's gets its class (`docs/reference/protocol.md` 7.2 to
//! 7.5).

use super::UpstreamError;
use crate::failure::{Failure, FailureClass};

impl UpstreamError {
    /// The error as policies see it.
    pub fn failure(&self) -> Failure {
        Failure {
            class: self.class(),
            retry_delay: self.retry_delay,
            no_capacity: CAPACITY_REASONS.iter().any(|reason| self.has_reason(reason)),
            is_page: self.is_page,
        }
    }

    /// The class. A 401 counts as one whatever else the error says, since a fresh token may help.
    pub fn class(&self) -> FailureClass {
        let by_status = FailureClass::of_status(self.http);
        match by_status {
            FailureClass::Unauthenticated => by_status,
            _ if self.is_terminal_quota() => FailureClass::Quota,
            _ if self.is_suspended() || self.is_validation_required() => FailureClass::Account,
            _ if self.is_project_problem() => FailureClass::Project,
            FailureClass::Throttled if self.has_reason(RATE_LIMIT) => FailureClass::RateLimited,
            class => class,
        }
    }
}

/// A throttle; without a stated delay it lasts a minute (`docs/reference/protocol.md` 7.4).
const RATE_LIMIT: &str = "RATE_LIMIT_EXCEEDED";

/// `docs/reference/protocol.md` 7.4, rule 6.
const CAPACITY_REASONS: [&str; 2] = ["MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"];
