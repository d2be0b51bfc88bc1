//! `cloudcode-pa.googleapis.com`, the Code Assist API.

mod access;
mod account;
mod errors;
mod generate;
mod rpc;

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::proto::{self, ListRule, Node};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::{ApiError, ServiceMethod};

use self::access::{check_caller, check_project};
pub(crate) use self::account::{AccountStatus, OnboardingOperation};
pub(crate) use self::generate::image_event;
pub(crate) use self::rpc::Rpc;

/// Checks the caller and the body as the service does, and answers.
pub(crate) fn answer(
    rpc: &Rpc,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    check_caller(rpc, request, &backend.state())?;
    let body = Node::read(request.body)?;
    let is_strict = backend.state().strict;
    if let Some(message) = rpc.message().filter(|_| is_strict) {
        proto::check(&body, message, ListRule::Strict)?;
    }
    match rpc {
        Rpc::CountTokens => generate::count_tokens(&body),
        Rpc::FetchAdminControls => {
            check_project(&body, request, &backend.state())?;
            Ok(Reply::ok(&json!({"adminControlsApplicable": false})))
        }
        Rpc::GenerateContent => generate::unary(&body, request, backend),
        Rpc::GlobalUserSetting => Ok(Reply::ok(&json!({
            "cloudaicompanionProject": backend.state().project(request.bearer),
            "freeTierDataCollectionOptin": false,
        }))),
        Rpc::ListExperiments => {
            check_project(&body, request, &backend.state())?;
            Ok(Reply::ok(&json!({"experimentIds": [], "flags": []})))
        }
        Rpc::LoadCodeAssist => Ok(Reply::ok(&account::load(request.bearer, &backend.state()))),
        Rpc::OnboardUser => account::onboard(&body, request, &mut backend.state()),
        Rpc::Operation(name) => account::poll(name, &mut backend.state()),
        Rpc::RecordMetrics => {
            check_project(&body, request, &backend.state())?;
            Ok(Reply::ok(&json!({})))
        }
        Rpc::RetrieveUserQuota => {
            let state = backend.state();
            check_project(&body, request, &state)?;
            let of_login = state.login(request.bearer).and_then(|login| login.quota.as_ref());
            Ok(Reply::ok(&json!({"buckets": of_login.unwrap_or(&state.quota)})))
        }
        Rpc::SetGlobalUserSetting => Ok(Reply::ok(&json!({
            "cloudaicompanionProject": backend.state().project(request.bearer),
            "freeTierDataCollectionOptin": body.flag("free_tier_data_collection_optin"),
        }))),
        Rpc::StreamGenerateContent => generate::stream(&body, request, backend),
    }
}

/// A header of every answer, which Vertex AI does not send.
pub(crate) const FRONT_END: [(&str, &str); 1] = [("server-timing", "gfet4t7; dur=12")];

/// The method that a rule's 401 names if the rule has no body, whatever RPC it answers.
pub(crate) const GENERATE_CONTENT: ServiceMethod<'static> = ServiceMethod {
    service: SERVICE,
    method: "google.internal.cloud.code.v1internal.PredictionService.GenerateContent",
};

/// The name of the service in errors.
pub(crate) const SERVICE: &str = "cloudcode-pa.googleapis.com";

/// Ids that Code Assist takes (docs/reference/protocol.md 6.1). Not every public id is one:
/// `gemini-3-flash` is, `gemini-3.5-flash` is not.
pub(crate) const MODELS: [&str; 8] = [
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-3-pro-preview",
    "gemini-3.1-pro-preview",
    "gemini-3-flash-preview",
    "gemini-3-flash",
    "gemini-3.1-flash-lite",
];

/// A bucket of `retrieveUserQuota`.
pub(crate) fn quota_bucket(model: &str) -> Value {
    json!({
        "resetTime": "2099-01-01T07:00:00Z",
        "tokenType": "REQUESTS",
        "modelId": model,
        "remainingFraction": 0.985,
        "remainingAmount": "985",
    })
}
