//! The one place where an error of Google's gets its class (`docs/reference/protocol.md` 7.2 to
//! 7.5).

use http::StatusCode;

use super::UpstreamError;
use crate::failure::{FailoverReason, Failure, FailureClass};

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

    /// Why another upstream may serve the request that this error answers; `None` if none may
    /// (`docs/reference/upstreams.md` 4.3 and 7). It says nothing of what binds a request to its
    /// upstream.
    pub fn failover_reason(&self) -> Option<FailoverReason> {
        // To route around a suspension is evasion.
        if self.is_suspended() || self.has_reason("CONSUMER_SUSPENDED") {
            return None;
        }
        match self.class() {
            FailureClass::Account | FailureClass::Project | FailureClass::Unauthenticated => {
                Some(FailoverReason::Account)
            }
            FailureClass::Quota => Some(FailoverReason::Quota),
            FailureClass::RateLimited | FailureClass::Throttled | FailureClass::Unavailable => {
                Some(FailoverReason::Capacity)
            }
            FailureClass::ServerError => Some(FailoverReason::Unreachable),
            // A missing file is a 404 too.
            FailureClass::Request if self.http == StatusCode::NOT_FOUND => {
                let about_a_resource = RESOURCES.iter().any(|name| self.message.contains(name));
                (!about_a_resource).then_some(FailoverReason::NotFound)
            }
            FailureClass::Request if self.http == StatusCode::PAYMENT_REQUIRED => {
                Some(FailoverReason::Billing)
            }
            _ => None,
        }
    }
}

/// What a 404 is about that no other upstream has.
const RESOURCES: [&str; 4] = ["files/", "cachedContents/", "gs://", "File"];

/// A throttle; without a stated delay it lasts a minute (`docs/reference/protocol.md` 7.4).
const RATE_LIMIT: &str = "RATE_LIMIT_EXCEEDED";

/// `docs/reference/protocol.md` 7.4, rule 6.
const CAPACITY_REASONS: [&str; 2] = ["MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"];
