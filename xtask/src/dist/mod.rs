//! What people install: `cargo xtask dist` makes it in `target/dist`.
//!
//! A kind of package is a [`Kind`]: a name, the systems that it is made for, and plain functions that
//! build it, install it and check it. A new kind is a module here with a constant of that type, and a
//! line in [`KINDS`]. Checksums, the start on the emulator and CI follow from that.

mod deb;
mod dockerfile;
mod image;
mod libraries;
mod notices;
mod npm;
mod pages;
mod program;
mod release;
mod sbom;
mod sums;
mod tarball;
mod tree;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::conformance;
use crate::packaging;
use crate::pgo;
use crate::process;
use crate::report::{Failure, Report, verdict};
use crate::setup::Need;
use crate::soak;
use crate::workspace::{cargo, make_folder, remove_folder, target};

use program::Installed;
use release::Release;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Packs this program instead of building one with profile-guided optimisation.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Leaves out conformance and the minute of soak, which run on the packed program.
    #[arg(long)]
    packages_only: bool,
}

/// A kind of package.
#[derive(Debug)]
struct Kind {
    /// The title of its steps, such as `tarball`.
    name: &'static str,
    /// Whether it is made on the system that this runs on.
    is_made_here: bool,
    /// What building, installing and checking it need.
    needs: &'static [Need],
    /// Writes the package to [`Release::folder`]. The paths of its files.
    build: fn(&Release) -> Result<Vec<PathBuf>, Failure>,
    /// Installs those files into an empty folder, as a user who has downloaded them would.
    install: fn(&Release, &[PathBuf], &Path) -> Result<Installed, Failure>,
    /// Checks what is true of this kind only. Every kind is started on the emulator besides.
    checks: fn(&Release, &Installed) -> Vec<Checked>,
}

/// What a check found, with its title.
type Checked = (String, Result<(), Failure>);

/// Every kind of package.
const KINDS: &[Kind] = &[tarball::KIND, deb::KIND, image::KIND, wheel::KIND, npm::KIND];

/// What the system has to have for [`run`] and [`ci`].
pub(crate) fn needs() -> Vec<Need> {
    made_here().flat_map(|kind| kind.needs).chain(release::NEEDS).copied().collect()
}

fn made_here() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| kind.is_made_here)
}

/// Builds the program, packs it, and checks the packages.
pub(crate) fn run(report: &mut Report, options: &Options) {
    let Some(binary) = options.binary.clone().or_else(|| build(report)) else { return };
    let Some(release) = pack(report, &binary) else { return };
    // The suites use signals and limits that other systems do not have.
    if cfg!(target_os = "linux") && !options.packages_only {
        conformance::run_on(report, &release.program);
        soak::run_on(report, &release.program);
    }
}

/// What CI checks of the packages, with the release binary that it has built.
pub(crate) fn ci(report: &mut Report) {
    pack(report, &target().join("release").join(release::PROGRAM));
}

/// Packs `binary`, installs each package into an empty folder, and runs it on the emulator. `None` if
/// there is nothing to pack.
fn pack(report: &mut Report, binary: &Path) -> Option<Release> {
    let release = report.step("parts of the packages", || {
        remove_folder(&folder())?;
        remove_folder(&work())?;
        make_folder(&folder())?;
        let release = Release::prepare(binary)?;
        if cfg!(target_os = "linux")
            && let Some(version) = release.libraries()?.glibc()
        {
            println!("    the program starts with glibc {} or later", libraries::dotted(&version));
        }
        Ok(release)
    });
    let release = release?;
    let kinds = made_here();
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
    let listed = report.step("SBOM", || sbom::write(&release));
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
    // The list of another system differs in names only, and Python is found in another way there.
    if listed.is_some() && cfg!(target_os = "linux") {
        report.step("SBOM, checked", || sbom::check(&release, &packaging::python()?));
    }
    report.step("SHA256SUMS, checked", || sums::check(&release.folder()));
    Some(release)
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
