//! The processes: the server under a tool of valgrind, and the stand-in for Google.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Running;
use crate::report::Failure;

/// The stand-in for Google of `crates/bench`: HTTP/2 with TLS for answers, HTTP/1.1 for tokens.
#[derive(Debug)]
pub(super) struct Upstream {
    plain: u64,
    tls: u64,
    authority: PathBuf,
    /// Ends the process when dropped.
    _running: Running,
}

impl Upstream {
    pub(super) fn start(bench: &Path, work: &Path) -> Result<Self, Failure> {
        let authority = work.join("ca.pem");
        let mut upstream = Command::new(bench);
        upstream.arg("upstream").arg("--authority").arg(&authority);
        let mut running = Running::start(&mut upstream)?;
        let line = running.line(Instant::now() + START_LIMIT)?.unwrap_or_default();
        let ports: Value = serde_json::from_str(&line).unwrap_or_default();
        let port = |name: &str| {
            let none = || Failure::new(format!("upstream printed no port `{name}`: {line}"));
            ports[name].as_u64().ok_or_else(none)
        };
        Ok(Self { plain: port("plain")?, tls: port("tls")?, authority, _running: running })
    }
}

/// The server as an operator runs it: every feature at its default, a store in a file, and
/// credentials with a refresh token.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: String,
    running: Running,
}

impl Server {
    /// Starts `program` under `valgrind`. The runtime has one worker, so that counts do not depend on
    /// the processors of the machine.
    pub(super) fn start(
        mut valgrind: Command,
        program: &Path,
        upstream: &Upstream,
        work: &Path,
    ) -> Result<Self, Failure> {
        let Upstream { plain, tls, authority, .. } = upstream;
        let store = work.join("store.redb");
        // A store of an earlier run would have its token.
        let _ = std::fs::remove_file(&store);
        valgrind
            .arg(program)
            .arg("serve")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", work)
            .env("PORT", "0")
            .env("TOKIO_WORKER_THREADS", "1")
            .env("KV_URL", format!("file:{}", store.display()))
            .env("CODE_ASSIST_ENDPOINT", format!("https://127.0.0.1:{tls}"))
            .env("OAUTH_TOKEN_URL", format!("http://127.0.0.1:{plain}/token"))
            .env("OAUTH_TOKENINFO_URL", format!("http://127.0.0.1:{plain}/tokeninfo"))
            .env("SSL_CERT_FILE", authority)
            .env("GCP_SERVICE_ACCOUNT", CREDENTIALS)
            .stderr(Stdio::piped());
        let mut running = Running::start(&mut valgrind)?;
        let deadline = Instant::now() + START_LIMIT;
        let mut output = String::new();
        while let Some(line) = running.line(deadline)? {
            if let Some(address) = address(&line) {
                let address = address.to_owned();
                return Ok(Self { address, running });
            }
            output.push_str(&line);
            output.push('\n');
        }
        Err(Failure::new(format!("the server ended before it listened. Its output:\n{output}")))
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Stops the server; valgrind writes its profile then.
    pub(super) fn stop(self) -> Result<(), Failure> {
        let status = self.running.stop(STOP_LIMIT)?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("the server under valgrind ended with {status}")))
    }
}

/// The `HOST:PORT` in the line that says where the server listens.
fn address(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("listening on http://")?;
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".:[]".contains(c)));
    Some(&rest[..end.unwrap_or(rest.len())])
}

const CREDENTIALS: &str =
    r#"{"refresh_token":"1//costs","client_id":"costs.example","client_secret":"costs"}"#;

/// Valgrind starts a program slowly, and lint runs beside it.
const START_LIMIT: Duration = Duration::from_secs(90);

const STOP_LIMIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_plain_and_in_json_lines() {
        assert_eq!(address("  listening on http://127.0.0.1:4711"), Some("127.0.0.1:4711"));
        assert_eq!(address(r#"{"m":"listening on http://[::1]:80/"}"#), Some("[::1]:80"));
        assert_eq!(address("listens later"), None);
    }

    #[test]
    fn a_server_that_does_not_start_is_a_failure_with_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 'no such tool' >&2; exit 1"]);
        let running = Running::start(&mut shell_that_waits()).unwrap();
        let authority = folder.path().join("ca.pem");
        let upstream = Upstream { plain: 1, tls: 2, authority, _running: running };
        let failure =
            Server::start(shell, Path::new("x"), &upstream, folder.path()).unwrap_err().to_string();
        assert!(failure.contains("ended before it listened"), "{failure}");
        assert!(failure.contains("no such tool"), "{failure}");
        let missing = Command::new("/nowhere/valgrind");
        let failure = Server::start(missing, Path::new("x"), &upstream, folder.path()).unwrap_err();
        assert!(failure.to_string().contains("cannot start"), "{failure}");
    }

    fn shell_that_waits() -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read -r _"]);
        shell
    }
}
