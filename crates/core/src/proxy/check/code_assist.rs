//! The steps of an upstream at Code Assist.

use super::credentials::{describe_expiry, token_step};
use super::{Step, StepResult, remedy};
use crate::context::RequestContext;
use crate::error::Error;
use crate::platform::Platform;
use crate::proxy::Proxy;
use crate::upstream::{CodeAssistAccount, Upstream};

impl Proxy {
    /// Checks credentials, token, project and quota, and stops at the first failure. Calls Google for a
    /// token refresh if one is due, a discovery if no project is set, and one `retrieveUserQuota`.
    pub(super) async fn check_code_assist<P: Platform>(
        &self,
        platform: &P,
        upstream: &Upstream,
        account: &CodeAssistAccount,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(credentials) = upstream.calls.auth.credentials() else { return steps };
        let (summary, refreshed) = match credentials.check(platform).await {
            Ok(checked) => checked,
            Err(Error::CredentialsMissing { .. })
                if upstream.own_login().is_none() && !self.reloadable().needs_operators =>
            {
                let remedy = "a key without `credentials` cannot ask a model";
                return vec![Step::warn("credentials", NEEDLESS, remedy)];
            }
            Err(error) => return vec![fail("credentials", &error)],
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
        if let Some(step) = token_step(platform, refreshed, None) {
            let is_usable = step.result != StepResult::Fail;
            steps.push(step);
            if !is_usable {
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
                steps.push(fail("project", &error));
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
            Err(error) => fail("quota", &error),
        });
        steps
    }
}

/// The operator has no login.
pub(super) const NEEDLESS: &str = "none of the gateway's own, since the keys have their own logins";

fn fail(name: &'static str, error: &Error) -> Step {
    let advice = match error {
        Error::Upstream(error) => remedy::code_assist(error),
        _ => None,
    };
    Step::fail(name, error, advice)
}
