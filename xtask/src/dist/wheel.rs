//! The wheel for `uvx code-assist-proxy` and `pip install code-assist-proxy`: the program as a script,
//! without any Python.
//!
//! Its form: <https://packaging.python.org/en/latest/specifications/binary-distribution-format/>.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::release::{PROGRAM, REPOSITORY, SUMMARY};
use super::tree::Tree;
use super::{Checked, Installed, Kind, Release, glibc};
use crate::process::run as shown;
use crate::report::Failure;
use crate::setup::Need;
use crate::tools::venv;
use crate::workspace::{make_folder, read, root, target};

pub(super) const KIND: Kind = Kind {
    name: "wheel",
    is_made_for: |target| platform(target, (2, 17)).is_some(),
    needs: &[Need::Python],
    build,
    install,
    checks,
};

fn build(release: &Release) -> Result<Vec<PathBuf>, Failure> {
    let oldest = if cfg!(target_os = "linux") { glibc::oldest(&release.program)? } else { (0, 0) };
    let platform = platform(&release.target, oldest)
        .ok_or_else(|| Failure::new(format!("there are no wheels for {}", release.target)))?;
    let tag = format!("py3-none-{platform}");
    let name = format!("code_assist_proxy-{}", release.version);
    let mut tree = Tree::default();
    tree.add(format!("{name}.data/scripts/{PROGRAM}"), 0o755, release.program_bytes()?);
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        tree.add_copy(
            format!("{name}.dist-info/licenses/{licence}"),
            0o644,
            &root().join(licence),
        )?;
    }
    tree.add(format!("{name}.dist-info/METADATA"), 0o644, metadata(&release.version)?);
    tree.add(
        format!("{name}.dist-info/WHEEL"),
        0o644,
        format!(
            "Wheel-Version: 1.0\nGenerator: code-assist-proxy\nRoot-Is-Purelib: false\nTag: {tag}\n"
        ),
    );
    let path = format!("{name}.dist-info/RECORD");
    let lines = record(&tree, &path);
    tree.add(path, 0o644, lines);
    let path = release.folder().join(format!("{name}-{tag}.whl"));
    fs::write(&path, zip(&tree)?)
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", path.display())))?;
    Ok(vec![path])
}

/// Installs with pip and without an index, since the wheel depends on nothing.
fn install(_: &Release, files: &[PathBuf], prefix: &Path) -> Result<Installed, Failure> {
    shown(Command::new("python3").args(["-m", "venv", "--clear"]).arg(prefix))?;
    let mut python = Command::new(prefix.join(BIN).join("python"));
    python.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]);
    shown(python.arg(file(files)?))?;
    Ok(Installed::at(prefix.join(BIN), PROGRAM))
}

fn checks(release: &Release, _: &Installed) -> Vec<Checked> {
    let checked = || {
        let tools = venv(&source("requirements.txt"), &target().join("wheel"))?;
        let tools = tools.parent().ok_or_else(|| Failure::new("`python` has no folder"))?;
        let files = build(release)?;
        let wheel = file(&files)?;
        let mut checks = vec![("its checksums are right".to_owned(), unpack(wheel, tools))];
        checks.extend(with_uvx(wheel, tools)?.checks(release)?);
        Ok(checks)
    };
    checked().unwrap_or_else(|why| vec![("it can be checked".to_owned(), Err(why))])
}

/// Unpacking compares every file with `RECORD`.
fn unpack(wheel: &Path, tools: &Path) -> Result<(), Failure> {
    let folder = super::work().join("unpacked-wheel");
    make_folder(&folder)?;
    let mut python = Command::new(tools.join("python"));
    shown(python.args(["-m", "wheel", "unpack", "--dest"]).arg(folder).arg(wheel))
}

/// The program as `uvx code-assist-proxy` starts it, but from the file and without a network.
fn with_uvx(wheel: &Path, tools: &Path) -> Result<Installed, Failure> {
    let prefix = super::work().join("installed/uvx");
    make_folder(&prefix)?;
    let mut words = vec![tools.join("uvx").into_os_string()];
    words.extend(["--quiet", "--offline", "--no-python-downloads", "--cache-dir"].map(Into::into));
    words.extend([prefix.clone().into_os_string(), "--from".into()]);
    words.extend([wheel.as_os_str().to_owned(), "code-assist-proxy".into()]);
    Ok(Installed { prefix, words })
}

/// The platform of a wheel; `None` where there is no wheel. With glibc it says how old that may be
/// (<https://peps.python.org/pep-0600/>).
fn platform(target: &str, (major, minor): (u32, u32)) -> Option<String> {
    Some(match target {
        "x86_64-unknown-linux-gnu" => format!("manylinux_{major}_{minor}_x86_64"),
        "aarch64-unknown-linux-gnu" => format!("manylinux_{major}_{minor}_aarch64"),
        // The oldest macOS that the compiler builds for (The rustc Book, "Platform Support").
        "x86_64-apple-darwin" => "macosx_10_12_x86_64".to_owned(),
        "aarch64-apple-darwin" => "macosx_11_0_arm64".to_owned(),
        "x86_64-pc-windows-msvc" => "win_amd64".to_owned(),
        _ => return None,
    })
}

/// The core metadata (<https://packaging.python.org/en/latest/specifications/core-metadata/>).
fn metadata(version: &str) -> Result<String, Failure> {
    let about = read(&source("README.md"))?;
    Ok(format!(
        "Metadata-Version: 2.4\n\
         Name: code-assist-proxy\n\
         Version: {version}\n\
         Summary: {SUMMARY}\n\
         License-Expression: MIT OR Apache-2.0\n\
         License-File: LICENSE-APACHE\n\
         License-File: LICENSE-MIT\n\
         Requires-Python: >=3.8\n\
         Project-URL: Source, {REPOSITORY}\n\
         Description-Content-Type: text/markdown\n\n{about}"
    ))
}

/// A line for each file with its digest and length, and one without them for the list itself.
fn record(tree: &Tree, own_path: &str) -> String {
    let line = |(path, _, bytes): (&str, u32, &[u8])| {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
        format!("{path},sha256={digest},{}\n", bytes.len())
    };
    let mut lines: String = tree.files().map(line).collect();
    lines.push_str(own_path);
    lines.push_str(",,\n");
    lines
}

/// The zip archive, with the oldest time that its form has.
fn zip(tree: &Tree) -> Result<Vec<u8>, Failure> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, mode, bytes) in tree.files() {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::default())
            .unix_permissions(mode);
        let written = archive.start_file(path, options);
        let written = written.and_then(|()| Ok(archive.write_all(bytes)?));
        written.map_err(|why| Failure::new(format!("cannot write a wheel: {why}")))?;
    }
    let archive = archive.finish();
    archive
        .map(Cursor::into_inner)
        .map_err(|why| Failure::new(format!("cannot write a wheel: {why}")))
}

fn file(files: &[PathBuf]) -> Result<&Path, Failure> {
    files.first().map(PathBuf::as_path).ok_or_else(|| Failure::new("there is no wheel"))
}

/// A file of the repository that wheels are made or checked with.
fn source(name: &str) -> PathBuf {
    root().join("packaging/wheel").join(name)
}

/// The folder of programs in a virtual environment.
const BIN: &str = if cfg!(windows) { "Scripts" } else { "bin" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_for_glibc_says_which_one_it_needs() {
        let platform = |target| platform(target, (2, 34));
        assert_eq!(
            platform("aarch64-unknown-linux-gnu").as_deref(),
            Some("manylinux_2_34_aarch64")
        );
        assert_eq!(platform("x86_64-pc-windows-msvc").as_deref(), Some("win_amd64"));
        assert_eq!(platform("x86_64-unknown-linux-musl"), None);
    }

    #[test]
    fn the_record_lists_every_file_and_itself_without_a_digest() {
        let mut tree = Tree::default();
        tree.add("a/b", 0o644, "hello");
        assert_eq!(
            record(&tree, "a/RECORD"),
            "a/b,sha256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ,5\na/RECORD,,\n"
        );
    }
}
