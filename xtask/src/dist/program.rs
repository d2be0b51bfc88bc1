//! The program as a package has installed it, and what has to be true of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use super::{Checked, Release};
use crate::process::captured;
use crate::proxy::Proxy;
use crate::report::Failure;
use crate::smoke;

/// What a package has put into an empty folder.
#[derive(Debug)]
pub(crate) struct Installed {
    /// The folder.
    pub(crate) prefix: PathBuf,
    /// How the program is started: a program with its first arguments.
    pub(crate) words: Vec<OsString>,
}

impl Installed {
    /// A program that is started by its path.
    pub(crate) fn at(prefix: PathBuf, program: &str) -> Self {
        let words = vec![prefix.join(program).into_os_string()];
        Self { prefix, words }
    }

    /// Runs the program with the arguments that are added.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    /// The program is of the right version, and serves on the emulator with an empty home. The failure
    /// to start is an error, so that no check is missing in silence.
    pub(super) fn checks(&self, release: &Release) -> Result<Vec<Checked>, Failure> {
        let version = self.has_version(&release.version);
        let mut checks = vec![("it is of the packed version".to_owned(), version)];
        let mut proxy = Proxy::start(self.command().args(["serve", "--emulator"]))?;
        checks.extend(smoke::checks(&proxy.url));
        if checks.iter().any(|(_, outcome)| outcome.is_err()) {
            println!("{}", proxy.last_output());
        }
        checks.push(("it ends when it is asked to".to_owned(), proxy.stop()));
        Ok(checks)
    }

    fn has_version(&self, version: &str) -> Result<(), Failure> {
        let said = captured(self.command().arg("--version"))?;
        match said.trim() == format!("code-assist-proxy {version}") {
            true => Ok(()),
            false => Err(Failure::new(format!("it says {said:?} and not {version}"))),
        }
    }
}
