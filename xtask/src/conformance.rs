//! One suite, two runtimes: the cases that hold for the native binary and for the Worker, run for
//! each, and put side by side.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::machine::cargo;
use crate::process::tee;
use crate::report::{Failure, Report};
use crate::tally::Tally;

/// Runs the cases for both subjects, and shows them next to each other. A case that one of the two
/// has not run, or that was ignored, is a failure like any other. The Worker has to have been built.
pub(crate) fn run(report: &mut Report) {
    let mut columns = BTreeMap::new();
    for subject in [NATIVE, WORKER] {
        let title = format!("conformance of the {subject} build");
        report.step(&title, || {
            let begun = Instant::now();
            for suite in SUITES {
                let (output, _) = tee(&mut suite.command(subject), LIMIT)?;
                for (case, verdict) in verdicts(&output) {
                    columns.insert((suite.name_of(case), subject), verdict);
                }
            }
            println!("    {subject}: {:.0} s", begun.elapsed().as_secs_f64());
            Ok(())
        });
    }
    report.suite("conformance side by side", || {
        let table = Table::of(columns);
        println!("{}", table.text());
        table.judged()
    });
}

/// A test target of the server, and which of its cases are meant.
struct Suite {
    target: &'static str,
    filter: &'static str,
}

impl Suite {
    fn command(&self, subject: &str) -> Command {
        let mut command = cargo("test");
        command.args(["--no-fail-fast", "--test", self.target, "--"]);
        if !self.filter.is_empty() {
            command.arg(self.filter);
        }
        command.env("CONFORMANCE_SUBJECT", subject);
        command
    }

    /// `faults both::x` would say nothing that `faults::x` does not.
    fn name_of(&self, case: &str) -> String {
        match case.strip_prefix(self.filter) {
            Some(row) if !self.filter.is_empty() => format!("{}::{row}", self.target),
            _ => case.to_owned(),
        }
    }
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Failed,
    Ignored,
    Ok,
}

impl Verdict {
    fn text(found: Option<Self>) -> &'static str {
        match found {
            None => "MISSING",
            Some(Self::Failed) => "FAILED",
            Some(Self::Ignored) => "IGNORED",
            Some(Self::Ok) => "ok",
        }
    }
}

/// What libtest says of each case: `test rooms::case ... ok`.
fn verdicts(output: &str) -> Vec<(&str, Verdict)> {
    let cases = output.lines().filter_map(|line| {
        let (case, told) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let verdict = match told.trim() {
            "ok" => Verdict::Ok,
            "FAILED" => Verdict::Failed,
            told if told.starts_with("ignored") => Verdict::Ignored,
            _ => return None,
        };
        Some((case, verdict))
    });
    cases.collect()
}

/// Every case with what became of it on both sides.
struct Table {
    rows: BTreeMap<String, [Option<Verdict>; 2]>,
}

impl Table {
    fn of(columns: BTreeMap<(String, &str), Verdict>) -> Self {
        let mut rows = BTreeMap::<String, [Option<Verdict>; 2]>::new();
        for ((case, subject), verdict) in columns {
            rows.entry(case).or_default()[usize::from(subject == WORKER)] = Some(verdict);
        }
        Self { rows }
    }

    fn text(&self) -> String {
        let width = self.rows.keys().map(String::len).max().unwrap_or_default();
        let line = |name: &str, [native, worker]: [&str; 2]| {
            format!("    {name:<width$}  {native:<8} {worker}\n")
        };
        let head = line("case", [NATIVE, WORKER]);
        let rows = self.rows.iter().map(|(name, pair)| line(name, pair.map(Verdict::text)));
        let counts = [0, 1].map(|side| {
            let good = self.rows.values().filter(|pair| pair[side] == Some(Verdict::Ok)).count();
            format!("{good}/{}", self.rows.len())
        });
        let foot = line("passed", [&counts[0], &counts[1]]);
        std::iter::once(head).chain(rows).chain([foot]).collect()
    }

    /// A case counts once, and has passed where it has passed on both sides.
    fn judged(&self) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        for pair in self.rows.values() {
            tally += Tally::one(pair.iter().all(|side| *side == Some(Verdict::Ok)));
        }
        if tally.passed + tally.failed < LEAST {
            return Err(Failure::new(format!("only {} cases ran, not {LEAST}", self.rows.len())));
        }
        Ok(tally)
    }
}

const NATIVE: &str = "native";
const WORKER: &str = "worker";

const SUITES: &[Suite] =
    &[Suite { target: "conformance", filter: "" }, Suite { target: "faults", filter: "both::" }];

/// A table of next to nothing is no conformance.
const LEAST: u64 = 100;

/// Generous: a build may be in it, and workerd starts more than a hundred times.
const LIMIT: Duration = Duration::from_secs(20 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_from_libtests_lines() {
        let output = "running 4 tests\ntest a::b ... ok\ntest c ... FAILED\n\
            test d ... ignored, too slow\ntest e has been running for over 60 seconds\n\
            test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out\n";
        let wanted = [("a::b", Verdict::Ok), ("c", Verdict::Failed), ("d", Verdict::Ignored)];
        assert_eq!(verdicts(output), wanted);
    }

    #[test]
    fn a_case_that_one_side_has_not_run_has_failed() {
        let mut columns = BTreeMap::new();
        for n in 0..LEAST {
            columns.insert((format!("case {n}"), NATIVE), Verdict::Ok);
            if n > 0 {
                columns.insert((format!("case {n}"), WORKER), Verdict::Ok);
            }
        }
        let table = Table::of(columns);
        assert_eq!(table.judged().unwrap(), Tally { passed: LEAST - 1, failed: 1 });
        assert!(table.text().contains("case 0"), "{}", table.text());
        assert!(table.text().contains("MISSING"), "{}", table.text());
        assert!(table.text().ends_with("100/100  99/100\n"), "{}", table.text());
    }

    #[test]
    fn an_ignored_case_has_failed_and_few_cases_are_a_failure() {
        let mut columns = BTreeMap::new();
        columns.insert(("x".to_owned(), NATIVE), Verdict::Ok);
        columns.insert(("x".to_owned(), WORKER), Verdict::Ignored);
        let table = Table::of(columns);
        assert!(table.text().contains("IGNORED"));
        assert!(table.judged().is_err());
    }

    #[test]
    fn a_row_of_the_fault_table_is_named_after_its_suite() {
        assert_eq!(SUITES[0].name_of("access::x"), "access::x");
        assert_eq!(SUITES[1].name_of("both::x"), "faults::x");
    }
}
