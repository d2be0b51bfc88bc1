//! What builds a Worker: a compiler with the source of its standard library, `worker-build`, and the
//! `wasm-bindgen` of the very version in `Cargo.lock`.
//!
//! A panic must cost its own request and no other, so the Worker unwinds, and for that the standard
//! library is built anew (`-Zbuild-std`). `worker-build` asks a nightly compiler for it; here the
//! stable one does it, with `RUSTC_BOOTSTRAP=1` for this one build.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::locked;
use crate::machine::{cargo, debian, host};
use crate::process::{self, answers, captured, hushed};
use crate::report::Failure;

/// The tools, in `target/tools/worker`.
#[derive(Debug)]
pub(crate) struct Tools {
    /// `cargo`, `rustc` and `rustup` as `worker-build` calls them.
    compiler: PathBuf,
    /// `worker-build` and `wasm-bindgen`.
    bin: PathBuf,
}

impl Tools {
    /// Sees to it that they are there, and says where they came from.
    pub(crate) fn ensure() -> Result<Self, Failure> {
        let home = crate::target().join("tools/worker");
        let compiler = home.join("compiler");
        match Compiler::of_rustup() {
            Some(found) => {
                println!("    compiler: rustup's own, with rust-src");
                found.wrap(&compiler)?;
            }
            None => {
                println!(
                    "    compiler: Debian's rustc-web, since rustup's has no rust-src and can't get it"
                );
                Compiler::of_debian(&home)?.wrap(&compiler)?;
            }
        }
        install(&home, "wasm-bindgen", "wasm-bindgen-cli", &locked("wasm-bindgen")?)?;
        install(&home, "worker-build", "worker-build", &locked("worker")?)?;
        Ok(Self { compiler, bin: home.join("bin") })
    }

    /// Builds the crate in `folder` into its folder `build`.
    pub(crate) fn build(&self, folder: &Path, node: &Path) -> Result<(), Failure> {
        let modules = folder.join("node_modules/.bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let first = [self.compiler.clone(), node.to_owned()];
        let path = std::env::join_paths(first.into_iter().chain(std::env::split_paths(&path)))
            .map_err(|why| Failure::new(why.to_string()))?;
        let mut build = Command::new(self.bin.join("worker-build"));
        build
            .args(["--panic-unwind", "--profile", "worker", "--out-dir", "build", "--locked"])
            .current_dir(folder)
            .env("PATH", path)
            // Another compiler's output: cargo would build everything anew at each change of hands.
            .env("CARGO_TARGET_DIR", crate::target().join("worker"))
            .env("WASM_BINDGEN_BIN", self.bin.join("wasm-bindgen"))
            .env("WASM_OPT_BIN", modules.join("wasm-opt"))
            .env("ESBUILD_BIN", modules.join("esbuild"));
        for name in OUR_OWN {
            build.env_remove(name);
        }
        let (said, status) = hushed(&mut build, BUILD_LIMIT)?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new(format!("worker-build ended with {status}:\n{said}"))),
        }
    }
}

/// A compiler that can build the standard library for wasm32.
#[derive(Debug)]
struct Compiler {
    cargo: String,
    rustc: String,
    rustdoc: String,
    /// Where the standard library's parts are looked for, if not where the compiler does.
    sysroot: Option<PathBuf>,
    linker: Option<String>,
}

impl Compiler {
    /// The one that runs this program, if it has its source, or can get it.
    fn of_rustup() -> Option<Self> {
        let sysroot = || captured(Command::new("rustc").args(["--print", "sysroot"])).ok();
        let has_source = || {
            sysroot().is_some_and(|root| {
                Path::new(root.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
            })
        };
        if !has_source() {
            let mut add = Command::new("rustup");
            // Said only if it works: without rustup's server there is another way.
            let added = hushed(add.args(["component", "add", "rust-src"]), RUSTUP_LIMIT);
            if !added.is_ok_and(|(_, status)| status.success()) || !has_source() {
                return None;
            }
        }
        let which = |tool: &str| {
            let path = captured(Command::new("rustup").args(["which", tool])).ok()?;
            Some(path.trim().to_owned())
        };
        Some(Self {
            cargo: which("cargo")?,
            rustc: which("rustc")?,
            rustdoc: which("rustdoc")?,
            sysroot: None,
            linker: None,
        })
    }

    /// Debian's compiler for its browsers, which comes with its source and is kept up to date.
    fn of_debian(home: &Path) -> Result<Self, Failure> {
        debian(&["rustc-web", "cargo-web", "rust-web-src"], || {
            answers(Command::new("/usr/bin/cargo").arg("--version"))
                && Path::new(DEBIAN_SOURCE).join("library/Cargo.lock").is_file()
        })?;
        let version = captured(Command::new("/usr/bin/rustc").arg("-vV"))?;
        let major = version
            .lines()
            .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
            .ok_or_else(|| Failure::new("`rustc -vV` names no LLVM"))?;
        // The linker must not be older than what has written the objects.
        let linker = format!("/usr/bin/wasm-ld-{major}");
        debian(&[&format!("lld-{major}")], || Path::new(&linker).is_file())?;

        // A private sysroot: worker-build wants a folder for the target, and Debian's has none.
        let sysroot = home.join("sysroot");
        let rustlib = sysroot.join("lib/rustlib");
        let wrong = |why: std::io::Error| Failure::new(format!("{}: {why}", rustlib.display()));
        let _ = fs::remove_dir_all(&sysroot);
        fs::create_dir_all(rustlib.join("wasm32-unknown-unknown/lib")).map_err(wrong)?;
        fs::create_dir_all(rustlib.join("src")).map_err(wrong)?;
        let host = host_of(&version).map_or_else(host, Ok)?;
        symlink(Path::new("/usr/lib/rustlib").join(&host), rustlib.join(&host)).map_err(wrong)?;
        symlink(DEBIAN_SOURCE, rustlib.join("src/rust")).map_err(wrong)?;
        Ok(Self {
            cargo: "/usr/bin/cargo".to_owned(),
            rustc: "/usr/bin/rustc".to_owned(),
            rustdoc: "/usr/bin/rustdoc".to_owned(),
            sysroot: Some(sysroot),
            linker: Some(linker),
        })
    }

    /// Writes what `worker-build` calls into `folder`. Its `+nightly` becomes the permission to build
    /// the standard library; its question to rustup is answered with what is known.
    fn wrap(&self, folder: &Path) -> Result<(), Failure> {
        let mut sysroot = String::new();
        if let Some(root) = &self.sysroot {
            // Writing to a string cannot fail.
            let _ = write!(sysroot, " --sysroot '{}'", root.display());
        }
        let mut settings = format!(
            "export RUSTC='{0}/rustc' RUSTDOC='{0}/rustdoc'\nunset RUSTUP_TOOLCHAIN\n",
            folder.display()
        );
        if let Some(linker) = &self.linker {
            let _ =
                writeln!(settings, "export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER='{linker}'");
        }
        let nightly = "[ \"$1\" = +nightly ] && { shift; export RUSTC_BOOTSTRAP=1; }\n";
        let scripts = [
            ("cargo", format!("{nightly}{settings}exec '{}' \"$@\"\n", self.cargo)),
            ("rustc", format!("{nightly}exec '{}'{sysroot} \"$@\"\n", self.rustc)),
            ("rustdoc", format!("{nightly}exec '{}'{sysroot} \"$@\"\n", self.rustdoc)),
            ("rustup", "echo 'rust-src (installed)'\n".to_owned()),
        ];
        let wrong = |why: std::io::Error| Failure::new(format!("{}: {why}", folder.display()));
        fs::create_dir_all(folder).map_err(wrong)?;
        for (name, script) in scripts {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}")).map_err(wrong)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(wrong)?;
        }
        Ok(())
    }
}

/// Builds a tool without optimising it: it takes a quarter of the time, and what the tool writes is
/// the same.
fn install(home: &Path, program: &str, package: &str, version: &str) -> Result<(), Failure> {
    let path = home.join("bin").join(program);
    let has = captured(Command::new(&path).arg("--version"));
    if has.is_ok_and(|said| said.trim().ends_with(version)) {
        return Ok(());
    }
    process::run(
        cargo("install")
            .args(["--quiet", "--locked", "--debug", "--force", "--bin", program])
            .args(["--version", version, package])
            .arg("--root")
            .arg(home)
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_TARGET_DIR", home.join("build")),
    )
}

/// The `host:` of `rustc -vV`.
fn host_of(version: &str) -> Option<String> {
    version.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// What this program was started with, and another compiler must not hear of.
const OUR_OWN: [&str; 5] = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];

const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust";

/// A first build on two busy cores.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
