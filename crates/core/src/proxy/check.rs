//! `check`: would the proxy work? Step by step, each with what to do when it would not.

use http::StatusCode;

use super::Proxy;
use crate::error::Error;
use crate::google::error::UpstreamError;
use crate::platform::Platform;
use crate::policy::token::{Outcome, Verdict};
use crate::provider::code_assist::models::{self, Model};
use crate::time::Timestamp;

/// One step of the preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at: `credentials`, `token`, `project`, `quota`.
    pub name: &'static str,
    /// How it went.
    pub result: StepResult,
    /// What was found.
    pub detail: String,
    /// What to do about it, with a link where there is one.
    pub remedy: Option<String>,
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// It will not work.
    Fail,
    /// As it should be.
    Ok,
    /// It works, but somebody should know.
    Warn,
}

impl StepResult {
    /// `ok`, `warn` or `fail`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Ok => "ok",
            Self::Warn => "warn",
        }
    }
}

impl Step {
    /// A step that went well.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, result: StepResult::Ok, detail: detail.into(), remedy: None }
    }

    /// A step that is worth a word.
    pub fn warn(name: &'static str, detail: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty());
        Self { name, result: StepResult::Warn, detail: detail.into(), remedy }
    }

    /// A step that failed, in the refusal's own words.
    pub fn fail(name: &'static str, refusal: &Error) -> Self {
        Self {
            name,
            result: StepResult::Fail,
            detail: refusal.message(),
            // The proxy's own refusals say what to do; Google's do not always.
            remedy: match refusal {
                Error::Upstream(fault) => remedy(fault),
                _ => None,
            },
        }
    }
}

impl Proxy {
    /// Looks at credentials, token, project and quota, and stops at the first that fails. Calls
    /// Google: one refresh, a discovery if no project is set, one `retrieveUserQuota`.
    pub async fn check<P: Platform>(&self, platform: &P) -> Vec<Step> {
        let mut steps = Vec::new();
        let credential = match self.login(platform).await {
            Ok(credential) => credential,
            Err(Outcome::Rejected(refusal) | Outcome::Failed(refusal)) => {
                return vec![Step::fail("credentials", &refusal)];
            }
            Err(Outcome::Got { .. } | Outcome::Stale) => return steps,
        };
        let login = &credential.login;
        let age = match login.expires_at() {
            Some(expiry) => told(platform.wall_clock(), expiry),
            None => "an access token of unknown age".to_owned(),
        };
        steps.push(if login.can_refresh() {
            Step::ok("credentials", format!("a refresh token and {age}"))
        } else {
            Step::warn(
                "credentials",
                format!("{age}, and no refresh token"),
                "it works until the access token expires; use the Gemini CLI's oauth_creds.json to \
                 stay signed in",
            )
        });

        let verdict = self.tokens().ask(platform.wall_clock(), platform.now());
        if let Verdict::Renew(lease) | Verdict::UseAndRenew(_, lease) = verdict
            && login.can_refresh()
        {
            let outcome = self.refreshed(platform, &credential, None).await;
            let step = match &outcome {
                Outcome::Got { token, .. } => {
                    let left = token.expires_at.map(|expiry| told(platform.wall_clock(), expiry));
                    Step::ok("token", format!("refreshed: {}", left.unwrap_or_default()))
                }
                Outcome::Failed(refusal) | Outcome::Rejected(refusal) => {
                    Step::fail("token", refusal)
                }
                Outcome::Stale => Step::warn(
                    "token",
                    "the credentials changed while they were looked at",
                    "run `code-assist-proxy check` again",
                ),
            };
            self.settle(platform, lease, &credential.version, outcome);
            steps.push(step);
            if steps.last().is_some_and(|step| step.result == StepResult::Fail) {
                return steps;
            }
        }

        let mut ledger = self.own_ledger(platform);
        let project = match self.project(platform, &mut ledger).await {
            Ok(project) => project,
            Err(refusal) => {
                steps.push(Step::fail("project", &refusal));
                return steps;
            }
        };
        let source = if self.settings.project_id.is_some() { "set" } else { "discovered" };
        steps.push(Step::ok("project", format!("{project} ({source})")));

        steps.push(match self.quota(platform, &project, &mut ledger).await {
            Ok(answer) => match models::bucket_ids(&answer) {
                Some(ids) if !ids.is_empty() => {
                    Step::ok("quota", format!("Code Assist answers, for {}", ids.join(", ")))
                }
                _ => Step::warn(
                    "quota",
                    "Code Assist answers, but names no model for this account",
                    "requests may be refused: look at the licence and the release channel",
                ),
            },
            Err(refusal) => Step::fail("quota", &refusal),
        });
        steps
    }

    /// The models of this account: the built-in ones and its own, and the ids that are its own.
    pub async fn models<P: Platform>(
        &self,
        platform: &P,
    ) -> Result<(Vec<Model>, Vec<String>), Error> {
        let mut ledger = self.own_ledger(platform);
        let project = self.project(platform, &mut ledger).await?;
        let answer = self.quota(platform, &project, &mut ledger).await?;
        let own = models::bucket_ids(&answer).unwrap_or_default();
        Ok((models::catalogue(own.iter().map(String::as_str)), own))
    }
}

/// `an access token that expires in 43 min`.
fn told(clock: Timestamp, expiry: Timestamp) -> String {
    if expiry <= clock {
        return "an access token that has expired".to_owned();
    }
    format!("an access token that expires in {} min", clock.until(expiry).as_secs().div_ceil(60))
}

/// What to do about an upstream error (`protocol.md` 7.2), beyond what Google itself says.
fn remedy(fault: &UpstreamError) -> Option<String> {
    let advice = if fault.is_suspended() {
        "Google has suspended this account for this service: do not retry; appeal at \
         https://support.google.com/accounts/answer/40695"
    } else if fault.is_validation_required() {
        "verify the account in a browser"
    } else if fault.has_reason("SERVICE_DISABLED") {
        "enable the Gemini for Google Cloud API (cloudaicompanion.googleapis.com) in the project; if \
         the message speaks of the Cloud Code Private API, the credential is not the Gemini CLI's"
    } else if fault.has_reason("SUBSCRIPTION_REQUIRED") {
        "ask the administrator for a Code Assist Standard or Enterprise licence for this account"
    } else if fault.has_reason("CONSUMER_INVALID") {
        "the project does not exist or is not yours: set GEMINI_PROJECT_ID"
    } else if fault.http == StatusCode::NOT_FOUND {
        "the project is wrong or has no access: set GEMINI_PROJECT_ID"
    } else if fault.http == StatusCode::FORBIDDEN {
        "the account needs roles/cloudaicompanion.user in the project, and a licence seat"
    } else {
        return fault.link().map(str::to_owned);
    };
    Some(match fault.link() {
        Some(link) => format!("{advice}: {link}"),
        None => advice.to_owned(),
    })
}
