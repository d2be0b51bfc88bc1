//! The access tokens that the credential services have granted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::google_auth::files::STS_REFRESH_TOKEN;
use crate::oauth::TokenStatus;

/// The granted tokens. They are apart from those of Code Assist: neither service takes the other's.
#[derive(Debug, Default)]
pub(crate) struct GrantedTokens {
    last: u64,
    tokens: HashMap<String, Grant>,
    metadata: Option<String>,
    /// The refresh token of the user of a workforce pool, if it was replaced.
    workforce_refresh: Option<String>,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    until: Instant,
    pub(crate) source: GrantSource,
    pub(crate) scope: GrantScope,
}

/// The flow that granted a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantSource {
    AuthorizedUser,
    Federation,
    Impersonation,
    Metadata,
    ServiceAccount,
}

impl GrantSource {
    fn name(self) -> &'static str {
        match self {
            Self::AuthorizedUser => "user",
            Self::Federation => "sts",
            Self::Impersonation => "iam",
            Self::Metadata => "metadata",
            Self::ServiceAccount => "service-account",
        }
    }
}

/// The scope of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantScope {
    CloudPlatform,
    /// Only good for impersonation.
    Iam,
}

impl GrantScope {
    /// The widest scope in a list of scopes.
    pub(crate) fn of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut found = None;
        for scope in scopes {
            match scope {
                CLOUD_PLATFORM => return Some(Self::CloudPlatform),
                IAM => found = Some(Self::Iam),
                _ => {}
            }
        }
        found
    }
}

impl GrantedTokens {
    pub(crate) fn grant(
        &mut self,
        source: GrantSource,
        scope: GrantScope,
        lifetime: Duration,
    ) -> String {
        let now = Instant::now();
        if self.tokens.len() > TOKENS_KEPT {
            self.tokens.retain(|_, grant| grant.until > now);
        }
        self.last += 1;
        let token = format!("ya29.emulator-{}-{:06}", source.name(), self.last);
        self.tokens.insert(token.clone(), Grant { until: now + lifetime, source, scope });
        token
    }

    pub(crate) fn get(&self, token: &str) -> Option<Grant> {
        self.tokens.get(token).copied()
    }

    pub(crate) fn status(&self, token: &str) -> TokenStatus {
        self.get(token).map_or(TokenStatus::Unknown, |grant| grant.status())
    }

    /// The token of the machine's account, and its remaining seconds. It stays the same until five
    /// minutes before its end (docs/reference/upstreams.md 2.3 c).
    pub(super) fn of_machine(&mut self, lifetime: Duration) -> (String, u64) {
        if let Some(token) = &self.metadata
            && let TokenStatus::Valid { seconds_left } = self.status(token)
            && seconds_left >= METADATA_KEPT.as_secs()
        {
            return (token.clone(), seconds_left);
        }
        let token = self.grant(GrantSource::Metadata, GrantScope::CloudPlatform, lifetime);
        self.metadata = Some(token.clone());
        (token, lifetime.as_secs())
    }

    pub(super) fn workforce_refresh(&self) -> &str {
        self.workforce_refresh.as_deref().unwrap_or(STS_REFRESH_TOKEN)
    }

    pub(super) fn rotate_workforce_refresh(&mut self) {
        self.last += 1;
        self.workforce_refresh = Some(format!("{STS_REFRESH_TOKEN}-{:06}", self.last));
    }

    /// Expires every token.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        for grant in self.tokens.values_mut() {
            grant.until = now;
        }
    }
}

impl Grant {
    pub(crate) fn status(&self) -> TokenStatus {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return TokenStatus::Expired;
        }
        TokenStatus::Valid { seconds_left: left.as_secs() }
    }
}

pub(super) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const IAM: &str = "https://www.googleapis.com/auth/iam";
const METADATA_KEPT: Duration = Duration::from_mins(5);
/// Past this many tokens, expired ones are dropped.
const TOKENS_KEPT: usize = 10_000;
