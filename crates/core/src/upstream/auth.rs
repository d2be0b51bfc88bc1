//! What the calls of an upstream are authenticated with: a key that never changes, or access tokens.

use bytes::Bytes;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::credentials::{Credentials, TokenStatus};
use crate::context::RequestContext;
use crate::error::Error;
use crate::google::error::{self, UpstreamError};
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::policy::token::{Bearer, TokenExpiry};
use crate::provider::request::Auth;
use crate::time::{Monotonic, Timestamp};

/// How the calls of one upstream are authenticated.
#[derive(Debug)]
pub(crate) enum AccountAuth {
    /// A key of the operator's.
    Key(AccountKey),
    /// Access tokens, each valid for about an hour.
    Tokens(Box<Credentials>),
}

/// A key as it is sent.
#[derive(Debug)]
pub(crate) struct AccountKey {
    bearer: Bearer,
    /// Tells the accounts of different keys apart, and says nothing of the key.
    fingerprint: String,
}

impl AccountAuth {
    /// A key, which settings accept only if a header may carry it.
    pub(super) fn key(key: &SecretString) -> Self {
        let mut header = HeaderValue::try_from(key.expose_secret())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        header.set_sensitive(true);
        let digest = Sha256::new().chain_update(b"api key\0").chain_update(key.expose_secret());
        let fingerprint = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self::Key(AccountKey { bearer: Bearer::of_key(header), fingerprint })
    }

    /// The text without the operator's key. Access tokens are in no text of Google's.
    pub(super) fn redact(&self, text: &Bytes) -> Bytes {
        match self {
            Self::Key(key) => error::without_secret(text, key.bearer.header.as_bytes()),
            Self::Tokens(_) => text.clone(),
        }
    }

    /// The credentials that give access tokens, if the upstream has any.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::Key(_) => None,
            Self::Tokens(credentials) => Some(credentials),
        }
    }

    /// Returns the credential for this try. Waits only if a token is needed and none is valid.
    pub(super) async fn authorize<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> (Result<Bearer, Error>, Monotonic) {
        match self {
            Self::Key(key) => (Ok(key.bearer.clone()), now),
            Self::Tokens(credentials) => credentials.bearer(context, now).await,
        }
    }

    /// The header that a request gets with a credential.
    pub(super) fn header<'a>(&self, bearer: &'a Bearer) -> Auth<'a> {
        match self {
            Self::Key(_) => Auth::ApiKey(&bearer.header),
            Self::Tokens(_) => Auth::Bearer(&bearer.header),
        }
    }

    /// Upstream's error for the client. A refused credential is the operator's own, and the client must not
    /// take it for one of its keys.
    pub(super) fn shown(&self, error: UpstreamError) -> Error {
        match (Error::from(error), self) {
            (
                Error::CredentialsRejected { why, details, .. }
                | Error::KeyRefused { why, details },
                Self::Tokens(credentials),
            ) => Error::CredentialsRejected { why, kind: credentials.kind(), details },
            (Error::CredentialsRejected { why, details, .. }, Self::Key(_)) => {
                Error::KeyRefused { why, details }
            }
            (error, _) => error,
        }
    }

    /// Records that upstream answered 401. False when no other credential can be had.
    #[must_use = "without another credential there is nothing to retry with"]
    pub(super) fn invalidate(&self, rejected: &Bearer, now: Monotonic) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Tokens(credentials) => credentials.invalidate(rejected, now),
        }
    }

    /// Records what upstream said when it answered 401.
    pub(super) fn note_refusal(&self, error: &Error) {
        if let Self::Tokens(credentials) = self {
            credentials.note_refusal(error);
        }
    }

    /// Records that upstream rejected the token that was refreshed because of a 401.
    pub(super) fn rejected_again(&self, now: Monotonic) {
        if let Self::Tokens(credentials) = self {
            credentials.rejected_again(now);
        }
    }

    /// True when no call has to wait for a token.
    pub(super) fn has_token(&self, clock: Timestamp) -> bool {
        self.credentials().is_none_or(|credentials| credentials.has_token(clock))
    }

    /// Returns the state of the credential, for health.
    pub(crate) fn status(&self, clock: Timestamp) -> TokenStatus {
        match self {
            Self::Key(_) => TokenStatus { trouble: None, expiry: TokenExpiry::Unknown },
            Self::Tokens(credentials) => credentials.status(clock),
        }
    }

    /// Why no request could be served with this credential; `None` if one could.
    pub(crate) fn unready_reason(&self, clock: Timestamp) -> Option<&'static str> {
        self.credentials().and_then(|credentials| credentials.unready_reason(clock))
    }

    /// Returns the lease of a refresh, if tokens are used and none was ever asked for.
    pub(crate) fn begin_first_token(&self, clock: Timestamp, now: Monotonic) -> Option<Lease> {
        self.credentials().and_then(|credentials| credentials.begin_first_token(clock, now))
    }

    /// Reads a changed credential, and gets the next token if it is time to.
    pub(super) async fn tick<P: Platform>(&self, platform: &P) {
        if let Self::Tokens(credentials) = self {
            credentials.tick(platform).await;
        }
    }

    /// Gets the next access token; the lease's work.
    pub(super) async fn renew<P: Platform>(&self, platform: &P, lease: Lease) {
        if let Self::Tokens(credentials) = self {
            credentials.renew(platform, lease).await;
        }
    }

    /// Reads the credential and returns the account's fingerprint, empty when there is none.
    pub(crate) async fn read_fingerprint<P: Platform>(&self, platform: &P) -> String {
        match self {
            Self::Key(key) => key.fingerprint.clone(),
            Self::Tokens(credentials) => credentials.read_fingerprint(platform).await,
        }
    }

    /// Returns the account's fingerprint as it was read last, empty when there is none.
    pub(crate) fn fingerprint(&self) -> String {
        match self {
            Self::Key(key) => key.fingerprint.clone(),
            Self::Tokens(credentials) => credentials.fingerprint(),
        }
    }

    /// True while this is still the account in use.
    pub(super) fn is_account(&self, fingerprint: &str) -> bool {
        match self {
            Self::Key(key) => key.fingerprint == fingerprint,
            Self::Tokens(credentials) => credentials.is_account(fingerprint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> UpstreamError {
        let text = r#"{"error":{"code":401,"message":"No.","details":[{"a":1}]}}"#;
        error::read(http::StatusCode::UNAUTHORIZED, &http::HeaderMap::new(), &Bytes::from(text))
    }

    #[test]
    fn a_401_to_a_key_is_a_refused_key_and_keeps_googles_details() {
        let auth = AccountAuth::key(&SecretString::from("AIza"));
        let Error::KeyRefused { why, details } = auth.shown(refused()) else { panic!() };
        assert_eq!((why.as_str(), &*details), ("No.", &br#"[{"a":1}]"#[..]));
    }
}
