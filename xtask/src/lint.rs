//! Formatting, lints, and checks of texts.

use crate::process::{captured, run as shown};
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::workspace::cargo;
use crate::{core_dependencies, docs, features, links, plain_words, spelling, workflows};

/// What the system has to have for [`run`].
pub(crate) const NEEDS: &[Need] = &[Need::Python];

pub(crate) fn run(report: &mut Report) {
    report.step("cargo fmt --check", || shown(cargo("fmt").args(["--all", "--check"])));
    report.step("cargo fmt --check of fuzz", || {
        shown(cargo("fmt").args(["--manifest-path", FUZZ, "--", "--check"]))
    });
    report.step("the lock files are complete", locks);
    report.step("links", links::check);
    report.step("spelling", spelling::check);
    report.step("plain words", plain_words::check);
    report.step("dependencies of the core", core_dependencies::check);
    for member in report.step("workspace members", members).unwrap_or_default() {
        // One crate at a time: built together, a crate gets the features that another asks for, and
        // one that forgot to ask still compiles (rustls's admin/clippy does the same).
        report.step(&format!("clippy -p {member}"), || {
            shown(cargo("clippy").args(["-p", &member, "--all-targets", "--", "-D", "warnings"]))
        });
    }
    features::run(report);
    workflows::run(report);
    report.step("rustdoc, warnings as errors", docs::rustdoc);
}

fn locks() -> Result<(), Failure> {
    for manifest in ["Cargo.toml", FUZZ] {
        let question = ["--locked", "--format-version", "1", "--manifest-path", manifest];
        captured(cargo("metadata").args(question))?;
    }
    Ok(())
}

/// The packages of the workspace.
fn members() -> Result<Vec<String>, Failure> {
    let listed = captured(cargo("tree").args(["--workspace", "--depth", "0", "--prefix", "none"]))?;
    Ok(listed.lines().filter_map(core_dependencies::package).map(str::to_owned).collect())
}

const FUZZ: &str = "fuzz/Cargo.toml";
