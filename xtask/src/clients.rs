//! Google's own clients, pinned and unmodified, against the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::machine::{self, Need, cargo, ensure};
use crate::process::{self, tee};
use crate::proxy::Proxy;
use crate::report::{Failure, Report};
use crate::tally::{Runner, Tally};
use crate::test::judged;

/// Sets up the clients, starts `serve --emulator`, runs every suite, stops it.
pub(crate) fn run(report: &mut Report) {
    let tools = report.step("Node and Python", || {
        ensure(&[Need::Node, Need::Python])?;
        machine::node(&work())
    });
    let Some(node) = tools else { return };
    let scripts = report.step("npm packages", || npm_packages(&node));
    let pythons: Vec<Option<PathBuf>> = GENERATIONS
        .iter()
        .map(|requirements| {
            report.step(&format!("python packages ({requirements})"), || {
                let own = work().join(requirements.trim_end_matches(".txt"));
                venv(&folder().join(requirements), &own)
            })
        })
        .collect();
    let built = report.step("build of the binary", || {
        // Without `-p`: the crates that `cargo test --workspace` has built serve again.
        process::run(cargo("build").args(["--bin", "code-assist-proxy"]))
    });
    if built.is_none() {
        return;
    }
    let binary = crate::target().join("debug/code-assist-proxy");
    let Some(mut proxy) = report.step("serve --emulator", || {
        Proxy::start(Command::new(binary).args(["serve", "--emulator"]))
    }) else {
        return;
    };
    for (requirements, python) in GENERATIONS.iter().zip(pythons) {
        let Some(python) = python else { continue };
        suite(
            report,
            &mut proxy,
            &format!("python-genai ({requirements})"),
            Runner::Pytest,
            || {
                let mut pytest = Command::new(python);
                pytest.args([
                    "-m",
                    "pytest",
                    "-v",
                    "--color=no",
                    "-p",
                    "no:cacheprovider",
                    "python",
                ]);
                pytest
            },
        );
    }
    if scripts.is_some() {
        for (title, file) in SCRIPTS {
            suite(report, &mut proxy, title, Runner::Node, || {
                let mut test = Command::new(node.join("node"));
                test.args(["--test", "--test-reporter=tap", file]);
                test
            });
        }
    }
    report.step("stop of the proxy", || proxy.stop());
}

/// Runs one suite in `clients/`. When tests fail, the proxy's own words are shown too.
fn suite(
    report: &mut Report,
    proxy: &mut Proxy,
    title: &str,
    runner: Runner,
    command: impl FnOnce() -> Command,
) {
    report.suite(title, || {
        let mut command = command();
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .current_dir(folder())
            // Nothing of this machine's accounts, keys and proxies may decide a test.
            .env_clear()
            .env("PATH", path)
            .env("HOME", work())
            .env("LANG", "C.UTF-8")
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PROXY_URL", &proxy.url)
            .env("EMULATOR_URL", &proxy.emulator);
        let (output, status) = tee(&mut command, SUITE_LIMIT)?;
        let counted = judged(runner.count(&output), status.success(), title);
        if !matches!(counted, Ok(Tally { failed: 0, .. })) {
            println!("The proxy's last words:\n{}", proxy.last_words());
        }
        counted
    });
}

/// `npm ci`, unless it was done with this very lock file before.
pub(crate) fn npm_packages(node: &Path) -> Result<(), Failure> {
    let lock = folder().join("package-lock.json");
    let modules = folder().join("node_modules");
    let stamp = modules.join(".xtask-installed");
    if is_fresh(&stamp, &lock) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    // Without install scripts and optional natives: the clients do not need them, and a pinned
    // archive is then all that runs.
    npm.args(["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [node.to_owned()].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).map_err(|why| Failure::new(why.to_string()))?;
    process::run(npm.env("PATH", path).current_dir(folder()))?;
    remember(&stamp, &lock)
}

/// A virtual environment with exactly the pinned packages; its `python`.
pub(crate) fn venv(pinned: &Path, venv: &Path) -> Result<PathBuf, Failure> {
    let python = venv.join("bin/python");
    let stamp = venv.join("xtask-installed");
    if is_fresh(&stamp, pinned) {
        return Ok(python);
    }
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    process::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(pinned),
    )?;
    remember(&stamp, pinned)?;
    Ok(python)
}

/// Whether what was installed under `stamp` is what `pinned` asks for.
fn is_fresh(stamp: &Path, pinned: &Path) -> bool {
    fs::read(stamp).is_ok_and(|installed| read(pinned).is_ok_and(|asked| installed == asked))
}

fn remember(stamp: &Path, pinned: &Path) -> Result<(), Failure> {
    fs::write(stamp, read(pinned)?)
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", stamp.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|why| Failure::new(format!("cannot read {}: {why}", path.display())))
}

/// The clients' tests.
pub(crate) fn folder() -> PathBuf {
    crate::root().join("clients")
}

/// What is downloaded or written for them.
pub(crate) fn work() -> PathBuf {
    crate::target().join("clients")
}

/// The SDK on its own HTTP stack and `/v1`, and the one before on httpx and `/v1beta`.
const GENERATIONS: [&str; 2] = ["requirements.txt", "requirements-2.txt"];

const SCRIPTS: [(&str, &str); 3] = [
    ("js-genai", "js/sdk.test.mjs"),
    ("legacy JS SDK", "js/legacy.test.mjs"),
    ("Gemini CLI", "cli/cli.test.mjs"),
];

/// A suite takes seconds; a hanging client must not take CI's time.
const SUITE_LIMIT: Duration = Duration::from_secs(10 * 60);
