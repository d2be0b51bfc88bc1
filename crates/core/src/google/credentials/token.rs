//! An access token, and what Google's tokeninfo endpoint says of it.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::fields::seconds;
use crate::google;
use crate::payload::Payload;
use crate::time::Timestamp;

/// An access token, its expiry and its scopes.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The secret text of the token.
    pub access_token: SecretString,
    /// When the token expires; `None` when the credential did not say.
    pub expires_at: Option<Timestamp>,
    /// The lifetime at the time of issue, known only for tokens that this proxy was issued.
    pub lifetime: Option<Duration>,
    /// The scopes, kept for the stored form.
    pub scope: Option<String>,
}

impl AccessToken {
    /// `Bearer …` as a header value that is marked as sensitive. `None` for a token with bytes that
    /// a header may not hold.
    pub fn header(&self) -> Option<HeaderValue> {
        let text = format!("Bearer {}", self.access_token.expose_secret());
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// True until the token's expiry; always true when the expiry is not known.
    pub fn alive(&self, clock: Timestamp) -> bool {
        self.expires_at.is_none_or(|expiry| clock < expiry)
    }

    /// The tokeninfo request (`docs/reference/protocol.md` 1.2).
    pub fn tokeninfo_request(&self, url: &str) -> Option<Request<Payload>> {
        Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(AUTHORIZATION, self.header()?)
            .header(CONTENT_LENGTH, "0")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, google::USER_AGENT)
            .body(Payload::default())
            .ok()
    }
}

/// What tokeninfo says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum TokenInfo {
    /// The token is expired or revoked.
    Invalid,
    /// The answer decides nothing, for example a 5xx.
    Unknown,
    /// The token works; holds `expires_in` when the answer has it.
    Valid(Option<Duration>),
}

/// Reads a tokeninfo answer. A token is invalid only when a 400 or 401 says `invalid_token`.
pub fn read_tokeninfo(status: StatusCode, body: &[u8]) -> TokenInfo {
    let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status.is_success() {
        return TokenInfo::Valid(value.get("expires_in").and_then(seconds));
    }
    let error = value.get("error").and_then(Value::as_str);
    if matches!(status.as_u16(), 400 | 401) && matches!(error, Some("invalid_token")) {
        return TokenInfo::Invalid;
    }
    TokenInfo::Unknown
}
