//! The files that deploy the proxy, checked against their schemas and against one another, since no
//! container engine is at hand to run them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::process;
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::tools::venv;
use crate::workspace::{root, target};

/// What the system has to have for [`run`].
pub(crate) const NEEDS: &[Need] = &[Need::Python, Need::Haproxy, Need::Promtool];

/// Checks the Dockerfile, the Compose file, the Kubernetes manifests, and the settings of HAProxy and
/// Prometheus.
pub(crate) fn run(report: &mut Report) {
    let Some(python) = report.step("Python packages for packaging", python) else { return };
    report.tests("packaging", |counts| {
        let mut pytest = Command::new(python);
        pytest.args(["-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "."]);
        pytest.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder());
        process::test(&mut pytest, LIMIT, counts)
    });
}

/// A `python` that has what packaging is checked with.
pub(crate) fn python() -> Result<PathBuf, Failure> {
    venv(&folder().join("requirements.txt"), &target().join("packaging"))
}

fn folder() -> PathBuf {
    root().join("packaging/check")
}

/// It takes seconds.
const LIMIT: Duration = Duration::from_secs(300);
