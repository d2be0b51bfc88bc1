//! Licences, bans, sources and security advisories, checked by cargo-deny.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{answers, run as shown};
use crate::report::Report;
use crate::tools;
use crate::workspace::root;

pub(crate) fn run(report: &mut Report) {
    if let Some(deny) = tool(report) {
        check(report, &deny);
    }
}

/// Builds the pinned cargo-deny; about 80 s on 2 cores.
pub(crate) fn tool(report: &mut Report) -> Option<PathBuf> {
    report.step(&format!("cargo-deny {VERSION}"), || {
        tools::from_crates_io("cargo-deny", "cargo-deny", VERSION)
    })
}

pub(crate) fn check(report: &mut Report, deny: &Path) {
    let deny = || {
        let mut command = Command::new(deny);
        command.current_dir(root()).arg("--all-features");
        command
    };
    report.step("bans, licences, sources", || {
        shown(deny().args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
    });
    // The advisories are on GitHub. Where GitHub cannot be reached, the rest is still checked.
    if answers(deny().args(["fetch", "db"])) {
        report.step("security advisories", || {
            shown(deny().args(["check", "--disable-fetch", "advisories"]))
        });
    } else {
        report.note(
            "security advisories were NOT checked: the RustSec database \
             (https://github.com/RustSec/advisory-db) cannot be reached from here",
        );
    }
}

const VERSION: &str = "0.20.2";
