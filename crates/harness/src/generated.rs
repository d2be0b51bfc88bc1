//! Files of the repository that tests generate.

use std::fs;
use std::path::{Path, PathBuf};

/// Asserts that a file has this content. `UPDATE_DOCS=1` writes the file instead. `test` is what
/// `cargo test -p code-assist-proxy --test` needs to run only this check.
///
/// # Panics
///
/// The file has other content, or cannot be written.
#[track_caller]
pub fn assert_generated(name: &str, content: &str, test: &str) {
    let path = workspace().join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, content).expect("a writable folder");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == content,
        "{name} is stale: UPDATE_DOCS=1 cargo test -p code-assist-proxy --test {test}"
    );
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
