//! The steps of one run: shown as they happen, and summed up at the end.
//!
//! A step has failed when its work returned an error, which for a child process means its exit code.
//! The counts of tests are shown beside a step and added up for the closing line; they are fitted to
//! the verdict and never the other way round.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::counts::Counts;

/// The steps of one run with their times.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
    notes: Vec<String>,
}

impl Report {
    /// Does one piece of work. `None` when it failed; the steps after it still run.
    pub(crate) fn step<T>(
        &mut self,
        title: &str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Option<T> {
        self.record(title, None, |_| work())
    }

    /// Runs tests and notes how many there were.
    pub(crate) fn tests(
        &mut self,
        title: &str,
        work: impl FnOnce(&mut Counts) -> Result<(), Failure>,
    ) {
        self.record(title, Some(Counts::default()), work);
    }

    fn record<T>(
        &mut self,
        title: &str,
        counts: Option<Counts>,
        work: impl FnOnce(&mut Counts) -> Result<T, Failure>,
    ) -> Option<T> {
        println!("\n==> {title}");
        let started = Instant::now();
        let mut found = counts.unwrap_or_default();
        let outcome = work(&mut found);
        let took = started.elapsed();
        let failure = outcome.as_ref().err().map(ToString::to_string);
        match &failure {
            None => println!("==> {title}: done in {}", Seconds(took)),
            Some(why) => println!("==> {title}: FAILED after {}\n{why}", Seconds(took)),
        }
        let counts = counts.map(|_| found);
        self.steps.push(Step { title: title.to_owned(), took, counts, failure });
        outcome.ok()
    }

    /// Does two lists of steps at the same time, in two threads, for work that keeps only one
    /// processor busy for much of its time. Their output is mixed.
    pub(crate) fn side_by_side<A, B: Send>(
        &mut self,
        first: impl FnOnce(&mut Self) -> A,
        second: impl FnOnce(&mut Self) -> B + Send,
    ) -> (A, B) {
        let mut other = Self::default();
        let results = std::thread::scope(|scope| {
            let second = scope.spawn(|| second(&mut other));
            let first = first(self);
            (first, second.join())
        });
        self.steps.append(&mut other.steps);
        self.notes.append(&mut other.notes);
        match results {
            (first, Ok(second)) => (first, second),
            (_, Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// Keeps something that must be seen at the end of a long output.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("    NOTE: {what}");
        self.notes.push(what);
    }

    /// Prints every step with its time and, when tests were run or a step failed, the line
    /// `N passed, N failed`.
    pub(crate) fn close(self) -> ExitCode {
        println!("\nSteps:");
        for step in &self.steps {
            println!("  {step}");
        }
        for note in &self.notes {
            println!("  NOTE: {note}");
        }
        if !self.is_green() {
            println!("\nWhat failed:");
        }
        for step in &self.steps {
            if let Some(why) = &step.failure {
                println!("  {}: {}", step.title, first_lines(why));
            }
        }
        if !self.is_green() || self.steps.iter().any(|step| step.counts.is_some()) {
            println!("\n{}", self.counts());
        }
        if self.is_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn is_green(&self) -> bool {
        self.steps.iter().all(|step| step.failure.is_none())
    }

    fn counts(&self) -> Counts {
        self.steps.iter().fold(Counts::default(), |sum, step| {
            let counts = step.fitted_counts();
            Counts { passed: sum.passed + counts.passed, failed: sum.failed + counts.failed }
        })
    }
}

/// The reason why a step failed, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Makes checks that this program does itself into a verdict: prints each, counts it, and fails when
/// one of them failed.
pub(crate) fn verdict(
    counts: &mut Counts,
    checks: impl IntoIterator<Item = (String, Result<(), Failure>)>,
) -> Result<(), Failure> {
    let mut failed = Vec::new();
    for (title, outcome) in checks {
        match outcome {
            Ok(()) => {
                println!("    ok      {title}");
                counts.passed += 1;
            }
            Err(why) => {
                println!("    FAILED  {title}\n{why}");
                counts.failed += 1;
                failed.push(title);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(failed.join("; "))) }
}

/// The start of a failure, indented below the title of its step. The whole of it was printed when
/// the step ended.
fn first_lines(why: &str) -> String {
    why.lines().take(MAX_LINES).collect::<Vec<_>>().join("\n    ")
}

/// Room for some failed tests and what they said.
const MAX_LINES: usize = 40;

#[derive(Debug)]
struct Step {
    title: String,
    took: Duration,
    /// Of a step that runs tests.
    counts: Option<Counts>,
    failure: Option<String>,
}

impl Step {
    /// The counts as far as they agree with the verdict: at least one failure when the step failed,
    /// none when it did not.
    fn fitted_counts(&self) -> Counts {
        let Counts { passed, failed } = self.counts.unwrap_or_default();
        Counts { passed, failed: if self.failure.is_some() { failed.max(1) } else { 0 } }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failure.is_some() { "FAILED" } else { "ok" };
        write!(out, "{verdict:<6} {:>8}  {}", Seconds(self.took).to_string(), self.title)?;
        match self.counts {
            Some(_) => write!(out, " ({})", self.fitted_counts()),
            None => Ok(()),
        }
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.1} s", self.0.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(passed: u64, failed: u64) -> impl FnOnce(&mut Counts) -> Result<(), Failure> {
        move |counts| {
            *counts = Counts { passed, failed };
            Ok(())
        }
    }

    #[test]
    fn counts_add_up() {
        let mut report = Report::default();
        report.tests("one", finds(3, 0));
        report.tests("two", finds(1, 0));
        assert_eq!(report.counts(), Counts { passed: 4, failed: 0 });
        assert!(report.is_green());
    }

    #[test]
    fn a_count_turns_no_green_step_red() {
        let mut report = Report::default();
        report.tests("its output mentions failures", finds(3, 2));
        report.tests("its output has no summary", finds(0, 0));
        assert_eq!(report.counts(), Counts { passed: 3, failed: 0 });
        assert!(report.is_green());
    }

    #[test]
    fn a_count_turns_no_red_step_green() {
        let mut report = Report::default();
        report.tests("red without a failed test", |counts| {
            counts.passed = 5;
            Err(Failure::new("exit code 101"))
        });
        assert_eq!(report.counts(), Counts { passed: 5, failed: 1 });
        assert!(!report.is_green());
    }

    #[test]
    fn the_summary_shows_the_start_of_a_failure() {
        assert_eq!(first_lines("ended with 1:\ntest a:"), "ended with 1:\n    test a:");
        assert_eq!(first_lines(&"line\n".repeat(500)).lines().count(), MAX_LINES);
    }

    #[test]
    fn the_steps_after_a_failed_one_still_run() {
        let mut report = Report::default();
        assert!(report.step("bad", || Err::<(), _>(Failure::new("why"))).is_none());
        assert_eq!(report.step("good", || Ok(7)), Some(7));
        assert_eq!(report.steps.len(), 2);
    }

    #[test]
    fn steps_side_by_side_are_all_in_the_report() {
        let mut report = Report::default();
        let (first, second) = report.side_by_side(
            |report| report.step("first", || Ok(1)),
            |report| report.step("second", || Err::<u8, _>(Failure::new("why"))),
        );
        assert_eq!((first, second), (Some(1), None));
        assert_eq!(report.steps.len(), 2);
        assert!(!report.is_green());
    }

    #[test]
    fn one_failed_check_fails_them_all() {
        let mut counts = Counts::default();
        let checks = [("a".to_owned(), Ok(())), ("b".to_owned(), Err(Failure::new("why")))];
        assert_eq!(verdict(&mut counts, checks).unwrap_err().to_string(), "b");
        assert_eq!(counts, Counts { passed: 1, failed: 1 });
        assert!(verdict(&mut counts, []).is_ok());
    }
}
