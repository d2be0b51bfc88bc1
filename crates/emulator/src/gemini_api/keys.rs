//! Who calls: the carriers of credentials, the keys and what is wrong with them, and the headers
//! that a proxy must not send on.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use crate::gemini_api::call::{CallKind, GeminiCall};
use crate::gemini_api::errors::{self, ErrorContext};
use crate::gemini_api::state::GeminiState;
use crate::oauth::TokenStatus;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::ApiError;

/// A key, and the tier of its project.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiKey {
    pub(crate) status: KeyStatus,
    pub(crate) tier: Tier,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyStatus {
    Expired,
    IpBlocked,
    Leaked,
    ReferrerBlocked,
    ServiceBlocked,
    Suspended,
    /// Retired, unrestricted, or without a service account: 401 instead of 400.
    Unsupported,
    #[default]
    Valid,
}

/// The tier of a project.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tier {
    Free,
    #[default]
    Paid,
}

/// The keys that exist at the start.
pub(super) fn initial() -> BTreeMap<String, ApiKey> {
    [API_KEY, STANDARD_API_KEY].map(|key| (key.to_owned(), ApiKey::default())).into()
}

/// A credential of a request, and what carried it.
#[derive(Debug)]
enum Carried {
    Bearer(String),
    Ephemeral(String),
    KeyHeader(String),
    KeyQuery(String),
    Other,
}

/// Checks that exactly one valid credential came, and returns its tier.
pub(super) fn check(
    call: &GeminiCall,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<Tier, ApiError> {
    let mut carried = carried(request);
    let is_openai = matches!(call.kind, CallKind::OpenAi(_));
    if carried.len() > 1 {
        return Err(errors::multiple_credentials());
    }
    let gemini = &state.gemini;
    match carried.pop() {
        None if is_openai => Err(ApiError::new(400, "Missing or invalid Authorization header.")),
        None => Err(errors::unregistered_caller()),
        Some(Carried::KeyHeader(key)) => check_key(&key, call, gemini),
        // Whether an auth key works there is uncertain; most reports say 404 or 401.
        Some(Carried::KeyQuery(key)) if key.starts_with("AQ.") => {
            Err(errors::access_token_type_unsupported(call))
        }
        Some(Carried::KeyQuery(key)) => check_key(&key, call, gemini),
        Some(Carried::Bearer(token)) if is_openai => check_key(&token, call, gemini),
        Some(Carried::Bearer(token)) => match state.tokens.status(&token) {
            TokenStatus::Valid { .. } => Err(errors::insufficient_scopes(call)),
            TokenStatus::Expired | TokenStatus::Unknown => {
                Err(errors::access_token_type_unsupported(call))
            }
        },
        Some(Carried::Ephemeral(token)) => {
            let is_taken = call.kind == CallKind::Live { constrained: true };
            if is_taken && gemini.auth_tokens.contains(&token) {
                Ok(Tier::Paid)
            } else {
                Err(errors::access_token_type_unsupported(call))
            }
        }
        Some(Carried::Other) => Err(errors::access_token_type_unsupported(call)),
    }
}

/// The second step of an upload needs no key. A key that comes all the same has to be valid.
pub(super) fn check_optional(
    call: &GeminiCall,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<(), ApiError> {
    if carried(request).is_empty() {
        return Ok(());
    }
    check(call, request, state).map(|_| ())
}

/// The key of a request, for the error that prints it.
pub(super) fn key_of(headers: &HeaderMap, query: Option<String>) -> String {
    let header = headers.get(KEY_HEADER).and_then(|value| value.to_str().ok());
    header.map(str::to_owned).or(query).unwrap_or_default()
}

fn check_key(key: &str, call: &GeminiCall, state: &GeminiState) -> Result<Tier, ApiError> {
    let context = ErrorContext { call, key };
    let Some(known) = state.keys.get(key) else {
        return Err(errors::key_invalid(errors::KEY_NOT_VALID));
    };
    match known.status {
        KeyStatus::Expired => {
            Err(errors::key_invalid("API key expired. Please renew the API key."))
        }
        KeyStatus::IpBlocked => Err(errors::key_ip_blocked(context)),
        KeyStatus::Leaked => Err(errors::key_leaked()),
        KeyStatus::ReferrerBlocked => Err(errors::key_referrer_blocked(context)),
        KeyStatus::ServiceBlocked => Err(errors::key_service_blocked(context)),
        KeyStatus::Suspended => Err(errors::key_suspended(context)),
        KeyStatus::Unsupported => Err(errors::access_token_type_unsupported(call)),
        KeyStatus::Valid => Ok(known.tier),
    }
}

fn carried(request: &ApiRequest<'_>) -> Vec<Carried> {
    let mut all = Vec::new();
    for value in request.headers.get_all(KEY_HEADER) {
        all.push(Carried::KeyHeader(String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    for value in request.headers.get_all(AUTHORIZATION) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let (scheme, token) = text.split_once(' ').unwrap_or(("", &text));
        all.push(match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Carried::Bearer(token.trim().to_owned()),
            "token" => Carried::Ephemeral(token.trim().to_owned()),
            _ => Carried::Other,
        });
    }
    for (name, value) in form_urlencoded::parse(request.query.as_bytes()) {
        match name.as_ref() {
            "key" | "$key" => all.push(Carried::KeyQuery(value.into_owned())),
            "access_token" if value.starts_with("auth_tokens/") => {
                all.push(Carried::Ephemeral(value.into_owned()));
            }
            "access_token" | "oauth_token" => all.push(Carried::Bearer(value.into_owned())),
            _ => {}
        }
    }
    all
}

/// A header that a proxy must not send to the Gemini API (docs/reference/upstreams.md 1.4). Google
/// ignores most of them, so that a test finds them only here.
pub(super) fn forbidden_header(headers: &HeaderMap) -> Option<&str> {
    let forbidden = |name: &&str| {
        FORBIDDEN.contains(name) || name.starts_with("x-forwarded-") || name.starts_with("x-proxy-")
    };
    headers.keys().map(http::HeaderName::as_str).find(forbidden)
}

const FORBIDDEN: [&str; 8] = [
    "cookie",
    "forwarded",
    "origin",
    "proxy-authorization",
    "referer",
    "x-api-key",
    "x-goog-user-project",
    "x-real-ip",
];
const KEY_HEADER: &str = "x-goog-api-key";

/// The key that every emulator knows, of the kind that is bound to a service account.
pub const API_KEY: &str = "AQ.emulator-key";
/// A key of the older kind, which may also come as `?key=`.
pub const STANDARD_API_KEY: &str = "AIza-emulator-key";
