//! GitHub's workflows and issue forms, checked against GitHub's schemas, and the schema of our own settings
//! file. check-jsonschema carries GitHub's schemas in its package, so that the check itself needs no network.

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
    report.step("docs/config.schema.json", || settings_schema(&python));
}

/// The schema of the settings file is one, accepts the example, and refuses files that the program refuses.
fn settings_schema(python: &Path) -> Result<(), Failure> {
    let schema = root().join("docs/config.schema.json");
    let checked = |arguments: &[&str], file: &Path| {
        let mut check = Command::new(python);
        shown(check.args(["-m", "check_jsonschema"]).args(arguments).arg(file))
    };
    checked(&["--check-metaschema"], &schema)?;
    let by_schema = ["--schemafile", &*schema.to_string_lossy()];
    checked(&by_schema, &root().join("docs/config.example.toml"))?;
    let wrong_file = target().join("github/wrong.toml");
    for wrong in WRONG_FILES {
        fs::write(&wrong_file, wrong)
            .map_err(|why| Failure::new(format!("cannot write: {why}")))?;
        if checked(&by_schema, &wrong_file).is_ok() {
            return Err(Failure::new(format!("the schema accepts {wrong:?}")));
        }
    }
    Ok(())
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

/// Settings files that the schema refuses.
const WRONG_FILES: &[&str] = &[
    "prot = 1\n",
    "port = 65536\n",
    "log_level = \"loud\"\n",
    "[[upstream]]\nname = \"a\"\n",
    "[[key]]\nid = \"ada\"\n",
    "[[key]]\nid = \"ada\"\nhash = \"sha256:00\"\n",
    "[[key]]\nid = \"ada\"\nkey = \"0123456789abcdef\"\ntokens_per_dya = 1\n",
    "[[key]]\nid = \"ada\"\nkey = \"0123456789abcdef\"\nmodels = []\n",
    "[[key]]\nid = \"ada\"\nkey = \"0123456789abcdef\"\nexpires = \"soon\"\n",
    "[[price]]\nmodel = \"*\"\ninput = -1\noutput = 1\n",
];

fn folder() -> PathBuf {
    root().join(".github")
}
