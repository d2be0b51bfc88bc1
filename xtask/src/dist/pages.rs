//! The manual pages and completions of a package, read by the programs that people read them with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Checked;
use crate::process::{captured, run as shown};
use crate::report::Failure;
use crate::setup::Need;

/// What the system has to have for [`check`] and [`completions`].
pub(super) const NEEDS: &[Need] =
    if cfg!(target_os = "linux") { &[Need::Groff, Need::Shells] } else { &[] };

/// Renders every page of a folder, compressed or not. A warning is a failure.
pub(super) fn check(folder: &Path) -> Result<(), Failure> {
    let pages = pages(folder)?;
    if !pages.iter().any(|page| page.to_string_lossy().contains("code-assist-proxy-serve.1")) {
        return Err(Failure::new(format!("{} has no page for `serve`", folder.display())));
    }
    for page in pages {
        let mut groff = Command::new("sh");
        // `-f` passes on what is not compressed.
        groff.args(["-c", "gzip -dcf \"$1\" | groff -K utf8 -man -ww -z 2>&1", "sh"]);
        let said = captured(groff.arg(&page))?;
        if !said.is_empty() {
            return Err(Failure::new(format!("{}: {said}", page.display())));
        }
    }
    Ok(())
}

/// Has each shell read its completions, which are in a folder of the shell's name.
pub(super) fn completions(folder: &Path) -> Vec<Checked> {
    let read = |shell: &str, flag: &str, name: &str| {
        let read = shown(Command::new(shell).arg(flag).arg(folder.join(shell).join(name)));
        (format!("{shell} reads its completions"), read)
    };
    vec![
        read("bash", "-n", "code-assist-proxy"),
        read("fish", "--no-execute", "code-assist-proxy.fish"),
        read("zsh", "-n", "_code-assist-proxy"),
    ]
}

fn pages(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |why| Failure::new(format!("cannot read {}: {why}", folder.display()));
    let entries = fs::read_dir(folder).map_err(failed)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_page_of_serve_fails() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("code-assist-proxy.1"), ".TH x 1\n").unwrap();
        assert!(check(folder.path()).unwrap_err().to_string().contains("no page for `serve`"));
    }
}
