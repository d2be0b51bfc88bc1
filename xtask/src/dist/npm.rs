//! The packages for `npx code-assist-proxy`: a launcher, and one with the program for each platform.
//!
//! The launcher names every platform's package as an optional dependency, and npm installs the one that
//! fits. No script runs and nothing is downloaded besides.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::release::{PROGRAM, REPOSITORY, SUMMARY};
use super::tree::{Tree, gzip};
use super::{Checked, Installed, Kind, Release};
use crate::http;
use crate::process::run as shown;
use crate::proxy::Proxy;
use crate::report::Failure;
use crate::setup::Need;
use crate::smoke;
use crate::workspace::{make_folder, read, root, utf8, write};

pub(super) const KIND: Kind = Kind {
    name: "npm packages",
    is_made_for: |target| Platform::of(target).is_some(),
    needs: &[Need::Node],
    build,
    install,
    checks,
};

/// A platform as npm names it. `packaging/npm/launcher.js` has the same list.
struct Platform {
    target: &'static str,
    /// The end of the package's name.
    name: &'static str,
    os: &'static str,
    cpu: &'static str,
}

const PLATFORMS: &[Platform] = &[
    Platform { target: "aarch64-apple-darwin", name: "darwin-arm64", os: "darwin", cpu: "arm64" },
    Platform { target: "x86_64-apple-darwin", name: "darwin-x64", os: "darwin", cpu: "x64" },
    Platform {
        target: "aarch64-unknown-linux-gnu",
        name: "linux-arm64",
        os: "linux",
        cpu: "arm64",
    },
    Platform { target: "x86_64-unknown-linux-gnu", name: "linux-x64", os: "linux", cpu: "x64" },
    Platform { target: "x86_64-pc-windows-msvc", name: "win32-x64", os: "win32", cpu: "x64" },
];

impl Platform {
    fn of(target: &str) -> Option<&'static Self> {
        PLATFORMS.iter().find(|platform| platform.target == target)
    }

    fn package(&self) -> String {
        format!("@code-assist-proxy/{}", self.name)
    }
}

/// The launcher, and the package of this platform.
fn build(release: &Release) -> Result<Vec<PathBuf>, Failure> {
    let platform = Platform::of(&release.target)
        .ok_or_else(|| Failure::new(format!("there is no npm package for {}", release.target)))?;
    let mut launcher = licences()?;
    launcher.add("package/package.json", 0o644, text(&launcher_json(&release.version)));
    launcher.add_copy("package/README.md", 0o644, &source("README.md"))?;
    launcher.add_copy("package/launcher.js", 0o755, &source("launcher.js"))?;
    let mut program = licences()?;
    program.add("package/package.json", 0o644, text(&program_json(platform, &release.version)));
    program.add(format!("package/bin/{PROGRAM}"), 0o755, release.program_bytes()?);
    let files = [("", launcher), (&*format!("-{}", platform.name), program)];
    let files = files.map(|(suffix, tree)| {
        let name = format!("code-assist-proxy{suffix}-{}.tgz", release.version);
        let path = release.folder().join(name);
        fs::write(&path, gzip(&tree.tar(release.time)?)?)
            .map_err(|why| Failure::new(format!("cannot write {}: {why}", path.display())))?;
        Ok(path)
    });
    files.into_iter().collect()
}

fn launcher_json(version: &str) -> Value {
    let programs: serde_json::Map<_, _> =
        PLATFORMS.iter().map(|platform| (platform.package(), json!(version))).collect();
    json!({
        "name": "code-assist-proxy",
        "version": version,
        "description": SUMMARY,
        "license": "MIT OR Apache-2.0",
        "repository": { "type": "git", "url": format!("git+{REPOSITORY}.git") },
        "engines": { "node": ">=18" },
        "bin": { "code-assist-proxy": "launcher.js" },
        "optionalDependencies": programs,
    })
}

fn program_json(platform: &Platform, version: &str) -> Value {
    let mut package = json!({
        "name": platform.package(),
        "version": version,
        "description": format!("The program of code-assist-proxy for {} on {}", platform.os, platform.cpu),
        "license": "MIT OR Apache-2.0",
        "repository": { "type": "git", "url": format!("git+{REPOSITORY}.git") },
        "os": [platform.os],
        "cpu": [platform.cpu],
        // Yarn would leave a package without a JavaScript file zipped, and a zipped program cannot run.
        "preferUnplugged": true,
    });
    if platform.os == "linux" {
        package["libc"] = json!(["glibc"]);
    }
    package
}

fn licences() -> Result<Tree, Failure> {
    let mut tree = Tree::default();
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        tree.add_copy(format!("package/{licence}"), 0o644, &root().join(licence))?;
    }
    Ok(tree)
}

/// Installs both from their files.
fn install(_: &Release, files: &[PathBuf], prefix: &Path) -> Result<Installed, Failure> {
    write(&prefix.join("package.json"), "{\"private\":true}\n")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]).args(files);
    shown(npm.current_dir(prefix))?;
    Ok(Installed::at(prefix.join("node_modules/.bin"), LAUNCHER))
}

fn checks(release: &Release, _: &Installed) -> Vec<Checked> {
    let lacks = "a missing program is an error that says what to do";
    let mut checks = vec![
        ("the launcher knows every platform".to_owned(), knows_platforms()),
        (lacks.to_owned(), lacks_program(release)),
    ];
    match run_with_npx(release) {
        Ok(more) => checks.extend(more),
        Err(why) => checks.push(("npx starts it".to_owned(), Err(why))),
    }
    checks
}

fn knows_platforms() -> Result<(), Failure> {
    let launcher = read(&source("launcher.js"))?;
    let unknown = PLATFORMS.iter().find(|platform| {
        let entry = format!("\"{} {}\": \"{}\"", platform.os, platform.cpu, platform.package());
        !launcher.contains(&entry)
    });
    match unknown {
        None => Ok(()),
        Some(platform) => {
            Err(Failure::new(format!("launcher.js does not name {}", platform.package())))
        }
    }
}

/// Without the package of the platform the launcher ends with exit code 1 and says what to do.
fn lacks_program(release: &Release) -> Result<(), Failure> {
    let prefix = super::work().join("installed/npm without optional");
    let launcher = [build(release)?.swap_remove(0)];
    write(&prefix.join("package.json"), "{\"private\":true}\n")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--omit=optional", "--offline", "--no-audit", "--no-fund"]).args(launcher);
    shown(npm.current_dir(&prefix))?;
    let started = Command::new(prefix.join("node_modules/.bin").join(LAUNCHER)).output();
    let output = started.map_err(|why| Failure::new(format!("it cannot be started: {why}")))?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.code() == Some(1) && said.contains("--omit=optional") {
        true => Ok(()),
        false => Err(Failure::new(format!("{}, and it says {said:?}", output.status))),
    }
}

/// Runs the program as `npx code-assist-proxy` does, but from the files and without a network.
///
/// npx itself ends by the signal that it gets, so that its exit code says nothing of the program.
fn run_with_npx(release: &Release) -> Result<Vec<Checked>, Failure> {
    let cache = super::work().join("installed/npx");
    make_folder(&cache)?;
    let mut npx = Command::new("npx");
    npx.args(["--yes", "--offline", "--cache"]).arg(cache);
    for file in build(release)? {
        npx.arg(format!("--package={}", utf8(&file)?));
    }
    npx.args(["--", "code-assist-proxy", "serve", "--emulator"]);
    let mut proxy = Proxy::start(&mut npx)?;
    let mut checks: Vec<_> = smoke::checks(&proxy.url)
        .map(|(title, outcome)| (format!("with npx: {title}"), outcome))
        .collect();
    if checks.iter().any(|(_, outcome)| outcome.is_err()) {
        println!("{}", proxy.last_output());
    }
    let url = proxy.url.clone();
    let _ = proxy.stop();
    checks.push(("with npx: it ends with it".to_owned(), ends(&url)));
    Ok(checks)
}

/// Waits until no program listens there.
fn ends(url: &str) -> Result<(), Failure> {
    let deadline = Instant::now() + END_LIMIT;
    while http::get(url, "/live").is_ok() {
        if Instant::now() >= deadline {
            return Err(Failure::new(format!("{url} still answers: end that program by hand")));
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn text(package: &Value) -> String {
    format!("{package:#}\n")
}

/// A file of the repository that the packages are made from.
fn source(name: &str) -> PathBuf {
    root().join("packaging/npm").join(name)
}

/// The launcher looks for its parent twice a second.
const END_LIMIT: Duration = Duration::from_secs(10);

/// What npm makes of `bin` in the launcher's package.
const LAUNCHER: &str = if cfg!(windows) { "code-assist-proxy.cmd" } else { "code-assist-proxy" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_asks_for_every_platform_in_its_own_version() {
        let package = launcher_json("1.2.3");
        let programs = package["optionalDependencies"].as_object().unwrap();
        assert_eq!(programs.len(), PLATFORMS.len());
        assert!(programs.values().all(|version| version == "1.2.3"));
        knows_platforms().unwrap();
    }

    #[test]
    fn only_a_package_for_linux_names_a_c_library() {
        let of = |target| program_json(Platform::of(target).unwrap(), "1.2.3");
        assert_eq!(of("x86_64-unknown-linux-gnu")["libc"], json!(["glibc"]));
        assert_eq!(of("x86_64-apple-darwin")["libc"], Value::Null);
        assert!(Platform::of("x86_64-unknown-linux-musl").is_none());
    }
}
