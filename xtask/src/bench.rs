//! The proxy next to others: `crates/bench` measures, this sees to it that all is there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::clients::{is_fresh, remember, venv};
use crate::machine::{Need, cargo, ensure, program};
use crate::process::{run as shown, tee};
use crate::report::{Failure, Report};
use crate::{pgo, worker};

/// How much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    rounds: usize,
    quick: bool,
    /// Measured instead of a fresh build.
    proxy: Option<PathBuf>,
}

impl Plan {
    /// Reads `[--rounds N] [--quick] [--proxy FILE]`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let (mut rounds, mut quick, mut proxy) = (None, false, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--rounds" => {
                    let count = words.next().and_then(|value| value.parse().ok());
                    let count = count.filter(|count| (1..=100).contains(count));
                    let why = "`--rounds` takes a number from 1 to 100";
                    rounds = Some(count.ok_or_else(|| why.to_owned())?);
                }
                "--quick" => quick = true,
                "--proxy" => {
                    let file = words.next().ok_or_else(|| "`--proxy` takes a file".to_owned())?;
                    proxy = Some(PathBuf::from(file));
                }
                other => return Err(format!("`bench` takes no `{other}`")),
            }
        }
        Ok(Self { rounds: rounds.unwrap_or(if quick { 1 } else { 3 }), quick, proxy })
    }
}

/// Gets the references, builds, measures.
pub(crate) fn run(report: &mut Report, plan: &Plan) {
    // Those that are wanted but not needed: the report says who was not there.
    let nginx = server(report, "nginx", Need::Nginx);
    let haproxy = server(report, "haproxy", Need::Haproxy);
    let workerd = optional(report, "workerd", workerd);
    let litellm = optional(report, "LiteLLM", || {
        ensure(&[Need::Python])?;
        let venv_folder = crate::target().join("tools/litellm");
        venv(&references().join("litellm.txt"), &venv_folder)?;
        Ok(venv_folder.join("bin/litellm"))
    });
    let built = report.step("release builds", || {
        // One after the other: together, they would share each other's features.
        if plan.proxy.is_none() {
            shown(cargo("build").args(["--release", "-p", "code-assist-proxy"]))?;
        }
        shown(cargo("build").args(["--release", "-p", "code-assist-bench"]))
    });
    if built.is_none() {
        return;
    }
    // A build with a profile takes minutes; an old one will do to see that everything works.
    let profiled = optional(report, "a build with a profile", pgo::tool);
    if profiled.is_some() && !plan.quick {
        pgo::run(report);
    }
    let profiled = Some(pgo::wanted()).filter(|built| profiled.is_some() && built.is_file());
    let edge = crate::target().join("bench/edge.json");
    let edge = worker::measure(report, Some(&edge), plan.quick).map(|()| edge);
    report.step("measuring", || {
        let release = crate::target().join("release");
        let work = crate::target().join("bench");
        let docs = if plan.quick { work.join("docs") } else { crate::root().join("docs") };
        let mut bench = Command::new(release.join("code-assist-bench"));
        bench
            .current_dir(crate::root())
            .arg("run")
            .arg("--proxy")
            .arg(plan.proxy.clone().unwrap_or_else(|| release.join("code-assist-proxy")))
            .arg("--work")
            .arg(work)
            .arg("--references")
            .arg(references())
            .arg("--docs")
            .arg(&docs)
            .args(["--rounds", &plan.rounds.to_string()]);
        if plan.quick {
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
        let rounds = u32::try_from(plan.rounds).unwrap_or(u32::MAX);
        let (_, status) = tee(&mut bench, ROUND_LIMIT.saturating_mul(rounds) + GROWTH_LIMIT)?;
        if !status.success() {
            return Err(Failure::new("the bench broke down, see above"));
        }
        println!("    written: {}", docs.join("benchmarks.json").display());
        Ok(())
    });
}

fn server(report: &mut Report, name: &str, need: Need) -> Option<PathBuf> {
    optional(report, name, || {
        ensure(&[need])?;
        program(name, "-v").ok_or_else(|| Failure::new(format!("there is no `{name}`")))
    })
}

/// A reference that is left out, with a note, when it cannot be had.
fn optional(
    report: &mut Report,
    name: &str,
    work: impl FnOnce() -> Result<PathBuf, Failure>,
) -> Option<PathBuf> {
    let had = work();
    if let Err(why) = &had {
        report.note(format!("{name} was NOT measured: {why}"));
    }
    had.ok()
}

/// Cloudflare's runtime, pinned: its npm package has one package of its own for each platform.
fn workerd() -> Result<PathBuf, Failure> {
    ensure(&[Need::Node])?;
    let folder = references().join("worker");
    let (lock, modules) = (folder.join("package-lock.json"), folder.join("node_modules"));
    let stamp = modules.join(".xtask-installed");
    if !is_fresh(&stamp, &lock) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        shown(npm.current_dir(&folder))?;
        remember(&stamp, &lock)?;
    }
    let platforms = fs::read_dir(modules.join("@cloudflare"));
    let mut platforms = platforms.into_iter().flatten().filter_map(Result::ok);
    platforms
        .find_map(|entry| Some(entry.path().join("bin/workerd")).filter(|path| path.is_file()))
        .ok_or_else(|| Failure::new("workerd has no program for this platform"))
}

fn references() -> PathBuf {
    crate::root().join("crates/bench/references")
}

/// A round takes about twelve minutes.
const ROUND_LIMIT: Duration = Duration::from_secs(40 * 60);

/// What comes once, after all rounds.
const GROWTH_LIMIT: Duration = Duration::from_secs(20 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words)
    }

    #[test]
    fn three_rounds_are_usual_and_one_is_quick() {
        let plan = |rounds, quick| Ok(Plan { rounds, quick, proxy: None });
        assert_eq!(parse(""), plan(3, false));
        assert_eq!(parse("--quick"), plan(1, true));
        assert_eq!(parse("--quick --rounds 5"), plan(5, true));
        assert_eq!(parse("--proxy x").unwrap().proxy, Some(PathBuf::from("x")));
    }

    #[test]
    fn nonsense_is_told() {
        assert!(parse("--rounds 0").unwrap_err().contains("from 1 to 100"));
        assert!(parse("--rounds").is_err());
        assert!(parse("--proxy").is_err());
        assert_eq!(parse("--fast"), Err("`bench` takes no `--fast`".to_owned()));
    }
}
