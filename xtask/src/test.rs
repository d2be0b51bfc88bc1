//! Every test there is.

use std::process::Command;
use std::time::Duration;

use crate::clients;
use crate::conformance::{self, Subject};
use crate::monitoring;
use crate::packaging;
use crate::process::{self, captured};
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::worker;
use crate::workspace::cargo;

/// What the system has to have for [`run`].
pub(crate) const NEEDS: &[Need] = &[
    Need::Redis,
    Need::Haproxy,
    Need::Node,
    Need::Python,
    Need::Promtool,
    Need::Chromium,
    Need::WorkerCompiler,
];

/// Builds and runs all tests.
pub(crate) fn run(report: &mut Report) {
    let ((), built) = report.side_by_side(build_rust_tests, build_worker_and_clients);
    check(report, built);
}

/// Builds what `cargo test` runs. A failure is found again, and reported, by `cargo test`.
pub(crate) fn build_rust_tests(report: &mut Report) {
    report.step("build of the Rust tests", || process::run(cargo_test().arg("--no-run")));
}

/// Builds the Worker, and installs the clients that are driven against both builds.
pub(crate) fn build_worker_and_clients(report: &mut Report) -> Built {
    Built { worker: worker::build(report), clients: clients::install(report) }
}

/// What the tests of the Worker and of the clients start from; `None` where it failed.
#[derive(Debug)]
pub(crate) struct Built {
    worker: Option<worker::Built>,
    clients: Option<clients::Clients>,
}

/// Runs the Rust tests of all crates, then the Worker's own, then the suites that hold for both
/// builds, then the clients, then monitoring and packaging.
pub(crate) fn check(report: &mut Report, built: Built) {
    report.tests("cargo test", |counts| {
        // Unit, integration and documentation tests; the crates after a failed one still run.
        process::test(cargo_test().arg("--no-fail-fast"), CARGO_LIMIT, counts)
    });
    if let Some(worker) = built.worker {
        worker::check(report, &worker);
        // `cargo test` has run the same cases against the native build.
        conformance::run(report, &[Subject::Worker]);
    }
    if let Some(clients) = built.clients {
        clients.run(report);
    }
    monitoring::run(report);
    packaging::run(report);
}

/// `cargo test` for one test target, with a filter. The selection of crates is that of
/// [`cargo_test`], so that nothing is built twice.
pub(crate) struct Filtered<'a> {
    pub(crate) target: &'a str,
    pub(crate) filter: &'a [&'a str],
}

impl Filtered<'_> {
    /// The command. A filter that selects no test is a failure here, since libtest succeeds then.
    pub(crate) fn command(&self) -> Result<Command, Failure> {
        process::run(cargo_test().args(["--no-run", "--test", self.target]))?;
        let listed = captured(self.unchecked().arg("--list"))?;
        if listed.lines().any(|line| line.ends_with(": test")) {
            return Ok(self.unchecked());
        }
        Err(Failure::new(format!("{} has no test `{}`", self.target, self.filter.join(" "))))
    }

    fn unchecked(&self) -> Command {
        let mut command = cargo_test();
        command.args(["--test", self.target, "--"]).args(self.filter);
        command
    }
}

/// `cargo test` for every crate but the Worker, which is built for another target.
fn cargo_test() -> Command {
    let mut command = cargo("test");
    command.args(RUST_PACKAGES);
    command
}

/// What `cargo test` selects. Another build with it shares the dependencies and their features.
pub(crate) const RUST_PACKAGES: [&str; 3] = ["--workspace", "--exclude", "code-assist-worker"];

/// Generous: a first build on two cores may be in it.
const CARGO_LIMIT: Duration = Duration::from_secs(30 * 60);
