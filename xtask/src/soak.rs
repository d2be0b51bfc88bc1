//! Hours of use in as many minutes as one likes: `crates/server/tests/soak`.

use std::time::Duration;

use crate::machine::cargo;
use crate::process::tee;
use crate::report::{Failure, Report};
use crate::tally::Tally;

/// How long, and from which seed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    minutes: f64,
    /// What a run has printed, to repeat it.
    seed: Option<u64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { minutes: 1.0, seed: None }
    }
}

impl Plan {
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut plan = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("`{word}` needs a number"))?;
            match word.as_str() {
                "--minutes" => {
                    let minutes = value.parse().ok().filter(|n| (0.1..=10_000.0).contains(n));
                    plan.minutes =
                        minutes.ok_or_else(|| format!("`{value}` is no number of minutes"))?;
                }
                "--seed" => {
                    plan.seed = Some(value.parse().map_err(|_| format!("`{value}` is no seed"))?);
                }
                other => return Err(format!("`soak` takes no `{other}`")),
            }
        }
        Ok(plan)
    }
}

/// Runs it and counts the promises that were kept.
pub(crate) fn run(report: &mut Report, plan: &Plan) {
    report.suite(&format!("soak of {} minutes", plan.minutes), || {
        let traffic = Duration::from_secs_f64(plan.minutes * 60.0);
        let mut soak = cargo("test");
        soak.args(["-p", "code-assist-proxy", "--test", "soak", "--"])
            .args(["soak", "--exact", "--ignored", "--nocapture"])
            .env("SOAK_SECONDS", traffic.as_secs().to_string());
        if let Some(seed) = plan.seed {
            soak.env("SOAK_SEED", seed.to_string());
        }
        let (output, status) = tee(&mut soak, BUILD_LIMIT + traffic)?;
        let counted = count(&output);
        if !status.success() && counted.failed == 0 {
            return Err(Failure::new("the soak broke down before it could judge, see above"));
        }
        Ok(counted)
    });
}

/// Reads `soak: 10 passed, 0 failed`.
fn count(output: &str) -> Tally {
    let closing = output.lines().rev().find_map(|line| {
        let (passed, failed) =
            line.trim().strip_prefix("soak: ")?.strip_suffix(" failed")?.split_once(" passed, ")?;
        Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
    });
    closing.unwrap_or_default()
}

/// Generous: a first build on two cores is in it.
const BUILD_LIMIT: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Plan::parse(&words)
    }

    #[test]
    fn minutes_and_seed_are_read_and_nonsense_is_told() {
        assert_eq!(parse("").unwrap().minutes, 1.0);
        let plan = Plan { minutes: 0.2, seed: Some(7) };
        assert_eq!(parse("--minutes 0.2 --seed 7"), Ok(plan));
        assert_eq!(parse("--minutes soon"), Err("`soon` is no number of minutes".to_owned()));
        assert_eq!(parse("--minutes"), Err("`--minutes` needs a number".to_owned()));
        assert_eq!(parse("--hours 1"), Err("`soak` takes no `--hours`".to_owned()));
    }

    #[test]
    fn the_closing_line_is_counted() {
        let output = "soak: ok      x\nsoak: 9 passed, 1 failed\ntest soak ... FAILED\n";
        assert_eq!(count(output), Tally { passed: 9, failed: 1 });
        assert!(count("test result: ok. 1 passed; 0 failed").is_empty());
    }
}
