//! The proxy next to other programs: `crates/bench` measures, and this installs and builds what it
//! measures.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::process::{run as shown, run_within};
use crate::report::{Failure, Report};
use crate::setup::{Install, Need, ensure, program};
use crate::tools::{self, references, venv};
use crate::workspace::{cargo, root, target};
use crate::{pgo, worker};

/// What the system has to have for [`run`]. The references are optional.
pub(crate) const NEEDS: &[Need] = worker::NEEDS;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured, about 12 minutes each time [default: 3, with --quick 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Only tries whether everything works (two minutes), and writes to target/bench.
    #[arg(long)]
    quick: bool,
    /// Measures this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
}

/// Installs the references, builds, and measures. A reference that is missing is named in the report.
pub(crate) fn run(report: &mut Report, options: &Options, install: Install) {
    let mut server = |name, need| {
        optional(report, name, || {
            ensure(&[need], install)?;
            program(name, "-v").ok_or_else(|| Failure::new(format!("there is no `{name}`")))
        })
    };
    let nginx = server("nginx", Need::Nginx);
    let haproxy = server("haproxy", Need::Haproxy);
    let workerd = optional(report, "workerd", workerd);
    let litellm = optional(report, "LiteLLM", || {
        ensure(&[Need::Python], install)?;
        let venv_folder = target().join("tools/litellm");
        venv(&references().join("litellm.txt"), &venv_folder)?;
        Ok(venv_folder.join("bin/litellm"))
    });
    let built = report.step("release builds", || {
        // One after the other: built together, each would get the features that the other asks for.
        if options.proxy.is_none() {
            shown(cargo("build").args(["--release", "-p", "code-assist-proxy"]))?;
        }
        shown(cargo("build").args(["--release", "-p", "code-assist-bench"]))
    });
    if built.is_none() {
        return;
    }
    // A build with a profile takes minutes; for `--quick` an old one is good enough.
    let profiled = optional(report, "a build with a profile", pgo::tool);
    if profiled.is_some() && !options.quick {
        pgo::run(report);
    }
    let profiled = Some(pgo::binary()).filter(|built| profiled.is_some() && built.is_file());
    let edge = target().join("bench/edge.json");
    let edge = worker::measure(report, Some(&edge), options.quick).map(|()| edge);
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 3 });
    report.step("measuring", || {
        let release = target().join("release");
        let work = target().join("bench");
        let docs = if options.quick { work.join("docs") } else { root().join("docs") };
        let mut bench = Command::new(release.join("code-assist-bench"));
        bench
            .current_dir(root())
            .arg("run")
            .arg("--proxy")
            .arg(options.proxy.clone().unwrap_or_else(|| release.join("code-assist-proxy")))
            .arg("--work")
            .arg(work)
            .arg("--references")
            .arg(references())
            .arg("--docs")
            .arg(&docs)
            .args(["--rounds", &rounds.to_string()]);
        if options.quick {
            bench.arg("--quick");
        }
        let tools = [
            ("--edge", edge),
            ("--profiled", profiled),
            ("--nginx", nginx),
            ("--haproxy", haproxy),
            ("--workerd", workerd),
            ("--litellm", litellm),
        ];
        for (flag, tool) in tools {
            bench.args(tool.map(|tool| [PathBuf::from(flag), tool]).into_iter().flatten());
        }
        run_within(&mut bench, ROUND_LIMIT * rounds + GROWTH_LIMIT)?;
        println!("    written: {}", docs.join("benchmarks.json").display());
        Ok(())
    });
}

/// Installs a reference. One that cannot be installed is left out, with a note in the report.
fn optional(
    report: &mut Report,
    name: &str,
    work: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Option<PathBuf> {
    let found = work();
    if let Err(why) = &found {
        report.note(format!("{name} was NOT measured: {why}"));
    }
    found.ok()
}

/// Installs Cloudflare's runtime, pinned. npm has one package of it for each platform.
fn workerd() -> Result<PathBuf, Failure> {
    let folder = references().join("worker");
    tools::npm_ci(&tools::node()?, &folder, &[])?;
    let platforms = fs::read_dir(folder.join("node_modules/@cloudflare"));
    let mut platforms = platforms.into_iter().flatten().filter_map(Result::ok);
    platforms
        .find_map(|entry| Some(entry.path().join("bin/workerd")).filter(|path| path.is_file()))
        .ok_or_else(|| Failure::new("workerd has no program for this platform"))
}

/// Generous: a round takes about twelve minutes.
const ROUND_LIMIT: Duration = Duration::from_secs(40 * 60);

/// For the measurements that are made once, after all rounds.
const GROWTH_LIMIT: Duration = Duration::from_secs(20 * 60);
