//! What a run has done so far, told as it happens and summed up at the end.

use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::tally::Tally;

/// The steps of one run with their times, and the tests they counted.
#[derive(Debug, Default)]
pub(crate) struct Report {
    steps: Vec<Step>,
    notes: Vec<String>,
    tally: Option<Tally>,
}

impl Report {
    /// Does one piece of work that counts no tests. `None` when it failed, which ends nothing else.
    pub(crate) fn step<T>(
        &mut self,
        title: &str,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Option<T> {
        println!("\n==> {title}");
        let started = Instant::now();
        let outcome = work();
        let took = started.elapsed();
        let failure = outcome.as_ref().err().map(ToString::to_string);
        match &failure {
            None => println!("==> {title}: done in {}", Seconds(took)),
            Some(why) => println!("==> {title}: FAILED after {}\n{why}", Seconds(took)),
        }
        self.steps.push(Step {
            title: title.to_owned(),
            took,
            counted: None,
            failure,
        });
        outcome.ok()
    }

    /// Runs tests. Having run none at all is a failure.
    pub(crate) fn suite(
        &mut self,
        title: &str,
        work: impl FnOnce() -> Result<Tally, Failure>,
    ) -> Option<Tally> {
        let counted = self.step(title, || {
            let counted = work()?;
            if counted.is_empty() {
                return Err(Failure::new(
                    "no test ran: its output has no count, or a count of 0",
                ));
            }
            Ok(counted)
        })?;
        *self.tally.get_or_insert_default() += counted;
        if let Some(step) = self.steps.last_mut() {
            step.counted = Some(counted);
            println!("    {counted}");
        }
        Some(counted)
    }

    /// Keeps something that must be seen at the end of a long output.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        println!("    NOTE: {what}");
        self.notes.push(what);
    }

    /// Prints every step with its time and, when tests were run, the line `N passed, N failed`.
    /// A step that broke down counts as one failure there, so that no failed run ends on `0 failed`.
    pub(crate) fn close(self) -> ExitCode {
        println!("\nSteps:");
        for step in &self.steps {
            println!("  {step}");
        }
        for note in &self.notes {
            println!("  NOTE: {note}");
        }
        let broken = self
            .steps
            .iter()
            .filter(|step| step.failure.is_some())
            .count();
        let counted = self.tally.unwrap_or_default();
        let failed = counted.failed + broken as u64;
        if failed > 0 {
            println!("\nWhat failed:");
            for step in self.steps.iter().filter(|step| step.is_red()) {
                println!("  {}: {}", step.title, step.reason());
            }
        }
        if self.tally.is_some() {
            println!("\n{}", Tally { failed, ..counted });
        }
        if failed > 0 {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}

/// Why a step could not be done, and what to do about it.
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

#[derive(Debug)]
struct Step {
    title: String,
    took: Duration,
    counted: Option<Tally>,
    failure: Option<String>,
}

impl Step {
    fn is_red(&self) -> bool {
        self.failure.is_some() || self.counted.is_some_and(|counted| counted.failed > 0)
    }

    fn reason(&self) -> String {
        match (&self.failure, self.counted) {
            (Some(why), _) => why.lines().next().unwrap_or_default().to_owned(),
            (None, Some(counted)) => format!("{} failed, see above", counted.failed),
            (None, None) => String::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_red() { "FAILED" } else { "ok" };
        write!(
            out,
            "{verdict:<6} {:>8}  {}",
            Seconds(self.took).to_string(),
            self.title
        )?;
        match self.counted {
            Some(counted) => write!(out, " ({counted})"),
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

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn a_suite_that_ran_nothing_is_a_failure() {
        let mut report = Report::default();
        assert!(report.suite("empty", || Ok(Tally::default())).is_none());
        assert!(report.steps[0].is_red());
    }

    #[test]
    fn suites_add_up_and_a_failed_test_turns_its_step_red() {
        let mut report = Report::default();
        report.suite("one", || Ok(tally(3, 0)));
        report.suite("two", || Ok(tally(1, 2)));
        assert_eq!(report.tally, Some(tally(4, 2)));
        assert!(!report.steps[0].is_red());
        assert!(report.steps[1].is_red());
    }

    #[test]
    fn a_step_that_fails_ends_nothing_else() {
        let mut report = Report::default();
        assert!(
            report
                .step("bad", || Err::<(), _>(Failure::new("why")))
                .is_none()
        );
        assert_eq!(report.step("good", || Ok(7)), Some(7));
        assert_eq!(report.steps.len(), 2);
    }
}
