//! The requests and answers of `loadCodeAssist` and `onboardUser`: the state machine of
//! `docs/reference/protocol.md` 5.1, for an account whose operator has not set a project.
//!
//! Every field of Google's answers is optional and may be null. Tier ids are opaque strings.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::error::Error;
use crate::payload::Payload;

/// The meaning of an answer to `loadCodeAssist`.
#[derive(Debug, Clone)]
pub enum LoadedAccount {
    /// The account must be onboarded first: call `onboardUser` for this tier.
    Onboard(Onboarding),
    /// The account has this project.
    Project(String),
    /// The account gets no project.
    Failed(Error),
}

/// An onboarding to start.
#[derive(Debug, Clone)]
pub struct Onboarding {
    tier: String,
    /// Why the account is not eligible for other tiers, for the error if the onboarding gives no project.
    ineligible: Vec<(String, String)>,
}

/// The meaning of an answer to `onboardUser` or to a poll of its operation.
#[derive(Debug, Clone)]
pub enum OnboardingStatus {
    /// Not done: poll this operation, or call `onboardUser` again if it has no name.
    Pending(Option<String>),
    /// Done, with this project.
    Project(String),
    /// Done or failed, without a project.
    Failed(Error),
}

/// The body of `loadCodeAssist`. It claims no platform, since the proxy is not the CLI.
pub fn load_body() -> Payload {
    Payload::from(Bytes::from(json!({ "metadata": metadata() }).to_string()))
}

impl LoadedAccount {
    /// Reads a successful answer of `loadCodeAssist`.
    pub fn read(body: &[u8]) -> Self {
        let Ok(answer) = serde_json::from_slice::<Value>(body) else {
            return Self::Failed(Error::UpstreamMalformed {
                what: "loadCodeAssist answered with something that is not JSON".to_owned(),
            });
        };
        let ineligible = ineligible(&answer);
        let onboarded = answer.get("currentTier").is_some_and(|tier| !tier.is_null());
        if onboarded {
            return match project(&answer) {
                Some(project) => Self::Project(project),
                None => Self::Failed(without_project(ineligible)),
            };
        }
        if let Some(error) = validation(&answer) {
            return Self::Failed(error);
        }
        let tiers =
            answer.get("allowedTiers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let default = tiers.iter().find(|tier| flag(tier, "isDefault"));
        let own_project =
            default.is_none_or(|tier| flag(tier, "userDefinedCloudaicompanionProject"));
        let tier = default.and_then(|tier| text(tier, "id")).unwrap_or(FALLBACK_TIER).to_owned();
        let closed = answer
            .get("ineligibleTiers")
            .and_then(Value::as_array)
            .is_some_and(|tiers| tiers.iter().any(|it| text(it, "tierId") == Some(&*tier)));
        // The CLI onboards first and reports the ineligibility after that has failed. Here a tier that
        // is closed to the account or needs a project of the user's is not tried, since each attempt
        // could only fail.
        if !ineligible.is_empty() && (own_project || closed) {
            return Self::Failed(Error::AccountIneligible { reasons: ineligible, of_key: false });
        }
        Self::Onboard(Onboarding { tier, ineligible })
    }
}

impl Onboarding {
    /// The body of `onboardUser`. It has no project: the free tier rejects one, and for other tiers none
    /// is known.
    pub fn body(&self) -> Payload {
        let body = json!({ "tierId": self.tier, "metadata": metadata() });
        Payload::from(Bytes::from(body.to_string()))
    }

    /// Reads a successful answer of `onboardUser` or of the operation's poll.
    pub fn read(&self, body: &[u8]) -> OnboardingStatus {
        let Ok(answer) = serde_json::from_slice::<Value>(body) else {
            return OnboardingStatus::Failed(Error::UpstreamMalformed {
                what: "onboardUser answered with something that is not JSON".to_owned(),
            });
        };
        if let Some(error) = answer.get("error").filter(|error| error.is_object()) {
            // The CLI ignores this error and then reports "no project".
            let message = text(error, "message").unwrap_or("no reason given").to_owned();
            let mut reasons = vec![("ONBOARDING_FAILED".to_owned(), message)];
            reasons.extend(self.ineligible.iter().cloned());
            return OnboardingStatus::Failed(Error::AccountIneligible { reasons, of_key: false });
        }
        if !flag(&answer, "done") {
            let name = text(&answer, "name").filter(|name| is_operation(name)).map(str::to_owned);
            return OnboardingStatus::Pending(name);
        }
        match answer.get("response").and_then(project) {
            Some(project) => OnboardingStatus::Project(project),
            None => OnboardingStatus::Failed(without_project(self.ineligible.clone())),
        }
    }
}

fn metadata() -> Value {
    json!({
        "ideType": "IDE_UNSPECIFIED",
        "platform": "PLATFORM_UNSPECIFIED",
        "pluginType": "GEMINI",
    })
}

/// Reads `cloudaicompanionProject`: a string in loadCodeAssist, an object in onboardUser. Both forms are
/// accepted in both answers.
fn project(answer: &Value) -> Option<String> {
    let value = answer.get("cloudaicompanionProject")?;
    let id = value.as_str().or_else(|| text(value, "id"))?.trim();
    (!id.is_empty()).then(|| id.to_owned())
}

fn ineligible(answer: &Value) -> Vec<(String, String)> {
    let tiers = answer.get("ineligibleTiers").and_then(Value::as_array);
    tiers
        .into_iter()
        .flatten()
        .map(|tier| {
            let code = text(tier, "reasonCode").unwrap_or("UNKNOWN").to_owned();
            let message = text(tier, "reasonMessage")
                .or_else(|| text(tier, "validationErrorMessage"))
                .unwrap_or("no reason given");
            (code, message.to_owned())
        })
        .collect()
}

/// The error for `VALIDATION_REQUIRED` with a link that a person can open.
fn validation(answer: &Value) -> Option<Error> {
    let tiers = answer.get("ineligibleTiers").and_then(Value::as_array)?;
    let tier = tiers.iter().find(|tier| {
        text(tier, "reasonCode") == Some("VALIDATION_REQUIRED")
            && text(tier, "validationUrl").is_some()
    })?;
    let message = text(tier, "validationErrorMessage")
        .or_else(|| text(tier, "reasonMessage"))
        .unwrap_or("The account must be verified.")
        .to_owned();
    Some(Error::ValidationRequired {
        message,
        link: text(tier, "validationUrl").map(str::to_owned),
    })
}

fn without_project(ineligible: Vec<(String, String)>) -> Error {
    if ineligible.is_empty() {
        Error::ProjectRequired { of_key: false }
    } else {
        Error::AccountIneligible { reasons: ineligible, of_key: false }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// True for a name that may be put into a URL.
fn is_operation(name: &str) -> bool {
    name.len() <= 512
        && !name.contains("..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-".contains(&byte))
}

/// The tier that the CLI uses if no default tier is offered.
const FALLBACK_TIER: &str = "legacy-tier";

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(answer: &Value) -> LoadedAccount {
        LoadedAccount::read(answer.to_string().as_bytes())
    }

    fn onboarding() -> Onboarding {
        let answer = json!({ "allowedTiers": [{ "id": "free-tier", "isDefault": true }] });
        let LoadedAccount::Onboard(onboarding) = loaded(&answer) else { panic!("to be onboarded") };
        onboarding
    }

    #[test]
    fn an_onboarded_account_has_its_project() {
        for project in [json!("my-project"), json!({ "id": "my-project" })] {
            let answer = json!({
                "currentTier": { "id": "standard-tier" },
                "cloudaicompanionProject": project,
            });
            assert!(matches!(loaded(&answer), LoadedAccount::Project(it) if it == "my-project"));
        }
    }

    #[test]
    fn an_onboarded_account_without_a_project_must_name_one() {
        let answer = json!({ "currentTier": { "id": "standard-tier" } });
        assert!(matches!(
            loaded(&answer),
            LoadedAccount::Failed(Error::ProjectRequired { of_key: false })
        ));
    }

    #[test]
    fn an_ineligible_consumer_account_gets_googles_reason() {
        let answer = json!({
            "allowedTiers": [{ "id": "standard-tier", "isDefault": true,
                "userDefinedCloudaicompanionProject": true }],
            "ineligibleTiers": [{ "reasonCode": "UNSUPPORTED_CLIENT", "reasonMessage": "migrate",
                "tierId": "free-tier" }],
        });
        let LoadedAccount::Failed(Error::AccountIneligible { reasons, .. }) = loaded(&answer)
        else {
            panic!("ineligible")
        };
        assert_eq!(reasons, [("UNSUPPORTED_CLIENT".to_owned(), "migrate".to_owned())]);
    }

    #[test]
    fn a_required_validation_has_its_link() {
        let answer = json!({ "ineligibleTiers": [{ "reasonCode": "VALIDATION_REQUIRED",
            "validationUrl": "https://accounts.google.com/x", "validationErrorMessage": "verify" }] });
        let LoadedAccount::Failed(Error::ValidationRequired { message, link }) = loaded(&answer)
        else {
            panic!("validation")
        };
        assert_eq!(
            (message.as_str(), link.as_deref()),
            ("verify", Some("https://accounts.google.com/x"))
        );
    }

    #[test]
    fn the_body_of_onboard_user_has_no_project() {
        let body = onboarding().body().to_bytes();
        assert_eq!(
            &body[..],
            br#"{"metadata":{"ideType":"IDE_UNSPECIFIED","platform":"PLATFORM_UNSPECIFIED","pluginType":"GEMINI"},"tierId":"free-tier"}"#
        );
    }

    #[test]
    fn an_operation_is_pending_done_or_failed() {
        let read = |answer: Value| onboarding().read(answer.to_string().as_bytes());
        assert!(matches!(read(json!({ "name": "operations/1", "done": false })),
            OnboardingStatus::Pending(Some(name)) if name == "operations/1"));
        assert!(matches!(read(json!({ "name": "../../evil" })), OnboardingStatus::Pending(None)));
        assert!(matches!(
            read(json!({ "done": true, "response": { "cloudaicompanionProject": { "id": "p" } } })),
            OnboardingStatus::Project(it) if it == "p"));
        assert!(matches!(
            read(json!({ "done": true })),
            OnboardingStatus::Failed(Error::ProjectRequired { of_key: false })
        ));
        let failed = read(json!({ "done": true, "error": { "code": 9, "message": "no seat" } }));
        assert!(
            matches!(failed, OnboardingStatus::Failed(Error::AccountIneligible { reasons, .. })
            if reasons == [("ONBOARDING_FAILED".to_owned(), "no seat".to_owned())])
        );
    }

    #[test]
    fn no_answer_of_googles_makes_a_panic() {
        for body in ["", "null", "[]", "7", "{\"allowedTiers\":{}}", "{\"ineligibleTiers\":[null]}"]
        {
            let _ = LoadedAccount::read(body.as_bytes());
            let _ = onboarding().read(body.as_bytes());
        }
    }
}
