//! The credentials' part of `check`.

use std::time::Duration;

use super::place::changed_meanwhile;
use super::{Credentials, TokenOutcome};
use crate::error::Error;
use crate::platform::Platform;
use crate::policy::token;
use crate::time::Timestamp;

/// What `check` reports about the credentials.
#[derive(Debug)]
pub(crate) struct CredentialSummary {
    /// The kind of a credential of Google Cloud.
    pub(crate) kind: Option<&'static str>,
    pub(crate) can_refresh: bool,
    pub(crate) expires_at: Option<Timestamp>,
}

/// How the refresh of a check ended.
#[derive(Debug)]
pub(crate) enum Refresh {
    Done {
        expires_at: Option<Timestamp>,
    },
    Failed(Error),
    /// The credentials changed meanwhile.
    Stale,
}

impl Credentials {
    /// Reads the credentials, and refreshes the token if it is time to.
    pub(crate) async fn check<P: Platform>(
        &self,
        platform: &P,
    ) -> Result<(CredentialSummary, Option<Refresh>), Error> {
        let credential = match self.credential(platform).await {
            Ok(credential) => credential,
            Err(
                TokenOutcome::Rejected(error)
                | TokenOutcome::Failed(error)
                | TokenOutcome::Deferred(error, _),
            ) => return Err(error),
            Err(TokenOutcome::Got { .. } | TokenOutcome::Stale) => {
                return Err(changed_meanwhile(self.place.kind()));
            }
        };
        let summary = CredentialSummary {
            kind: credential.login.google_kind(),
            can_refresh: credential.login.can_refresh(),
            expires_at: credential.login.expires_at(),
        };
        let (clock, now) = (platform.wall_clock(), platform.now());
        let verdict = self.tokens.with(|tokens| tokens.ask(clock, now));
        let (token::TokenVerdict::Refresh(lease) | token::TokenVerdict::UseAndRefresh(_, lease)) =
            verdict
        else {
            return Ok((summary, None));
        };
        if !summary.can_refresh {
            // A later request does this work, since the lease expires by itself.
            return Ok((summary, None));
        }
        let refreshed = self.refresh(platform, &credential, None, Duration::ZERO).await;
        let result = match &refreshed {
            Ok(token) => Refresh::Done { expires_at: token.expires_at },
            Err(
                TokenOutcome::Failed(error)
                | TokenOutcome::Deferred(error, _)
                | TokenOutcome::Rejected(error),
            ) => Refresh::Failed(error.clone()),
            Err(TokenOutcome::Got { .. } | TokenOutcome::Stale) => Refresh::Stale,
        };
        let outcome = self.outcome(platform, refreshed, true);
        self.settle(platform, lease, &credential.version, outcome);
        Ok((summary, Some(result)))
    }
}
