//! The cases that hold for the native binary and for the Worker, run against one after the other.

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
    for subject in subjects.iter().map(|subject| subject.name()) {
        for suite in SUITES {
            report.tests(&format!("{} of the {subject} build", suite.target), |counts| {
                let mut command = suite.command()?;
                process::test(command.env("CONFORMANCE_SUBJECT", subject), LIMIT, counts)
            });
        }
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
