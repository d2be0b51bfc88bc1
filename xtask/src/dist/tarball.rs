//! The archive for every system. Windows unpacks it with its own `tar`, so that there is no other form.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::release::PROGRAM;
use super::tree::{Tree, gzip, read};
use super::{Checked, Installed, Kind, Release, unpack};
use crate::process::run as shown;
use crate::report::Failure;
use crate::workspace::root;

pub(super) const KIND: Kind =
    Kind { name: "tarball", is_made_for: |_| true, needs: &[], build, install, checks };

/// Everything is in one folder of the archive's name. The debug information is an archive of its own.
fn build(release: &Release) -> Result<Vec<PathBuf>, Failure> {
    let top = release.name();
    let mut tree = Tree::default();
    for (path, mode, bytes) in release.documents()?.files() {
        tree.add(format!("{top}/{path}"), mode, bytes);
    }
    tree.add(format!("{top}/{PROGRAM}"), 0o755, release.program_bytes()?);
    for (shell, name, script) in &release.completions {
        tree.add(format!("{top}/completions/{shell}/{name}"), 0o644, &**script);
    }
    for (name, path) in FILES {
        tree.add_copy(format!("{top}/{name}"), 0o644, &root().join(path))?;
    }
    let mut files = vec![write(release, &format!("{top}.tar.gz"), &tree)?];
    if let Some(debug) = &release.debug {
        let mut tree = Tree::default();
        tree.add(format!("{top}/code-assist-proxy.debug"), 0o644, read(debug)?);
        files.push(write(release, &format!("{top}-debug.tar.gz"), &tree)?);
    }
    Ok(files)
}

fn write(release: &Release, name: &str, tree: &Tree) -> Result<PathBuf, Failure> {
    let path = release.folder().join(name);
    fs::write(&path, gzip(&tree.tar(release.time)?)?)
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", path.display())))?;
    Ok(path)
}

fn install(release: &Release, files: &[PathBuf], prefix: &Path) -> Result<Installed, Failure> {
    let archive = files.first().ok_or_else(|| Failure::new("there is no archive"))?;
    unpack(archive, prefix)?;
    Ok(Installed::at(prefix.join(release.name()), PROGRAM))
}

fn checks(release: &Release, installed: &Installed) -> Vec<Checked> {
    let top = &installed.prefix;
    let bash = top.join("completions/bash/code-assist-proxy");
    let mut parse = Command::new("bash");
    vec![
        ("bash reads its completions".to_owned(), shown(parse.arg("-n").arg(bash))),
        (
            "it holds the documents".to_owned(),
            release.documents().and_then(|documents| {
                let kept =
                    |(path, _, bytes): (&str, u32, &[u8])| match read(&top.join(path))? == bytes {
                        true => Ok(()),
                        false => Err(Failure::new(format!("{path} is another file"))),
                    };
                documents.files().try_for_each(kept)
            }),
        ),
    ]
}

/// Files of the repository that a package has besides, by their names in it.
const FILES: &[(&str, &str)] = &[
    ("code-assist-proxy.service", "packaging/code-assist-proxy.service"),
    ("config.example.toml", "docs/config.example.toml"),
];
