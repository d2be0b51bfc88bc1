//! The names of the tests that failed, and what they said, from the output of a test runner.
//!
//! For people who see only the end of a long output. No verdict reads this (see `report.rs`).

/// The lines about failed tests in the output of libtest, pytest and node's TAP reporter, in their
/// order: the names, and libtest's messages below its names.
///
/// At most [`LINES_A_TEST`] lines of a test, and [`MAX_LINES`] in all. Empty when none is found.
pub(crate) fn in_output(output: &str) -> String {
    let mut found = Vec::new();
    // The lines that may still follow in the part of the test named last.
    let mut left = 0_usize;
    for line in output.lines() {
        if let Some(name) = libtest_part(line) {
            found.push(format!("test {name}:"));
            left = LINES_A_TEST;
        } else if line == "failures:" || line.starts_with("test result:") {
            left = 0;
        } else if is_named(line) {
            found.push(line.trim().to_owned());
        } else if left > 0 && !line.trim().is_empty() {
            found.push(format!("  {line}"));
            left -= 1;
        }
    }
    found.truncate(MAX_LINES);
    found.join("\n")
}

/// The name in `---- name stdout ----`, below which libtest prints what a failed test said.
fn libtest_part(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// Whether pytest or node names a failed test in this line. Libtest names its own in the headings of
/// [`libtest_part`].
fn is_named(line: &str) -> bool {
    line.starts_with("FAILED ")
        || line.starts_with("ERROR ")
        || line.trim_start().starts_with("not ok ")
}

const LINES_A_TEST: usize = 12;
const MAX_LINES: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_s_failed_tests_are_named_with_their_messages() {
        let output = "running 2 tests\ntest a::good ... ok\ntest a::bad ... FAILED\n\nfailures:\n\n\
                      ---- a::bad stdout ----\n\nthread 'a::bad' panicked at src/a.rs:7:9:\n\
                      left: 1, right: 2\n\n\nfailures:\n    a::bad\n\n\
                      test result: FAILED. 1 passed; 1 failed; 0 ignored\nlater\n";
        let expected =
            "test a::bad:\n  thread 'a::bad' panicked at src/a.rs:7:9:\n  left: 1, right: 2";
        assert_eq!(in_output(output), expected);
    }

    #[test]
    fn the_summaries_of_pytest_and_node_are_kept() {
        let pytest = "sdk.py::a PASSED\nsdk.py::b FAILED\n==== short test summary info ====\n\
                      FAILED sdk.py::b - AssertionError: 1 != 2\n1 failed, 1 passed in 1s\n";
        assert_eq!(in_output(pytest), "FAILED sdk.py::b - AssertionError: 1 != 2");
        let node = "ok 1 - chat\n    not ok 2 - streams\n# pass 1\n# fail 1\n";
        assert_eq!(in_output(node), "not ok 2 - streams");
    }

    #[test]
    fn a_long_message_is_cut() {
        let message = "line\n".repeat(100);
        let output = format!("---- one stdout ----\n{message}---- two stdout ----\n{message}");
        let found = in_output(&output);
        assert_eq!(found.lines().count(), 2 * (1 + LINES_A_TEST));
        assert!(found.contains("test two:"));
        assert_eq!(in_output(&output.repeat(50)).lines().count(), MAX_LINES);
    }

    #[test]
    fn an_output_without_failures_gives_nothing() {
        assert_eq!(in_output("test a ... ok\ntest result: ok. 1 passed; 0 failed\n"), "");
    }
}
