//! What people install: `cargo xtask dist` makes it in `target/dist`.
//!
//! A kind of package is a [`Kind`]: a name, the systems that it is made for, and plain functions that
//! build it, install it and check it. A new kind is a module here with a constant of that type, and a
//! line in [`KINDS`]. Checksums, the start on the emulator and CI follow from that.

mod glibc;
mod npm;
mod program;
mod release;
mod sums;
mod tarball;
mod tree;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::pgo;
use crate::process;
use crate::report::{Failure, Report, verdict};
use crate::setup::Need;
use crate::workspace::{cargo, make_folder, target};

use program::Installed;
use release::Release;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Packs this program instead of building one with profile-guided optimisation.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// A kind of package.
#[derive(Debug)]
struct Kind {
    /// The title of its steps, such as `tarball`.
    name: &'static str,
    /// Whether it is made on a system, given by its target triple.
    is_made_for: fn(&str) -> bool,
    /// What building, installing and checking it need.
    needs: &'static [Need],
    /// Writes the package to [`Release::folder`]. The paths of its files.
    build: fn(&Release) -> Result<Vec<PathBuf>, Failure>,
    /// Installs those files into an empty folder, as somebody who has downloaded them would.
    install: fn(&Release, &[PathBuf], &Path) -> Result<Installed, Failure>,
    /// Checks what is true of this kind only. Every kind is started on the emulator besides.
    checks: fn(&Release, &Installed) -> Vec<Checked>,
}

/// What a check found, with its title.
type Checked = (String, Result<(), Failure>);

/// Every kind of package.
const KINDS: &[Kind] = &[npm::KIND, tarball::KIND, wheel::KIND];

/// What the system has to have for [`run`] and [`check`].
pub(crate) fn needs() -> Vec<Need> {
    KINDS.iter().flat_map(|kind| kind.needs).chain(release::NEEDS).copied().collect()
}

/// Builds the program, packs it, and checks the packages.
pub(crate) fn run(report: &mut Report, options: &Options) {
    let Some(binary) = options.binary.clone().or_else(|| build(report)) else { return };
    check(report, &binary);
}

/// Packs `binary`, installs each package into an empty folder, and runs it on the emulator.
pub(crate) fn check(report: &mut Report, binary: &Path) {
    let release = report.step("parts of the packages", || {
        clear(&folder())?;
        clear(&work())?;
        make_folder(&folder())?;
        Release::prepare(binary)
    });
    let Some(release) = release else { return };
    let kinds = KINDS.iter().filter(|kind| (kind.is_made_for)(&release.target));
    let built: Vec<_> = kinds
        .filter_map(|kind| {
            let files = report.step(kind.name, || {
                let files = (kind.build)(&release)?;
                files.iter().for_each(|file| println!("    written: {}", file.display()));
                Ok(files)
            })?;
            Some((kind, files))
        })
        .collect();
    report.step("SHA256SUMS", || sums::write(&release.folder()));
    for (kind, files) in built {
        report.tests(&format!("{}, installed", kind.name), |counts| {
            let prefix = work().join("installed").join(kind.name);
            make_folder(&prefix)?;
            let installed = (kind.install)(&release, &files, &prefix)?;
            let checks = installed.checks(&release)?;
            verdict(counts, checks.into_iter().chain((kind.checks)(&release, &installed)))
        });
    }
    report.step("SHA256SUMS, checked", || sums::check(&release.folder()));
}

/// Builds the program that is packed. Only Linux has the profile: the training load binds processes to
/// processors.
fn build(report: &mut Report) -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        pgo::run(report);
        return report.step("profile-guided build", || match pgo::binary() {
            binary if binary.is_file() => Ok(binary),
            binary => Err(Failure::new(format!("{} was not built", binary.display()))),
        });
    }
    report.step("release build", || {
        process::run(cargo("build").args(["--release", "--locked", "-p", "code-assist-proxy"]))?;
        Ok(target().join("release").join(release::PROGRAM))
    })
}

/// Where the packages are.
fn folder() -> PathBuf {
    target().join("dist")
}

/// What packages are made from, and where they are installed.
fn work() -> PathBuf {
    target().join("dist-work")
}

/// Unpacks an archive with the system's `tar`.
fn unpack(archive: &Path, folder: &Path) -> Result<(), Failure> {
    make_folder(folder)?;
    process::run(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder))
}

fn clear(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot empty {}: {why}", folder.display())))
        }
        _ => Ok(()),
    }
}
