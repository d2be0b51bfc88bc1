//! Errors in the words of Vertex AI.

use serde_json::{Value, json};

use crate::status::{ApiError, ServiceMethod, error_info};
use crate::vertex::call::VertexCall;
use crate::vertex::settings::PROJECT;

/// 401: a key where only OAuth is taken.
pub(super) fn key_unsupported(method: &str) -> ApiError {
    ApiError::new(
        401,
        "API keys are not supported by this API. Expected OAuth2 access token or other \
         authentication credentials that assert a principal. See \
         https://cloud.google.com/docs/authentication",
    )
    .detail(error_info(
        "CREDENTIALS_MISSING",
        "googleapis.com",
        json!({"service": SERVICE, "method": method}),
    ))
}

/// 400: the key is unknown. It is no 401.
pub(super) fn key_invalid() -> ApiError {
    let message = "API key not valid. Please pass a valid API key.";
    ApiError::new(400, message)
        .detail(error_info("API_KEY_INVALID", "googleapis.com", json!({"service": SERVICE})))
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
            "locale": "en-US",
            "message": message,
        }))
}

/// 403: the role is missing, or the project is another one.
pub(super) fn permission_denied(permission: &str, resource: &str) -> ApiError {
    let resource = format!("//aiplatform.googleapis.com/{resource}");
    ApiError::new(
        403,
        format!("Permission '{permission}' denied on resource '{resource}' (or it may not exist)."),
    )
    .detail(error_info(
        "IAM_PERMISSION_DENIED",
        "aiplatform.googleapis.com",
        json!({"permission": permission, "resource": resource}),
    ))
}

/// 404: no such model in this location.
pub(super) fn model_not_found(resource: &str) -> ApiError {
    ApiError::new(
        404,
        format!(
            "Publisher Model `{resource}` was not found or your project does not have access to \
             it. Please ensure you are using a valid model version. For more information, see: \
             https://cloud.google.com/vertex-ai/generative-ai/docs/learn/model-versions"
        ),
    )
}

/// 403: user credentials without a project that pays.
pub(super) fn quota_project_missing() -> ApiError {
    ApiError::new(
        403,
        "Your application is authenticating by using local Application Default Credentials. The \
         aiplatform.googleapis.com API requires a quota project, which is not set by default. To \
         learn how to set your quota project, see \
         https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds .",
    )
    .detail(error_info(
        "SERVICE_DISABLED",
        "googleapis.com",
        json!({"service": SERVICE, "consumer": "projects/764086051850"}),
    ))
}

/// 400: a thought signature of another provider.
pub(super) fn foreign_signature() -> ApiError {
    ApiError::new(400, "Unable to submit request because Thought signature is not valid..")
}

/// 400: Gemini 3 misses a signature.
pub(super) fn signature_missing(function: &str, block: usize) -> ApiError {
    ApiError::new(
        400,
        format!(
            "Unable to submit request because function call `default_api:{function}` in the \
             {block}. content block is missing a `thought_signature`. Learn more: \
             https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures"
        ),
    )
}

/// The error of a name, for a rule of the script.
pub(super) fn named(name: &str, call: &VertexCall) -> Option<ApiError> {
    let method = call.method();
    let called = ServiceMethod { service: SERVICE, method: &method };
    let resource = call.resource();
    Some(match name {
        "api_keys_unsupported" => key_unsupported(&method),
        "billing_disabled" => ApiError::new(
            403,
            format!(
                "This API method requires billing to be enabled. Please enable billing on project \
                 #{PROJECT} by visiting https://console.developers.google.com/billing/enable?\
                 project={PROJECT} then retry."
            ),
        )
        .detail(project_fault("BILLING_DISABLED")),
        "foreign_signature" => foreign_signature(),
        "iam_permission_denied" => permission_denied("aiplatform.endpoints.predict", &resource),
        "publisher_model_not_found" => model_not_found(&resource),
        "service_disabled" => ApiError::new(
            403,
            format!(
                "Vertex AI API has not been used in project {PROJECT} before or it is disabled. \
                 Enable it by visiting https://console.developers.google.com/apis/api/{SERVICE}/\
                 overview?project={PROJECT} then retry."
            ),
        )
        .detail(project_fault("SERVICE_DISABLED")),
        // It has neither details nor a delay (docs/reference/upstreams.md 4.3).
        "shared_quota" => ApiError::new(
            429,
            "Resource exhausted. Please try again later. Please refer to \
             https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more \
             details.",
        ),
        "token_expired" => ApiError::unauthenticated("ACCESS_TOKEN_EXPIRED", called),
        "token_unsupported" => ApiError::unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED", called),
        _ => return None,
    })
}

/// The error of a name, of some call.
pub(crate) fn sample(name: &str) -> Option<ApiError> {
    named(name, &VertexCall::sample())
}

/// The usual error for a status, for a rule that names nothing else.
pub(super) fn standard(code: u16, call: &VertexCall) -> ApiError {
    let name = match code {
        401 => "token_expired",
        403 => "iam_permission_denied",
        404 => "publisher_model_not_found",
        429 => "shared_quota",
        _ => "",
    };
    named(name, call).unwrap_or_else(|| {
        let method = call.method();
        ApiError::standard(code, ServiceMethod { service: SERVICE, method: &method })
    })
}

fn project_fault(reason: &str) -> Value {
    error_info(
        reason,
        "googleapis.com",
        json!({"service": SERVICE, "consumer": format!("projects/{PROJECT}"),
               "containerInfo": PROJECT, "serviceTitle": "Vertex AI API"}),
    )
}

pub(super) const SERVICE: &str = "aiplatform.googleapis.com";
