//! The release binary with profile-guided optimisation: built with counters, run under the load of
//! `crates/bench`, and built once more with the counts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{answers, captured, run as shown, run_within};
use crate::report::{Failure, Report};
use crate::tools::references;
use crate::workspace::{cargo, host, make_folder, remove_folder, root, target, utf8};

/// Builds, trains, and builds again.
pub(crate) fn run(report: &mut Report) {
    let Some(profdata) = report.step("llvm-profdata", tool) else { return };
    let built = report.step("build with counters", || {
        remove_folder(&folder("counts"))?;
        let mut flag = String::from("-Cprofile-generate=");
        flag.push_str(utf8(&folder("counts"))?);
        let counting = build("counting", &flag)?;
        shown(cargo("build").args(["--release", "-p", "code-assist-bench"]))?;
        Ok(counting)
    });
    let Some(counting) = built else { return };
    let profile = report.step("training load", || {
        let mut train = Command::new(target().join("release/code-assist-bench"));
        train.arg("train").arg("--proxy").arg(counting);
        train.arg("--work").arg(folder("work")).current_dir(root());
        run_within(train.arg("--references").arg(references()), TRAINING_LIMIT)?;
        let profile = folder("proxy.profdata");
        shown(Command::new(profdata).args(["merge", "-o"]).arg(&profile).arg(folder("counts")))?;
        Ok(profile)
    });
    let Some(profile) = profile else { return };
    report.step("build with the counts", || {
        // Cargo does not see that a profile has changed.
        remove_folder(&folder("profiled"))?;
        let built = build("profiled", &format!("-Cprofile-use={}", utf8(&profile)?))?;
        let binary = binary();
        // The file of a running program cannot be overwritten, but it can be removed.
        remove_folder(&release())?;
        make_folder(&release())?;
        fs::copy(&built, &binary)
            .map_err(|why| Failure::new(format!("cannot write {}: {why}", binary.display())))?;
        println!("    written: {}", binary.display());
        Ok(())
    });
}

/// The path of the binary, built or not.
pub(crate) fn binary() -> PathBuf {
    release().join("code-assist-proxy")
}

fn release() -> PathBuf {
    target().join("release-pgo")
}

/// Builds the release binary with one more compiler flag, in a folder of its own. The target is named,
/// so that the flag applies to the proxy and not to build scripts and macros.
fn build(name: &str, flag: &str) -> Result<PathBuf, Failure> {
    let (folder, host) = (folder(name), host()?);
    let mut build = cargo("build");
    build.args(["--release", "-p", "code-assist-proxy", "--target", &host]);
    // `RUSTFLAGS` would be split at the spaces of a path.
    build.arg("--target-dir").arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", flags(flag));
    println!("    with {flag}");
    shown(&mut build)?;
    Ok(folder.join(host).join("release/code-assist-proxy"))
}

/// The flags that the environment has set, and `flag`.
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

/// Finds `llvm-profdata`, which reads what the counters have written: rustup's for the compiler in
/// use, else one of the same LLVM, since the format differs between versions of LLVM.
pub(crate) fn tool() -> Result<PathBuf, Failure> {
    let sysroot = captured(Command::new("rustc").args(["--print", "sysroot"]))?;
    let rustlib = Path::new(sysroot.trim()).join("lib/rustlib").join(host()?);
    let own = rustlib.join("bin/llvm-profdata");
    if !own.is_file() && answers(Command::new("rustup").arg("--version")) {
        let added = shown(Command::new("rustup").args(["component", "add", "llvm-tools"]));
        if let Err(why) = added {
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
        let version = captured(Command::new(name).arg("--version"));
        version.is_ok_and(|version| llvm(&version).as_deref() == Some(&wanted))
    };
    let found = [numbered, plain].into_iter().find(fits).map(PathBuf::from);
    found.ok_or_else(|| Failure::new(format!(
        "there is no llvm-profdata of LLVM {wanted}, the compiler's.\nWith rustup: rustup component add llvm-tools\n\
         With a distribution's own rustc: its package `llvm-{wanted}` or `llvm`\n\
         Without it there is no profile; `cargo build --release` needs none."
    )))
}

/// `LLVM version: 22.1.2` is 22.
fn llvm(text: &str) -> Option<String> {
    let (_, version) =
        text.split_once("LLVM version: ").or_else(|| text.split_once("LLVM version "))?;
    Some(version.split('.').next()?.to_owned())
}

fn folder(name: &str) -> PathBuf {
    target().join("pgo").join(name)
}

/// The separator in `CARGO_ENCODED_RUSTFLAGS` (The Cargo Book, "Environment variables Cargo reads").
const SEPARATOR: &str = "\x1f";

/// Generous: the training load takes a minute.
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
