//! What all kinds of packages are made from.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::tree::{Tree, read};
use crate::process::{captured, run as shown};
use crate::report::Failure;
use crate::setup::Need;
use crate::workspace::{host, make_folder, root};

/// What the system has to have for [`Release::prepare`].
pub(super) const NEEDS: &[Need] = if cfg!(target_os = "linux") { &[Need::Binutils] } else { &[] };

/// One program for one system, and the files that go along with it.
#[derive(Debug)]
pub(crate) struct Release {
    /// `0.2.0`
    pub(crate) version: String,
    /// `x86_64-unknown-linux-gnu`
    pub(crate) target: String,
    /// The time of every file in every archive, in seconds since 1970: that of the commit, or
    /// `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>).
    pub(crate) time: u64,
    /// The program without debug information.
    pub(crate) program: PathBuf,
    /// The debug information of [`Release::program`], where it is a file of its own.
    pub(crate) debug: Option<PathBuf>,
    /// Completion scripts: the shell, the name that it looks for, and the script.
    pub(crate) completions: Vec<(&'static str, &'static str, Vec<u8>)>,
}

impl Release {
    /// Takes `binary` apart into program and debug information, and has it print its completions.
    pub(super) fn prepare(binary: &Path) -> Result<Self, Failure> {
        if !binary.is_file() {
            return Err(Failure::new(format!("there is no program at {}", binary.display())));
        }
        let (program, debug) = strip(binary)?;
        let completions = SHELLS.iter().map(|(shell, name)| {
            let script = captured(Command::new(&program).args(["completions", shell]))?;
            Ok((*shell, *name, script.into_bytes()))
        });
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target: host()?,
            time: time()?,
            completions: completions.collect::<Result<_, Failure>>()?,
            program,
            debug,
        })
    }

    /// Where the packages are written.
    pub(crate) fn folder(&self) -> PathBuf {
        super::folder()
    }

    /// `code-assist-proxy-0.2.0-x86_64-unknown-linux-gnu`
    pub(crate) fn name(&self) -> String {
        format!("code-assist-proxy-{}-{}", self.version, self.target)
    }

    /// The program's bytes.
    pub(crate) fn program_bytes(&self) -> Result<Vec<u8>, Failure> {
        read(&self.program)
    }

    /// The licences and the documents that every package has, in the package's top folder.
    pub(crate) fn documents(&self) -> Result<Tree, Failure> {
        let mut tree = Tree::default();
        for path in ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            tree.add_copy(path, 0o644, &root().join(path))?;
        }
        Ok(tree)
    }
}

/// Copies the program without debug information. On Linux the debug information goes to a file of its
/// own, which debuggers find by the name in the program: three quarters of the release binary are lines
/// for debuggers. On macOS and Windows the compiler keeps them outside of the program anyway.
fn strip(binary: &Path) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    let folder = super::work().join("parts");
    make_folder(&folder)?;
    let program = folder.join(PROGRAM);
    if !cfg!(target_os = "linux") {
        std::fs::copy(binary, &program)
            .map_err(|why| Failure::new(format!("cannot copy {}: {why}", binary.display())))?;
        return Ok((program, None));
    }
    let debug = folder.join("code-assist-proxy.debug");
    shown(Command::new("objcopy").arg("--only-keep-debug").arg(binary).arg(&debug))?;
    let mut objcopy = Command::new("objcopy");
    // The link holds the file's name and checksum, so that the file has to be where the command runs.
    objcopy.arg("--strip-all").arg("--add-gnu-debuglink=code-assist-proxy.debug");
    let binary = std::path::absolute(binary)
        .map_err(|why| Failure::new(format!("{}: {why}", binary.display())))?;
    shown(objcopy.arg(binary).arg(PROGRAM).current_dir(&folder))?;
    Ok((program, Some(debug)))
}

fn time() -> Result<u64, Failure> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(set) => set,
        Err(_) => {
            let mut git = Command::new("git");
            git.args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"]);
            captured(git.current_dir(root()))?
        }
    };
    text.trim().parse().map_err(|_| Failure::new(format!("{text:?} is not a time in seconds")))
}

/// What registries say of the program in one line.
pub(super) const SUMMARY: &str =
    "A transparent proxy in front of Google's Gemini models: Gemini API, Vertex AI, Code Assist";

pub(super) const REPOSITORY: &str = "https://github.com/code-assist-proxy/code-assist-proxy";

/// The program's file name.
pub(super) const PROGRAM: &str =
    if cfg!(windows) { "code-assist-proxy.exe" } else { "code-assist-proxy" };

/// The shells with completions, and the file names that they look for.
const SHELLS: &[(&str, &str)] = &[
    ("bash", "code-assist-proxy"),
    ("fish", "code-assist-proxy.fish"),
    ("powershell", "_code-assist-proxy.ps1"),
    ("zsh", "_code-assist-proxy"),
];
