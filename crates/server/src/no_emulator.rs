//! Stands for the emulator in a build without the feature `emulator`. [`crate::features`] refuses
//! `serve --emulator` there, so that no value of [`Emulator`] ever exists.

use std::future::{Ready, ready};
use std::io;

use code_assist_core::settings::Settings;

use crate::cli::EmulatedProvider;

/// An emulator that cannot exist.
#[derive(Debug)]
pub(crate) enum Emulator {}

impl Emulator {
    pub(crate) fn url(&self) -> String {
        match *self {}
    }
}

/// Always an error.
pub(crate) fn start(_: EmulatedProvider, _: &mut Settings) -> Ready<io::Result<Emulator>> {
    ready(Err(io::ErrorKind::Unsupported.into()))
}
