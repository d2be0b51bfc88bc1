//! The Cloudflare Worker: built, run, measured and tested under workerd.

mod build;
pub(crate) mod compiler;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Subcommand;

use self::build::Tools;
use crate::process;
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::tools;
use crate::unix::replace_by;
use crate::workspace::{cargo, root, target};

/// What the system has to have for every task.
pub(crate) const NEEDS: &[Need] = &[Need::Node, Need::WorkerCompiler];

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Builds the Worker into crates/worker/build and prints its size.
    ///
    /// Uses rustup's compiler if that has its source (rust-src) or can download it, else Debian's
    /// rustc-web. Builds worker-build and wasm-bindgen into target/tools.
    Build,
    /// Builds the Worker and runs it under workerd, with the settings in the environment.
    Dev {
        /// The address to listen on.
        #[arg(long, value_name = "ADDRESS")]
        host: Option<String>,
        /// The port to listen on [default: PORT in the environment, else 8787].
        #[arg(long)]
        port: Option<u16>,
        /// The folder that keeps KV [default: crates/worker/.state].
        #[arg(long, value_name = "DIR")]
        state: Option<String>,
    },
    /// Measures size, start-up time, and processor time per request next to a trivial Worker.
    Measure {
        /// Also writes the figures to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Tests what only the Worker promises, under workerd, and counts what a request costs it.
    ///
    /// The instructions of a request and of an event may differ by 3 % from
    /// crates/worker/costs.json. COSTS_WRITE=1 writes that file anew.
    Test,
}

pub(crate) fn run(report: &mut Report, task: &Task) {
    match task {
        Task::Build => {
            build(report);
        }
        Task::Dev { host, port, state } => {
            let port = port.map(|port| port.to_string());
            let flags = [("--host", host), ("--port", &port), ("--state", state)];
            dev(report, &flags);
        }
        Task::Measure { json } => {
            measure(report, json.as_deref(), false);
        }
        Task::Test => {
            if let Some(built) = build(report) {
                check(report, &built);
            }
        }
    }
}

/// The Worker is in `crates/worker/build`.
#[derive(Debug)]
pub(crate) struct Built {
    /// The folder of the `node` that runs it.
    node: PathBuf,
}

impl Built {
    /// `node SCRIPT` in the Worker's folder.
    fn script(&self, script: &str) -> Command {
        let mut command = Command::new(self.node.join("node"));
        command.arg(script).current_dir(folder());
        command
    }
}

/// Builds the Worker and prints its size.
pub(crate) fn build(report: &mut Report) -> Option<Built> {
    let node = report.step("Node and the Worker's npm packages", || {
        let node = tools::node()?;
        tools::npm_ci(&node, &folder(), &[])?;
        Ok(node)
    })?;
    let tools = report.step("tools for wasm32", Tools::ensure)?;
    report.step("build of the Worker", || {
        tools.build(&folder(), &node)?;
        let built = Built { node };
        process::run(&mut built.script("size.mjs"))?;
        Ok(built)
    })
}

/// Runs the built Worker in the place of this program, so that a signal reaches it directly.
fn dev(report: &mut Report, flags: &[(&str, &Option<String>)]) {
    let Some(built) = build(report) else { return };
    report.step("the Worker under workerd", || -> Result<(), Failure> {
        let mut command = built.script("dev.mjs");
        for (flag, value) in flags {
            command.args(value.iter().flat_map(|value| [*flag, value.as_str()]));
        }
        Err(Failure::new(format!("node cannot be started: {}", replace_by(&mut command))))
    });
}

/// Builds the Worker and measures it next to trivial ones; `quick` only tries whether that works.
pub(crate) fn measure(report: &mut Report, json: Option<&Path>, quick: bool) -> Option<()> {
    let built = build(report)?;
    report.step("size, start-up and processor time", || {
        let mut command = built.script("measure.mjs");
        if let Some(file) = json {
            let file = std::path::absolute(file).map_err(|why| Failure::new(why.to_string()))?;
            command.arg("--json").arg(file);
        }
        if quick {
            command.args(["--rounds", "1", "--requests", "320"]);
        }
        process::run(&mut command)
    })
}

/// Tests what only the Worker promises.
pub(crate) fn check(report: &mut Report, built: &Built) {
    let emulator = report.step("build of the emulator", || {
        process::run(cargo("build").args(["--bin", "code-assist-emulator"]))?;
        Ok(target().join("debug/code-assist-emulator"))
    });
    let Some(emulator) = emulator else { return };
    report.tests("the Worker's own tests", |counts| {
        let mut command = Command::new(built.node.join("node"));
        command
            .args(["--test", "--test-reporter=tap", "--test-timeout=240000"])
            .args(["test/costs.test.mjs", "test/runtime.test.mjs", "test/signing.test.mjs"])
            .args(["test/usage.test.mjs", "test/worker.test.mjs"])
            .current_dir(folder())
            .env("EMULATOR", emulator);
        process::test(&mut command, SUITE_LIMIT, counts)
    });
}

pub(crate) fn folder() -> PathBuf {
    root().join("crates/worker")
}

/// The suite sends 10,000 requests.
const SUITE_LIMIT: Duration = Duration::from_secs(10 * 60);
