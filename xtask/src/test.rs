//! Every test there is.

use std::time::Duration;

use crate::clients;
use crate::conformance;
use crate::machine::{Need, cargo, ensure};
use crate::monitoring;
use crate::packaging;
use crate::process::tee;
use crate::report::{Failure, Report};
use crate::tally::{Runner, Tally};
use crate::worker;

/// The Rust tests of all crates, then the Worker under workerd and both builds side by side, then the
/// client suites against both, then what people watch it and deploy it with.
pub(crate) fn run(report: &mut Report) {
    report.suite("cargo test", || {
        ensure(&[Need::Redis, Need::Haproxy])?;
        // Unit, integration and documentation tests; one that fails does not hide the others.
        let crates = ["--workspace", "--exclude", "code-assist-worker", "--no-fail-fast"];
        let (output, status) = tee(cargo("test").args(crates), CARGO_LIMIT)?;
        judged(Runner::Cargo.count(&output), status.success(), "cargo test")
    });
    worker::test(report);
    conformance::run(report);
    clients::run(report);
    monitoring::run(report);
    packaging::run(report);
}

/// A runner's count, checked against its exit code: red without a failed test means that
/// something could not even be built or started.
pub(crate) fn judged(counted: Tally, succeeded: bool, runner: &str) -> Result<Tally, Failure> {
    if succeeded || counted.failed > 0 {
        return Ok(counted);
    }
    Err(Failure::new(format!(
        "{runner} failed with no failed test ({counted}): something did not build or start, see above"
    )))
}

/// Generous: a first build on two cores is in it.
const CARGO_LIMIT: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_red_runner_without_a_failed_test_is_a_failure() {
        assert!(judged(Tally { passed: 3, failed: 0 }, false, "x").is_err());
        assert_eq!(judged(Tally::one(false), false, "x").unwrap(), Tally::one(false));
        assert_eq!(judged(Tally::one(true), true, "x").unwrap(), Tally::one(true));
    }
}
