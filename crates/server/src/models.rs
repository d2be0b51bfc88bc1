//! `models`.

use std::future::{Future, ready};

use code_assist_core::settings::Settings;

use crate::Failure;

/// Prints the models of this account.
pub(crate) fn run(_settings: Settings) -> impl Future<Output = Result<(), Failure>> {
    ready(Err(Failure::Runtime("models is not wired yet".into())))
}
