//! A credential: the JSON that a sign-in left behind, or a bare access token.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::fields::{expiry, secret};
use super::text::{json_in, unquoted};
use super::{AccessToken, OAuthClient};
use crate::time::Timestamp;

/// The content of an `oauth_creds.json`, in the form of any tool that writes one
/// (`docs/reference/protocol.md` 1.8).
#[derive(Debug, Clone)]
pub struct Login {
    access_token: Option<SecretString>,
    expires_at: Option<Timestamp>,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) client: Option<OAuthClient>,
    scope: Option<String>,
}

/// Why a credential cannot be used, and what the operator can do about it. The text follows the name of
/// the credential's place, and never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// There is no JSON object, or it breaks off: the Gemini CLI does not write its file atomically.
    #[error("cannot be read: {0}")]
    NotJson(String),
    /// The JSON holds no token.
    #[error(
        "cannot be read: its JSON has neither a refresh_token nor an access_token; it must be the \
         whole content of the Gemini CLI's oauth_creds.json{0}"
    )]
    NoToken(&'static str),
    /// The credential is a service account or another kind that Code Assist does not serve
    /// (`docs/reference/protocol.md` 1.10).
    #[error(
        "cannot be used: it is a {0} credential, which Code Assist does not serve: use the \
         oauth_creds.json that the Gemini CLI writes when you sign in with Google (a service \
         account works for Vertex AI: set VERTEX_CREDENTIALS and VERTEX_PROJECT)"
    )]
    WrongKind(String),
}

/// Says why the text of a credential cannot be used, as the second half of a sentence. `None` if it can.
pub fn credential_problem(text: &[u8]) -> Option<String> {
    Login::parse(text).err().map(|why| why.to_string())
}

impl Login {
    /// Reads a credential JSON, which may be quoted, escaped, in base64 or in UTF-16.
    pub fn parse(text: &[u8]) -> Result<Self, CredentialError> {
        let json = json_in(text)?;
        let outer: Map<String, Value> =
            serde_json::from_str(&json).map_err(|error| CredentialError::NotJson(place(&error)))?;
        let outer = &outer;
        if outer.contains_key("private_key") {
            return Err(CredentialError::WrongKind("service_account".to_owned()));
        }
        let kind = outer.get("type").and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| FOREIGN_KINDS.contains(kind)) {
            return Err(CredentialError::WrongKind(kind.to_owned()));
        }
        let inner = outer.get("token").and_then(Value::as_object).unwrap_or(outer);
        let login = Self {
            access_token: secret(inner, &["access_token", "accessToken", "token"]),
            expires_at: ["expiry_date", "expiresAt", "expires_at", "expiry"]
                .iter()
                .find_map(|name| inner.get(*name).and_then(expiry)),
            refresh_token: secret(inner, &["refresh_token", "refreshToken"]),
            client: OAuthClient::of(inner).or_else(|| OAuthClient::of(outer)),
            scope: inner.get("scope").and_then(Value::as_str).map(str::to_owned),
        };
        if login.access_token.is_none() && login.refresh_token.is_none() {
            let is_client = ["installed", "web"].iter().any(|kind| outer.contains_key(*kind));
            let hint = if is_client { " (this is the file of an OAuth client)" } else { "" };
            return Err(CredentialError::NoToken(hint));
        }
        Ok(login)
    }

    /// A credential that is an access token and nothing else: it cannot be refreshed.
    pub fn from_access_token(token: &SecretString) -> Self {
        Self {
            access_token: Some(unquoted(token.expose_secret()).into()),
            expires_at: None,
            refresh_token: None,
            client: None,
            scope: None,
        }
    }

    /// The access token that came with the credential.
    pub fn token(&self) -> Option<AccessToken> {
        let access_token = self.access_token.clone()?;
        Some(AccessToken {
            access_token,
            expires_at: self.expires_at,
            lifetime: None,
            scope: self.scope.clone(),
        })
    }

    /// True when the credential can get new access tokens.
    pub fn can_refresh(&self) -> bool {
        self.refresh_token.is_some()
    }

    /// When the access token that came with the credential expires, where that is known.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// The same credential with the refresh token that Google issued in place of the old one.
    #[must_use]
    pub fn rotated(mut self, refresh_token: SecretString) -> Self {
        self.refresh_token = Some(refresh_token);
        self
    }

    /// A short digest of the secret, which reveals nothing of it. Stored entries carry the
    /// fingerprint, so that entries of one account are never used for another.
    pub fn fingerprint(&self) -> String {
        let secret = self.refresh_token.as_ref().or(self.access_token.as_ref());
        let digest = Sha256::digest(secret.map_or("", |secret| secret.expose_secret()));
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Where the JSON is wrong. The text itself is secret and never quoted.
fn place(error: &serde_json::Error) -> String {
    let what = if error.is_eof() { "breaks off" } else { "goes wrong" };
    let (line, column) = (error.line(), error.column());
    format!(
        "its JSON {what} at line {line} column {column}; the whole content of the Gemini CLI's \
         oauth_creds.json is needed"
    )
}

/// Kinds of Google credentials that do not come from a user's sign-in.
const FOREIGN_KINDS: &[&str] = &[
    "service_account",
    "external_account",
    "external_account_authorized_user",
    "impersonated_service_account",
    "gdch_service_account",
];
