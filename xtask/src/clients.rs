//! Google's own clients and those of others, pinned and unmodified, against the real binary, with each
//! provider behind it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process;
use crate::proxy::{Proxy, Settings};
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::tools;
use crate::worker;
use crate::workspace::{cargo, root, target};

/// What the system has to have for [`install`] and [`Clients::run`].
pub(crate) const NEEDS: &[Need] = &[Need::Node, Need::Python];

/// The clients, installed.
#[derive(Debug)]
pub(crate) struct Clients {
    node: PathBuf,
    has_scripts: bool,
    pythons: Vec<Option<PathBuf>>,
    dialects: Option<PathBuf>,
}

/// Installs the clients. The suites of one that could not be installed are left out of
/// [`Clients::run`]; its failure is in the report.
pub(crate) fn install(report: &mut Report) -> Option<Clients> {
    let node = report.step("Node", tools::node)?;
    let has_scripts = report.step("npm packages", || npm_packages(&node)).is_some();
    let mut python = |requirements: &&str| {
        report.step(&format!("Python packages ({requirements})"), || {
            let venv = work().join(requirements.trim_end_matches(".txt"));
            tools::venv(&folder().join(requirements), &venv)
        })
    };
    let pythons = GENERATIONS.iter().map(&mut python).collect();
    let dialects = python(&DIALECTS);
    Some(Clients { node, has_scripts, pythons, dialects })
}

impl Clients {
    /// Runs every suite against both builds. The Worker has to have been built.
    pub(crate) fn run(&self, report: &mut Report) {
        let Some(binary) = build_binaries(report) else { return };
        let native = |report: &mut Report, testbed: &Testbed| {
            let emulated = format!("--emulator={}", testbed.upstream);
            self.suites(report, Command::new(&binary).args(["serve", &emulated]), testbed);
        };
        let worker = |report: &mut Report, testbed: &Testbed| {
            self.suites(report, &mut emulated_worker(&self.node, testbed.upstream), testbed);
        };
        report.side_by_side(
            |report| {
                native(report, &CODE_ASSIST);
                native(report, &KEYS);
                worker(report, &WORKER);
            },
            |report| {
                native(report, &GEMINI_API);
                native(report, &VERTEX);
                native(report, &ALL);
            },
        );
    }

    /// Starts one of the builds in front of the emulator, and runs its clients against it.
    fn suites(&self, report: &mut Report, command: &mut Command, testbed: &Testbed) {
        let Testbed { title: build, upstream, .. } = testbed;
        let started = report.step(&format!("{build} and the emulator"), || {
            Proxy::start_with(command, testbed.settings)
        });
        let Some(mut proxy) = started else { return };
        let deadline = || Instant::now() + SUITE_LIMIT;
        let dialects = [(DIALECTS, &self.dialects, testbed.dialects)];
        let generations = GENERATIONS.into_iter().zip(&self.pythons);
        let pythons = generations.map(|(name, python)| (name, python, testbed.python));
        for (requirements, python, files) in pythons.chain(dialects) {
            let Some(python) = python else { continue };
            if files.is_empty() {
                continue;
            }
            let mut pytest = Command::new(python);
            pytest.args(["-m", "pytest", "-v", "--color=no", "-p", "no:cacheprovider"]);
            pytest.args(files);
            let title = format!("{build}: Python ({requirements})");
            suite(report, &mut proxy, upstream, &title, pytest, deadline());
        }
        for file in testbed.scripts.iter().filter(|_| self.has_scripts) {
            let mut test = Command::new(self.node.join("node"));
            test.args(["--test", "--test-reporter=tap", file]);
            let title = format!("{build}: {file}");
            suite(report, &mut proxy, upstream, &title, test, deadline());
        }
        report.step(&format!("stop of {build}"), || proxy.stop());
    }
}

/// Builds the proxy and the emulator; the path of the proxy.
pub(crate) fn build_binaries(report: &mut Report) -> Option<PathBuf> {
    report.step("build of the binaries", || {
        // Without `-p`: these are the binaries that `cargo test` has built.
        let mut build = cargo("build");
        build.args(["--bin", "code-assist-proxy", "--bin", "code-assist-emulator"]);
        process::run(&mut build)?;
        Ok(target().join("debug/code-assist-proxy"))
    })
}

/// The Worker under workerd in front of the emulator, which plays `upstream`.
pub(crate) fn emulated_worker(node: &Path, upstream: &str) -> Command {
    let mut command = Command::new(node.join("node"));
    command.args(["test/emulated.mjs", upstream]).current_dir(worker::folder());
    command
}

/// Runs one suite in `clients/`, until `deadline` or for [`SUITE_LIMIT`]; one that has no time left
/// fails. When a suite fails, the last output of the proxy is shown too.
pub(crate) fn suite(
    report: &mut Report,
    proxy: &mut Proxy,
    upstream: &str,
    title: &str,
    mut command: Command,
    deadline: Instant,
) {
    report.tests(title, |counts| {
        let limit = left(deadline)?;
        isolate(&mut command)
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PROXY_URL", &proxy.url)
            .env("EMULATOR_URL", &proxy.emulator)
            .env("UPSTREAM", upstream)
            .envs(proxy.settings.iter().copied());
        let verdict = process::test(&mut command, limit, counts);
        if verdict.is_err() {
            println!("The last output of the proxy:\n{}", proxy.last_output());
        }
        verdict
    });
}

/// How long a suite may run.
fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::new("not run: the suites before it have used up the time for all"));
    }
    Ok(left.min(SUITE_LIMIT))
}

/// Sets `command` up to run in `clients/`, without the environment: no account, key or proxy setting
/// of this machine may decide a test.
pub(crate) fn isolate(command: &mut Command) -> &mut Command {
    command
        .current_dir(folder())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", work())
        .env("LANG", "C.UTF-8")
}

/// Installs the npm packages of the clients, without their optional native parts.
pub(crate) fn npm_packages(node: &Path) -> Result<(), Failure> {
    tools::npm_ci(node, &folder(), &["--omit=optional"])
}

pub(crate) fn folder() -> PathBuf {
    root().join("clients")
}

/// What is downloaded or written for the clients.
pub(crate) fn work() -> PathBuf {
    target().join("clients")
}

/// google-genai on its own HTTP stack and `/v1`, and the one before it on httpx and `/v1beta`.
const GENERATIONS: [&str; 2] = ["requirements.txt", "requirements-2.txt"];

/// The SDKs of OpenAI and Anthropic, and what is built on them.
const DIALECTS: &str = "requirements-dialects.txt";

/// One build with one choice of upstreams, and the suites that hold for it.
struct Testbed {
    title: &'static str,
    /// What the emulator plays: the value of `serve --emulator`.
    upstream: &'static str,
    /// More settings of the proxy. The suites get them too.
    settings: Settings,
    /// Suites for each of [`GENERATIONS`].
    python: &'static [&'static str],
    /// Suites for the packages of [`DIALECTS`].
    dialects: &'static [&'static str],
    scripts: &'static [&'static str],
}

/// The proxy then remembers no thought signatures that a client drops.
const WITHOUT_SIGNATURES: Settings = &[("SIGNATURE_CACHE_BYTES", "0")];

const CODE_ASSIST: Testbed = Testbed {
    title: "native, Code Assist",
    upstream: "code-assist",
    settings: &[],
    python: WORKER.python,
    dialects: DIALECT_SUITES,
    scripts: &[
        "js/sdk.test.mjs",
        "js/models.test.mjs",
        "js/code-assist.test.mjs",
        "js/vertex.test.mjs",
        "js/legacy.test.mjs",
        "js/ai-sdk.test.mjs",
        "js/dialects/openai.test.mjs",
        "js/dialects/anthropic.test.mjs",
        "js/dialects/ai-sdk.test.mjs",
        "cli/cli.test.mjs",
    ],
};

const WORKER: Testbed = Testbed {
    title: "Worker, Code Assist",
    upstream: "code-assist",
    settings: &[],
    python: &[
        "python/test_sdk.py",
        "python/test_models.py",
        "python/test_code_assist.py",
        "python/test_vertex_mode.py",
    ],
    dialects: &[],
    scripts: &["js/sdk.test.mjs", "js/models.test.mjs", "js/vertex.test.mjs", "js/legacy.test.mjs"],
};

/// The proxy with a key of its own.
const KEYS: Testbed = Testbed {
    title: "native, Code Assist, with a key",
    upstream: "code-assist",
    settings: &[("PROXY_API_KEYS", "tests:AIza-of-the-client")],
    python: &[],
    dialects: &["dialects/test_keys.py"],
    scripts: &["js/dialects/keys.test.mjs"],
};

const DIALECT_SUITES: &[&str] = &[
    "dialects/test_openai.py",
    "dialects/test_anthropic.py",
    "dialects/test_langchain.py",
    "dialects/test_pydantic_ai.py",
    "dialects/test_litellm.py",
];

const GEMINI_API: Testbed = Testbed {
    title: "native, Gemini API",
    upstream: "gemini-api",
    settings: WITHOUT_SIGNATURES,
    python: &[
        "python/test_sdk.py",
        "python/test_models.py",
        "python/test_resources.py",
        "python/test_vertex_mode.py",
        "python/test_errors.py",
    ],
    dialects: DIALECT_SUITES,
    scripts: &[
        "js/sdk.test.mjs",
        "js/models.test.mjs",
        "js/resources.test.mjs",
        "js/live.test.mjs",
        "js/vertex.test.mjs",
        "js/errors.test.mjs",
        "js/legacy.test.mjs",
        "js/ai-sdk.test.mjs",
        "js/dialects/openai.test.mjs",
        "js/dialects/anthropic.test.mjs",
        "js/dialects/ai-sdk.test.mjs",
        "cli/providers.test.mjs",
    ],
};

const VERTEX: Testbed = Testbed {
    title: "native, Vertex AI",
    upstream: "vertex",
    settings: &[],
    python: &[
        "python/test_sdk.py",
        "python/test_models.py",
        "python/test_vertex_mode.py",
        "python/test_vertex_resources.py",
        "python/test_errors.py",
    ],
    dialects: &[],
    scripts: &[
        "js/sdk.test.mjs",
        "js/models.test.mjs",
        "js/vertex.test.mjs",
        "js/errors.test.mjs",
        "js/legacy.test.mjs",
        "js/ai-sdk.test.mjs",
        "cli/providers.test.mjs",
    ],
};

/// All three in one proxy, in the order Code Assist, Gemini API, Vertex AI.
const ALL: Testbed = Testbed {
    title: "native, all providers",
    upstream: "all",
    settings: &[],
    python: &["python/test_several.py"],
    dialects: &["dialects/test_several.py"],
    scripts: &[],
};

/// A suite takes seconds; a client that hangs must not use up the time of CI.
const SUITE_LIMIT: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_has_what_is_left_of_the_time_for_all_and_fails_without_any() {
        let now = Instant::now();
        assert_eq!(left(now + 2 * SUITE_LIMIT).unwrap(), SUITE_LIMIT);
        assert!(left(now + SUITE_LIMIT / 2).unwrap() <= SUITE_LIMIT / 2);
        assert!(left(now).unwrap_err().to_string().contains("not run"));
    }
}
