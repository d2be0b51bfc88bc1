//! Files that are generated from the table of settings.

use std::fs;
use std::path::Path;

#[test]
fn config_md_is_what_the_table_says() {
    is_generated("docs/CONFIG.md", &code_assist_core::settings::reference(), "config_md");
}

#[test]
fn dev_vars_example_has_every_setting_of_the_worker() {
    let example = code_assist_core::settings::worker_example();
    is_generated("crates/worker/.dev.vars.example", &example, "dev_vars");
}

/// Asserts that the file has this content. `UPDATE_DOCS=1` writes it instead.
#[track_caller]
fn is_generated(name: &str, content: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a writable folder");
        fs::write(&path, content).expect("a writable folder");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == content,
        "{name} is stale: UPDATE_DOCS=1 cargo test -p code-assist-proxy --test cli {test}"
    );
}
