//! The real proxy in front of the emulator, as `serve --emulator` starts it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::Running;
use crate::report::Failure;

/// A running `serve --emulator`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// `http://127.0.0.1:PORT`, where clients are pointed.
    pub(crate) url: String,
    /// The same for the emulator behind it.
    pub(crate) emulator: String,
    said: Vec<String>,
    running: Running,
    home: PathBuf,
}

impl Proxy {
    /// Adds to `command` what the proxy needs, starts it, and waits until it says where it
    /// listens. It sees nothing of this machine's accounts and settings: an empty home, a store
    /// in memory, no environment but PATH and what cargo needs.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        let home = crate::target()
            .join("clients")
            .join(format!("home-{}", std::process::id()));
        fs::create_dir_all(&home)
            .map_err(|why| Failure::new(format!("cannot make {}: {why}", home.display())))?;
        let kept = KEPT
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)));
        // With another HOME, `cargo run` would look for these in the wrong place.
        let toolchain = [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")]
            .into_iter()
            .filter(|(name, _)| std::env::var_os(name).is_none())
            .filter_map(|(name, folder)| Some((name, std::env::home_dir()?.join(folder))));
        command
            .env_clear()
            .envs(kept)
            .envs(toolchain)
            .env("HOME", &home)
            .env("PORT", "0")
            .env("KV_URL", "memory:")
            .stderr(Stdio::piped());
        let mut running = Running::start(command)?;
        let deadline = Instant::now() + START_LIMIT;
        let (mut url, mut emulator, mut said) = (None, None, Vec::new());
        while url.is_none() || emulator.is_none() {
            let line = match running.line(deadline) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    return Err(Failure::new(format!(
                        "the proxy ended before it listened. It said:\n{}",
                        said.join("\n")
                    )));
                }
                Err(_) => {
                    return Err(Failure::new(format!(
                        "no `listening on http://…` and `emulator on http://…` within {} s. It said:\n{}",
                        START_LIMIT.as_secs(),
                        said.join("\n")
                    )));
                }
            };
            url = url.or_else(|| address(&line, "listening on "));
            emulator = emulator.or_else(|| address(&line, "emulator on "));
            said.push(line);
        }
        let (Some(url), Some(emulator)) = (url, emulator) else {
            return Err(Failure::new("the proxy's addresses were lost"));
        };
        println!("    proxy {url}, emulator {emulator}");
        Ok(Self {
            url,
            emulator,
            said,
            running,
            home,
        })
    }

    /// What it has printed last, for a person who looks for the reason of a failure.
    pub(crate) fn last_words(&mut self) -> String {
        self.said.extend(self.running.waiting_lines());
        let from = self.said.len().saturating_sub(SHOWN_LINES);
        self.said[from..].join("\n")
    }

    /// Stops it as a service manager would. It must end well, in time, and without having panicked.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let words = self.last_words();
        let Self { running, home, .. } = self;
        let status = running.stop(STOP_LIMIT)?;
        // Only litter in target/ if this fails.
        let _ = fs::remove_dir_all(home);
        if words.contains("panicked at") {
            return Err(Failure::new(format!("the proxy panicked:\n{words}")));
        }
        if !status.success() {
            return Err(Failure::new(format!(
                "on SIGTERM the proxy ended with {status}:\n{words}"
            )));
        }
        Ok(())
    }
}

/// The base URL that follows `label` in `line`.
fn address(line: &str, label: &str) -> Option<String> {
    let (_, rest) = line.split_once(label)?;
    let url: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || ":/.-[]".contains(*c))
        .collect();
    let url = url.trim_end_matches(['/', '.']);
    url.starts_with("http://").then(|| url.to_owned())
}

/// What `cargo run` must find as it was, or it would build everything once more.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "PATH",
    "RUSTFLAGS",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "TMPDIR",
];

const START_LIMIT: Duration = Duration::from_secs(60);

/// Longer than the default of `SHUTDOWN_GRACE_MS`.
const STOP_LIMIT: Duration = Duration::from_secs(35);

const SHOWN_LINES: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_plain_and_in_json_lines() {
        let url = Some("http://127.0.0.1:4711".to_owned());
        assert_eq!(
            address("listening on http://127.0.0.1:4711", "listening on "),
            url
        );
        assert_eq!(
            address(
                r#"{"message":"listening on http://127.0.0.1:4711/"}"#,
                "listening on "
            ),
            url
        );
        assert_eq!(address("not listening yet", "listening on "), None);
    }
}
