//! A service account's signed JWT: its form, its signature and its times.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::google_auth::files::{KEY_ID, SERVICE_ACCOUNT, key_pem};
use crate::google_auth::granted::GrantScope;

/// The claims of a JWT whose signature is the service account's.
#[derive(Debug)]
pub(crate) struct SignedClaims(Map<String, Value>);

impl SignedClaims {
    /// Reads a JWT and checks its header and signature.
    pub(crate) fn read(jwt: &str) -> Result<Self, JwtFault> {
        let mut parts = jwt.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtFault::Malformed("a JWT has three parts"));
        };
        let signed = &jwt[..header.len() + 1 + claims.len()];
        let header: JwtHeader = decoded(header)?;
        if header.alg != "RS256" || header.typ != "JWT" {
            return Err(JwtFault::Malformed("alg must be RS256 and typ JWT"));
        }
        if header.kid != KEY_ID {
            return Err(JwtFault::Malformed("kid is no key of the service account"));
        }
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_| JwtFault::Malformed("base64url without padding"))?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, PUBLIC_KEY.as_slice())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| JwtFault::Signature)?;
        decoded(claims).map(Self)
    }

    /// Checks the claims of a JWT that is the Bearer token itself (AIP-4111).
    pub(crate) fn check_self_signed(&self, now: i64) -> Result<(), JwtFault> {
        self.check_names(&["iss", "sub", "iat", "exp", "scope", "aud"])?;
        if self.text("iss") != Some(SERVICE_ACCOUNT) || self.text("sub") != Some(SERVICE_ACCOUNT) {
            return Err(JwtFault::Malformed("iss and sub must be the account's address"));
        }
        match (self.text("scope"), self.text("aud")) {
            (Some(scope), None) => {
                if GrantScope::of(scope.split(' ')) != Some(GrantScope::CloudPlatform) {
                    return Err(JwtFault::Malformed("scope must have cloud-platform"));
                }
            }
            (None, Some("https://aiplatform.googleapis.com/")) => {}
            (None, Some(_)) => return Err(JwtFault::Malformed("aud is not the service")),
            (Some(_), Some(_)) | (None, None) => {
                return Err(JwtFault::Malformed("exactly one of scope and aud"));
            }
        }
        self.check_times(now)
    }

    /// Checks the claims of a JWT that is exchanged for a token (RFC 7523).
    pub(super) fn check_exchange(
        &self,
        token_uris: &[&str],
        now: i64,
    ) -> Result<GrantScope, JwtFault> {
        self.check_names(&["iss", "iat", "exp", "scope", "aud"])?;
        if self.text("iss") != Some(SERVICE_ACCOUNT) {
            return Err(JwtFault::Malformed("iss must be the account's address"));
        }
        if !self.text("aud").is_some_and(|aud| token_uris.contains(&aud)) {
            return Err(JwtFault::Malformed("aud must be the token_uri of the file"));
        }
        self.check_times(now)?;
        let scopes = self.text("scope").unwrap_or_default();
        GrantScope::of(scopes.split(' ')).ok_or(JwtFault::Scope)
    }

    fn check_times(&self, now: i64) -> Result<(), JwtFault> {
        let (Some(from), Some(until)) = (self.seconds("iat"), self.seconds("exp")) else {
            return Err(JwtFault::Malformed("iat and exp must be whole seconds"));
        };
        // Google documents 3600 seconds at most. How much more it takes is not known.
        if until - from > LONGEST || from > now + SKEW || until <= from {
            return Err(JwtFault::Lifetime);
        }
        if until <= now { Err(JwtFault::Expired) } else { Ok(()) }
    }

    fn check_names(&self, known: &[&str]) -> Result<(), JwtFault> {
        if self.0.keys().all(|name| known.contains(&name.as_str())) {
            Ok(())
        } else {
            Err(JwtFault::Malformed("a claim that is not in this kind of JWT"))
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn seconds(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }
}

/// What is wrong with a JWT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtFault {
    Expired,
    Lifetime,
    Malformed(&'static str),
    Scope,
    Signature,
}

impl JwtFault {
    /// What the token endpoint says of it.
    pub(crate) fn description(self) -> String {
        match self {
            Self::Expired | Self::Lifetime => "Invalid JWT: Token must be a short-lived token (60 \
                                               minutes) and in a reasonable timeframe. Check your \
                                               iat and exp values in the JWT claim."
                .to_owned(),
            Self::Malformed(why) => format!("Invalid JWT: {why}."),
            Self::Scope => "Invalid OAuth scope or ID token audience provided.".to_owned(),
            Self::Signature => "Invalid JWT Signature.".to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JwtHeader {
    alg: String,
    typ: String,
    kid: String,
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, JwtFault> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| JwtFault::Malformed("base64url without padding"))?;
    serde_json::from_slice(&bytes)
        .map_err(|_| JwtFault::Malformed("header and claims must be JSON objects"))
}

/// The public key of the service account, as the DER of PKCS#1.
static PUBLIC_KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let body: String = key_pem().lines().filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).expect("the key of this crate is PEM");
    let pair = RsaKeyPair::from_pkcs8(&der).expect("the key of this crate is PKCS#8");
    pair.public_key().as_ref().to_vec()
});

const LONGEST: i64 = 3600;
/// How far a clock may be ahead of the emulator's.
const SKEW: i64 = 10;
