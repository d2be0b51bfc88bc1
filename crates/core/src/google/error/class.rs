//! The one place where an error of Google's gets its class (`docs/reference/protocol.md` 7.2 to
//! 7.5, `docs/reference/upstreams.md` 4.3).

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
            _ if self.is_key_refused() => FailureClass::Credentials,
            _ if self.is_billing_problem() => FailureClass::Billing,
            _ if self.is_terminal_quota() => FailureClass::Quota,
            _ if self.is_suspended() || self.is_validation_required() => FailureClass::Account,
            _ if self.is_account_problem() => FailureClass::Account,
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
        if self.is_suspended() {
            return None;
        }
        match self.class() {
            FailureClass::Account
            | FailureClass::Credentials
            | FailureClass::Project
            | FailureClass::Unauthenticated => Some(FailoverReason::Account),
            FailureClass::Billing => Some(FailoverReason::Billing),
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
            _ => None,
        }
    }
}

impl UpstreamError {
    /// True when Google refuses the key itself. The Gemini API does so with a 400 or a 403.
    pub fn is_key_refused(&self) -> bool {
        let is_blocked = |reason: &String| {
            reason == "API_KEY_INVALID"
                || (reason.starts_with("API_KEY_") && reason.ends_with("_BLOCKED"))
        };
        let may_be = matches!(self.http, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN);
        may_be
            && (self.reasons.iter().any(is_blocked)
                || KEY_TEXTS.iter().any(|text| self.message.starts_with(text)))
    }

    /// True when nothing more can be charged to the account.
    fn is_billing_problem(&self) -> bool {
        let text = self.message.to_ascii_lowercase();
        self.http == StatusCode::PAYMENT_REQUIRED
            || (self.http == StatusCode::TOO_MANY_REQUESTS
                && BILLING_TEXTS.iter().any(|known| text.contains(known)))
    }

    /// True when the account cannot use the API as it is set up, or from where the proxy runs.
    fn is_account_problem(&self) -> bool {
        let text = self.message.to_ascii_lowercase();
        self.has_reason("BILLING_DISABLED")
            || self.has_reason("IAM_PERMISSION_DENIED")
            || (self.status == "FAILED_PRECONDITION"
                && (text.contains("location is not supported") || text.contains("billing")))
    }
}

/// What Google says of a key without a reason for programs, or with one. Only the beginning of a message
/// counts: further on Google repeats what the client has sent.
const KEY_TEXTS: [&str; 4] = [
    "API key not valid",
    "API Key not found",
    "API key expired",
    "Your API key was reported as leaked",
];

/// In lower case.
const BILLING_TEXTS: [&str; 4] =
    ["spending cap", "spend cap", "spending limit", "credits are depleted"];

/// What a 404 is about that no other upstream has.
const RESOURCES: [&str; 4] = ["files/", "cachedContents/", "gs://", "File"];

/// A throttle; without a stated delay it lasts a minute (`docs/reference/protocol.md` 7.4).
const RATE_LIMIT: &str = "RATE_LIMIT_EXCEEDED";

/// `docs/reference/protocol.md` 7.4, rule 6.
const CAPACITY_REASONS: [&str; 2] = ["MODEL_CAPACITY_EXHAUSTED", "MODEL_CAPACITY_EXCEEDED"];
