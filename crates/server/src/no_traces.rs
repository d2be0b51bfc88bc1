//! Stands for the export of spans in a build without the feature `otel`. [`crate::features`] refuses the
//! settings that ask for it there, so that no value of [`Traces`] ever exists.

use std::future::Ready;
use std::time::SystemTime;

use code_assist_core::settings::{Problem, Settings};
use code_assist_core::{RequestRecord, TraceId};

/// An export that cannot exist.
#[derive(Debug, Clone)]
pub(crate) enum Traces {}

/// A task that cannot exist.
#[derive(Debug)]
pub(crate) enum TracesTask {}

impl Traces {
    #[expect(clippy::unnecessary_wraps, reason = "the other build fails")]
    pub(crate) fn start(_: &Settings) -> Result<Option<(Self, TracesTask)>, Problem> {
        Ok(None)
    }

    pub(crate) fn samples(&self, _: TraceId, _: Option<bool>) -> bool {
        match *self {}
    }

    pub(crate) fn write(&self, _: SystemTime, _: RequestRecord) {
        match *self {}
    }

    pub(crate) fn lost(&self) -> u64 {
        match *self {}
    }
}

impl TracesTask {
    pub(crate) fn close(self) -> Ready<()> {
        match self {}
    }
}
