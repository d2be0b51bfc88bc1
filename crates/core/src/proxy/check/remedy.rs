//! What to do about an error of Google's, in addition to its message.

use http::StatusCode;

use crate::error::Error;
use crate::google::error::UpstreamError;

/// What to do about an error of Code Assist (`docs/reference/protocol.md` 7.2).
pub(super) fn code_assist(error: &UpstreamError) -> Option<String> {
    let advice = if error.is_suspended() {
        "Google has suspended this account for this service: do not retry; appeal at \
         https://support.google.com/accounts/answer/40695"
    } else if error.is_validation_required() {
        "verify the account in a browser"
    } else if error.has_reason("SERVICE_DISABLED") {
        "enable the Gemini for Google Cloud API (cloudaicompanion.googleapis.com) in the project; if \
         the message speaks of the Cloud Code Private API, the credential is not the Gemini CLI's"
    } else if error.has_reason("SUBSCRIPTION_REQUIRED") {
        "ask the administrator for a Code Assist Standard or Enterprise licence for this account"
    } else if error.has_reason("CONSUMER_INVALID") {
        "the project does not exist or is not yours: set GEMINI_PROJECT_ID"
    } else if error.http == StatusCode::NOT_FOUND {
        "the project is wrong or has no access: set GEMINI_PROJECT_ID"
    } else if error.http == StatusCode::FORBIDDEN {
        "the account needs roles/cloudaicompanion.user in the project, and a licence seat"
    } else {
        return error.link().map(str::to_owned);
    };
    Some(with_link(advice, error))
}

/// What to do about an error of the Gemini API (`docs/reference/upstreams.md` 4.3).
pub(super) fn gemini_api(error: &Error) -> Option<String> {
    let Error::Upstream(error) = error else {
        let is_refused = matches!(error, Error::KeyRefused { .. });
        return is_refused.then(|| format!("make a key at {KEYS}, without restrictions that exclude this machine or the Generative Language API"));
    };
    let advice = if error.is_suspended() {
        "Google has suspended the key's project: do not retry; ask Google's support"
    } else if error.has_reason("SERVICE_DISABLED") {
        "enable the Generative Language API (generativelanguage.googleapis.com) in the key's project"
    } else if error.has_reason("BILLING_DISABLED") || error.http == StatusCode::PAYMENT_REQUIRED {
        "check the billing of the key's project at https://ai.studio/projects"
    } else if error.message.contains("location is not supported") {
        "Google does not offer the Gemini API where this machine's requests come from: use a machine \
         elsewhere, or Vertex AI"
    } else if error.http == StatusCode::NOT_FOUND {
        "list the models of this key with `code-assist-proxy models`"
    } else {
        return error.link().map(str::to_owned);
    };
    Some(with_link(advice, error))
}

/// What to do about an error of Vertex AI (`docs/reference/upstreams.md` 4.3).
pub(super) fn vertex(error: &Error) -> Option<String> {
    let Error::Upstream(error) = error else {
        let is_refused = matches!(error, Error::KeyRefused { .. });
        return is_refused.then(|| {
            "VERTEX_API_KEY takes a key of Vertex AI's express mode; a key of AI Studio belongs into \
             GEMINI_API_KEY"
                .to_owned()
        });
    };
    let advice = if error.has_reason("SERVICE_DISABLED") && error.message.contains("quota project")
    {
        "user credentials need a project that pays: set GOOGLE_CLOUD_QUOTA_PROJECT, or run `gcloud \
         auth application-default set-quota-project PROJECT`"
    } else if error.has_reason("SERVICE_DISABLED") {
        "enable the API: `gcloud services enable aiplatform.googleapis.com --project PROJECT`"
    } else if error.has_reason("BILLING_DISABLED") {
        "link a billing account to the project"
    } else if error.has_reason("CONSUMER_INVALID") {
        "the project does not exist or is not yours: set VERTEX_PROJECT"
    } else if error.http == StatusCode::NOT_FOUND {
        "the location does not have the model: set VERTEX_LOCATION=global, the only one with previews \
         (or list the upstream's own `models`)"
    } else if error.http == StatusCode::FORBIDDEN {
        "grant the account roles/aiplatform.user in the project, or correct VERTEX_PROJECT"
    } else {
        return error.link().map(str::to_owned);
    };
    Some(with_link(advice, error))
}

fn with_link(advice: &str, error: &UpstreamError) -> String {
    match error.link() {
        Some(link) => format!("{advice}: {link}"),
        None => advice.to_owned(),
    }
}

/// The page that makes keys of the Gemini API.
const KEYS: &str = "https://aistudio.google.com/apikey";
