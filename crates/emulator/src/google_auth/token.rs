//! The token endpoint, for `authorized_user` and `service_account` files.

use serde_json::json;

use crate::google_auth::files::{USER_CLIENT_ID, USER_CLIENT_SECRET, USER_REFRESH_TOKEN};
use crate::google_auth::granted::CLOUD_PLATFORM;
use crate::google_auth::{GrantScope, GrantSource, SignedClaims, foreign_header, oauth_error};
use crate::oauth::now_ms;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;

/// Whether a token request comes from a client of Vertex AI: it has a service account's JWT, or
/// names the OAuth client of the emulator's `authorized_user` file.
pub(crate) fn answers(request: &ApiRequest<'_>) -> bool {
    let form = request.form();
    form.has("grant_type", JWT_BEARER) || form.has("client_id", USER_CLIENT_ID)
}

pub(super) fn answer(request: &ApiRequest<'_>, state: &mut State) -> Reply {
    let form = request.form();
    let refused = if form.has("grant_type", JWT_BEARER) {
        form.check(&["grant_type", "assertion"])
    } else {
        form.check(&["grant_type", "client_id", "client_secret", "refresh_token"])
    };
    if let Err(why) = refused {
        return oauth_error(400, "invalid_request", &why);
    }
    if let Some(name) = foreign_header(request.headers, &["authorization"]) {
        return oauth_error(
            400,
            "invalid_request",
            &format!("The header {name} is not wanted here."),
        );
    }
    if let Some(error) = &state.google_auth.token_error {
        return oauth_error(400, error, "The emulator is set to refuse.");
    }
    if let Some(assertion) = form.get("assertion") {
        return exchange(assertion, request, state);
    }
    if form.get("grant_type") != Some("refresh_token") {
        return oauth_error(400, "unsupported_grant_type", "Invalid grant_type");
    }
    if form.get("client_secret") != Some(USER_CLIENT_SECRET) {
        return oauth_error(401, "invalid_client", "Unauthorized");
    }
    if form.get("refresh_token") != Some(USER_REFRESH_TOKEN) {
        return oauth_error(400, "invalid_grant", "Bad Request");
    }
    granted(GrantSource::AuthorizedUser, GrantScope::CloudPlatform, state)
}

/// The exchange of a service account's JWT.
fn exchange(assertion: &str, request: &ApiRequest<'_>, state: &mut State) -> Reply {
    let own_uri = format!("http://{}/token", request.authority);
    let uris = ["https://oauth2.googleapis.com/token", own_uri.as_str()];
    let checked = SignedClaims::read(assertion)
        .and_then(|claims| claims.check_exchange(&uris, now_ms() / 1000));
    match checked {
        Ok(scope) => granted(GrantSource::ServiceAccount, scope, state),
        Err(fault) => {
            let error =
                if fault == super::JwtFault::Scope { "invalid_scope" } else { "invalid_grant" };
            oauth_error(400, error, &fault.description())
        }
    }
}

fn granted(source: GrantSource, scope: GrantScope, state: &mut State) -> Reply {
    let lifetime = state.token_lifetime();
    let token = state.granted.grant(source, scope, lifetime);
    let mut body = json!({
        "access_token": token,
        "expires_in": lifetime.as_secs(),
        "token_type": "Bearer",
    });
    if source == GrantSource::AuthorizedUser {
        body["scope"] = CLOUD_PLATFORM.into();
    }
    Reply::ok(&body).header("cache-control", "no-cache, no-store, max-age=0, must-revalidate")
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
