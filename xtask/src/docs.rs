//! The documentation of all crates.

use crate::machine::cargo;
use crate::process;
use crate::report::{Failure, Report};

pub(crate) fn run(report: &mut Report) {
    report.step("rustdoc, warnings as errors", rustdoc);
}

pub(crate) fn rustdoc() -> Result<(), Failure> {
    process::run(
        cargo("doc")
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(["--workspace", "--no-deps"]),
    )
}
