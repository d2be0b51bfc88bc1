//! `generateAccessToken` of IAM credentials.

use std::time::Duration;

use http::header;
use jiff::Timestamp;
use serde_json::json;

use crate::google_auth::files::TARGET_ACCOUNT;
use crate::google_auth::{GrantScope, GrantSource};
use crate::oauth::{TokenStatus, now_ms};
use crate::proto::fields::{FieldKind, MessageSpec};
use crate::proto::{self, ListRule, Node};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::{ApiError, ServiceMethod, error_info};

pub(super) fn answer(account: &str, request: &ApiRequest<'_>, state: &mut State) -> Reply {
    granted(account, request, state).unwrap_or_else(|error| error.reply(false))
}

fn granted(account: &str, request: &ApiRequest<'_>, state: &mut State) -> Result<Reply, ApiError> {
    let token = request.bearer.ok_or_else(|| unauthenticated("CREDENTIALS_MISSING"))?;
    match state.granted.status(token) {
        TokenStatus::Valid { .. } => {}
        TokenStatus::Expired => return Err(unauthenticated("ACCESS_TOKEN_EXPIRED")),
        // A self-signed JWT for cloud-platform is no token of the store: IAM takes it as Vertex
        // AI does.
        TokenStatus::Unknown if is_self_signed(token, state) => {}
        TokenStatus::Unknown => return Err(unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")),
    }
    let is_json = request.headers.get(header::CONTENT_TYPE).is_some_and(|media| {
        media.to_str().is_ok_and(|media| media.starts_with("application/json"))
    });
    if !is_json {
        return Err(ApiError::new(400, "The body must be application/json."));
    }
    let body = Node::read(request.body)?;
    proto::check(&body, &GENERATE_ACCESS_TOKEN, ListRule::Strict)?;
    let scopes = body.list("scope").iter().filter_map(Node::as_text);
    let Some(scope) = GrantScope::of(scopes) else {
        return Err(ApiError::new(400, "Request must have a valid scope."));
    };
    let lifetime = lifetime(body.text("lifetime"))?;
    for delegate in body.list("delegates").iter().filter_map(Node::as_text) {
        if !delegate.starts_with("projects/-/serviceAccounts/") {
            return Err(ApiError::invalid_argument());
        }
    }
    if state.google_auth.iam_denied || account != TARGET_ACCOUNT {
        return Err(denied(account));
    }
    let token = state.granted.grant(GrantSource::Impersonation, scope, lifetime);
    let until = now_ms() / 1000 + i64::try_from(lifetime.as_secs()).unwrap_or_default();
    let until = Timestamp::from_second(until).unwrap_or(Timestamp::MAX);
    Ok(Reply::ok(&json!({"accessToken": token, "expireTime": until.to_string()})))
}

fn is_self_signed(token: &str, state: &State) -> bool {
    !state.google_auth.refuse_self_signed
        && super::SignedClaims::read(token)
            .and_then(|claims| claims.check_self_signed(now_ms() / 1000))
            .is_ok()
}

/// The lifetime of a token: whole or fractional seconds with `s`, an hour at most.
fn lifetime(text: Option<&str>) -> Result<Duration, ApiError> {
    let Some(text) = text else { return Ok(LONGEST) };
    text.strip_suffix('s')
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .map(Duration::from_secs)
        .filter(|lifetime| !lifetime.is_zero() && *lifetime <= LONGEST)
        .ok_or_else(|| {
            ApiError::new(
                400,
                "The token lifetime must be from 1s to 3600s, unless the organization allows more.",
            )
        })
}

fn unauthenticated(reason: &str) -> ApiError {
    ApiError::unauthenticated(reason, CALLED)
}

fn denied(account: &str) -> ApiError {
    ApiError::new(
        403,
        "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
    )
    .detail(error_info(
        "IAM_PERMISSION_DENIED",
        "iam.googleapis.com",
        json!({"permission": "iam.serviceAccounts.getAccessToken",
               "resource": format!("projects/-/serviceAccounts/{account}")}),
    ))
}

static GENERATE_ACCESS_TOKEN: MessageSpec = MessageSpec {
    name: "google.iam.credentials.v1.GenerateAccessTokenRequest",
    fields: &[
        ("delegates", FieldKind::Texts),
        ("scope", FieldKind::Texts),
        ("lifetime", FieldKind::Text),
    ],
    oneof: None,
};

const CALLED: ServiceMethod<'static> = ServiceMethod {
    service: "iamcredentials.googleapis.com",
    method: "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken",
};
const LONGEST: Duration = Duration::from_secs(3600);
