//! The access and refresh tokens of the account.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// The tokens that were issued.
#[derive(Debug)]
pub(crate) struct TokenStore {
    /// What access tokens begin with.
    access_prefix: String,
    /// What refresh tokens begin with.
    refresh_prefix: String,
    /// The number of the last token, of either kind.
    last: u64,
    /// Access tokens with the time of their expiry, `None` for one without.
    access: HashMap<String, Option<Instant>>,
    refresh: HashSet<String>,
}

/// Whether an access token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenStatus {
    Expired,
    Unknown,
    Valid { seconds_left: u64 },
}

impl TokenStore {
    pub(crate) fn new() -> Self {
        let mut tokens = Self::empty("ya29.emulator".to_owned(), REFRESH_TOKEN.to_owned());
        tokens.access.insert(ACCESS_TOKEN.to_owned(), None);
        tokens.refresh.insert(REFRESH_TOKEN.to_owned());
        tokens
    }

    /// The tokens of one of several logins. None is valid yet but its refresh token.
    pub(crate) fn of_login(name: &str) -> Self {
        let refresh = format!("1//emulator-of-{name}");
        let mut tokens = Self::empty(format!("ya29.emulator-of-{name}"), refresh.clone());
        tokens.refresh.insert(refresh);
        tokens
    }

    fn empty(access_prefix: String, refresh_prefix: String) -> Self {
        let (access, refresh) = (HashMap::new(), HashSet::new());
        Self { access_prefix, refresh_prefix, last: 0, access, refresh }
    }

    pub(crate) fn issue(&mut self, lifetime: Duration) -> String {
        self.last += 1;
        let now = Instant::now();
        if self.access.len() > ACCESS_KEPT {
            self.access.retain(|_, until| until.is_none_or(|until| until > now));
        }
        let token = format!("{}-{:06}", self.access_prefix, self.last);
        self.access.insert(token.clone(), Some(now + lifetime));
        token
    }

    /// Issues an access token that has expired already.
    pub(crate) fn issue_expired(&mut self) -> String {
        self.issue(Duration::ZERO)
    }

    /// A valid refresh token: a new one if all were revoked.
    pub(crate) fn refresh_token(&mut self) -> String {
        if let Some(token) = self.refresh.iter().next() {
            return token.clone();
        }
        self.new_refresh_token()
    }

    pub(crate) fn knows_refresh(&self, token: &str) -> bool {
        self.refresh.contains(token)
    }

    /// Replaces a refresh token by a new one.
    pub(crate) fn rotate(&mut self, token: &str) -> String {
        self.refresh.remove(token);
        self.new_refresh_token()
    }

    pub(crate) fn status(&self, token: &str) -> TokenStatus {
        let Some(until) = self.access.get(token) else {
            return TokenStatus::Unknown;
        };
        let Some(until) = until else {
            return TokenStatus::Valid { seconds_left: 3599 };
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return TokenStatus::Expired;
        }
        TokenStatus::Valid { seconds_left: left.as_secs() }
    }

    /// Revokes the grant, with all its tokens, by any of them. False if the token is unknown.
    pub(crate) fn revoke(&mut self, token: &str) -> bool {
        let known = self.refresh.contains(token) || self.status(token) != TokenStatus::Unknown;
        if known {
            self.refresh.clear();
            self.access.clear();
        }
        known
    }

    /// Expires every access token.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        for until in self.access.values_mut() {
            *until = Some(now);
        }
    }

    /// Revokes every refresh token.
    pub(crate) fn revoke_refresh(&mut self) {
        self.refresh.clear();
    }

    fn new_refresh_token(&mut self) -> String {
        self.last += 1;
        let token = format!("{}-{:06}", self.refresh_prefix, self.last);
        self.refresh.insert(token.clone());
        token
    }
}

/// An access token that every emulator knows and that never expires on its own, for
/// `GOOGLE_CLOUD_ACCESS_TOKEN`.
pub const ACCESS_TOKEN: &str = "ya29.emulator-access";
pub(crate) const REFRESH_TOKEN: &str = "1//emulator-refresh";
/// Past this many access tokens, expired ones are dropped.
const ACCESS_KEPT: usize = 10_000;
