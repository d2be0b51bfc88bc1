//! Errors in the words of Vertex AI.

use serde_json::json;

use crate::status::{ApiError, error_info};

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

pub(super) const SERVICE: &str = "aiplatform.googleapis.com";
