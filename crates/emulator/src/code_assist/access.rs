//! Who may call: the token, the account's licence, the project, the model.

use crate::code_assist::account::AccountStatus;
use crate::code_assist::rpc::Rpc;
use crate::code_assist::{SERVICE, errors};
use crate::oauth::TokenStatus;
use crate::proto::Node;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::{ApiError, ServiceMethod};

/// Refuses a request whose parameters, key, token or project the service refuses.
pub(super) fn check_caller(
    rpc: &Rpc,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<(), ApiError> {
    let unauthenticated = |reason| {
        ApiError::unauthenticated(reason, ServiceMethod { service: SERVICE, method: &rpc.method() })
    };
    if let Some(name) = request.unknown_query_parameter(&[]) {
        return Err(ApiError::unknown_query_parameter(&name));
    }
    if request.headers.contains_key("x-goog-api-key") || request.query("key").is_some() {
        // A proxy that forwards its client's key is found out here.
        return Err(ApiError::new(400, "API key not valid. Please pass a valid API key."));
    }
    let Some(token) = request.bearer else {
        return Err(unauthenticated("CREDENTIALS_MISSING"));
    };
    match state.token_status(token) {
        TokenStatus::Valid { .. } => {}
        TokenStatus::Expired => {
            return Err(unauthenticated("ACCESS_TOKEN_EXPIRED"));
        }
        TokenStatus::Unknown => {
            let reason = "ACCESS_TOKEN_TYPE_UNSUPPORTED";
            return Err(unauthenticated(reason));
        }
    }
    match request.headers.get("x-goog-user-project") {
        Some(project) => {
            Err(errors::service_disabled(&String::from_utf8_lossy(project.as_bytes())))
        }
        None => Ok(()),
    }
}

/// Refuses a model call that the account may not make: no licence, a foreign project, an unknown
/// model.
pub(super) fn check_model_access(
    body: &Node<'_>,
    model: &str,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<(), ApiError> {
    let login = state.login(request.bearer);
    if login.is_none() {
        check_licence(state)?;
    }
    check_project(body, request, state)?;
    if let Some(login) = login {
        login.check_call()?;
    }
    if state.models.iter().any(|known| known == model) {
        Ok(())
    } else {
        Err(ApiError::not_found())
    }
}

fn check_licence(state: &State) -> Result<(), ApiError> {
    match state.account {
        AccountStatus::Onboarded | AccountStatus::NoProject => Ok(()),
        AccountStatus::NeedsOnboarding => {
            Err(ApiError::new(403, "The caller does not have permission"))
        }
        AccountStatus::Ineligible | AccountStatus::UnsupportedClient => {
            Err(errors::subscription_required())
        }
        AccountStatus::ValidationRequired => Err(errors::validation_required()),
    }
}

/// Refuses any project but the account's own.
pub(super) fn check_project(
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    state: &State,
) -> Result<(), ApiError> {
    let named = body.text("project").unwrap_or_default();
    if named == state.project(request.bearer) {
        Ok(())
    } else {
        Err(errors::consumer_invalid(named))
    }
}
