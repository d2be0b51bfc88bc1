//! The files that deploy the proxy, held to their schemas and to one another, since there is no
//! container engine to try them with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::clients::venv;
use crate::machine::{Need, ensure};
use crate::process::tee;
use crate::report::Report;
use crate::tally::Runner;
use crate::test::judged;

/// Checks Dockerfile, Compose file, Kubernetes manifests, HAProxy's and Prometheus's settings.
pub(crate) fn run(report: &mut Report) {
    let python = report.step("Python, HAProxy, promtool and the schemas", || {
        ensure(&[Need::Python, Need::Haproxy, Need::Promtool])?;
        venv(&folder().join("requirements.txt"), &crate::target().join("packaging"))
    });
    let Some(python) = python else { return };
    report.suite("packaging", || {
        let mut pytest = Command::new(python);
        pytest.args(["-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", "."]);
        pytest.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(folder());
        let (output, status) = tee(&mut pytest, LIMIT)?;
        judged(Runner::Pytest.count(&output), status.success(), "packaging")
    });
}

fn folder() -> PathBuf {
    crate::root().join("packaging/check")
}

/// It takes seconds.
const LIMIT: Duration = Duration::from_secs(300);
