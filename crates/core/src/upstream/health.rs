//! The state of an upstream, for health and metrics.

use std::sync::Arc;

use super::{Account, Upstream};
use crate::metrics::{CredentialStatus, KeyLoginInput, UpstreamInput};
use crate::time::{Monotonic, Timestamp};

impl Upstream {
    /// The state of a key's own upstream; `None` for one of the operator's.
    pub(crate) fn key_login(&self, clock: Timestamp, now: Monotonic) -> Option<KeyLoginInput> {
        let own = self.own_login()?;
        let (refreshes, failed_refreshes) = own.refreshes();
        let state = self.health(clock, now);
        Some(KeyLoginInput { key: Arc::clone(&own.id), state, refreshes, failed_refreshes })
    }

    /// Collects the state, and updates the states of the breakers in the metrics.
    pub(crate) fn health(&self, clock: Timestamp, now: Monotonic) -> UpstreamInput {
        let token = self.calls.auth.status(clock);
        UpstreamInput {
            name: Arc::clone(&self.name),
            provider: self.calls.provider.kind().word(),
            credentials: token.trouble.map_or(CredentialStatus::Ok, |error| {
                CredentialStatus::Failed(error.label(), error.message())
            }),
            token: token.expiry,
            project: match &self.account {
                Account::CodeAssist(account) => account.projects.state(clock, now),
                Account::GeminiApi(_) => "known",
                Account::Vertex(account) if account.protocol.paths().is_none() => "unknown",
                Account::Vertex(_) => "known",
            },
            location: match &self.account {
                Account::Vertex(account) => Some(account.protocol.location().as_str().to_owned()),
                Account::CodeAssist(_) | Account::GeminiApi(_) => None,
            },
            resting: self.calls.report_breakers(now),
            exhausted: self.calls.quotas.exhausted(clock),
            unable: self.inabilities(now),
        }
    }
}
