//! The documents that are made from the code.

use crate::machine::cargo;
use crate::process;
use crate::report::{Failure, Report};

/// Writes `docs/CONFIG.md` and `docs/FAULTS.md` anew and builds the documentation of all crates.
pub(crate) fn run(report: &mut Report) {
    // The tests that check them write them when told to.
    report.step("docs/CONFIG.md, from the table of settings", || write("cli", "config_md"));
    report.step("docs/FAULTS.md, from the table of faults", || write("faults", "faults_md"));
    report.step("rustdoc, warnings as errors", rustdoc);
}

fn write(suite: &str, test: &str) -> Result<(), Failure> {
    process::run(cargo("test").env("UPDATE_DOCS", "1").args([
        "-q",
        "-p",
        "code-assist-proxy",
        "--test",
        suite,
        test,
    ]))
}

pub(crate) fn rustdoc() -> Result<(), Failure> {
    process::run(cargo("doc").env("RUSTDOCFLAGS", "-D warnings").args(["--workspace", "--no-deps"]))
}
