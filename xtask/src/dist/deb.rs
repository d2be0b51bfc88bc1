//! The package for Debian, Ubuntu and their kin, with the systemd unit. `dpkg-deb` builds it, which also
//! checks the control file; what it needs of the system is read from the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::fmt::rfc2822;

use super::release::{NOTICES, timestamp};
use super::tree::{Tree, gzip, read};
use super::{Checked, Installed, Kind, Release, pages};
use crate::process::{captured, run as shown};
use crate::report::Failure;
use crate::setup::{Need, is_root};
use crate::unix::mode;
use crate::workspace::{make_folder, read as read_text, root, write};

pub(super) const KIND: Kind = Kind {
    name: "deb",
    is_made_here: cfg!(target_os = "linux"),
    needs: &[Need::Dpkg, Need::Groff, Need::Lintian],
    build,
    install,
    checks,
};

fn build(release: &Release) -> Result<Vec<PathBuf>, Failure> {
    let folder = super::work().join("deb");
    let files = files(release)?;
    files.write_to(&folder)?;
    let paths = files.files().map(|(path, ..)| path).filter(|path| !CONFFILES.contains(path));
    let sums = captured(Command::new("md5sum").args(paths).current_dir(&folder))?;

    let mut control = Tree::default();
    control.add("DEBIAN/control", 0o644, fields(release, &files)?);
    control.add("DEBIAN/conffiles", 0o644, CONFFILES.map(|path| format!("/{path}\n")).concat());
    control.add("DEBIAN/md5sums", 0o644, sums);
    for script in ["postinst", "postrm", "prerm"] {
        control.add_copy(format!("DEBIAN/{script}"), 0o755, &source(script))?;
    }
    control.write_to(&folder)?;

    let package = release.folder().join(file_name(release)?);
    let mut build = Command::new("dpkg-deb");
    // Ubuntu's default is zstd, which older systems cannot unpack.
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(&folder).arg(&package);
    shown(build.env("SOURCE_DATE_EPOCH", release.time.to_string()))?;
    Ok(vec![package])
}

/// What the package installs.
fn files(release: &Release) -> Result<Tree, Failure> {
    let documents = "usr/share/doc/code-assist-proxy";
    let mut tree = Tree::default();
    tree.add(PROGRAM, 0o755, release.program_bytes()?);
    tree.add_copy(CONFFILES[0], 0o644, &source("config.toml"))?;
    tree.add_copy(CONFFILES[1], 0o600, &source("env"))?;
    tree.add_copy(UNIT, 0o644, &root().join("packaging/code-assist-proxy.service"))?;
    for (page, text) in &release.manual {
        tree.add(format!("{MANUAL}/{page}.gz"), 0o644, gzip(text)?);
    }
    for (shell, name, script) in &release.completions {
        if let Some((_, folder)) = COMPLETIONS.iter().find(|(known, _)| known == shell) {
            tree.add(format!("usr/share/{folder}/{name}"), 0o644, &**script);
        }
    }
    tree.add_copy(format!("{documents}/copyright"), 0o644, &source("copyright"))?;
    tree.add(
        format!("{documents}/changelog.gz"),
        0o644,
        gzip(&read(&root().join("CHANGELOG.md"))?)?,
    );
    tree.add(
        format!("{documents}/changelog.Debian.gz"),
        0o644,
        gzip(changelog(release)?.as_bytes())?,
    );
    tree.add(format!("{documents}/README.md.gz"), 0o644, gzip(&read(&root().join("README.md"))?)?);
    let notices = gzip(release.linked.notices()?.as_bytes())?;
    tree.add(format!("{documents}/{NOTICES}.gz"), 0o644, notices);
    let example = root().join("docs/config.example.toml");
    tree.add_copy(format!("{documents}/examples/config.example.toml"), 0o644, &example)?;
    let overrides = "usr/share/lintian/overrides/code-assist-proxy";
    tree.add_copy(overrides, 0o644, &source("lintian-overrides"))?;
    Ok(tree)
}

/// The control file (Debian Policy, chapter 5).
fn fields(release: &Release, files: &Tree) -> Result<String, Failure> {
    let size: usize = files.files().map(|(_, _, bytes)| bytes.len().div_ceil(1024)).sum();
    Ok(format!(
        "Package: code-assist-proxy\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {size}\n\
         Depends: {}\n\
         Section: net\n\
         Priority: optional\n\
         Homepage: https://github.com/code-assist-proxy/code-assist-proxy\n\
         Description: {DESCRIPTION}\n",
        version(&release.version),
        architecture(&release.target)?,
        release.libraries()?.depends()?,
    ))
}

fn changelog(release: &Release) -> Result<String, Failure> {
    let time = timestamp(release.time)?;
    let date = rfc2822::to_string(&time.to_zoned(jiff::tz::TimeZone::UTC))
        .map_err(|why| Failure::new(format!("cannot write the date: {why}")))?;
    Ok(format!(
        "code-assist-proxy ({}) stable; urgency=medium\n\n  \
         * Version {}: changelog.gz has the changes.\n\n \
         -- {MAINTAINER}  {date}\n",
        version(&release.version),
        release.version
    ))
}

/// A version of Debian's: what stands before a release sorts before it.
fn version(version: &str) -> String {
    format!("{}-1", version.replacen('-', "~", 1))
}

fn architecture(target: &str) -> Result<&'static str, Failure> {
    match target.split('-').next() {
        Some("x86_64") => Ok("amd64"),
        Some("aarch64") => Ok("arm64"),
        _ => {
            Err(Failure::new(format!("Debian's name of the architecture of {target} is not known")))
        }
    }
}

fn file_name(release: &Release) -> Result<String, Failure> {
    let (version, architecture) = (version(&release.version), architecture(&release.target)?);
    Ok(format!("code-assist-proxy_{version}_{architecture}.deb"))
}

/// Installs the package with dpkg and a database of packages that is empty, so that what it depends on
/// counts as missing; its scripts run outside of the folder, where there is a shell. Without root,
/// the package is only unpacked.
fn install(_: &Release, files: &[PathBuf], prefix: &Path) -> Result<Installed, Failure> {
    let package = files.first().ok_or_else(|| Failure::new("there is no package"))?;
    if is_root() {
        make_folder(&prefix.join("var/lib/dpkg/info"))?;
        make_folder(&prefix.join("var/lib/dpkg/updates"))?;
        write(&prefix.join("var/lib/dpkg/status"), "")?;
        shown(dpkg(prefix).args(["--force-depends", "--install"]).arg(package))?;
    } else {
        println!("    this is not root: the package is unpacked, and its scripts do not run");
        shown(Command::new("dpkg-deb").arg("--extract").arg(package).arg(prefix))?;
    }
    Ok(Installed::at(prefix.to_owned(), PROGRAM))
}

fn checks(release: &Release, installed: &Installed) -> Vec<Checked> {
    let prefix = &installed.prefix;
    let mut checks = vec![
        ("secrets are read by root only".to_owned(), has_mode(&prefix.join(CONFFILES[1]), 0o600)),
        ("the unit starts the program".to_owned(), unit_starts_it(prefix)),
        ("its pages can be shown".to_owned(), pages::check(&prefix.join(MANUAL))),
        ("lintian has nothing against it".to_owned(), lintian(release)),
    ];
    if is_root() {
        checks.push(("removing keeps settings, purging keeps nothing".to_owned(), purge(prefix)));
    }
    checks
}

/// The unit names the program without a folder, for which systemd looks into `/usr/bin` too.
fn unit_starts_it(prefix: &Path) -> Result<(), Failure> {
    let unit = read_text(&prefix.join(UNIT))?;
    match unit.lines().any(|line| line.starts_with("ExecStart=code-assist-proxy ")) {
        true => Ok(()),
        false => Err(Failure::new("the unit starts another program")),
    }
}

fn has_mode(file: &Path, expected: u32) -> Result<(), Failure> {
    match mode(file) {
        Ok(Some(found)) if found == expected => Ok(()),
        found => Err(Failure::new(format!("{}: {found:?}, not {expected:o}", file.display()))),
    }
}

fn lintian(release: &Release) -> Result<(), Failure> {
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--no-cfg"]);
    lintian.args(["--suppress-tags", &SUPPRESSED.join(",")]);
    shown(lintian.arg(release.folder().join(file_name(release)?)))
}

fn purge(prefix: &Path) -> Result<(), Failure> {
    let state = prefix.join("var/lib/private/code-assist-proxy");
    write(&state.join("kv.redb"), "")?;
    shown(dpkg(prefix).args(["--remove", "code-assist-proxy"]))?;
    if prefix.join(PROGRAM).exists() || !prefix.join(CONFFILES[1]).exists() || !state.exists() {
        return Err(Failure::new(
            "after removing, the program is there or settings or state are not",
        ));
    }
    shown(dpkg(prefix).args(["--purge", "code-assist-proxy"]))?;
    if prefix.join(CONFFILES[1]).exists() || state.exists() {
        return Err(Failure::new("after purging, settings or state are there"));
    }
    Ok(())
}

fn dpkg(prefix: &Path) -> Command {
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("--root").arg(prefix).arg("--force-script-chrootless");
    dpkg.arg("--log").arg(prefix.join("dpkg.log"));
    dpkg
}

/// A file of the repository that goes into the package.
fn source(name: &str) -> PathBuf {
    root().join("packaging/debian").join(name)
}

const PROGRAM: &str = "usr/bin/code-assist-proxy";

const UNIT: &str = "usr/lib/systemd/system/code-assist-proxy.service";

const MANUAL: &str = "usr/share/man/man1";

/// Settings, which an update leaves as they are.
const CONFFILES: [&str; 2] = ["etc/code-assist-proxy/config.toml", "etc/code-assist-proxy/env"];

/// Where Debian's shells look for completions, below `usr/share`.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "bash-completion/completions"),
    ("fish", "fish/vendor_completions.d"),
    ("zsh", "zsh/vendor-completions"),
];

const MAINTAINER: &str =
    "The code-assist-proxy authors <code-assist-proxy@users.noreply.github.com>";

/// One line, and below it the text, indented by a space.
const DESCRIPTION: &str = "transparent proxy in front of Google's Gemini models
 Point any client of the Gemini API, of OpenAI's or of Anthropic's at it, and it
 uses your account: an API key, a project of Google Cloud, or the sign-in of the
 Gemini CLI.
 .
 The package has a systemd unit, which is neither enabled nor started: it needs
 an account in /etc/code-assist-proxy/env first.";

/// What lintian asks of packages that are part of Debian only.
const SUPPRESSED: &[&str] = &["initial-upload-closes-no-bugs"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_before_a_release_sorts_before_it() {
        assert_eq!(version("0.2.0"), "0.2.0-1");
        assert_eq!(version("0.3.0-rc.1"), "0.3.0~rc.1-1");
    }

    #[test]
    fn an_architecture_that_debian_does_not_have_is_an_error() {
        assert_eq!(architecture("aarch64-unknown-linux-gnu").unwrap(), "arm64");
        assert!(architecture("sparc-unknown-linux-gnu").is_err());
    }
}
