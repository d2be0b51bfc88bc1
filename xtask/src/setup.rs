//! The system packages that the other commands need: `cargo xtask setup` installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{answers, captured, run as shown};
use crate::report::{Failure, Report};
use crate::worker::compiler;

/// Installs everything that any command needs from the system.
pub(crate) fn run(report: &mut Report) {
    report.step("system packages", || {
        ensure(Need::ALL, Install::Allowed)?;
        for need in Need::ALL {
            println!("    found {}", need.name());
        }
        Ok(())
    });
}

/// A program that has to come from the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Takes debug information out of a program, and lists what it needs.
    Binutils,
    /// The browser that opens the status page.
    Chromium,
    /// libFuzzer is built from C++ source.
    Cxx,
    /// A load balancer in the tests of several processes, and a reference for `bench`.
    Haproxy,
    /// A reference for `bench`.
    Nginx,
    /// Node with npm.
    Node,
    /// Prometheus's checker of metrics and rules.
    Promtool,
    /// Python 3 with `venv` and `pip`.
    Python,
    /// A Redis server and its client.
    Redis,
    /// Counts instructions.
    Valgrind,
    /// A Rust compiler with the source of its standard library, and a linker for wasm32.
    WorkerCompiler,
}

impl Need {
    pub(crate) const ALL: &[Self] = &[
        Self::Binutils,
        Self::Chromium,
        Self::Cxx,
        Self::Haproxy,
        Self::Nginx,
        Self::Node,
        Self::Promtool,
        Self::Python,
        Self::Redis,
        Self::Valgrind,
        Self::WorkerCompiler,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Binutils => "binutils (`objcopy`, `readelf`)",
            Self::Chromium => "Chromium (`/usr/bin/chromium`)",
            Self::Cxx => "a C++ compiler (`c++`)",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
            Self::Node => "Node with npm (`node`, `npm`)",
            Self::Promtool => "promtool",
            Self::Python => "Python 3 with venv and pip (`python3`)",
            Self::Redis => "Redis (`redis-server`, `redis-cli`)",
            Self::Valgrind => "valgrind",
            Self::WorkerCompiler => "a compiler for the Worker (rust-src, or Debian's rustc-web)",
        }
    }

    fn is_met(self) -> bool {
        let has = |name: &str| answers(Command::new(name).arg("--version"));
        match self {
            Self::Binutils => has("objcopy") && has("readelf"),
            Self::Chromium => has("/usr/bin/chromium"),
            Self::Cxx => has("c++"),
            Self::Haproxy => program("haproxy", "-v").is_some(),
            Self::Nginx => program("nginx", "-v").is_some(),
            Self::Node => has("node") && has("npm"),
            Self::Promtool => has("promtool"),
            // Debian has ensurepip in a package of its own: `import venv` alone succeeds without it.
            Self::Python => answers(Command::new("python3").args(["-c", "import venv, ensurepip"])),
            Self::Redis => has("redis-server") && has("redis-cli"),
            Self::Valgrind => has("valgrind"),
            Self::WorkerCompiler => compiler::is_there(),
        }
    }

    fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Self::Binutils => &["binutils"],
            Self::Chromium => &["chromium"],
            Self::Cxx => &["g++"],
            Self::Haproxy => &["haproxy"],
            Self::Nginx => &["nginx"],
            Self::Node => &["nodejs", "npm"],
            Self::Promtool => &["prometheus"],
            Self::Python => &["python3", "python3-venv", "python3-pip"],
            Self::Redis => &["redis-server", "redis-tools"],
            // valgrind does not start without the symbols of the dynamic linker (libc6-dbg).
            Self::Valgrind => &["valgrind", "libc6-dbg"],
            Self::WorkerCompiler => compiler::DEBIAN_PACKAGES,
        }
    }
}

/// Whether this run may install system packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    Allowed,
    Forbidden,
}

impl Install {
    /// Installing is allowed where the command or its user asked for it, and in CI.
    pub(crate) fn decide(is_asked_for: bool) -> Self {
        let is_ci = std::env::var("CI").is_ok_and(|ci| !["", "0", "false"].contains(&&*ci));
        if is_asked_for || is_ci { Self::Allowed } else { Self::Forbidden }
    }
}

/// Looks for all of `needs`. What is missing is installed with apt-get, where `install` allows it and
/// this is root on Debian or Ubuntu; otherwise the failure says which commands install it.
pub(crate) fn ensure(needs: &[Need], install: Install) -> Result<(), Failure> {
    if needs.contains(&Need::WorkerCompiler) && !Need::WorkerCompiler.is_met() {
        compiler::add_rust_src();
    }
    let missing = unmet(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let commands = install_commands(&missing);
    let is_possible = is_root() && answers(Command::new("apt-get").arg("--version"));
    if install == Install::Forbidden || !is_possible {
        return Err(Failure::new(advice(&missing, &commands, is_possible)));
    }
    println!("    this machine lacks {}: installing with apt-get, as root", names(&missing));
    for command in &commands {
        shown(Command::new("sh").args(["-c", command]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    let missing = unmet(needs);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} cannot be started, although apt-get has installed its packages",
        names(&missing)
    )))
}

fn advice(missing: &[Need], commands: &[String], is_possible: bool) -> String {
    let mut lines = vec![format!("this machine lacks {}.", names(missing))];
    if is_possible {
        lines.push("`cargo xtask setup` installs what is missing, or run:".to_owned());
    } else {
        lines.push("On Debian or Ubuntu, run:".to_owned());
    }
    lines.extend(commands.iter().map(|command| match is_root() {
        true => format!("    {command}"),
        false => format!("    sudo {command}"),
    }));
    lines.join("\n")
}

fn install_commands(missing: &[Need]) -> Vec<String> {
    const INSTALL: &str = "apt-get install -qq -y --no-install-recommends";
    let packages: Vec<&str> =
        missing.iter().flat_map(|need| need.debian_packages()).copied().collect();
    let mut commands =
        vec!["apt-get update -qq".to_owned(), format!("{INSTALL} {}", packages.join(" "))];
    if missing.contains(&Need::WorkerCompiler) {
        commands.push(format!("{INSTALL} {}", compiler::DEBIAN_LINKER));
    }
    commands
}

/// The path of a server program. Debian keeps some of them in folders that only root searches.
pub(crate) fn program(name: &str, version_flag: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| answers(Command::new(path).arg(version_flag)))
}

/// The needs that are not met, each once.
fn unmet(needs: &[Need]) -> Vec<Need> {
    Need::ALL.iter().copied().filter(|need| needs.contains(need) && !need.is_met()).collect()
}

fn names(needs: &[Need]) -> String {
    needs.iter().map(|need| need.name()).collect::<Vec<_>>().join(", ")
}

fn is_root() -> bool {
    captured(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_what_would_be_run() {
        let missing = [Need::Redis, Need::WorkerCompiler];
        let commands = install_commands(&missing);
        assert_eq!(
            commands[1],
            "apt-get install -qq -y --no-install-recommends redis-server redis-tools rustc-web \
             cargo-web rust-web-src"
        );
        assert_eq!(commands.len(), 3);
        let advice = advice(&missing, &commands, false);
        assert!(commands.iter().all(|command| advice.contains(command.as_str())), "{advice}");
    }

    #[test]
    fn only_the_linker_for_the_worker_needs_a_third_command() {
        assert_eq!(install_commands(&[Need::Nginx]).len(), 2);
    }
}
