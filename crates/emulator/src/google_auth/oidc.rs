//! A source of subject tokens, as GitHub's OIDC endpoint is one.

use serde_json::json;

use crate::google_auth::files::OIDC_REQUEST_TOKEN;
use crate::google_auth::text;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;

/// Answers with the subject token, as text or with `?format=json` as JSON.
pub(super) fn answer(request: &ApiRequest<'_>, state: &State) -> Reply {
    if request.bearer != Some(OIDC_REQUEST_TOKEN) {
        return text(401, "The headers of the credential_source are missing.");
    }
    let token = state.google_auth.subject_token.as_str();
    if request.query("format").as_deref() == Some("json") {
        Reply::ok(&json!({"id_token": token, "count": 1}))
    } else {
        text(200, token)
    }
}
