//! Counts tests for the closing line `N passed, N failed`. No verdict reads these numbers: the exit
//! codes of the test runners decide (see `report.rs`).

use std::fmt;

/// The numbers of tests that passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds up the summaries of libtest (`test result: ok. 3 passed; 1 failed; …`), pytest
    /// (`1 failed, 3 passed in 2.34s`) and node's TAP reporter (`# pass 3`, `# fail 1`).
    pub(crate) fn in_output(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines() {
            let words: Vec<&str> =
                line.split([' ', ',', ';', '=']).filter(|word| !word.is_empty()).collect();
            let is_pytest = words.first().is_some_and(|word| word.parse::<u64>().is_ok());
            for pair in words.windows(2) {
                let (kind, number) = match (&words[..2], is_pytest) {
                    (["#", _], _) => (pair[0], pair[1]),
                    (["test", "result:"], _) | (_, true) => (pair[1], pair[0]),
                    _ => break,
                };
                let number = number.parse::<u64>().unwrap_or_default();
                match kind {
                    "pass" | "passed" => counts.passed += number,
                    "fail" | "failed" | "error" | "errors" => counts.failed += number,
                    _ => {}
                }
            }
        }
        counts
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summaries_of_the_three_runners_are_added_up() {
        let counts = |output| {
            let Counts { passed, failed } = Counts::in_output(output);
            (passed, failed)
        };
        let libtest = "test a ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n\
                       test result: FAILED. 10 passed; 3 failed; 1 ignored; finished in 0s\n";
        assert_eq!(counts(libtest), (12, 3));
        let pytest = "sdk.py::three_passed PASSED\n\
                      ===== 1 failed, 13 passed, 2 warnings, 1 error in 3.21s =====\n";
        assert_eq!(counts(pytest), (13, 2));
        assert_eq!(counts("16 passed in 75.10s (0:01:15)\n"), (16, 0));
        assert_eq!(counts("ok 1 - chat\n# tests 3\n# pass 2\n# fail 1\n# cancelled 0\n"), (2, 1));
        assert_eq!(counts("test 5 passed; 6 failed ... ok\nno tests ran in 0.01s\n"), (0, 0));
    }
}
