//! Agents for programming, pinned and unmodified, that do tasks through the real binary and the Worker.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::clients;
use crate::process;
use crate::proxy::Proxy;
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::tools;

/// What the system has to have for [`install`] and [`Agents::run`].
pub(crate) const NEEDS: &[Need] = clients::NEEDS;

/// The agents, installed.
#[derive(Debug)]
pub(crate) struct Agents {
    node: PathBuf,
    has_native: bool,
    has_aider: bool,
}

/// Installs the agents. The suites of one that could not be installed are left out of [`Agents::run`];
/// its failure is in the report.
pub(crate) fn install(report: &mut Report) -> Option<Agents> {
    let node = report.step("Node", tools::node)?;
    let folder = clients::folder().join("agents");
    let installed = |names: &[&str]| {
        let mut check = Command::new(node.join("node"));
        check.arg("agents/programs.mjs").args(names);
        process::run_within(clients::isolate(&mut check), CHECK_LIMIT)
    };
    let native = report.step("Claude Code, Codex, opencode", || {
        tools::npm_ci(&node, &folder, &[])?;
        // npm succeeds when it could not download a native package, since all of them are optional.
        installed(&["claude", "codex", "opencode"]).map_err(|why| {
            tools::forget_npm_ci(&folder);
            Failure::new(format!("an agent is missing or has another version: {why}"))
        })
    });
    let aider = report.step("aider", || {
        tools::venv(&folder.join("requirements.txt"), &clients::work().join("aider"))?;
        installed(&["aider"])
    });
    Some(Agents { node, has_native: native.is_some(), has_aider: aider.is_some() })
}

impl Agents {
    /// Runs every suite, all within [`LIMIT`]. The Worker has to have been built.
    pub(crate) fn run(&self, report: &mut Report) {
        let Some(binary) = clients::build_binaries(report) else { return };
        let deadline = Instant::now() + LIMIT;
        let emulated = format!("--emulator={UPSTREAM}");
        let mut native = Command::new(binary);
        native.args(["serve", &emulated]);
        let mut worker = clients::emulated_worker(&self.node, UPSTREAM);
        let mut of_both = Vec::new();
        let mut of_native = Vec::new();
        if self.has_native {
            of_both =
                vec!["agents/tasks.test.mjs", "agents/claude.test.mjs", "agents/codex.test.mjs"];
            of_native = [&of_both[..], &["agents/opencode.test.mjs"]].concat();
        }
        if self.has_aider {
            of_native.push("agents/aider.test.mjs");
        }
        self.suites(report, "agents, native", &mut native, &of_native, deadline);
        self.suites(report, "agents, Worker", &mut worker, &of_both, deadline);
    }

    fn suites(
        &self,
        report: &mut Report,
        build: &str,
        command: &mut Command,
        files: &[&str],
        deadline: Instant,
    ) {
        if files.is_empty() {
            return;
        }
        let started = report
            .step(&format!("{build} and the emulator"), || Proxy::start_with(command, SETTINGS));
        let Some(mut proxy) = started else { return };
        for file in files {
            let mut test = Command::new(self.node.join("node"));
            test.args(["--test", "--test-reporter=tap", file]);
            let title = format!("{build}: {file}");
            clients::suite(report, &mut proxy, UPSTREAM, &title, test, deadline);
        }
        report.step(&format!("stop of {build}"), || proxy.stop());
    }
}

/// For the versions that the agents print.
const CHECK_LIMIT: Duration = Duration::from_secs(2 * 60);

/// For the suites of both builds together. An agent needs some seconds for a task, but one that hangs in
/// every test must not use up the time of CI.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// The provider whose answers need the most work: its envelope is taken off and put on too.
const UPSTREAM: &str = "code-assist";

/// What docs/CLIENTS.md advises for Claude Code, and a key, so that a wrong one is refused.
const SETTINGS: &[(&str, &str)] = &[
    ("MODEL_ALIASES", "claude-*haiku*=gemini-2.5-flash,claude-*=gemini-3-pro-preview"),
    ("PROXY_API_KEYS", "agents:key-of-the-agents"),
];
