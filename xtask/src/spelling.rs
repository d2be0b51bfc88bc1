//! Spelling, checked by [typos](https://github.com/crate-ci/typos). It has a list of frequent
//! mistakes, and accepts every other word. Exceptions are in `typos.toml`.
//!
//! The binary comes from PyPI, which takes seconds; `cargo install typos-cli` takes minutes.

use std::process::Command;

use crate::process;
use crate::report::Failure;
use crate::tools::venv;
use crate::workspace::{root, target, tracked_files, write};

pub(crate) fn check() -> Result<(), Failure> {
    let python = venv(&root().join("xtask/requirements.txt"), &target().join("tools/typos"))?;
    let list = target().join("tools/typos/files");
    let files = tracked_files()?;
    let files: Vec<&str> = files.iter().filter_map(|file| file.to_str()).collect();
    write(&list, &files.join("\n"))?;
    process::run(
        Command::new(python.with_file_name("typos"))
            .args(["--config", "typos.toml", "--format", "brief", "--force-exclude", "--file-list"])
            .arg(list)
            .current_dir(root()),
    )
}
