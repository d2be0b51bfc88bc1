//! `serve`.

use std::future::{Future, ready};

use code_assist_core::settings::Settings;

use crate::Failure;

/// Runs the proxy until a signal.
pub(crate) fn run(
    _settings: Settings,
    _emulator: bool,
) -> impl Future<Output = Result<(), Failure>> {
    ready(Err(Failure::Runtime("serve is not wired yet".into())))
}
