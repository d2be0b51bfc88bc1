//! The Cloudflare Worker: built, run, measured and tested under workerd, with nothing to install
//! first but Rust and Node.

mod tools;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use self::tools::Tools;
use crate::clients;
use crate::machine::{self, Need, cargo, ensure};
use crate::process::{self, tee};
use crate::report::{Failure, Report};
use crate::tally::Runner;
use crate::test::judged;

/// What is to be done with the Worker.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// Into `crates/worker/build`.
    Build,
    /// Under workerd, until it is stopped.
    Dev {
        /// Handed on as they are.
        arguments: Vec<String>,
    },
    /// Size, start-up time, processor time a request.
    Measure {
        /// Where the figures are written to as well.
        json: Option<PathBuf>,
    },
    /// What only the Worker promises.
    Test,
}

impl Plan {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let Some((name, rest)) = words.split_first() else {
            return Err("`worker` is followed by `build`, `dev`, `measure` or `test`".to_owned());
        };
        match (name.as_str(), rest) {
            ("build", []) => Ok(Self::Build),
            ("dev", arguments) => Self::dev(arguments),
            ("measure", []) => Ok(Self::Measure { json: None }),
            ("measure", [flag, file]) if flag == "--json" => {
                Ok(Self::Measure { json: Some(file.into()) })
            }
            ("test", []) => Ok(Self::Test),
            ("build" | "measure" | "test", [extra, ..]) => {
                Err(format!("`worker {name}` takes no `{extra}`"))
            }
            (other, _) => Err(format!("there is no task `worker {other}`")),
        }
    }

    fn dev(arguments: &[String]) -> Result<Self, String> {
        let known = |flag: &str| ["--host", "--port", "--state"].contains(&flag);
        for pair in arguments.chunks(2) {
            match pair {
                [flag, value] if known(flag) => {
                    let is_port = flag == "--port";
                    if is_port && value.parse::<u16>().is_err() {
                        return Err(format!("`{value}` is no port"));
                    }
                }
                [flag] if known(flag) => return Err(format!("`{flag}` needs a value")),
                [flag, ..] => return Err(format!("`worker dev` takes no `{flag}`")),
                [] => {}
            }
        }
        Ok(Self::Dev { arguments: arguments.to_vec() })
    }
}

pub(crate) fn run(report: &mut Report, plan: &Plan) {
    match plan {
        Plan::Build => {
            build(report);
        }
        Plan::Dev { arguments } => dev(report, arguments),
        Plan::Measure { json } => {
            measure(report, json.as_deref(), false);
        }
        Plan::Test => test(report),
    }
}

/// Builds the Worker and says how large it is. The folder of the `node` that runs it.
pub(crate) fn build(report: &mut Report) -> Option<PathBuf> {
    let node = report.step("Node and the Worker's npm packages", || {
        ensure(&[Need::Node])?;
        let node = machine::node(&clients::work())?;
        clients::npm_ci(&node, &folder(), &[])?;
        Ok(node)
    })?;
    let tools = report.step("tools for wasm32", Tools::ensure)?;
    report.step("build of the Worker", || {
        tools.build(&folder(), &node)?;
        process::run(&mut node_script(&node, "size.mjs"))
    })?;
    Some(node)
}

/// Runs the built Worker in the place of this program: whoever stops the one stops the other.
fn dev(report: &mut Report, arguments: &[String]) {
    let Some(node) = build(report) else { return };
    report.step("the Worker under workerd", || -> Result<(), Failure> {
        let why = node_script(&node, "dev.mjs").args(arguments).exec();
        Err(Failure::new(format!("node cannot be started: {why}")))
    });
}

/// Builds the Worker and measures it next to trivial ones; `quick` only tries whether that works.
pub(crate) fn measure(report: &mut Report, json: Option<&Path>, quick: bool) -> Option<()> {
    let node = build(report)?;
    report.step("size, start-up and processor time", || {
        let mut command = node_script(&node, "measure.mjs");
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

/// What only the Worker promises, under real workerd.
pub(crate) fn test(report: &mut Report) {
    let Some(node) = build(report) else { return };
    let emulator = report.step("build of the emulator", || {
        process::run(cargo("build").args(["--bin", "code-assist-emulator"]))?;
        Ok(crate::target().join("debug/code-assist-emulator"))
    });
    let Some(emulator) = emulator else { return };
    report.suite("the Worker's own tests", || {
        let mut command = Command::new(node.join("node"));
        command
            .args([
                "--test",
                "--test-reporter=tap",
                "--test-timeout=240000",
                "test/costs.test.mjs",
                "test/worker.test.mjs",
            ])
            .current_dir(folder())
            .env("EMULATOR", emulator);
        let (output, status) = tee(&mut command, SUITE_LIMIT)?;
        judged(Runner::Node.count(&output), status.success(), "node --test")
    });
}

/// `node SCRIPT` in the Worker's folder.
fn node_script(node: &Path, script: &str) -> Command {
    let mut command = Command::new(node.join("node"));
    command.arg(script).current_dir(folder());
    command
}

pub(crate) fn folder() -> PathBuf {
    crate::root().join("crates/worker")
}

/// The version of a crate in `Cargo.lock`.
fn locked(name: &str) -> Result<String, Failure> {
    let path = crate::root().join("Cargo.lock");
    let lock = fs::read_to_string(&path)
        .map_err(|why| Failure::new(format!("cannot read {}: {why}", path.display())))?;
    let version = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .and_then(|(_, rest)| rest.split_once('"'));
    match version {
        Some((version, _)) => Ok(version.to_owned()),
        None => Err(Failure::new(format!("Cargo.lock has no {name}"))),
    }
}

/// 10,000 requests are among them.
const SUITE_LIMIT: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words)
    }

    #[test]
    fn dev_hands_on_what_it_knows_and_refuses_the_rest() {
        let arguments = vec!["--port".to_owned(), "0".to_owned()];
        assert_eq!(parse("dev --port 0"), Ok(Plan::Dev { arguments }));
        assert_eq!(parse("dev"), Ok(Plan::Dev { arguments: Vec::new() }));
        assert_eq!(parse("dev --port"), Err("`--port` needs a value".to_owned()));
        assert_eq!(parse("dev --port many"), Err("`many` is no port".to_owned()));
        assert_eq!(parse("dev --loud 1"), Err("`worker dev` takes no `--loud`".to_owned()));
    }

    #[test]
    fn a_worker_task_is_named() {
        assert!(parse("").is_err());
        let json = Some(PathBuf::from("here.json"));
        assert_eq!(parse("measure --json here.json"), Ok(Plan::Measure { json }));
        assert_eq!(parse("measure --json"), Err("`worker measure` takes no `--json`".to_owned()));
        assert_eq!(parse("run"), Err("there is no task `worker run`".to_owned()));
    }

    #[test]
    fn the_locked_version_is_found() {
        assert_eq!(locked("wasm-bindgen").unwrap(), "0.2.129");
    }
}
