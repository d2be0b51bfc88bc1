//! The account: `loadCodeAssist`, `onboardUser` and its operation.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::code_assist::errors;
use crate::code_assist::errors::{VALIDATION_HELP, VALIDATION_MESSAGE, VALIDATION_URL};
use crate::proto::Node;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::ApiError;

/// How the account stands with Code Assist (docs/reference/protocol.md 2.6).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AccountStatus {
    /// It has no tier and can get none (`INELIGIBLE_ACCOUNT`).
    Ineligible,
    /// It gets a tier through `onboardUser`.
    NeedsOnboarding,
    /// It has a tier, but the service names no project: the user has to.
    NoProject,
    Onboarded,
    /// What consumer accounts get today (`UNSUPPORTED_CLIENT`).
    UnsupportedClient,
    /// The user has to confirm something in a browser first.
    ValidationRequired,
}

/// An onboarding that is done after some polls.
#[derive(Debug)]
pub(crate) struct OnboardingOperation {
    polls_left: u32,
    project: Option<String>,
}

/// `loadCodeAssist`.
pub(super) fn load(bearer: Option<&str>, state: &State) -> Value {
    // Every login but the usual one is onboarded.
    let is_further = state.login(bearer).is_some();
    let account = if is_further { AccountStatus::Onboarded } else { state.account };
    match account {
        AccountStatus::Onboarded => json!({
            "currentTier": standard_tier(),
            "allowedTiers": [standard_tier()],
            "cloudaicompanionProject": state.project(bearer),
            "gcpManaged": true,
        }),
        AccountStatus::NoProject => json!({
            "currentTier": standard_tier(),
            "allowedTiers": [standard_tier()],
            "gcpManaged": false,
        }),
        AccountStatus::NeedsOnboarding => json!({
            "allowedTiers": [free_tier(), {
                "id": "standard-tier",
                "name": "Gemini Code Assist",
                "userDefinedCloudaicompanionProject": true,
            }],
        }),
        AccountStatus::Ineligible => json!({
            "allowedTiers": [standard_tier()],
            "ineligibleTiers": [{
                "reasonCode": "INELIGIBLE_ACCOUNT",
                "reasonMessage": "Your current account is not eligible for Gemini Code Assist for \
                                  individuals.",
                "tierId": "free-tier",
                "tierName": "Gemini Code Assist for individuals",
            }],
        }),
        AccountStatus::UnsupportedClient => json!({
            "allowedTiers": [standard_tier()],
            "ineligibleTiers": [{
                "reasonCode": "UNSUPPORTED_CLIENT",
                "reasonMessage": "This client is no longer supported for Gemini Code Assist for \
                                  individuals. To continue using Gemini, please migrate to the \
                                  Antigravity suite of products: https://antigravity.google",
                "tierId": "free-tier",
                "tierName": "Gemini Code Assist for individuals",
            }],
        }),
        AccountStatus::ValidationRequired => json!({
            "allowedTiers": [standard_tier()],
            "ineligibleTiers": [{
                "reasonCode": "VALIDATION_REQUIRED",
                "reasonMessage": VALIDATION_MESSAGE,
                "tierId": "free-tier",
                "tierName": "Gemini Code Assist for individuals",
                "validationErrorMessage": VALIDATION_MESSAGE,
                "validationUrl": VALIDATION_URL,
                "validationUrlLinkText": "Verify your account",
                "validationLearnMoreUrl": VALIDATION_HELP,
                "validationLearnMoreLinkText": "Learn more",
            }],
        }),
    }
}

/// `onboardUser`: starts an operation.
pub(super) fn onboard(
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    state: &mut State,
) -> Result<Reply, ApiError> {
    let project = body.text("cloudaicompanion_project").map(str::to_owned);
    match body.text("tier_id") {
        // The free tier never takes a project (docs/reference/protocol.md 2.7).
        Some("free-tier") if project.is_some() => {
            return Err(ApiError::new(400, "Precondition check failed.").precondition());
        }
        Some("free-tier") => {}
        // The service answers 500 to a licensed tier without a project (docs/reference/protocol.md
        // 7.2).
        Some("standard-tier" | "legacy-tier") if project.is_none() => {
            return Err(ApiError::internal());
        }
        Some("standard-tier" | "legacy-tier") => {}
        _ => return Err(ApiError::invalid_argument()),
    }
    match state.account {
        AccountStatus::Onboarded | AccountStatus::NeedsOnboarding | AccountStatus::NoProject => {}
        AccountStatus::ValidationRequired => return Err(errors::validation_required()),
        AccountStatus::Ineligible | AccountStatus::UnsupportedClient => {
            return Err(errors::subscription_required());
        }
    }
    let name = format!("operations/emulator-{:06}", request.seq);
    let operation = OnboardingOperation { polls_left: state.onboarding_polls, project };
    let reply = progress(&name, &operation, state);
    state.operations.insert(name, operation);
    Ok(Reply::ok(&reply))
}

/// `GET /v1internal/operations/…`: one poll of an onboarding.
pub(super) fn poll(name: &str, state: &mut State) -> Result<Reply, ApiError> {
    let Some(mut operation) = state.operations.remove(name) else {
        return Err(ApiError::not_found());
    };
    operation.polls_left = operation.polls_left.saturating_sub(1);
    let reply = progress(name, &operation, state);
    state.operations.insert(name.to_owned(), operation);
    Ok(Reply::ok(&reply))
}

/// The operation as JSON; the account is onboarded once no polls are left.
fn progress(name: &str, operation: &OnboardingOperation, state: &mut State) -> Value {
    if operation.polls_left > 0 {
        return json!({"name": name, "done": false});
    }
    if let Some(error) = &state.onboarding_error {
        return json!({"name": name, "done": true, "error": error});
    }
    if let Some(project) = &operation.project {
        state.project.clone_from(project);
    }
    state.account = AccountStatus::Onboarded;
    json!({
        "name": name,
        "done": true,
        "response": {
            "@type": "type.googleapis.com/google.internal.cloud.code.v1internal.OnboardUserResponse",
            "cloudaicompanionProject": {"id": state.project, "name": state.project},
        },
    })
}

fn standard_tier() -> Value {
    json!({
        "id": "standard-tier",
        "name": "Gemini Code Assist",
        "description": "Unlimited coding assistant with the most powerful Gemini models",
        "userDefinedCloudaicompanionProject": true,
        "isDefault": true,
        "privacyNotice": {},
    })
}

fn free_tier() -> Value {
    json!({
        "id": "free-tier",
        "name": "Gemini Code Assist for individuals",
        "description": "Gemini-powered code suggestions and chat in multiple IDEs",
        "isDefault": true,
        "privacyNotice": {"showNotice": true, "noticeText": "Terms apply."},
    })
}
