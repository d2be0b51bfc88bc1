//! The credential in use and the tokens that came from it: a plain value without clock or lock.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::login::AccountLogin;
use crate::google::credentials::AccessToken;
use crate::time::Timestamp;

/// The source of access tokens.
#[derive(Debug, Default)]
pub(super) struct CredentialSource {
    /// The version of the file that was read.
    pub(super) stamp: Option<u64>,
    /// The digest of the file's content. A file with a new stamp and the same content has not changed.
    pub(super) content: Option<[u8; 32]>,
    pub(super) login: Option<AccountLogin>,
    pub(super) version: CredentialVersion,
    /// The refresh token with which Google has replaced this credential's own, and the credential's
    /// fingerprint. It is also kept here, since writing it to the store may have failed.
    pub(super) rotated: Option<(String, SecretString)>,
    /// When the access token that was used last expires.
    pub(super) newest: Option<Timestamp>,
    /// The digest of the credential's own access token, once it has been tried.
    tried: Option<[u8; 32]>,
    pub(super) refreshes: u64,
}

/// Identifies a state of the credential. Work that began with one version may end under another.
#[derive(Debug, Clone, Default)]
pub(super) struct CredentialVersion {
    /// Counts the changes of the credential.
    pub(super) generation: u64,
    /// [`AccountLogin::fingerprint`] of the credential as it was given to the proxy, before any rotation.
    pub(super) fingerprint: String,
}

/// A copy of the credential for one piece of work.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) login: AccountLogin,
    pub(super) version: CredentialVersion,
}

impl CredentialSource {
    pub(super) fn credential(&self) -> Option<Credential> {
        let login = self.login.clone()?;
        Some(Credential { login, version: self.version.clone() })
    }

    /// Adopts a credential, with the refresh token that has replaced its own one.
    pub(super) fn adopt(&mut self, login: AccountLogin, stored: Option<SecretString>) {
        let fingerprint = login.fingerprint();
        if self.version.fingerprint != fingerprint {
            self.retry_tokens();
        }
        let ours = self.rotated.as_ref().filter(|(owner, _)| *owner == fingerprint);
        self.login = Some(match ours.map(|(_, token)| token.clone()).or(stored) {
            Some(rotated) => login.rotated(rotated),
            None => login,
        });
        self.version = CredentialVersion { generation: self.version.generation + 1, fingerprint };
    }

    /// True for a token that has not been tried and is not older than the one in use.
    pub(super) fn is_new(&self, token: &AccessToken) -> bool {
        self.tried != Some(digest(token))
            && token.expires_at.is_none_or(|expiry| Some(expiry) > self.newest)
    }

    /// Allows tokens that have been tried to be tried again.
    pub(super) fn retry_tokens(&mut self) {
        self.newest = None;
        self.tried = None;
    }

    /// Records that a token from file or store has been tried.
    pub(super) fn note_tried(&mut self, token: &AccessToken) {
        let own = self.login.as_ref().and_then(AccountLogin::token);
        if own.is_some_and(|own| digest(&own) == digest(token)) {
            self.tried = Some(digest(token));
        }
    }

    /// Records that a token is in use, unless the credential has changed since this version.
    pub(super) fn note_use(&mut self, token: &AccessToken, version: &CredentialVersion) {
        if self.version.fingerprint == version.fingerprint {
            self.newest = token.expires_at;
        }
    }
}

fn digest(token: &AccessToken) -> [u8; 32] {
    Sha256::digest(token.access_token.expose_secret()).into()
}
