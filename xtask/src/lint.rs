//! Formatting, lints, and the fence around the core.

use crate::machine::cargo;
use crate::process::{captured, run as shown};
use crate::report::{Failure, Report};
use crate::{docs, features, workflows};

pub(crate) fn run(report: &mut Report) {
    report.step("cargo fmt --check (to mend: cargo fmt)", || {
        shown(cargo("fmt").args(["--all", "--check"]))
    });
    report.step("cargo fmt --check of fuzz", || {
        shown(cargo("fmt").args(["--manifest-path", FUZZ, "--", "--check"]))
    });
    report.step("the lock files are complete", || {
        for manifest in ["Cargo.toml", FUZZ] {
            let question = ["--locked", "--format-version", "1", "--manifest-path", manifest];
            captured(cargo("metadata").args(question))?;
        }
        Ok(())
    });
    for member in report.step("workspace members", members).unwrap_or_default() {
        // Each by itself: in one go, a feature that one crate turns on hides that another
        // forgot to ask for it (rustls's admin/clippy, for the same reason).
        report.step(&format!("clippy -p {member}"), || {
            shown(cargo("clippy").args(["-p", &member, "--all-targets", "--", "-D", "warnings"]))
        });
    }
    features::run(report);
    workflows::run(report);
    report.step("what the core depends on", fence);
    report.step("rustdoc, warnings as errors", docs::rustdoc);
}

/// The packages of the workspace, asked of cargo.
fn members() -> Result<Vec<String>, Failure> {
    let listed = captured(cargo("tree").args(["--workspace", "--depth", "0", "--prefix", "none"]))?;
    Ok(listed.lines().filter_map(package).map(str::to_owned).collect())
}

/// The core must run where there are no threads, sockets, clocks or randomness: in a Worker.
fn fence() -> Result<(), Failure> {
    for target in ["all", WASM] {
        let tree = captured(
            cargo("tree")
                .args(["-p", CORE, "-e", "normal", "--prefix", "none", "--target", target]),
        )?;
        let strays: Vec<&str> =
            tree.lines().filter_map(package).filter(|name| is_banned(name)).collect();
        if !strays.is_empty() {
            return Err(Failure::new(format!(
                "{CORE} must not depend on {} (target {target}).\nWho brings it in: \
                 cargo tree -p {CORE} -e normal --target {target} -i {}",
                strays.join(", "),
                strays[0],
            )));
        }
    }
    Ok(())
}

/// `serde v1.0.1 (proc-macro)` names `serde`. Blank lines and `[dev-dependencies]` name nothing.
fn package(line: &str) -> Option<&str> {
    let (name, version) = line.split_once(' ')?;
    version.starts_with('v').then_some(name)
}

fn is_banned(name: &str) -> bool {
    BANNED.iter().any(|banned| {
        name.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

const CORE: &str = "code-assist-core";

const FUZZ: &str = "fuzz/Cargo.toml";

const WASM: &str = "wasm32-unknown-unknown";

/// Runtimes, sockets, clocks, randomness and the edge's own crates, with all of their `name-…`.
const BANNED: &[&str] = &[
    "async-std",
    "getrandom",
    "hyper",
    "js-sys",
    "mio",
    "rand",
    "reqwest",
    "ring",
    "rustls",
    "smol",
    "socket2",
    "tokio",
    "wasm-bindgen",
    "worker",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_crate_is_known_by_its_name_and_its_family() {
        assert!(is_banned("tokio") && is_banned("tokio-util") && is_banned("ring"));
        assert!(!is_banned("strings") && !is_banned("ringbuf") && !is_banned("http-body"));
    }

    #[test]
    fn packages_are_read_from_cargo_tree() {
        assert_eq!(package("bytes v1.10.1"), Some("bytes"));
        assert_eq!(package("core v0.1.0 (path)"), Some("core"));
        assert_eq!(package(""), None);
        assert_eq!(package("[build-dependencies]"), None);
    }
}
