//! `check`.

use std::future::{Future, ready};

use code_assist_core::settings::{Problem, Settings, Warning};

use crate::Failure;

/// Tells step by step whether the proxy would work. The settings are the first step.
pub(crate) fn run(
    settings: Result<(Settings, Vec<Warning>), Vec<Problem>>,
    _json: bool,
) -> impl Future<Output = Result<(), Failure>> {
    ready(match settings {
        Ok(_) => Err(Failure::Runtime("check is not wired yet".into())),
        Err(problems) => Err(Failure::Settings(problems)),
    })
}
