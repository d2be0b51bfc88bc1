//! Licences, bans, sources and security advisories, by cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use crate::machine::cargo;
use crate::process::{answers, captured, run as shown};
use crate::report::{Failure, Report};

pub(crate) fn run(report: &mut Report) {
    let Some(deny) = report.step(&format!("cargo-deny {VERSION}"), installed) else {
        return;
    };
    let deny = || {
        let mut command = Command::new(&deny);
        command.current_dir(crate::root()).arg("--all-features");
        command
    };
    report.step("bans, licences, sources", || {
        shown(deny().args([
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]))
    });
    // The advisories live on GitHub. A machine without it can still check the rest.
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

/// The pinned cargo-deny under target/tools, built there if it is not there yet. Unoptimised: it
/// runs for a second, and an optimised build takes minutes.
fn installed() -> Result<PathBuf, Failure> {
    let tools = crate::target().join("tools");
    let binary = tools.join("bin/cargo-deny");
    let expected = format!("cargo-deny {VERSION}");
    if captured(Command::new(&binary).arg("--version")).is_ok_and(|said| said.trim() == expected) {
        return Ok(binary);
    }
    println!(
        "    builds it into {}; about 80 s on 2 cores",
        tools.display()
    );
    shown(
        cargo("install")
            .args([
                "cargo-deny",
                "--version",
                VERSION,
                "--locked",
                "--debug",
                "--root",
            ])
            .arg(&tools)
            .arg("--target-dir")
            .arg(tools.join("build"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0"),
    )?;
    Ok(binary)
}

const VERSION: &str = "0.20.2";
