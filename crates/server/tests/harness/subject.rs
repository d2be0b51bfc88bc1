//! What is put to the test: the native binary, or the Worker as workerd runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One of the two builds of the same core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Native,
    Worker,
}

impl Subject {
    /// What `CONFORMANCE_SUBJECT` says, else the native binary.
    pub(crate) fn chosen() -> Self {
        match std::env::var("CONFORMANCE_SUBJECT").as_deref() {
            Err(_) | Ok("native") => Self::Native,
            Ok("worker") => Self::Worker,
            Ok(other) => panic!("CONFORMANCE_SUBJECT is native or worker, not {other}"),
        }
    }

    pub(crate) fn is_native(self) -> bool {
        self == Self::Native
    }

    /// The command that starts it, with nothing of ours in its environment. It ends when its
    /// standard input does, so that none is left behind by a test run that is killed.
    pub(crate) fn command(self, home: &Path) -> Command {
        match self {
            Self::Native => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_code-assist-proxy"));
                command.env_clear().stdin(Stdio::null());
                command
            }
            Self::Worker => {
                let worker = repository().join("crates/worker");
                let built = worker.join("build");
                assert!(built.is_dir(), "there is no Worker: `cargo xtask worker build` first");
                let mut command = Command::new("node");
                let path = std::env::var_os("PATH").unwrap_or_default();
                command.arg(worker.join("dev.mjs")).args(["--port", "0", "--state"]);
                command.arg(home.join("kv")).env_clear().env("PATH", path).stdin(Stdio::piped());
                command
            }
        }
    }

    /// The address in what it has printed, once it can be asked.
    pub(crate) fn address(self, said: &str) -> Option<String> {
        let line =
            said.lines().find_map(|line| line.trim().strip_prefix("listening on http://"))?;
        // The native binary has more lines to say before it is ready to be looked at.
        (self == Self::Worker || said.contains("  store  ")).then(|| line.to_owned())
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
