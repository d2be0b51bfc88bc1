//! The cases that hold for the native binary and for the Worker, run against one after the other.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::report::Report;
use crate::setup::Need;
use crate::test::Filtered;

/// What the system has to have for [`run`].
pub(crate) const NEEDS: &[Need] = &[Need::Node];

/// The build that the cases are run against.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject {
    Native,
    /// Has to have been built.
    Worker,
}

impl Subject {
    pub(crate) const ALL: &[Self] = &[Self::Native, Self::Worker];

    /// The value of `CONFORMANCE_SUBJECT`.
    fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Worker => "worker",
        }
    }
}

/// Runs the same cases against every subject. Ignored cases are run too: a case that one build cannot
/// pass is a failure.
pub(crate) fn run(report: &mut Report, subjects: &[Subject]) {
    for subject in subjects {
        run_suites(report, *subject, subject.name(), |_| ());
    }
}

/// Runs the cases against a native binary that was built before.
pub(crate) fn run_on(report: &mut Report, binary: &Path) {
    run_suites(report, Subject::Native, "packed", |command| {
        command.env("PROXY_BINARY", binary);
    });
}

fn run_suites(report: &mut Report, subject: Subject, name: &str, prepare: impl Fn(&mut Command)) {
    for suite in SUITES {
        report.tests(&format!("{} of the {name} build", suite.target), |counts| {
            let mut command = suite.command()?;
            prepare(command.env("CONFORMANCE_SUBJECT", subject.name()));
            process::test(&mut command, LIMIT, counts)
        });
    }
}

const SUITES: &[Filtered<'_>] = &[
    Filtered { target: "conformance", filter: &["--include-ignored"] },
    // Of the rows of both tables those that say that they hold for both builds.
    Filtered { target: "faults", filter: &["both::", "--include-ignored"] },
    Filtered { target: "attacks", filter: &["both::", "--include-ignored"] },
];

/// Generous: a build may be in it, and workerd starts more than a hundred times.
const LIMIT: Duration = Duration::from_secs(20 * 60);
