//! A long mixed load with random faults: `crates/server/tests/soak`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::process;
use crate::report::Report;
use crate::test::Filtered;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How long the traffic lasts.
    #[arg(long, value_name = "N", default_value_t = MINUTES, value_parser = minutes)]
    minutes: f64,
    /// Repeats the run that printed this seed.
    #[arg(long)]
    seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { minutes: MINUTES, seed: None }
    }
}

/// Sends the load to the binary that cargo builds for the test.
pub(crate) fn run(report: &mut Report, options: &Options) {
    run_with(report, options, |_| ());
}

/// Sends a minute of the load to a binary that was built before.
pub(crate) fn run_on(report: &mut Report, binary: &Path) {
    run_with(report, &Options::default(), |soak| {
        soak.env("PROXY_BINARY", binary);
    });
}

fn run_with(report: &mut Report, options: &Options, prepare: impl Fn(&mut Command)) {
    report.tests(&format!("soak of {} minutes", options.minutes), |counts| {
        let traffic = Duration::from_secs_f64(options.minutes * 60.0);
        let mut soak = SOAK.command()?;
        soak.env("SOAK_SECONDS", traffic.as_secs().to_string());
        if let Some(seed) = options.seed {
            soak.env("SOAK_SEED", seed.to_string());
        }
        prepare(&mut soak);
        process::test(&mut soak, traffic + GRACE, counts)
    });
}

fn minutes(text: &str) -> Result<f64, String> {
    let range = 0.1..=10_000.0;
    match text.parse() {
        Ok(minutes) if range.contains(&minutes) => Ok(minutes),
        _ => Err(format!("not a number from {} to {}", range.start(), range.end())),
    }
}

const SOAK: Filtered<'_> =
    Filtered { target: "soak", filter: &["soak", "--exact", "--ignored", "--nocapture"] };

const MINUTES: f64 = 1.0;

/// For the start, the end and the last requests, on a busy machine.
const GRACE: Duration = Duration::from_secs(10 * 60);
