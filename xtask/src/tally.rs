//! Counting tests from what their runners print.

use std::fmt;
use std::ops::AddAssign;

/// How many tests passed and failed. Skipped ones are neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn one(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Whose output is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Runner {
    /// `test result: ok. 3 passed; 0 failed; 0 ignored; …`, once for each test binary.
    Cargo,
    /// TAP's closing comments `# pass 3` and `# fail 0`.
    Node,
    /// `=== 1 failed, 3 passed, 1 warning in 2.34s ===`; an error counts as a failure.
    Pytest,
}

impl Runner {
    /// The sum of all closing lines in `output`.
    pub(crate) fn count(self, output: &str) -> Tally {
        let mut sum = Tally::default();
        for line in output.lines() {
            sum += self.count_line(line.trim());
        }
        sum
    }

    fn count_line(self, line: &str) -> Tally {
        match self {
            Self::Cargo => match line.strip_prefix("test result: ") {
                Some(rest) => Tally {
                    passed: before(rest, "passed"),
                    failed: before(rest, "failed"),
                },
                None => Tally::default(),
            },
            Self::Node => Tally {
                passed: after(line, "# pass "),
                failed: after(line, "# fail "),
            },
            Self::Pytest => {
                let summary = line.trim_matches(['=', ' ']);
                if !summary.contains(" in ") || !summary.ends_with('s') {
                    return Tally::default();
                }
                Tally {
                    passed: before(summary, "passed"),
                    failed: before(summary, "failed")
                        + before(summary, "error")
                        + before(summary, "errors"),
                }
            }
        }
    }
}

/// The number in front of `word`, or 0.
fn before(text: &str, word: &str) -> u64 {
    let words: Vec<&str> = text
        .split([' ', ',', ';', '.'])
        .filter(|word| !word.is_empty())
        .collect();
    words
        .windows(2)
        .find(|pair| pair[1] == word)
        .and_then(|pair| pair[0].parse().ok())
        .unwrap_or_default()
}

fn after(line: &str, prefix: &str) -> u64 {
    line.strip_prefix(prefix)
        .and_then(|rest| rest.trim().parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn cargo_counts_add_up_over_binaries_and_doc_tests() {
        let output = "running 2 tests\ntest a ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
            test result: FAILED. 10 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0s\n";
        assert_eq!(Runner::Cargo.count(output), tally(12, 3));
    }

    #[test]
    fn pytest_errors_are_failures() {
        let output = "sdk.py::one PASSED\n\
            ===== 1 failed, 13 passed, 2 warnings, 1 error in 3.21s =====\n";
        assert_eq!(Runner::Pytest.count(output), tally(13, 2));
        assert_eq!(Runner::Pytest.count("no tests ran in 0.01s"), tally(0, 0));
    }

    #[test]
    fn node_counts_come_from_the_closing_comments() {
        let output = "ok 1 - chat\n# tests 3\n# suites 0\n# pass 2\n# fail 1\n# cancelled 0\n";
        assert_eq!(Runner::Node.count(output), tally(2, 1));
    }

    #[test]
    fn a_test_that_talks_about_passing_is_not_counted() {
        assert_eq!(
            Runner::Cargo.count("test 5 passed; 6 failed ... ok"),
            tally(0, 0)
        );
        assert_eq!(
            Runner::Pytest.count("sdk.py::three_passed PASSED"),
            tally(0, 0)
        );
    }
}
