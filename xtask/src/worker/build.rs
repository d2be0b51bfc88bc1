//! The build of the Worker: `worker-build`, with the `wasm-bindgen` of the version in `Cargo.lock`.
//!
//! A panic must end its own request and no other, so the Worker unwinds, and for that the standard
//! library is built too (`-Zbuild-std`). `worker-build` calls a nightly compiler for it; here the
//! stable one does it, with `RUSTC_BOOTSTRAP=1` for this one build (see `compiler.rs`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::compiler;
use crate::process::hushed;
use crate::report::Failure;
use crate::tools::{from_crates_io, path_with};
use crate::workspace::{read, root, target};

/// The tools, in `target/tools`.
#[derive(Debug)]
pub(super) struct Tools {
    /// `cargo`, `rustc` and `rustup` as `worker-build` calls them.
    compiler: PathBuf,
    wasm_bindgen: PathBuf,
    worker_build: PathBuf,
}

impl Tools {
    /// Builds the tools that are not there yet.
    pub(super) fn ensure() -> Result<Self, Failure> {
        let locked = |name| version_in(&read(&root().join("Cargo.lock"))?, name);
        let wasm_bindgen = locked("wasm-bindgen")?;
        Ok(Self {
            compiler: compiler::wrapped()?,
            wasm_bindgen: from_crates_io("wasm-bindgen-cli", "wasm-bindgen", &wasm_bindgen)?,
            worker_build: from_crates_io("worker-build", "worker-build", &locked("worker")?)?,
        })
    }

    /// Builds the crate in `folder` into its folder `build`.
    pub(super) fn build(&self, folder: &Path, node: &Path) -> Result<(), Failure> {
        let modules = folder.join("node_modules/.bin");
        let mut build = Command::new(&self.worker_build);
        build
            .args(["--panic-unwind", "--profile", "worker", "--out-dir", "build", "--locked"])
            .current_dir(folder)
            .env("PATH", path_with(&[&self.compiler, node])?)
            // Another compiler may build here: with one folder, each would build everything anew.
            .env("CARGO_TARGET_DIR", target().join("worker"))
            .env("WASM_BINDGEN_BIN", &self.wasm_bindgen)
            .env("WASM_OPT_BIN", modules.join("wasm-opt"))
            .env("ESBUILD_BIN", modules.join("esbuild"));
        for name in SET_FOR_THIS_PROGRAM {
            build.env_remove(name);
        }
        hushed(&mut build, BUILD_LIMIT)
    }
}

/// The version of a crate in the text of a `Cargo.lock`.
fn version_in(lock: &str, name: &str) -> Result<String, Failure> {
    lock.split_once(&format!("name = \"{name}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version.to_owned())
        .ok_or_else(|| Failure::new(format!("Cargo.lock has no {name}")))
}

/// Variables of the compiler that runs this program. They must not apply to the Worker's.
const SET_FOR_THIS_PROGRAM: [&str; 5] =
    ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];

/// Generous: a first build on two busy cores.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_found() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"1.2.3\"\nsource = \"x\"\n";
        assert_eq!(version_in(lock, "a").unwrap(), "1.2.3");
        assert!(version_in(lock, "b").is_err());
    }
}
