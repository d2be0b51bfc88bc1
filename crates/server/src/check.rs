//! `check`: the preflight, one line a step.

use code_assist_core::platform::Platform;
use code_assist_core::proxy::check::{Step, StepResult};
use code_assist_core::settings::{Problem, Settings, Warning};
use serde_json::json;
use tokio::sync::watch;

use crate::app::Parts;
use crate::store::Store;
use crate::{Failure, print};

/// Tells step by step whether the proxy would work. The settings are the first step.
pub(crate) async fn run(
    settings: Result<(Settings, Vec<Warning>), Vec<Problem>>,
    json: bool,
) -> Result<(), Failure> {
    let (steps, settings_are_bad) = match settings {
        Ok((settings, warnings)) => (look(settings, &warnings).await?, false),
        Err(problems) => {
            let steps = problems.iter().map(|problem| Step {
                name: "settings",
                result: StepResult::Fail,
                detail: problem.to_string(),
                remedy: None,
            });
            (steps.collect(), true)
        }
    };
    let usable = steps.iter().all(|step| step.result != StepResult::Fail);
    print(&if json { as_json(&steps, usable) } else { as_lines(&steps) });
    match (usable, settings_are_bad) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::Settings(Vec::new())),
        (false, false) => Err(Failure::Told),
    }
}

async fn look(settings: Settings, warnings: &[Warning]) -> Result<Vec<Step>, Failure> {
    let mut steps: Vec<Step> =
        warnings.iter().map(|warning| Step::warn("settings", warning.to_string(), "")).collect();
    if steps.is_empty() {
        steps.push(Step::ok("settings", "all within their bounds"));
    }
    let (store, notice) = Store::open(&settings).await;
    let store_step = match notice {
        Some(notice) => Step::warn("store", notice.to_string(), ""),
        None => Step::ok("store", store.describe()),
    };
    let (_keep, never) = watch::channel(false);
    let parts = Parts::assemble(settings, store, never)
        .map_err(|error| Failure::Runtime(error.to_string()))?;
    steps.push(match parts.native.load("check").await {
        Ok(_) => store_step,
        Err(why) => {
            Step::warn("store", why.to_string(), "the proxy goes on with memory only; mend KV_URL")
        }
    });
    steps.extend(parts.proxy.check(&parts.native).await);
    Ok(steps)
}

fn as_lines(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let remedy = step.remedy.as_ref().map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
        format!("{:4}  {:11}  {}{remedy}\n", step.result.word(), step.name, step.detail)
    };
    steps.iter().map(line).collect()
}

fn as_json(steps: &[Step], usable: bool) -> String {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| {
            json!({
                "step": step.name,
                "result": step.result.word(),
                "detail": step.detail,
                "remedy": step.remedy,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "usable": usable, "steps": steps }))
}
