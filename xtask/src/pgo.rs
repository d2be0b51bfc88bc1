//! The proxy, optimised for what it was seen to do: built so that it counts, put to work by
//! `crates/bench`, and built once more with the counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::machine::{cargo, host};
use crate::process::{answers, captured, run as shown, tee};
use crate::report::{Failure, Report};

/// Does all of it.
pub(crate) fn run(report: &mut Report) {
    let Some(profdata) = report.step("llvm-profdata", tool) else { return };
    let built = report.step("a build that counts", || {
        clear(&folder("counts"))?;
        let mut flag = String::from("-Cprofile-generate=");
        flag.push_str(utf8(&folder("counts"))?);
        let counting = build("counting", &flag)?;
        shown(cargo("build").args(["--release", "-p", "code-assist-bench"]))?;
        Ok(counting)
    });
    let Some(counting) = built else { return };
    let profile = report.step("its work", || {
        let mut train = Command::new(crate::target().join("release/code-assist-bench"));
        train.arg("train").arg("--proxy").arg(counting);
        train.arg("--work").arg(folder("work")).current_dir(crate::root());
        let (_, status) = tee(train.arg("--references").arg(references()), TRAINING_LIMIT)?;
        if !status.success() {
            return Err(Failure::new("the proxy could not be put to work, see above"));
        }
        let profile = folder("proxy.profdata");
        shown(Command::new(profdata).args(["merge", "-o"]).arg(&profile).arg(folder("counts")))?;
        Ok(profile)
    });
    let Some(profile) = profile else { return };
    report.step("a build that knows the counts", || {
        // Cargo does not see that a profile has changed.
        clear(&folder("profiled"))?;
        let built = build("profiled", &format!("-Cprofile-use={}", utf8(&profile)?))?;
        let wanted = wanted();
        // A program that runs cannot be written over, but removed.
        clear(&release())?;
        fs::create_dir_all(release())
            .and_then(|()| fs::copy(&built, &wanted))
            .map_err(|why| Failure::new(format!("cannot write {}: {why}", wanted.display())))?;
        println!("    written: {}", wanted.display());
        Ok(())
    });
}

/// Where the binary is when it has been built.
pub(crate) fn wanted() -> PathBuf {
    release().join("code-assist-proxy")
}

fn release() -> PathBuf {
    crate::target().join("release-pgo")
}

/// The release binary, compiled with one more flag, in a folder of its own. For a target by name,
/// so that the flag is for the proxy and not for build scripts and macros.
fn build(name: &str, flag: &str) -> Result<PathBuf, Failure> {
    let (folder, host) = (folder(name), host()?);
    let mut build = cargo("build");
    build.args(["--release", "-p", "code-assist-proxy", "--target", &host]);
    // `RUSTFLAGS` would be cut at the spaces of a path.
    build.arg("--target-dir").arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", flags(flag));
    println!("    with {flag}");
    shown(&mut build)?;
    Ok(folder.join(host).join("release/code-assist-proxy"))
}

/// What the caller has set, and `flag`.
fn flags(flag: &str) -> String {
    let set = std::env::var("CARGO_ENCODED_RUSTFLAGS").or_else(|_| {
        let plain = std::env::var("RUSTFLAGS")?;
        Ok::<_, std::env::VarError>(plain.split_whitespace().collect::<Vec<_>>().join(SEPARATOR))
    });
    match set {
        Ok(set) if !set.is_empty() => [&set, flag].join(SEPARATOR),
        _ => flag.to_owned(),
    }
}

/// The program that reads what the compiler's counters have written: rustup's for the compiler in
/// use, else one of the same LLVM, since the format changes with each.
pub(crate) fn tool() -> Result<PathBuf, Failure> {
    let sysroot = captured(Command::new("rustc").args(["--print", "sysroot"]))?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib").join(host()?);
    let own = rustlib.join("bin/llvm-profdata");
    if !own.is_file() && answers(Command::new("rustup").arg("--version")) {
        let got = shown(Command::new("rustup").args(["component", "add", "llvm-tools"]));
        if let Err(why) = got {
            println!("    {why}");
        }
    }
    if own.is_file() {
        return Ok(own);
    }
    let rustc = captured(Command::new("rustc").arg("-vV"))?;
    let wanted = llvm(&rustc).ok_or_else(|| Failure::new("`rustc -vV` names no LLVM"))?;
    let [plain, numbered] = ["llvm-profdata".to_owned(), format!("llvm-profdata-{wanted}")];
    let fits = |name: &String| {
        let said = captured(Command::new(name).arg("--version"));
        said.is_ok_and(|said| llvm(&said).as_deref() == Some(&wanted))
    };
    let found = [numbered, plain].into_iter().find(fits).map(PathBuf::from);
    found.ok_or_else(|| Failure::new(format!(
        "there is no llvm-profdata of LLVM {wanted}, the compiler's.\nWith rustup: rustup component add llvm-tools\n\
         With a distribution's own rustc: its package `llvm-{wanted}` or `llvm`\n\
         Without it there is no profile; `cargo build --release` needs none."
    )))
}

/// `LLVM version: 22.1.2` is 22.
fn llvm(said: &str) -> Option<String> {
    let (_, version) =
        said.split_once("LLVM version: ").or_else(|| said.split_once("LLVM version "))?;
    Some(version.split('.').next()?.to_owned())
}

fn clear(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot empty {}: {why}", folder.display())))
        }
        _ => Ok(()),
    }
}

fn folder(name: &str) -> PathBuf {
    crate::target().join("pgo").join(name)
}

fn references() -> PathBuf {
    crate::root().join("crates/bench/references")
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::new(format!("{} is not UTF-8", path.display())))
}

/// Of `CARGO_ENCODED_RUSTFLAGS` (The Cargo Book, "Environment variables Cargo reads").
const SEPARATOR: &str = "\x1f";

/// It takes a minute.
const TRAINING_LIMIT: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_compiler_and_of_a_tool_is_read() {
        let rustc = "host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(llvm(rustc).as_deref(), Some("22"));
        assert_eq!(llvm("Debian LLVM version 19.1.7\n  Optimized build.").as_deref(), Some("19"));
        assert_eq!(llvm("release: 1.95.0"), None);
    }
}
