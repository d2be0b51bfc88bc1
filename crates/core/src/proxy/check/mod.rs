//! The steps of `check`, which tests whether the proxy can serve requests. A step that fails says what to
//! do.

mod code_assist;
mod count;
mod credentials;
mod models;
mod remedy;

use std::sync::Arc;

use super::Proxy;
use crate::error::Error;
use crate::platform::Platform;
use crate::settings::FailoverReason;
use crate::upstream::Account;

pub use models::UpstreamModels;

/// The result of one step of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was checked, such as `credentials` or `project`.
    pub name: &'static str,
    /// The upstream that was checked, where several are in use, or the key whose login was.
    pub upstream: Option<Arc<str>>,
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
        Self::new(name, StepResult::Ok, detail.into(), None)
    }

    /// Makes the result of a step that found something that the operator should know.
    pub fn warn(name: &'static str, detail: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty());
        Self::new(name, StepResult::Warn, detail.into(), remedy)
    }

    /// Makes the result of a step that failed, with a text that says why.
    pub fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self::new(name, StepResult::Fail, detail.into(), None)
    }

    /// Makes the result of a step that failed, with the error's own message. The messages of the proxy's
    /// own errors say what to do, Google's do not always.
    fn fail(name: &'static str, error: &Error, remedy: Option<String>) -> Self {
        Self::new(name, StepResult::Fail, error.message(), remedy)
    }

    fn new(name: &'static str, result: StepResult, detail: String, remedy: Option<String>) -> Self {
        Self { name, upstream: None, result, detail, remedy }
    }
}

impl Proxy {
    /// Checks every upstream in use and the login of every key that has one, each up to its first failure,
    /// and says which upstreams requests may reach.
    pub async fn check<P: Platform>(&self, platform: &P) -> Vec<Step> {
        let mut steps = Vec::new();
        for upstream in self.upstreams.operators.iter() {
            let mut own = match &upstream.account {
                Account::CodeAssist(account) => {
                    self.check_code_assist(platform, upstream, account).await
                }
                Account::GeminiApi(_) => self.check_gemini_api(platform, upstream).await,
                Account::Vertex(account) => self.check_vertex(platform, upstream, account).await,
            };
            if self.upstreams.operators.are_several() {
                own.iter_mut().for_each(|step| step.upstream = Some(Arc::clone(&upstream.name)));
            }
            steps.extend(own);
        }
        steps.extend(self.upstreams.operators.are_several().then(|| self.order()));
        let is_needless = |step: &Step| step.detail == code_assist::NEEDLESS;
        let other_works = !steps.iter().any(is_needless);
        for own in self.upstreams.own() {
            let (Some(login), Some(account)) = (own.own_login(), own.code_assist()) else {
                continue;
            };
            let mut of_key = self.check_code_assist(platform, &own, account).await;
            for step in &mut of_key {
                step.upstream = Some(format!("key {}", login.id).into());
                // Requests of other keys are not affected.
                if step.result == StepResult::Fail && other_works {
                    step.result = StepResult::Warn;
                }
            }
            steps.extend(of_key);
        }
        steps.extend(self.settings.unused_upstreams.iter().map(|unused| {
            let detail = format!("{} has a credential too", unused.name);
            Step { remedy: Some(unused.hint.clone()), ..Step::ok("unused", detail) }
        }));
        steps
    }

    /// Says which upstreams a request may reach, in which order.
    fn order(&self) -> Step {
        let names: Vec<&str> =
            self.upstreams.operators.iter().map(|upstream| &*upstream.name).collect();
        let names = names.join(", ");
        let failover = &self.settings.failover;
        let reasons = FailoverReason::ALL.into_iter();
        let reasons = reasons.filter(|reason| failover.includes(*reason));
        let reasons: Vec<&str> = reasons.map(FailoverReason::word).collect();
        Step::ok(
            "order",
            match reasons.is_empty() {
                true => format!(
                    "the first of {names} that offers the method and the model; FAILOVER is off"
                ),
                false => {
                    format!("{names}: the next one when one fails, for {}", reasons.join(", "))
                }
            },
        )
    }
}
