//! What gives an account its access tokens: the sign-in of the Gemini CLI, or a credential of Google
//! Cloud.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use crate::google::credentials::adc::{GoogleCredential, TokenSource};
use crate::google::credentials::{AccessToken, Login};
use crate::time::Timestamp;

/// A credential of either kind. A clone is cheap.
#[derive(Debug, Clone)]
pub(super) enum AccountLogin {
    GeminiCli(Box<Login>),
    Google(Arc<GoogleCredential>),
}

impl AccountLogin {
    /// The access token that came with the credential.
    pub(super) fn token(&self) -> Option<AccessToken> {
        match self {
            Self::GeminiCli(login) => login.token(),
            Self::Google(_) => None,
        }
    }

    /// The kind of a credential of Google Cloud.
    pub(super) fn google_kind(&self) -> Option<&'static str> {
        match self {
            Self::GeminiCli(_) => None,
            Self::Google(credential) => Some(credential.kind()),
        }
    }

    /// True when the credential can get new access tokens.
    pub(super) fn can_refresh(&self) -> bool {
        match self {
            Self::GeminiCli(login) => login.can_refresh(),
            Self::Google(_) => true,
        }
    }

    /// When the access token that came with the credential expires, where that is known.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::GeminiCli(login) => login.expires_at(),
            Self::Google(_) => None,
        }
    }

    /// A short digest that tells accounts apart.
    pub(super) fn fingerprint(&self) -> String {
        match self {
            Self::GeminiCli(login) => login.fingerprint(),
            Self::Google(credential) => credential.fingerprint(),
        }
    }

    /// The same credential with the refresh token that Google issued in place of the old one.
    #[must_use]
    pub(super) fn rotated(self, refresh_token: SecretString) -> Self {
        match self {
            Self::GeminiCli(login) => Self::GeminiCli(Box::new(login.rotated(refresh_token))),
            Self::Google(credential) => {
                Self::Google(Arc::new(Arc::unwrap_or_clone(credential).rotated(refresh_token)))
            }
        }
    }

    /// True for the same secrets: asking with this one would be no second try.
    pub(super) fn has_same_secret(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::GeminiCli(one), Self::GeminiCli(two)) => one.fingerprint() == two.fingerprint(),
            (Self::Google(one), Self::Google(two)) => one.has_same_refresh_token(two),
            _ => false,
        }
    }

    /// True if tokeninfo is asked for a token that was not issued to this process. A token of Google Cloud
    /// in the store was issued to a process with the same credential.
    pub(super) fn has_tokeninfo(&self) -> bool {
        matches!(self, Self::GeminiCli(_))
    }

    /// The longest time before a token's expiry at which the next one can be had.
    pub(super) fn longest_ahead(&self) -> Option<Duration> {
        match self {
            Self::GeminiCli(_) => None,
            Self::Google(credential) => match &credential.source {
                TokenSource::MetadataServer(_) => Some(METADATA_AHEAD),
                _ => None,
            },
        }
    }
}

/// The metadata server gives the same token until about five minutes before its expiry
/// (`docs/reference/upstreams.md` 2.3 c).
const METADATA_AHEAD: Duration = Duration::from_secs(4 * 60);
