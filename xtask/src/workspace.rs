//! The repository's folders and files, and `cargo` as a shell would call it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::captured;
use crate::report::Failure;

/// The repository's top folder.
pub(crate) fn root() -> PathBuf {
    let mut here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.pop();
    here
}

/// The folder that cargo builds to.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The `cargo` that runs this program, in the repository's top folder. The variables that `cargo run`
/// sets are removed: build scripts that look at them would run again, and half of the dependencies
/// would be built twice.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        if SET_BY_CARGO_RUN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    cargo.arg(subcommand).current_dir(root());
    cargo
}

/// The target triple of this machine, as rustc names it.
pub(crate) fn host() -> Result<String, Failure> {
    let version = captured(Command::new("rustc").arg("-vV"))?;
    host_in(&version).ok_or_else(|| Failure::new("`rustc -vV` names no host"))
}

/// The `host:` in the output of `rustc -vV`.
pub(crate) fn host_in(version: &str) -> Option<String> {
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// The files that git tracks and that exist, relative to the top folder.
pub(crate) fn tracked_files() -> Result<Vec<PathBuf>, Failure> {
    // The owner of a checkout in a container is often another user, which git refuses by default.
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "ls-files", "-z"]).current_dir(root());
    let listed = captured(&mut git)?;
    let files = listed.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| root().join(file).is_file()).collect())
}

pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|why| Failure::new(format!("cannot read {}: {why}", file.display())))
}

/// Writes `text` to `file` and makes its folder first.
pub(crate) fn write(file: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = file.parent() {
        make_folder(folder)?;
    }
    fs::write(file, text)
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", file.display())))
}

pub(crate) fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|why| Failure::new(format!("cannot make {}: {why}", folder.display())))
}

/// Removes a folder with all that is in it, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot empty {}: {why}", folder.display())))
        }
        _ => Ok(()),
    }
}

pub(crate) fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::new(format!("{} is not UTF-8", path.display())))
}

/// The Cargo Book, "Environment variables Cargo sets for crates" and "Dynamic library paths".
const SET_BY_CARGO_RUN: [&str; 3] = ["CARGO_MANIFEST_", "CARGO_PKG_", "LD_LIBRARY_PATH"];
