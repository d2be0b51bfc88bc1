//! The compiler of the Worker: one with the source of its standard library.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{answers, captured, hushed};
use crate::report::Failure;
use crate::unix::{link, set_mode};
use crate::workspace::{host, host_in, make_folder, target, write};

/// Debian's compiler for its browsers, which comes with its source and is kept up to date.
pub(crate) const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// The package of the linker for wasm32, as a shell word: it must not be older than the compiler's
/// LLVM, which wrote the objects.
pub(crate) const DEBIAN_LINKER: &str =
    r#""lld-$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')""#;

/// Whether there is a compiler that can build the Worker.
pub(crate) fn is_there() -> bool {
    rustup_has_source() || debian_linker().is_some()
}

/// Downloads the source of the standard library with rustup. Where that fails, Debian's compiler is
/// the alternative.
pub(crate) fn add_rust_src() {
    let mut add = Command::new("rustup");
    if let Err(why) = hushed(add.args(["component", "add", "rust-src"]), RUSTUP_LIMIT) {
        println!("    rustup has no rust-src here: {}", first_line(&why.to_string()));
    }
}

/// Writes the programs that `worker-build` calls, for the compiler that is there. Their folder.
pub(super) fn wrapped() -> Result<PathBuf, Failure> {
    let home = target().join("tools/worker");
    let compiler = if rustup_has_source() {
        println!("    compiler: rustup's, with rust-src");
        Compiler::of_rustup()?
    } else {
        println!("    compiler: Debian's rustc-web, since rustup's has no rust-src");
        Compiler::of_debian(&home)?
    };
    let folder = home.join("compiler");
    compiler.wrap(&folder)?;
    Ok(folder)
}

/// A compiler that can build the standard library for wasm32.
#[derive(Debug)]
struct Compiler {
    cargo: String,
    rustc: String,
    rustdoc: String,
    /// The folder of the standard library, if it is not the compiler's default.
    sysroot: Option<PathBuf>,
    linker: Option<String>,
}

impl Compiler {
    /// The compiler that has built this program.
    fn of_rustup() -> Result<Self, Failure> {
        let which = |tool: &str| {
            let path = captured(Command::new("rustup").args(["which", tool]))?;
            Ok(path.trim().to_owned())
        };
        Ok(Self {
            cargo: which("cargo")?,
            rustc: which("rustc")?,
            rustdoc: which("rustdoc")?,
            sysroot: None,
            linker: None,
        })
    }

    /// Debian's compiler, with a sysroot of its own in `home`: worker-build requires a folder for the
    /// target, and Debian's sysroot has none.
    fn of_debian(home: &Path) -> Result<Self, Failure> {
        let linker = debian_linker()
            .ok_or_else(|| Failure::new("Debian's rustc-web is not installed completely"))?;
        let version = captured(Command::new("/usr/bin/rustc").arg("-vV"))?;
        let host = host_in(&version).map_or_else(host, Ok)?;
        let sysroot = home.join("sysroot");
        let rustlib = sysroot.join("lib/rustlib");
        // What a run before has made.
        let _ = fs::remove_dir_all(&sysroot);
        make_folder(&rustlib.join("wasm32-unknown-unknown/lib"))?;
        make_folder(&rustlib.join("src"))?;
        link(&Path::new("/usr/lib/rustlib").join(&host), &rustlib.join(&host))
            .and_then(|()| link(Path::new(DEBIAN_SOURCE), &rustlib.join("src/rust")))
            .map_err(|why| Failure::new(format!("{}: {why}", rustlib.display())))?;
        Ok(Self {
            cargo: "/usr/bin/cargo".to_owned(),
            rustc: "/usr/bin/rustc".to_owned(),
            rustdoc: "/usr/bin/rustdoc".to_owned(),
            sysroot: Some(sysroot),
            linker: Some(linker),
        })
    }

    /// Writes the programs into `folder`. `+nightly` becomes the permission to build the standard
    /// library, and rustup's list of components is answered without rustup.
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
        for (name, script) in scripts {
            let path = folder.join(name);
            write(&path, &format!("#!/bin/sh\n{script}"))?;
            set_mode(&path, 0o755)
                .map_err(|why| Failure::new(format!("{}: {why}", path.display())))?;
        }
        Ok(())
    }
}

fn rustup_has_source() -> bool {
    let sysroot = captured(Command::new("rustc").args(["--print", "sysroot"]));
    let has_source = sysroot.is_ok_and(|root| {
        Path::new(root.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
    });
    has_source && answers(Command::new("rustup").arg("--version"))
}

/// The linker of Debian's compiler, if compiler, source and linker are all there.
fn debian_linker() -> Option<String> {
    let has_source = Path::new(DEBIAN_SOURCE).join("library/Cargo.lock").is_file();
    if !has_source || !answers(Command::new("/usr/bin/cargo").arg("--version")) {
        return None;
    }
    let version = captured(Command::new("/usr/bin/rustc").arg("-vV")).ok()?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    let linker = format!("/usr/bin/wasm-ld-{}", llvm.split('.').next()?);
    Path::new(&linker).is_file().then_some(linker)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

const DEBIAN_SOURCE: &str = "/usr/lib/rustlib/src/rust";

const RUSTUP_LIMIT: Duration = Duration::from_secs(60);
