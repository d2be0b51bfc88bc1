//! Tokens as they are kept in the store.

use std::time::Duration;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::AccessToken;
use super::fields::{expiry, secret};
use crate::time::Timestamp;

/// An access token as it is kept in the store.
///
/// Entries written by earlier versions and by other tools in this shape are read too; they lack
/// `refresh_count` or `credential`.
#[derive(Debug, Clone)]
pub struct StoredToken {
    /// The token, whose lifetime is not stored.
    pub token: AccessToken,
    /// How many refreshes have led to this token.
    pub refresh_count: u64,
    /// [`Login::fingerprint`](super::Login::fingerprint) of the credential that the token belongs
    /// to; entries of other tools have none.
    pub credential: Option<String>,
}

impl StoredToken {
    /// The JSON text for the store.
    pub fn to_stored(&self, clock: Timestamp) -> Bytes {
        let value = json!({
            "access_token": self.token.access_token.expose_secret(),
            "expiry_date": self.token.expires_at.map(|expiry| expiry.0),
            "refresh_count": self.refresh_count,
            "last_used": clock.0,
            "created_at": clock.0,
            "token_type": "Bearer",
            "scope": self.token.scope.as_deref().unwrap_or_default(),
            "credential": self.credential,
        });
        Bytes::from(value.to_string())
    }

    /// Reads a stored entry. `None` when the entry is broken, or when its expiry is too far away to
    /// be true: some tools write seconds a thousand times too large, and such an entry would keep
    /// an expired token in use for years.
    pub fn from_stored(text: &[u8], clock: Timestamp) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        let object = value.as_object()?;
        let expires_at = object.get("expiry_date").and_then(expiry)?;
        if clock.until(expires_at) > LONGEST_BELIEVABLE_LIFETIME {
            return None;
        }
        Some(Self {
            token: AccessToken {
                access_token: secret(object, &["access_token"])?,
                expires_at: Some(expires_at),
                lifetime: None,
                scope: object.get("scope").and_then(Value::as_str).map(str::to_owned),
            },
            refresh_count: object.get("refresh_count").and_then(Value::as_u64).unwrap_or(0),
            credential: object.get("credential").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// A rotated refresh token as it is kept in the store.
pub fn rotated_to_stored(refresh_token: &SecretString, credential: &str) -> Bytes {
    let value = json!({ "refresh_token": refresh_token.expose_secret(), "credential": credential });
    Bytes::from(value.to_string())
}

/// Reads a stored refresh token, if it belongs to the credential with this fingerprint.
pub fn rotated_from_stored(text: &[u8], credential: &str) -> Option<SecretString> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let object = value.as_object()?;
    if object.get("credential").and_then(Value::as_str) != Some(credential) {
        return None;
    }
    secret(object, &["refresh_token"])
}

/// Google's access tokens live for one hour, by policy for at most twelve: a longer lifetime than a
/// week is an error of the program that wrote the entry.
const LONGEST_BELIEVABLE_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
