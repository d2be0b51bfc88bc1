//! A service account's key: tokens that the account signs itself, and the exchange of one for an access
//! token (`docs/reference/upstreams.md` 2.3 b).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::CLOUD_PLATFORM;
use super::answer::{Refusal, read_token};
use super::form::post_form;
use crate::google::credentials::{AccessToken, RefreshError, RefreshedToken};
use crate::payload::Payload;
use crate::signing::RsaKey;
use crate::time::Timestamp;

/// A service account with its private key.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    /// `client_email`.
    pub email: String,
    /// `private_key`.
    pub key: RsaKey,
    pub(super) key_id: Option<String>,
    pub(super) token_url: String,
}

impl ServiceAccount {
    /// The token that the account signs itself and that serves as an access token. It has a scope and no
    /// audience, so that it serves for the hosts of all regions.
    pub fn self_signed(&self, clock: Timestamp) -> UnsignedJwt {
        let claims = |issued_at, expires_at| {
            let (iss, sub) = (self.email.as_str(), Some(self.email.as_str()));
            Claims { iss, sub, aud: None, scope: CLOUD_PLATFORM, iat: issued_at, exp: expires_at }
        };
        self.unsigned(clock, claims)
    }

    /// The token that is exchanged for an access token.
    pub fn assertion(&self, clock: Timestamp) -> UnsignedJwt {
        let claims = |issued_at, expires_at| {
            let (iss, aud) = (self.email.as_str(), Some(self.token_url.as_str()));
            Claims { iss, sub: None, aud, scope: CLOUD_PLATFORM, iat: issued_at, exp: expires_at }
        };
        self.unsigned(clock, claims)
    }

    /// The exchange of a signed [`ServiceAccount::assertion`]. `token_url` stands in for the file's.
    pub fn exchange_request(
        &self,
        token_url: Option<&str>,
        assertion: &AccessToken,
    ) -> Option<Request<Payload>> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", assertion.access_token.expose_secret())
            .finish();
        post_form(token_url.unwrap_or(&self.token_url), form, None)
    }

    /// Reads the answer to the exchange.
    pub fn read_exchange(
        &self,
        status: StatusCode,
        body: &[u8],
        clock: Timestamp,
    ) -> Result<RefreshedToken, RefreshError> {
        read_token("Google's token endpoint", status, body, clock, |refusal| self.remedy(refusal))
    }

    /// What to do when Google refuses a token that the account has signed.
    fn remedy(&self, refusal: &Refusal) -> String {
        let says = |text: &str| refusal.description.contains(text);
        let email = &self.email;
        if says("short-lived") || says("iat") && says("exp") {
            "set this machine's clock (with NTP): the token that it signs is not valid at this time"
                .to_owned()
        } else if says("Signature") || says("signature") {
            format!("its key was deleted or disabled: make a new key of {email}")
        } else if says("account not found") || says("not a valid email") {
            format!("there is no service account {email}: it was deleted, or client_email is wrong")
        } else {
            format!("see whether the service account {email} is enabled and its key exists")
        }
    }

    fn unsigned<'a>(
        &'a self,
        clock: Timestamp,
        claims: impl FnOnce(u64, u64) -> Claims<'a>,
    ) -> UnsignedJwt {
        let issued_at = (clock.0 / 1000).saturating_sub(SKEW.as_secs());
        let expires_at = issued_at + LIFETIME.as_secs();
        let header = Header { alg: "RS256", typ: "JWT", kid: self.key_id.as_deref() };
        let claims = claims(issued_at, expires_at);
        UnsignedJwt {
            text: format!("{}.{}", encoded(&header), encoded(&claims)),
            expires_at: Timestamp(expires_at * 1000),
            lifetime: LIFETIME.saturating_sub(SKEW),
        }
    }
}

/// A JSON Web Token without its signature.
#[derive(Debug)]
pub struct UnsignedJwt {
    text: String,
    expires_at: Timestamp,
    lifetime: Duration,
}

impl UnsignedJwt {
    /// What is signed.
    pub fn message(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The token with its signature.
    pub fn signed(self, signature: &[u8]) -> AccessToken {
        let text = format!("{}.{}", self.text, URL_SAFE_NO_PAD.encode(signature));
        AccessToken {
            access_token: SecretString::from(text),
            expires_at: Some(self.expires_at),
            lifetime: Some(self.lifetime),
            scope: Some(CLOUD_PLATFORM.to_owned()),
        }
    }
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    scope: &'a str,
    iat: u64,
    exp: u64,
}

/// Texts and numbers are always valid JSON.
fn encoded(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

/// The longest that Google accepts.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A clock that is a little ahead of Google's must not sign tokens of the future.
const SKEW: Duration = Duration::from_secs(10);
