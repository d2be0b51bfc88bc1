//! `oauth2.googleapis.com` (token, tokeninfo, revoke) and the userinfo endpoint.

mod tokens;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::code_assist::SERVICE;
use crate::google_auth;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::{ApiError, ServiceMethod, http_status, pretty};

pub use self::tokens::ACCESS_TOKEN;
use self::tokens::REFRESH_TOKEN;
pub(crate) use self::tokens::{TokenStatus, TokenStore};

/// An endpoint of Google's OAuth service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OAuthEndpoint {
    Revoke,
    Token,
    TokenInfo,
    UserInfo,
}

impl OAuthEndpoint {
    /// The endpoint of a path, if the HTTP method fits.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let post = method == Method::POST;
        let get = method == Method::GET;
        match path {
            "/token" if post => Some(Self::Token),
            "/tokeninfo" | "/oauth2/v3/tokeninfo" if post || get => Some(Self::TokenInfo),
            "/revoke" if post || get => Some(Self::Revoke),
            "/oauth2/v2/userinfo" if get => Some(Self::UserInfo),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Token => "token",
            Self::TokenInfo => "tokeninfo",
            Self::UserInfo => "userinfo",
        }
    }

    /// The answer, and how long it is delayed.
    pub(crate) fn answer(self, request: &ApiRequest<'_>, state: &mut State) -> (Reply, Duration) {
        match self {
            Self::Revoke => (revoke(request, state), Duration::ZERO),
            Self::Token => {
                let of_login = form_field(request, "refresh_token")
                    .and_then(|refresh| Some(state.logins.by_refresh_token(&refresh)?.delay));
                let delay = of_login.unwrap_or_else(|| Duration::from_millis(state.token_delay_ms));
                (token(request, state), delay)
            }
            Self::TokenInfo => (token_info(request, state), Duration::ZERO),
            Self::UserInfo => (user_info(request, state), Duration::ZERO),
        }
    }
}

/// The text of an `oauth_creds.json` for these tokens (docs/reference/protocol.md 1.8).
pub(crate) fn credentials(access: &str, refresh: &str, expiry_date: i64) -> String {
    pretty(&CredentialsFile {
        access_token: access,
        refresh_token: refresh,
        scope: SCOPE,
        token_type: "Bearer",
        id_token: id_token(),
        expiry_date,
    })
}

/// The wall clock, in milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn token(request: &ApiRequest<'_>, state: &mut State) -> Reply {
    if state.token_status.is_some() || state.token_body.is_some() {
        let code = state.token_status.unwrap_or(200);
        let body = state.token_body.clone().unwrap_or_else(|| {
            pretty(&json!({"error": "internal_failure",
                                   "error_description": "The emulator is set to fail."}))
        });
        return Reply::json(http_status(code), body);
    }
    if google_auth::is_token_request(request) {
        return google_auth::token(request, state);
    }
    let Some(grant) = form_field(request, "grant_type") else {
        return error(400, "invalid_request", "Missing required parameter: grant_type");
    };
    if grant != "refresh_token" {
        return error(400, "unsupported_grant_type", &format!("Invalid grant_type: {grant}"));
    }
    let Some(client) = form_field(request, "client_id") else {
        return error(400, "invalid_request", "Could not determine client ID from request.");
    };
    if client != state.client_id {
        return error(401, "invalid_client", "The OAuth client was not found.");
    }
    let Some(secret) = form_field(request, "client_secret") else {
        return error(400, "invalid_request", "client_secret is missing.");
    };
    if state.client_secret.as_ref().is_some_and(|wanted| *wanted != secret) {
        return error(401, "invalid_client", "Unauthorized");
    }
    let Some(refresh) = form_field(request, "refresh_token") else {
        return error(400, "invalid_request", "Missing required parameter: refresh_token");
    };
    let lifetime = state.token_lifetime();
    if let Some(login) = state.logins.by_refresh_token(&refresh) {
        return match login.issue(&refresh, lifetime) {
            Some((access, rotated)) => issued(access, rotated, state),
            None => error(400, "invalid_grant", "Token has been expired or revoked."),
        };
    }
    if !state.tokens.knows_refresh(&refresh) {
        let is_ours = refresh.starts_with(REFRESH_TOKEN);
        let why = if is_ours { "Token has been expired or revoked." } else { "Bad Request" };
        return error(400, "invalid_grant", why);
    }
    let refresh_token = state.rotate_refresh.then(|| state.tokens.rotate(&refresh));
    let access = state.issue();
    issued(access, refresh_token, state)
}

fn issued(access_token: String, refresh_token: Option<String>, state: &State) -> Reply {
    let answer = TokenResponse {
        access_token,
        expires_in: state.token_lifetime_ms / 1000,
        refresh_token,
        scope: SCOPE,
        token_type: "Bearer",
        id_token: id_token(),
    };
    Reply::json(StatusCode::OK, pretty(&answer))
        .header("cache-control", "no-cache, no-store, max-age=0, must-revalidate")
}

fn token_info(request: &ApiRequest<'_>, state: &State) -> Reply {
    let Some(token) = access_token(request) else {
        let why = "either access_token, id_token, or token_handle required";
        return error(400, "invalid_request", why);
    };
    let TokenStatus::Valid { seconds_left } = state.token_status(&token) else {
        return error(400, "invalid_token", "Invalid Value");
    };
    let exp = now_ms() / 1000 + i64::try_from(seconds_left).unwrap_or_default();
    Reply::json(
        StatusCode::OK,
        pretty(&json!({
            "azp": state.client_id,
            "aud": state.client_id,
            "sub": SUBJECT,
            "user_id": SUBJECT,
            "scope": SCOPE,
            "exp": exp.to_string(),
            "expires_in": seconds_left.to_string(),
            "email": EMAIL,
            "email_verified": "true",
            "access_type": "offline",
        })),
    )
}

fn user_info(request: &ApiRequest<'_>, state: &State) -> Reply {
    let status = access_token(request).map(|token| state.token_status(&token));
    match status {
        Some(TokenStatus::Valid { .. }) => Reply::ok(&json!({
            "id": SUBJECT,
            "email": EMAIL,
            "verified_email": true,
            "name": "Emulator User",
            "given_name": "Emulator",
            "family_name": "User",
            "picture": "https://lh3.googleusercontent.com/a/emulator",
        })),
        Some(_) => ApiError::unauthenticated("ACCESS_TOKEN_EXPIRED", USER_INFO).reply(false),
        None => ApiError::unauthenticated("CREDENTIALS_MISSING", USER_INFO).reply(false),
    }
}

fn revoke(request: &ApiRequest<'_>, state: &mut State) -> Reply {
    let token = field(request.query.as_bytes(), "token").or_else(|| form_field(request, "token"));
    let Some(token) = token else {
        return error(400, "invalid_request", "Missing required parameter: token");
    };
    if state.tokens.revoke(&token) {
        Reply::json(StatusCode::OK, "{}".to_owned())
    } else {
        error(400, "invalid_token", "Token expired or revoked")
    }
}

fn access_token(request: &ApiRequest<'_>) -> Option<String> {
    field(request.query.as_bytes(), "access_token")
        .or_else(|| form_field(request, "access_token"))
        .or_else(|| request.bearer.map(str::to_owned))
}

fn form_field(request: &ApiRequest<'_>, name: &str) -> Option<String> {
    request.has_form().then(|| field(request.body, name)).flatten()
}

/// A field of a form or query; an empty one counts as absent.
fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form)
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// A flat OAuth error (docs/reference/protocol.md 1.7).
fn error(code: u16, error: &str, description: &str) -> Reply {
    let body = json!({"error": error, "error_description": description});
    Reply::json(http_status(code), pretty(&body))
}

/// A JSON Web Token of Google's form without a real signature.
fn id_token() -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({"alg": "RS256", "kid": "emulator", "typ": "JWT"}));
    let claims = part(&json!({
        "iss": "https://accounts.google.com",
        "aud": CLIENT_ID,
        "sub": SUBJECT,
        "email": EMAIL,
        "email_verified": true,
        "exp": now_ms() / 1000 + 3599,
    }));
    format!("{header}.{claims}.ZW11bGF0b3I")
}

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: &'static str,
    token_type: &'static str,
    id_token: String,
}

#[derive(Serialize)]
struct CredentialsFile<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    scope: &'a str,
    token_type: &'a str,
    id_token: String,
    expiry_date: i64,
}

/// The public client of the Gemini CLI (docs/reference/protocol.md 1.1).
pub(crate) const CLIENT_ID: &str =
    "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com";
const EMAIL: &str = "someone@emulator.example";
const SCOPE: &str = "https://www.googleapis.com/auth/userinfo.email openid \
                     https://www.googleapis.com/auth/cloud-platform \
                     https://www.googleapis.com/auth/userinfo.profile";
const SUBJECT: &str = "100000000000000000001";
const USER_INFO: ServiceMethod<'static> =
    ServiceMethod { service: SERVICE, method: "google.identity.oauth2.UserInfo" };
