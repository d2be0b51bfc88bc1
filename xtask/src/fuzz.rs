//! A short run of every fuzz target, on stable Rust, with nothing to install but a C++ compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::machine::{Need, cargo, ensure, host};
use crate::process;
use crate::report::{Failure, Report};
use crate::tally::Tally;

/// Which targets, and how long each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    seconds: u64,
    /// Empty is all of them.
    targets: Vec<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seconds: 10,
            targets: Vec::new(),
        }
    }
}

impl Plan {
    /// Reads `[--seconds N] [TARGET..]`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut plan = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--seconds" {
                let value = words.next().and_then(|value| value.parse().ok());
                plan.seconds = value
                    .filter(|seconds| *seconds > 0)
                    .ok_or_else(|| "`--seconds` takes a number of at least 1".to_owned())?;
            } else if word.starts_with('-') {
                return Err(format!("`fuzz` takes no `{word}`"));
            } else {
                plan.targets.push(word.clone());
            }
        }
        Ok(plan)
    }
}

pub(crate) fn run(report: &mut Report, plan: &Plan) {
    let folder = crate::root().join("fuzz");
    let Some((targets, binaries)) = report.step("build of the fuzz targets", || {
        ensure(&[Need::Cxx])?;
        let targets = chosen(&folder, plan)?;
        let host = host()?;
        build(&folder, &host)?;
        Ok((targets, folder.join("target").join(host).join("release")))
    }) else {
        return;
    };
    for target in targets {
        report.suite(&format!("fuzz {target}, {} s", plan.seconds), || {
            fuzz(&folder, &binaries.join(&target), &target, plan.seconds)
        });
    }
}

fn chosen(folder: &Path, plan: &Plan) -> Result<Vec<String>, Failure> {
    let sources = folder.join("fuzz_targets");
    let mut known: Vec<String> = files(&sources)
        .iter()
        .filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned()))
        .collect();
    known.sort();
    if let Some(stray) = plan.targets.iter().find(|target| !known.contains(target)) {
        let known = known.join(", ");
        return Err(Failure::new(format!(
            "there is no target `{stray}`; there are {known}"
        )));
    }
    if known.is_empty() {
        return Err(Failure::new(format!("no targets in {}", sources.display())));
    }
    Ok(if plan.targets.is_empty() {
        known
    } else {
        plan.targets.clone()
    })
}

/// What `cargo fuzz build --sanitizer none` does, without cargo-fuzz: with only `-C` flags the
/// instrumentation is there on stable too. Memory errors are not looked for: the core forbids
/// `unsafe`. With `--target`, build scripts and macros stay free of the instrumentation.
fn build(folder: &Path, host: &str) -> Result<(), Failure> {
    process::run(
        cargo("build")
            .current_dir(folder)
            .args(["--release", "--bins", "--target", host])
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .env("RUSTFLAGS", COVERAGE.join(" ")),
    )
}

fn fuzz(folder: &Path, binary: &Path, target: &str, seconds: u64) -> Result<Tally, Failure> {
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for made in [&corpus, &artifacts] {
        fs::create_dir_all(made)
            .map_err(|why| Failure::new(format!("cannot make {}: {why}", made.display())))?;
    }
    let mut command = Command::new(binary);
    command
        .current_dir(folder)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([
            "-timeout=5",
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-verbosity=0",
        ])
        .args(["-print_final_stats=1"])
        .arg(&corpus);
    let dictionary = folder.join("dictionaries").join(format!("{target}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    // The first folder receives what is found, the others are only read.
    let golden = crate::root().join("crates/testkit/tests/golden");
    command.args(
        [folder.join("seeds").join(target), golden]
            .iter()
            .filter(|seeds| seeds.is_dir()),
    );
    let (output, status) =
        process::hushed(&mut command, Duration::from_secs(seconds + GRACE_SECONDS))?;
    if !status.success() {
        println!("{output}");
        let input = written(&output).unwrap_or("(no input was kept, see above)");
        return Err(Failure::new(format!(
            "an input breaks {target}; mend it, and keep the input as a test. To repeat it:\n    \
             {} {input}",
            binary.display(),
        )));
    }
    match executed(&output) {
        0 => {
            return Err(Failure::new(format!(
                "{target} executed no input:\n{output}"
            )));
        }
        inputs => println!("    {inputs} inputs"),
    }
    Ok(Tally::one(true))
}

/// The file that libFuzzer kept the breaking input in.
fn written(output: &str) -> Option<&str> {
    output
        .lines()
        .find_map(|line| Some(line.split_once("Test unit written to ")?.1.trim()))
}

/// libFuzzer's `stat::number_of_executed_units: 123`.
fn executed(output: &str) -> u64 {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .filter_map(|number| number.trim().parse::<u64>().ok())
        .sum()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect()
}

/// The flags of cargo-fuzz (its `src/project.rs`, `rustc_command`) but for the sanitizer.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// Reading the seeds comes before the clock starts.
const GRACE_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words)
    }

    #[test]
    fn seconds_and_targets_are_read_in_any_order() {
        let plan = Plan {
            seconds: 60,
            targets: vec!["sse".to_owned(), "route".to_owned()],
        };
        assert_eq!(parse("sse --seconds 60 route"), Ok(plan));
        assert_eq!(parse(""), Ok(Plan::default()));
    }

    #[test]
    fn no_time_at_all_is_refused() {
        assert!(parse("--seconds 0").is_err());
        assert!(parse("--seconds").is_err());
        assert!(parse("--second 5").is_err());
    }

    #[test]
    fn a_crash_names_its_input() {
        let output = "x\nartifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: +2I=\n";
        assert_eq!(written(output), Some("/a/crash-1"));
        assert_eq!(written("Done 17 runs"), None);
    }

    #[test]
    fn executions_are_read_from_the_final_statistics() {
        assert_eq!(
            executed("Done\nstat::number_of_executed_units: 4711\nstat::x: 1\n"),
            4711
        );
        assert_eq!(executed("Done 0 runs"), 0);
    }
}
