//! Who may call: the headers that may arrive, the credential, the project, the location, the model.

use http::HeaderMap;
use serde_json::json;

use crate::google_auth::{GrantScope, GrantSource, JwtFault, SignedClaims};
use crate::oauth::{TokenStatus, now_ms};
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::{ApiError, ServiceMethod, error_info};
use crate::vertex::call::{Place, Target, VertexCall};
use crate::vertex::errors::{self, SERVICE};
use crate::vertex::settings::VertexSettings;

/// Refuses a request whose query, headers, credential, project, location or model the service
/// refuses, or that has what must not reach Google.
pub(super) fn check_caller(
    call: &VertexCall,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<(), ApiError> {
    check_query(request, call)?;
    check_headers(request, state)?;
    let settings = &state.vertex;
    let key = request.headers.get("x-goog-api-key");
    let express = call.place == Place::Express && matches!(call.target, Target::Model(..));
    if let Some(key) = key {
        if !express || !matches!(&call.target, Target::Model(_, method) if method.is_express()) {
            return Err(errors::key_unsupported(&call.method()));
        }
        if key.as_bytes() != settings.api_key.as_bytes() {
            return Err(errors::key_invalid());
        }
    } else {
        let source = check_bearer(call, request, state)?;
        if express {
            // The express form has no project that OAuth could be checked for.
            return Err(errors::permission_denied("aiplatform.endpoints.predict", "projects/"));
        }
        let user = source == GrantSource::AuthorizedUser;
        let catalogue = matches!(call.target, Target::Catalogue(_));
        if user && catalogue && !request.headers.contains_key("x-goog-user-project") {
            return Err(errors::quota_project_missing());
        }
    }
    let Place::Project { project, location } = &call.place else {
        return call.model().map_or(Ok(()), |model| check_model(model, call, state));
    };
    if *project != settings.project {
        return Err(errors::permission_denied("aiplatform.endpoints.predict", &call.resource()));
    }
    match call.model() {
        Some(model) => check_model(model, call, state),
        None if settings.locations.contains(location) => Ok(()),
        None => Err(ApiError::new(404, format!("Location {location} is not found."))),
    }
}

/// Refuses a model that this location does not have.
pub(super) fn check_model(model: &str, call: &VertexCall, state: &State) -> Result<(), ApiError> {
    let settings = &state.vertex;
    let location = match &call.place {
        Place::Express => "global",
        Place::Project { location, .. } => location,
    };
    let has = |models: &[String]| models.iter().any(|known| known == model);
    let exists = settings.locations.iter().any(|known| known == location)
        && (has(&settings.models) || (location == "global" && has(&settings.global_models)));
    if exists {
        return Ok(());
    }
    Err(match call.model() {
        Some(_) => errors::model_not_found(&call.resource()),
        None => errors::model_not_found(&format!(
            "{}/publishers/google/models/{model}",
            call.resource()
        )),
    })
}

fn check_query(request: &ApiRequest<'_>, call: &VertexCall) -> Result<(), ApiError> {
    for name in ["key", "access_token", "oauth_token", "$key"] {
        if request.query(name).is_some() {
            return Err(violation(&format!("query parameter {name}")));
        }
    }
    let own: &[&str] = match &call.target {
        Target::Catalogue(_) => &["pageSize", "pageToken", "filter", "view", "orderBy"],
        Target::Caches(_) => &["pageSize", "pageToken"],
        Target::Cache(..) => &["updateMask"],
        Target::ChatCompletions | Target::Model(..) => &[],
    };
    match request.unknown_query_parameter(own) {
        Some(name) => Err(ApiError::unknown_query_parameter(&name)),
        None => Ok(()),
    }
}

fn check_headers(request: &ApiRequest<'_>, state: &State) -> Result<(), ApiError> {
    let carriers = request.headers.get_all("authorization").iter().count()
        + request.headers.get_all("x-goog-api-key").iter().count();
    if carriers > 1 {
        return Err(ApiError::new(
            400,
            "Multiple authentication credentials received. Please pass only one.",
        ));
    }
    match forbidden_header(request.headers, &state.vertex) {
        Some(name) => Err(violation(&format!("header {name}"))),
        None => Ok(()),
    }
}

/// The first header that must not reach Vertex AI.
pub(super) fn forbidden_header<'a>(
    headers: &'a HeaderMap,
    settings: &VertexSettings,
) -> Option<&'a str> {
    headers.iter().find_map(|(name, value)| {
        // The project that is used may be the one that is charged.
        let quota = settings.quota_project.as_deref().unwrap_or(&settings.project);
        let name = name.as_str();
        let is_forbidden = FORBIDDEN.contains(&name)
            || name.starts_with("x-forwarded-")
            || name.starts_with("x-proxy-")
            || (name == "x-goog-user-project" && value.as_bytes() != quota.as_bytes());
        is_forbidden.then_some(name)
    })
}

/// Checks the token and says which flow granted it.
fn check_bearer(
    call: &VertexCall,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<GrantSource, ApiError> {
    let method = call.method();
    let called = ServiceMethod { service: SERVICE, method: &method };
    let unauthenticated = |reason| ApiError::unauthenticated(reason, called);
    let Some(token) = request.bearer else {
        return Err(unauthenticated("CREDENTIALS_MISSING"));
    };
    if let Some(grant) = state.granted.get(token) {
        return match (grant.status(), grant.scope) {
            (TokenStatus::Valid { .. }, GrantScope::CloudPlatform) => Ok(grant.source),
            (TokenStatus::Valid { .. }, GrantScope::Iam) => Err(scope_insufficient(called)),
            (TokenStatus::Expired | TokenStatus::Unknown, _) => {
                Err(unauthenticated("ACCESS_TOKEN_EXPIRED"))
            }
        };
    }
    if token == ACCESS_TOKEN {
        return Ok(GrantSource::ServiceAccount);
    }
    if token.split('.').count() != 3 || state.google_auth.refuse_self_signed {
        return Err(unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED"));
    }
    let claims =
        SignedClaims::read(token).and_then(|claims| claims.check_self_signed(now_ms() / 1000));
    match claims {
        Ok(()) => Ok(GrantSource::ServiceAccount),
        Err(JwtFault::Expired) => Err(unauthenticated("ACCESS_TOKEN_EXPIRED")),
        Err(fault) => Err(invalid_jwt(fault)),
    }
}

/// 401 for a wrong JWT. Google gives no reason; the message of this one says what is wrong.
fn invalid_jwt(fault: JwtFault) -> ApiError {
    ApiError::new(
        401,
        format!(
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login \
             cookie or other valid authentication credential. (The emulator: {})",
            fault.description()
        ),
    )
}

fn scope_insufficient(called: ServiceMethod<'_>) -> ApiError {
    ApiError::new(403, "Request had insufficient authentication scopes.").detail(error_info(
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "googleapis.com",
        json!({"service": called.service, "method": called.method}),
    ))
}

/// 400 for what a proxy must not send on. Google itself would take some of it in silence.
fn violation(what: &str) -> ApiError {
    ApiError::new(400, format!("The emulator refuses what must not reach Google: {what}."))
}

/// Headers that must not reach Google (docs/reference/upstreams.md 1.4).
const FORBIDDEN: [&str; 8] = [
    "cookie",
    "forwarded",
    "origin",
    "proxy-authorization",
    "referer",
    "via",
    "x-api-key",
    "x-real-ip",
];

/// An access token that every emulator of Vertex AI knows and that never expires, for trials with
/// curl.
pub const ACCESS_TOKEN: &str = "ya29.emulator-vertex-access";
