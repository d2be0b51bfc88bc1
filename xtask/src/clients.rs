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
use crate::worker;

/// Sets up the clients, and runs every suite against both builds. The Worker has to have been built.
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
    let built = report.step("build of the binaries", || {
        // Without `-p`: the crates that `cargo test` has built serve again.
        process::run(cargo("build").args([
            "--bin",
            "code-assist-proxy",
            "--bin",
            "code-assist-emulator",
        ]))
    });
    if built.is_none() {
        return;
    }
    let suites = Suites { node, has_scripts: scripts.is_some(), pythons };
    let binary = crate::target().join("debug/code-assist-proxy");
    suites.run(report, "native", Command::new(binary).args(["serve", "--emulator"]), &SCRIPTS);
    let mut worker = Command::new(suites.node.join("node"));
    worker.arg("test/emulated.mjs").current_dir(worker::folder());
    suites.run(report, "Worker", &mut worker, &SCRIPTS[..2]);
}

/// The clients, set up.
struct Suites {
    node: PathBuf,
    has_scripts: bool,
    pythons: Vec<Option<PathBuf>>,
}

impl Suites {
    /// Starts one of the builds in front of the emulator, and points every client at it.
    fn run(
        &self,
        report: &mut Report,
        build: &str,
        command: &mut Command,
        scripts: &[(&str, &str)],
    ) {
        let started =
            report.step(&format!("the {build} build and the emulator"), || Proxy::start(command));
        let Some(mut proxy) = started else { return };
        for (requirements, python) in GENERATIONS.iter().zip(&self.pythons) {
            let Some(python) = python else { continue };
            let title = format!("{build}: python-genai ({requirements})");
            suite(report, &mut proxy, &title, Runner::Pytest, || {
                let mut pytest = Command::new(python);
                pytest.args(["-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider"]);
                pytest.arg("python");
                pytest
            });
        }
        for (title, file) in scripts.iter().filter(|_| self.has_scripts) {
            suite(report, &mut proxy, &format!("{build}: {title}"), Runner::Node, || {
                let mut test = Command::new(self.node.join("node"));
                test.args(["--test", "--test-reporter=tap", file]);
                test
            });
        }
        report.step(&format!("stop of the {build} build"), || proxy.stop());
    }
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

/// The clients' packages. Without optional natives: they do not need them.
pub(crate) fn npm_packages(node: &Path) -> Result<(), Failure> {
    npm_ci(node, &folder(), &["--omit=optional"])
}

/// `npm ci` in `folder`, unless it was done with this very lock file before. Without install
/// scripts: a pinned archive is then all that runs.
pub(crate) fn npm_ci(node: &Path, folder: &Path, more: &[&str]) -> Result<(), Failure> {
    let lock = folder.join("package-lock.json");
    let stamp = folder.join("node_modules/.xtask-installed");
    if is_fresh(&stamp, &lock) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).args(more);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = [node.to_owned()].into_iter().chain(std::env::split_paths(&path));
    let path = std::env::join_paths(folders).map_err(|why| Failure::new(why.to_string()))?;
    process::run(npm.env("PATH", path).current_dir(folder))?;
    remember(&stamp, &lock)
}

/// A virtual environment `venv` with exactly the packages that `pinned` lists; its `python`.
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
pub(crate) fn is_fresh(stamp: &Path, pinned: &Path) -> bool {
    fs::read(stamp).is_ok_and(|installed| read(pinned).is_ok_and(|asked| installed == asked))
}

pub(crate) fn remember(stamp: &Path, pinned: &Path) -> Result<(), Failure> {
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
