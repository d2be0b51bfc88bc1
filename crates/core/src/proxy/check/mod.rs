//! The steps of `check`, which tests whether the proxy can serve requests. A step that fails says what to
//! do.

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

/// The result of one step of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was checked: `credentials`, `token`, `project` or `quota`.
    pub name: &'static str,
    /// Whether the step passed.
    pub result: StepResult,
    /// What was found.
    pub detail: String,
    /// What to do about it, with a link where there is one.
    pub remedy: Option<String>,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepResult {
    /// The proxy cannot serve requests.
    Fail,
    /// Nothing needs to be done.
    Ok,
    /// The proxy works, but the operator should know of something.
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
    /// Makes the result of a step that found no problem.
    pub fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, result: StepResult::Ok, detail: detail.into(), remedy: None }
    }

    /// Makes the result of a step that found something that the operator should know.
    pub fn warn(name: &'static str, detail: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty());
        Self { name, result: StepResult::Warn, detail: detail.into(), remedy }
    }

    /// Makes the result of a step that failed, with the error's own message.
    pub fn fail(name: &'static str, error: &Error) -> Self {
        Self {
            name,
            result: StepResult::Fail,
            detail: error.message(),
            // The messages of the proxy's own errors say what to do. Google's do not always.
            remedy: match error {
                Error::Upstream(error) => remedy(error),
                _ => None,
            },
        }
    }
}

impl Proxy {
    /// Checks credentials, token, project and quota, and stops at the first failure. Calls Google for a
    /// token refresh if one is due, a discovery if no project is set, and one `retrieveUserQuota`.
    pub async fn check<P: Platform>(&self, platform: &P) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some((upstream, account)) = self.upstreams.code_assist() else { return steps };
        let Some(credentials) = upstream.calls.auth.credentials() else { return steps };
        let (summary, refreshed) = match credentials.check(platform).await {
            Ok(checked) => checked,
            Err(error) => return vec![Step::fail("credentials", &error)],
        };
        let age = match summary.expires_at {
            Some(expiry) => describe_expiry(platform.wall_clock(), expiry),
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
                let left = expires_at.map(|expiry| describe_expiry(platform.wall_clock(), expiry));
                steps.push(Step::ok("token", format!("refreshed: {}", left.unwrap_or_default())));
            }
            Some(Refresh::Stale) => steps.push(Step::warn(
                "token",
                "the credentials changed while they were being checked",
                "run `code-assist-proxy check` again",
            )),
            Some(Refresh::Failed(error)) => {
                steps.push(Step::fail("token", &error));
                return steps;
            }
        }

        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        let calls = &upstream.calls;
        let (project, _) = account.projects.project(calls, &mut context, now).await;
        let project = match project {
            Ok(project) => project,
            Err(error) => {
                steps.push(Step::fail("project", &error));
                return steps;
            }
        };
        let source = if account.projects.is_set() { "set" } else { "discovered" };
        steps.push(Step::ok("project", format!("{project} ({source})")));

        steps.push(match account.models.ask_google(calls, &mut context, &project).await {
            Ok(Some(ids)) if !ids.is_empty() => {
                Step::ok("quota", format!("Code Assist answers, for {}", ids.join(", ")))
            }
            Ok(_) => Step::warn(
                "quota",
                "Code Assist answers, but names no model for this account",
                "requests may be refused: check the licence and the release channel",
            ),
            Err(error) => Step::fail("quota", &error),
        });
        steps
    }

    /// Asks Google for the models of the account. Returns the built-in models with the account's, and the
    /// ids that Google named.
    pub async fn models<P: Platform>(
        &self,
        platform: &P,
    ) -> Result<(Vec<Model>, Vec<String>), Error> {
        let now = platform.now();
        let mut context = RequestContext::own(platform, &self.metrics, now);
        let Some((upstream, account)) = self.upstreams.code_assist() else {
            return Ok(Default::default());
        };
        let calls = &upstream.calls;
        let (project, _) = account.projects.project(calls, &mut context, now).await;
        let own = account.models.ask_google(calls, &mut context, &project?).await?;
        let own = own.unwrap_or_default();
        Ok((models::catalogue(own.iter().map(String::as_str)), own))
    }
}

/// Describes a token's expiry, such as `an access token that expires in 43 min`.
fn describe_expiry(clock: Timestamp, expiry: Timestamp) -> String {
    if expiry <= clock {
        return "an access token that has expired".to_owned();
    }
    format!("an access token that expires in {} min", clock.until(expiry).as_secs().div_ceil(60))
}

/// Says what to do about an upstream error (`docs/reference/protocol.md` 7.2), in addition to Google's
/// message.
fn remedy(error: &UpstreamError) -> Option<String> {
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
    Some(match error.link() {
        Some(link) => format!("{advice}: {link}"),
        None => advice.to_owned(),
    })
}
