//! What the answers of Google's credential services have in common: tokens, and two shapes of errors.

use http::StatusCode;
use serde_json::Value;

use super::super::refresh::{FINAL_ERRORS, RefreshError, RefreshedToken, clip, issued};
use crate::time::Timestamp;

/// Reads an answer with an `access_token`. `remedy` says what the operator can do about an error that no
/// later try will overcome.
pub(super) fn read_token(
    who: &str,
    status: StatusCode,
    body: &[u8],
    clock: Timestamp,
    remedy: impl FnOnce(&Refusal) -> String,
) -> Result<RefreshedToken, RefreshError> {
    if !status.is_success() {
        return Err(Refusal::read(status, body).into_error(who, remedy));
    }
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    issued(&value, clock)
        .ok_or_else(|| RefreshError::Transient(format!("{who} answered without an access_token")))
}

/// An answer that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// `error` of an OAuth error, or `status` of an API's; empty for any other answer.
    pub(super) code: String,
    /// The text of the error.
    pub(super) description: String,
    /// `reason` of an API's error.
    pub(super) reason: String,
}

impl Refusal {
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let text = |value: Option<&Value>| clip(value.and_then(Value::as_str).unwrap_or_default());
        // In OAuth errors `error` is a string, in API errors an object.
        let error = value.get("error");
        if let Some(error) = error.filter(|error| error.is_object()) {
            let details = error.get("details").and_then(Value::as_array);
            let reason = details.into_iter().flatten().find_map(|detail| detail.get("reason"));
            return Self {
                status,
                code: text(error.get("status")),
                description: text(error.get("message")),
                reason: text(reason),
            };
        }
        let code = text(error);
        let description = text(value.get("error_description"));
        // `invalid_rapt`, for example.
        Self { status, code, description, reason: text(value.get("error_subtype")) }
    }

    /// True when no later try can succeed. An error without Google's shape may come from a proxy between
    /// Google and us.
    pub(super) fn is_final(&self) -> bool {
        let is_temporary =
            matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        let code = self.code.as_str();
        self.status.is_client_error()
            && !is_temporary
            && (FINAL_ERRORS.contains(&code) || FINAL_STATUSES.contains(&code))
    }

    pub(super) fn into_error(
        self,
        who: &str,
        remedy: impl FnOnce(&Self) -> String,
    ) -> RefreshError {
        let said = match (self.code.as_str(), self.description.as_str()) {
            ("", _) => format!("{who} answered {}", self.status),
            (code, "") => format!("{who} said \"{code}\""),
            (code, description) => format!("{who} said \"{code}: {description}\""),
        };
        if self.is_final() {
            RefreshError::Rejected(format!("{said}; {}", remedy(&self)))
        } else {
            RefreshError::Transient(said)
        }
    }
}

/// The statuses of Google's APIs after which a retry cannot help, and STS' own word.
const FINAL_STATUSES: &[&str] = &[
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "invalid_target",
];
