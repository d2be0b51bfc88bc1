//! `check`: tests step by step whether the proxy would work.

use code_assist_core::settings::{Problem, Settings, Warning};
use code_assist_core::{Platform, Step, StepResult};
use serde_json::json;
use tokio::sync::watch;

use crate::app::App;
use crate::store::Store;
use crate::{CommandError, print};

/// Runs all steps and prints their results. The first step is reading the settings.
pub(crate) async fn run(
    settings: Result<(Settings, Vec<Warning>), Vec<Problem>>,
    json: bool,
) -> Result<(), CommandError> {
    let (steps, settings_are_bad) = match settings {
        Ok((settings, warnings)) => (run_steps(settings, &warnings).await?, false),
        Err(problems) => {
            let steps =
                problems.iter().map(|problem| Step::failed("settings", problem.to_string()));
            (steps.collect(), true)
        }
    };
    let usable = steps.iter().all(|step| step.result != StepResult::Fail);
    print(&if json { as_json(&steps, usable) } else { as_lines(&steps) });
    match (usable, settings_are_bad) {
        (true, _) => Ok(()),
        (false, true) => Err(CommandError::Settings(Vec::new())),
        (false, false) => Err(CommandError::Reported),
    }
}

async fn run_steps(settings: Settings, warnings: &[Warning]) -> Result<Vec<Step>, CommandError> {
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
    let (_sender, abort) = watch::channel(false);
    let App { proxy, platform } =
        App::assemble(settings, store, abort).map_err(CommandError::runtime)?;
    steps.push(match platform.load("check").await {
        Ok(_) => store_step,
        Err(error) => {
            let remedy = "the proxy goes on with memory only; change KV_URL";
            Step::warn("store", error.to_string(), remedy)
        }
    });
    steps.extend(proxy.check(&platform).await);
    Ok(steps)
}

fn as_lines(steps: &[Step]) -> String {
    let title = |step: &Step| match &step.upstream {
        Some(upstream) => format!("{upstream} {}", step.name),
        None => step.name.to_owned(),
    };
    let width = steps.iter().map(|step| title(step).len()).max().unwrap_or(0).max(NARROWEST);
    let line = |step: &Step| {
        let remedy = step.remedy.as_ref().map(|remedy| format!(" -> {remedy}")).unwrap_or_default();
        format!("{:4}  {:width$}  {}{remedy}\n", step.result.word(), title(step), step.detail)
    };
    steps.iter().map(line).collect()
}

fn as_json(steps: &[Step], usable: bool) -> String {
    let steps: Vec<_> = steps
        .iter()
        .map(|step| {
            let mut line = json!({
                "step": step.name,
                "result": step.result.word(),
                "detail": step.detail,
                "remedy": step.remedy,
            });
            if let Some(upstream) = &step.upstream {
                line["upstream"] = json!(**upstream);
            }
            line
        })
        .collect();
    format!("{:#}\n", json!({ "usable": usable, "steps": steps }))
}

/// The width of the column of steps, as long as no step has a longer title.
const NARROWEST: usize = 11;
