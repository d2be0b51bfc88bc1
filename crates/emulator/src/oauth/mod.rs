//! `oauth2.googleapis.com` and the userinfo endpoint: refresh, tokeninfo, revoke, who is it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::reply::Reply;
use crate::state::{State, TokenStatus};
use crate::status::{self, ApiError, oauth};

/// The endpoints that live beside Code Assist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OAuthEndpoint {
    Revoke,
    Token,
    TokenInfo,
    UserInfo,
}

impl OAuthEndpoint {
    /// The endpoint of a path, if the method is one it has.
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

    /// Answers, and says how long to hold the answer back.
    pub(crate) fn answer(self, call: &OAuthRequest<'_>, state: &mut State) -> (Reply, Duration) {
        match self {
            Self::Revoke => (revoke(call, state), Duration::ZERO),
            Self::Token => {
                let delay = Duration::from_millis(state.token_delay_ms);
                (token(call, state), delay)
            }
            Self::TokenInfo => (token_info(call, state), Duration::ZERO),
            Self::UserInfo => (user_info(call, state), Duration::ZERO),
        }
    }
}

/// What an OAuth endpoint looks at.
#[derive(Debug)]
pub(crate) struct OAuthRequest<'a> {
    pub(crate) query: &'a str,
    pub(crate) form: bool,
    pub(crate) body: &'a [u8],
    pub(crate) bearer: Option<&'a str>,
}

impl OAuthRequest<'_> {
    fn form_field(&self, name: &str) -> Option<String> {
        self.form.then(|| field(self.body, name)).flatten()
    }

    fn access_token(&self) -> Option<String> {
        field(self.query.as_bytes(), "access_token")
            .or_else(|| self.form_field("access_token"))
            .or_else(|| self.bearer.map(str::to_owned))
    }
}

/// The text of an `oauth_creds.json` for these tokens (protocol.md 1.8).
pub(crate) fn credentials(access: &str, refresh: &str, expiry_date: i64) -> String {
    status::pretty(&CredentialsFile {
        access_token: access,
        refresh_token: refresh,
        scope: SCOPE,
        token_type: "Bearer",
        id_token: id_token(),
        expiry_date,
    })
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn token(call: &OAuthRequest<'_>, state: &mut State) -> Reply {
    if state.token_status.is_some() || state.token_body.is_some() {
        let code = state.token_status.unwrap_or(200);
        let body = state.token_body.clone().unwrap_or_else(|| {
            status::pretty(&json!({"error": "internal_failure",
                                   "error_description": "The emulator was told to fail."}))
        });
        return Reply::json(status::status(code), body);
    }
    let Some(grant) = call.form_field("grant_type") else {
        return oauth(400, "invalid_request", "Missing required parameter: grant_type");
    };
    if grant != "refresh_token" {
        return oauth(400, "unsupported_grant_type", &format!("Invalid grant_type: {grant}"));
    }
    let Some(client) = call.form_field("client_id") else {
        return oauth(400, "invalid_request", "Could not determine client ID from request.");
    };
    if client != state.client_id {
        return oauth(401, "invalid_client", "The OAuth client was not found.");
    }
    let Some(secret) = call.form_field("client_secret") else {
        return oauth(400, "invalid_request", "client_secret is missing.");
    };
    if state.client_secret.as_ref().is_some_and(|wanted| *wanted != secret) {
        return oauth(401, "invalid_client", "Unauthorized");
    }
    let Some(refresh) = call.form_field("refresh_token") else {
        return oauth(400, "invalid_request", "Missing required parameter: refresh_token");
    };
    if !state.tokens.knows_refresh(&refresh) {
        let ours = refresh.starts_with(crate::state::REFRESH_TOKEN);
        let why = if ours { "Token has been expired or revoked." } else { "Bad Request" };
        return oauth(400, "invalid_grant", why);
    }
    let refresh_token = state.rotate_refresh.then(|| state.tokens.rotate(&refresh));
    let answer = TokenResponse {
        access_token: state.issue(),
        expires_in: state.token_lifetime_ms / 1000,
        refresh_token,
        scope: SCOPE,
        token_type: "Bearer",
        id_token: id_token(),
    };
    Reply::json(StatusCode::OK, status::pretty(&answer))
        .header("cache-control", "no-cache, no-store, max-age=0, must-revalidate")
}

fn token_info(call: &OAuthRequest<'_>, state: &State) -> Reply {
    let Some(token) = call.access_token() else {
        let why = "either access_token, id_token, or token_handle required";
        return oauth(400, "invalid_request", why);
    };
    let TokenStatus::Valid { seconds_left } = state.tokens.standing(&token) else {
        return oauth(400, "invalid_token", "Invalid Value");
    };
    let exp = now_ms() / 1000 + i64::try_from(seconds_left).unwrap_or_default();
    Reply::json(
        StatusCode::OK,
        status::pretty(&json!({
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

fn user_info(call: &OAuthRequest<'_>, state: &State) -> Reply {
    let standing = call.access_token().map(|token| state.tokens.standing(&token));
    match standing {
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

fn revoke(call: &OAuthRequest<'_>, state: &mut State) -> Reply {
    let token = field(call.query.as_bytes(), "token").or_else(|| call.form_field("token"));
    let Some(token) = token else {
        return oauth(400, "invalid_request", "Missing required parameter: token");
    };
    if state.tokens.revoke(&token) {
        Reply::json(StatusCode::OK, "{}".to_owned())
    } else {
        oauth(400, "invalid_token", "Token expired or revoked")
    }
}

fn field(form: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(form)
        .find(|(key, value)| key == name && !value.is_empty())
        .map(|(_, value)| value.into_owned())
}

/// Shaped like Google's, and signed by nobody.
fn id_token() -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({"alg": "RS256", "kid": "emulator", "typ": "JWT"}));
    let claims = part(&json!({
        "iss": "https://accounts.google.com",
        "aud": crate::state::CLIENT_ID,
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

pub(crate) const EMAIL: &str = "someone@emulator.example";
const SCOPE: &str = "https://www.googleapis.com/auth/userinfo.email openid \
                     https://www.googleapis.com/auth/cloud-platform \
                     https://www.googleapis.com/auth/userinfo.profile";
const SUBJECT: &str = "100000000000000000001";
const USER_INFO: &str = "google.identity.oauth2.UserInfo";
