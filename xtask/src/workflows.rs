//! GitHub's workflows and issue forms, checked against GitHub's schemas. check-jsonschema carries the
//! schemas in its package, so that the check itself needs no network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run as shown;
use crate::report::{Failure, Report};
use crate::tools::venv;
use crate::workspace::{root, target};

/// Checks every file below `.github` that GitHub reads as YAML.
pub(crate) fn run(report: &mut Report) {
    let python = report.step("check-jsonschema", || {
        venv(&folder().join("check/requirements.txt"), &target().join("github"))
    });
    let Some(python) = python else { return };
    report.step("GitHub's workflows and issue forms", || {
        let (config, forms): (Vec<_>, Vec<_>) = files("ISSUE_TEMPLATE")?
            .into_iter()
            .partition(|file| file.file_name().is_some_and(|name| name == "config.yml"));
        let workflows = files("workflows")?;
        check(&python, "vendor.github-workflows", &workflows)?;
        check(&python, "custom.github-workflows-require-timeout", &workflows)?;
        check(&python, "vendor.github-issue-forms", &forms)?;
        check(&python, "vendor.github-issue-config", &config)
    });
}

fn check(python: &Path, schema: &str, files: &[PathBuf]) -> Result<(), Failure> {
    let mut check = Command::new(python);
    check.args(["-m", "check_jsonschema", "--builtin-schema", schema]);
    shown(check.args(files))
}

/// The YAML files of a folder below `.github`, in the order of their names.
fn files(name: &str) -> Result<Vec<PathBuf>, Failure> {
    let folder = folder().join(name);
    let unreadable = |why| Failure::new(format!("cannot read {}: {why}", folder.display()));
    let entries = fs::read_dir(&folder).map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    files.retain(|file| file.extension().is_some_and(|end| end == "yml" || end == "yaml"));
    files.sort();
    Ok(files)
}

fn folder() -> PathBuf {
    root().join(".github")
}
