//! Errors that only Code Assist has.

use serde_json::json;

use crate::code_assist::SERVICE;
use crate::status::{ApiError, error_info};

/// 403: the project does not exist or belongs to another account.
pub(super) fn consumer_invalid(project: &str) -> ApiError {
    let message = format!("Permission denied on resource project {project}.");
    ApiError::new(403, message)
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Google developers console",
                       "url": "https://console.developers.google.com"}],
        }))
        .detail(error_info(
            "CONSUMER_INVALID",
            "googleapis.com",
            json!({"consumer": format!("projects/{project}"),
                   "containerInfo": project,
                   "service": SERVICE}),
        ))
}

/// 403: the answer to any `X-Goog-User-Project` header (docs/reference/protocol.md 2.2).
pub(super) fn service_disabled(project: &str) -> ApiError {
    let url = format!(
        "https://console.developers.google.com/apis/api/cloudcode-pa.googleapis.com/overview\
         ?project={project}"
    );
    let message = format!(
        "Cloud Code Private API has not been used in project {project} before or it is \
         disabled. Enable it by visiting {url} then retry."
    );
    ApiError::new(403, message).detail(error_info(
        "SERVICE_DISABLED",
        "googleapis.com",
        json!({"service": SERVICE,
               "consumer": format!("projects/{project}"),
               "containerInfo": project,
               "serviceTitle": "Cloud Code Private API",
               "activationUrl": url}),
    ))
}

/// 403: the account has no licence.
pub(super) fn subscription_required() -> ApiError {
    let message = "You do not have a valid license of this product. Please contact your \
                   administrator. (#3501)";
    ApiError::new(403, message)
        .detail(error_info("SUBSCRIPTION_REQUIRED", "cloudaicompanion.googleapis.com", json!({})))
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Troubleshoot",
                       "url": "https://cloud.google.com/gemini/docs/codeassist/set-up-gemini"}],
        }))
}

/// 403: the user has to verify the account in a browser.
pub(super) fn validation_required() -> ApiError {
    ApiError::new(403, VALIDATION_MESSAGE)
        .detail(error_info(
            "VALIDATION_REQUIRED",
            SERVICE,
            json!({"validation_error_message": VALIDATION_MESSAGE,
                   "validation_url": VALIDATION_URL,
                   "validation_url_link_text": "Verify your account",
                   "validation_learn_more_url": VALIDATION_HELP,
                   "validation_learn_more_link_text": "Learn more"}),
        ))
        .detail(json!({
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Verify your account", "url": VALIDATION_URL},
                      {"description": "Learn more", "url": VALIDATION_HELP}],
        }))
}

pub(super) const VALIDATION_MESSAGE: &str = "Verify your account to continue.";
pub(super) const VALIDATION_URL: &str = "https://accounts.google.com/signin/continue?sarp=1&scc=1";
pub(super) const VALIDATION_HELP: &str = "https://support.google.com/accounts?p=al_alert";
