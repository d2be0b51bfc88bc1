//! A short run of every fuzz target, on stable Rust. Only a C++ compiler has to be installed.

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::process;
use crate::report::{Failure, Report, verdict};
use crate::setup::Need;
use crate::workspace::{cargo, host, make_folder, root};

/// What the system has to have for [`build`].
pub(crate) const NEEDS: &[Need] = &[Need::Cxx];

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long each target runs.
    #[arg(long, value_name = "N", default_value_t = SECONDS,
          value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// The targets; all of them if none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: SECONDS, targets: Vec::new() }
    }
}

pub(crate) fn run(report: &mut Report, options: &Options) {
    if let Some(binaries) = build(report) {
        check(report, &binaries, options);
    }
}

/// Does what `cargo fuzz build --sanitizer none` does, without cargo-fuzz: with only `-C` flags the
/// instrumentation is there on stable too. Memory errors are not looked for: the core forbids
/// `unsafe`. With `--target`, build scripts and macros are not instrumented. The folder of the
/// binaries.
pub(crate) fn build(report: &mut Report) -> Option<PathBuf> {
    report.step("build of the fuzz targets", || {
        let (target, host) = (folder().join("target"), host()?);
        process::run(
            cargo("build")
                .current_dir(folder())
                .args(["--release", "--bins", "--target", &host])
                .env("CARGO_TARGET_DIR", &target)
                .env("RUSTFLAGS", COVERAGE.join(" ")),
        )?;
        Ok(target.join(host).join("release"))
    })
}

/// Runs the targets, as many at a time as there are processors: each keeps one busy.
pub(crate) fn check(report: &mut Report, binaries: &Path, options: &Options) {
    report.tests(&format!("fuzz, {} s for each target", options.seconds), |counts| {
        let targets = chosen(&options.targets)?;
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let mut outcomes = Vec::new();
        for targets in targets.chunks(processors) {
            thread::scope(|scope| {
                let started: Vec<_> = targets
                    .iter()
                    .map(|target| {
                        scope.spawn(move || fuzz(&binaries.join(target), target, options.seconds))
                    })
                    .collect();
                for (target, run) in targets.iter().zip(started) {
                    let panicked = |_| Err(Failure::new("its thread panicked"));
                    outcomes.push((target.clone(), run.join().unwrap_or_else(panicked)));
                }
            });
        }
        verdict(counts, outcomes)
    });
}

fn chosen(wanted: &[String]) -> Result<Vec<String>, Failure> {
    let sources = folder().join("fuzz_targets");
    let entries = fs::read_dir(&sources)
        .map_err(|why| Failure::new(format!("cannot read {}: {why}", sources.display())))?;
    let mut known: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    known.sort();
    if let Some(stray) = wanted.iter().find(|target| !known.contains(target)) {
        let known = known.join(", ");
        return Err(Failure::new(format!("there is no target `{stray}`; there are {known}")));
    }
    if known.is_empty() {
        return Err(Failure::new(format!("no targets in {}", sources.display())));
    }
    Ok(if wanted.is_empty() { known } else { wanted.to_vec() })
}

fn fuzz(binary: &Path, target: &str, seconds: u64) -> Result<(), Failure> {
    let folder = folder();
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    make_folder(&corpus)?;
    make_folder(&artifacts)?;
    let mut command = Command::new(binary);
    command
        .current_dir(&folder)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=5", "-rss_limit_mb=2048", "-max_len=8192", "-verbosity=0"])
        .arg(&corpus);
    let dictionary = folder.join("dictionaries").join(format!("{target}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    // libFuzzer writes what it finds into the first folder and only reads the others.
    let golden = root().join("crates/testkit/tests/golden");
    command.args([folder.join("seeds").join(target), golden].iter().filter(|seeds| seeds.is_dir()));
    process::hushed(&mut command, Duration::from_secs(seconds + GRACE_SECONDS)).map_err(|why| {
        Failure::new(format!(
            "{why}\nAn input breaks {target}: fix it, and keep the input as a test. To repeat it:\n    \
             {} {}/FILE\nwhere FILE is the one that libFuzzer has written, see above",
            binary.display(),
            artifacts.display(),
        ))
    })
}

fn folder() -> PathBuf {
    root().join("fuzz")
}

/// The flags of cargo-fuzz (its `src/project.rs`, `rustc_command`) without the sanitizer.
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

const SECONDS: u64 = 10;

/// Reading the seeds comes before the clock of libFuzzer starts.
const GRACE_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_run_unless_some_are_named() {
        let all = chosen(&[]).unwrap();
        assert!(all.len() >= 5, "{all:?}");
        assert_eq!(chosen(&["sse".to_owned()]).unwrap(), ["sse"]);
        let failure = chosen(&["sse2".to_owned()]).unwrap_err().to_string();
        assert!(failure.contains("there is no target `sse2`"), "{failure}");
    }
}
