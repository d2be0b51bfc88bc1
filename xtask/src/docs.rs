//! The documents that are made from the code.

use crate::machine::cargo;
use crate::process;
use crate::report::{Failure, Report};

/// Writes `docs/CONFIG.md` anew and builds the documentation of all crates.
pub(crate) fn run(report: &mut Report) {
    // The test that checks it writes it when told to.
    report.step("docs/CONFIG.md, from the table of settings", || {
        process::run(cargo("test").env("UPDATE_DOCS", "1").args([
            "-q",
            "-p",
            "code-assist-proxy",
            "--test",
            "cli",
            "config_md",
        ]))
    });
    report.step("rustdoc, warnings as errors", rustdoc);
}

pub(crate) fn rustdoc() -> Result<(), Failure> {
    process::run(cargo("doc").env("RUSTDOCFLAGS", "-D warnings").args(["--workspace", "--no-deps"]))
}
