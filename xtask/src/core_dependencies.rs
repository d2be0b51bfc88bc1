//! The dependencies of the core: it must run in a Worker, where there are no threads, sockets, clocks
//! or randomness.

use crate::process::captured;
use crate::report::Failure;
use crate::workspace::cargo;

pub(crate) fn check() -> Result<(), Failure> {
    for target in ["all", "wasm32-unknown-unknown"] {
        let tree = captured(
            cargo("tree")
                .args(["-p", CORE, "-e", "normal", "--prefix", "none", "--target", target]),
        )?;
        let strays: Vec<&str> =
            tree.lines().filter_map(package).filter(|name| is_banned(name)).collect();
        if let Some(first) = strays.first() {
            return Err(Failure::new(format!(
                "{CORE} must not depend on {} (target {target}).\nThis shows the reason: \
                 cargo tree -p {CORE} -e normal --target {target} -i {first}",
                strays.join(", "),
            )));
        }
    }
    Ok(())
}

/// The name in a line of `cargo tree`: `serde v1.0.1 (proc-macro)` names `serde`, blank lines and
/// `[dev-dependencies]` name nothing.
pub(crate) fn package(line: &str) -> Option<&str> {
    let (name, version) = line.split_once(' ')?;
    version.starts_with('v').then_some(name)
}

fn is_banned(name: &str) -> bool {
    if name == PEM_READER {
        return false;
    }
    BANNED.iter().any(|banned| {
        name.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

const CORE: &str = "code-assist-core";

/// The types and the PEM reader of rustls, which do no IO and no cryptography.
const PEM_READER: &str = "rustls-pki-types";

/// Runtimes, sockets, clocks, randomness and the crates of Cloudflare, each with its `name-…`.
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
    fn a_banned_crate_is_recognised_by_its_name_and_its_family() {
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
