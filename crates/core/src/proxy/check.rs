//! `check`: would the proxy work? Step by step, each with what to do when it would not.

use http::StatusCode;

use super::Proxy;
use crate::context::RequestContext;
use crate::dialect::gemini::models::Model;
use crate::error::Error;
use crate::google::error::UpstreamError;
use crate::platform::Platform;
use crate::provider::code_assist::models;
use crate::time::Timestamp;
use crate::upstream::Refresh;

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
        let credentials = &self.upstream.calls.credentials;
        let (summary, refreshed) = match credentials.check(platform).await {
            Ok(checked) => checked,
            Err(error) => return vec![Step::fail("credentials", &error)],
        };
        let age = match summary.expires_at {
            Some(expiry) => described(platform.wall_clock(), expiry),
            None => "an access token of unknown age".to_owned(),
        };
        steps.push(if summary.can_refresh {
            Step::ok("credentials", format!("a refresh token and {age}"))
        } else {
            Step::warn(
                "credentials",
                format!("{age}, and no refresh token"),
                "it works until the access token expires; use the Gemini CLI's oauth_creds.json to \
                 stay signed in",
            )
        });
        match refreshed {
            None => {}
            Some(Refresh::Done { expires_at }) => {
                let left = expires_at.map(|expiry| described(platform.wall_clock(), expiry));
                steps.push(Step::ok("token", format!("refreshed: {}", left.unwrap_or_default())));
            }
            Some(Refresh::Stale) => steps.push(Step::warn(
                "token",
                "the credentials changed while they were looked at",
                "run `code-assist-proxy check` again",
            )),
            Some(Refresh::Failed(error)) => {
                steps.push(Step::fail("token", &error));
                return steps;
            }
        }

        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        let calls = &self.upstream.calls;
        let (project, _) = self.upstream.projects.project(calls, &mut context, now).await;
        let project = match project {
            Ok(project) => project,
            Err(error) => {
                steps.push(Step::fail("project", &error));
                return steps;
            }
        };
        let source = if self.settings.project_id.is_some() { "set" } else { "discovered" };
        steps.push(Step::ok("project", format!("{project} ({source})")));

        steps.push(match self.upstream.models.ask_google(calls, &mut context, &project).await {
            Ok(Some(ids)) if !ids.is_empty() => {
                Step::ok("quota", format!("Code Assist answers, for {}", ids.join(", ")))
            }
            Ok(_) => Step::warn(
                "quota",
                "Code Assist answers, but names no model for this account",
                "requests may be refused: look at the licence and the release channel",
            ),
            Err(error) => Step::fail("quota", &error),
        });
        steps
    }

    /// The models of this account: the built-in ones and its own, and the ids that are its own.
    pub async fn models<P: Platform>(
        &self,
        platform: &P,
    ) -> Result<(Vec<Model>, Vec<String>), Error> {
        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        let calls = &self.upstream.calls;
        let (project, _) = self.upstream.projects.project(calls, &mut context, now).await;
        let own = self.upstream.models.ask_google(calls, &mut context, &project?).await?;
        let own = own.unwrap_or_default();
        Ok((models::catalogue(own.iter().map(String::as_str)), own))
    }
}

/// `an access token that expires in 43 min`.
fn described(clock: Timestamp, expiry: Timestamp) -> String {
    if expiry <= clock {
        return "an access token that has expired".to_owned();
    }
    format!("an access token that expires in {} min", clock.until(expiry).as_secs().div_ceil(60))
}

/// What to do about an upstream error (`docs/reference/protocol.md` 7.2), beyond what Google itself
/// says.
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
