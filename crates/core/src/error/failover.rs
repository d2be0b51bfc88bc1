//! Which errors may send a request to another upstream (`docs/RESILIENCE.md`).

use http::StatusCode;

use super::{BrokenAt, Error};
use crate::failure::FailoverReason;
use crate::google::status::canonical;

impl Error {
    /// Why another upstream may serve the request; `None` if none may: the request is at fault, or the
    /// client, or the proxy, or the upstream may have carried the request out.
    pub fn failover_reason(&self) -> Option<FailoverReason> {
        Some(match self {
            Self::Upstream(error) => return error.failover_reason(),
            Self::AccountIneligible { .. }
            | Self::CredentialsMissing { .. }
            | Self::CredentialsRejected { .. }
            | Self::CredentialsUnreadable { .. }
            | Self::KeyRefused { .. }
            | Self::ProjectRequired { .. }
            | Self::ValidationRequired { .. } => FailoverReason::Account,
            // A model rests after 503s, a whole endpoint when it cannot be reached.
            Self::CircuitOpen { model: Some(_), .. } => FailoverReason::Capacity,
            Self::CircuitOpen { model: None, .. }
            | Self::TokenUnavailable { .. }
            | Self::UpstreamDisconnected { at: BrokenAt::Unprocessed }
            | Self::UpstreamPage { .. }
            | Self::UpstreamUnreachable { .. } => FailoverReason::Unreachable,
            _ => return None,
        })
    }

    /// The word for the error in headers that tell of a failover: Google's or the proxy's reason, or
    /// else the canonical name of the status.
    pub fn short_reason(&self) -> &str {
        match self {
            Self::Upstream(error) => error.reasons.first().unwrap_or(&error.status),
            other => other.reason().unwrap_or_else(|| canonical(other.status())),
        }
    }

    /// True if the upstream has certainly not carried out the request that this error answers.
    pub fn is_not_carried_out(&self) -> bool {
        match self {
            Self::Upstream(error) => {
                !error.http.is_server_error() || error.http == StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamPage { .. } => false,
            other => other.failover_reason().is_some(),
        }
    }
}
