//! The exchange of subject tokens by Google's STS.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::google_auth::files::{
    AWS_TOKEN_TYPE, STS_CLIENT_ID, STS_CLIENT_SECRET, WORKFORCE_AUDIENCE, WORKLOAD_AUDIENCE,
};
use crate::google_auth::form::Form;
use crate::google_auth::{GrantScope, GrantSource, aws, oauth_error};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::vertex::PROJECT;

pub(super) fn answer(request: &ApiRequest<'_>, state: &mut State) -> Reply {
    exchanged(request, state).unwrap_or_else(StsRefusal::reply)
}

fn exchanged(request: &ApiRequest<'_>, state: &mut State) -> Result<Reply, StsRefusal> {
    let form = request.form();
    let wanted = [
        "grant_type",
        "audience",
        "scope",
        "requested_token_type",
        "subject_token",
        "subject_token_type",
    ];
    form.check_with(&wanted, &["options"]).map_err(|why| refusal("invalid_request", why))?;
    must_be(&form, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")?;
    must_be(&form, "requested_token_type", "urn:ietf:params:oauth:token-type:access_token")?;
    let scopes = form.get("scope").unwrap_or_default();
    let scope = GrantScope::of(scopes.split(' '))
        .ok_or_else(|| refusal("invalid_scope", "Invalid scope."))?;
    let has_client = client(request)?;
    audience(&form, has_client)?;
    if let Some(error) = &state.google_auth.sts_error {
        return Err(refusal(error, "The emulator is set to refuse."));
    }
    subject(&form, state)?;
    let lifetime = state.token_lifetime();
    let token = state.granted.grant(GrantSource::Federation, scope, lifetime);
    Ok(Reply::ok(&json!({
        "access_token": token,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
    })))
}

/// The refresh grant of a user of a workforce pool, whose client authenticates by HTTP Basic.
pub(super) fn refresh(request: &ApiRequest<'_>, state: &mut State) -> Reply {
    refreshed(request, state).unwrap_or_else(StsRefusal::reply)
}

fn refreshed(request: &ApiRequest<'_>, state: &mut State) -> Result<Reply, StsRefusal> {
    let form = request.form();
    form.check(&["grant_type", "refresh_token"]).map_err(|why| refusal("invalid_request", why))?;
    must_be(&form, "grant_type", "refresh_token")?;
    if !client(request)? {
        return Err(refusal("invalid_client", "The OAuth client is missing."));
    }
    if let Some(error) = &state.google_auth.sts_error {
        return Err(refusal(error, "The emulator is set to refuse."));
    }
    if form.get("refresh_token") != Some(state.granted.workforce_refresh()) {
        return Err(refusal("invalid_grant", "The refresh token is invalid or revoked."));
    }
    if state.rotate_refresh {
        state.granted.rotate_workforce_refresh();
    }
    let lifetime = state.token_lifetime();
    let scope = GrantScope::CloudPlatform;
    let token = state.granted.grant(GrantSource::Federation, scope, lifetime);
    Ok(Reply::ok(&json!({
        "access_token": token,
        "refresh_token": state.granted.workforce_refresh(),
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
    })))
}

/// Whether the request has the OAuth client of a workforce pool, as HTTP Basic in standard base64
/// with padding.
fn client(request: &ApiRequest<'_>) -> Result<bool, StsRefusal> {
    let Some(given) = request.headers.get("authorization") else {
        return Ok(false);
    };
    let wanted = STANDARD.encode(format!("{STS_CLIENT_ID}:{STS_CLIENT_SECRET}"));
    let given = given.to_str().ok().and_then(|given| given.strip_prefix("Basic "));
    if given == Some(wanted.as_str()) {
        Ok(true)
    } else {
        Err(refusal("invalid_client", "The OAuth client was not found."))
    }
}

/// A workforce pool needs the project of its user, unless a client stands for it. A workload pool
/// has neither.
fn audience(form: &Form<'_>, has_client: bool) -> Result<(), StsRefusal> {
    let options = form.get("options");
    match form.get("audience") {
        Some(WORKLOAD_AUDIENCE) if options.is_none() && !has_client => Ok(()),
        Some(WORKLOAD_AUDIENCE) => Err(refusal(
            "invalid_request",
            "A workload identity pool takes neither options nor a client.",
        )),
        Some(WORKFORCE_AUDIENCE) if has_client => match options {
            None => Ok(()),
            Some(_) => Err(refusal("invalid_request", "Options beside a client.")),
        },
        Some(WORKFORCE_AUDIENCE) => {
            let options = options.and_then(|text| serde_json::from_str::<Value>(text).ok());
            if options == Some(json!({"userProject": PROJECT})) {
                Ok(())
            } else {
                Err(refusal("invalid_request", "options must be {\"userProject\":…}."))
            }
        }
        _ => Err(refusal(
            "invalid_target",
            "The target service indicated by the \"audience\" \
                                            parameters is invalid.",
        )),
    }
}

/// Checks the subject token by its type.
fn subject(form: &Form<'_>, state: &State) -> Result<(), StsRefusal> {
    let token = form.get("subject_token").unwrap_or_default();
    match form.get("subject_token_type") {
        Some(AWS_TOKEN_TYPE) => {
            let audience = form.get("audience").unwrap_or_default();
            aws::check_subject(token, audience).map_err(|why| refusal("invalid_grant", why))
        }
        Some(
            "urn:ietf:params:oauth:token-type:jwt" | "urn:ietf:params:oauth:token-type:id_token",
        ) => {
            if token == state.google_auth.subject_token {
                Ok(())
            } else {
                Err(refusal(
                    "invalid_grant",
                    "The given credential is rejected by the attribute \
                                              condition.",
                ))
            }
        }
        _ => Err(refusal("invalid_request", "Invalid value for \"subject_token_type\" parameter.")),
    }
}

fn must_be(form: &Form<'_>, name: &str, value: &str) -> Result<(), StsRefusal> {
    if form.has(name, value) {
        return Ok(());
    }
    Err(refusal("invalid_request", format!("Invalid value for \"{name}\" parameter.")))
}

/// Why STS refuses, in OAuth's words.
struct StsRefusal {
    error: String,
    why: String,
}

impl StsRefusal {
    fn reply(self) -> Reply {
        let code = if self.error == "invalid_client" { 401 } else { 400 };
        oauth_error(code, &self.error, &self.why)
    }
}

fn refusal(error: &str, why: impl Into<String>) -> StsRefusal {
    StsRefusal { error: error.to_owned(), why: why.into() }
}
