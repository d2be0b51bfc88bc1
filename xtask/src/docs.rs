//! The documents that are made from the code.

use crate::process;
use crate::report::{Failure, Report};
use crate::test::Filtered;
use crate::workspace::cargo;

/// Writes `docs/CONFIG.md`, `docs/config.schema.json`, `docs/FAULTS.md` and `docs/ATTACKS.md` anew and builds the documentation of all crates.
pub(crate) fn run(report: &mut Report) {
    // The tests that check these documents write them when `UPDATE_DOCS` is set.
    report.step("docs/CONFIG.md, from the table of settings", || write("cli", "config_md"));
    report.step("docs/config.schema.json, from the tables of the file", || {
        write("cli", "config_schema")
    });
    report.step("docs/FAULTS.md, from the table of faults", || write("faults", "faults_md"));
    report.step("docs/ATTACKS.md, from the table of attacks", || write("attacks", "attacks_md"));
    report.step("rustdoc, warnings as errors", rustdoc);
}

fn write(target: &str, test: &str) -> Result<(), Failure> {
    process::run(Filtered { target, filter: &[test] }.command()?.env("UPDATE_DOCS", "1"))
}

pub(crate) fn rustdoc() -> Result<(), Failure> {
    process::run(cargo("doc").env("RUSTDOCFLAGS", "-D warnings").args(["--workspace", "--no-deps"]))
}
