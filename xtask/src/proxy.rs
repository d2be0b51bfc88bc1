//! The real proxy in front of the emulator, as `serve --emulator` starts it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::process::Running;
use crate::report::Failure;
use crate::workspace::{make_folder, target};

/// A running `serve --emulator`. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// `http://127.0.0.1:PORT`, where clients are pointed.
    pub(crate) url: String,
    /// The same kind of URL, for the emulator behind the proxy.
    pub(crate) emulator: String,
    /// What it was set to besides.
    pub(crate) settings: Settings,
    output: Vec<String>,
    running: Running,
    home: PathBuf,
}

/// Settings by their names.
pub(crate) type Settings = &'static [(&'static str, &'static str)];

impl Proxy {
    /// Starts `command` as a proxy and waits until it prints its addresses. Accounts and settings of
    /// this machine do not apply: the home is empty, the store is in memory, and the environment
    /// holds nothing but PATH and what cargo needs.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Failure> {
        Self::start_with(command, &[])
    }

    /// [`Proxy::start`], with `settings` in its environment.
    pub(crate) fn start_with(command: &mut Command, settings: Settings) -> Result<Self, Failure> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let home = target().join("clients").join(format!("home-{}-{number}", std::process::id()));
        make_folder(&home)?;
        let kept = KEPT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
        // With another HOME, `cargo run` would look for these folders in the wrong place.
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
            .envs(settings.iter().copied())
            .stderr(Stdio::piped());
        let mut running = Running::start(command)?;
        let deadline = Instant::now() + START_LIMIT;
        let (mut url, mut emulator, mut output) = (None, None, Vec::new());
        while url.is_none() || emulator.is_none() {
            let line = match running.line(deadline) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    return Err(Failure::new(format!(
                        "the proxy ended before it listened. Its output:\n{}",
                        output.join("\n")
                    )));
                }
                Err(_) => {
                    return Err(Failure::new(format!(
                        "no `listening on http://…` and `emulator on http://…` within {} s. Its output:\n{}",
                        START_LIMIT.as_secs(),
                        output.join("\n")
                    )));
                }
            };
            url = url.or_else(|| address(&line, "listening on "));
            emulator = emulator.or_else(|| address(&line, "emulator on "));
            output.push(line);
        }
        let (Some(url), Some(emulator)) = (url, emulator) else {
            return Err(Failure::new("the proxy printed no addresses"));
        };
        println!("    proxy {url}, emulator {emulator}");
        Ok(Self { url, emulator, settings, output, running, home })
    }

    /// The last lines that the proxy has printed, to find the reason of a failure in.
    pub(crate) fn last_output(&mut self) -> String {
        self.output.extend(self.running.waiting_lines());
        let from = self.output.len().saturating_sub(SHOWN_LINES);
        self.output[from..].join("\n")
    }

    /// Stops the proxy as a service manager does. The proxy must end with exit code 0, in time, and
    /// without a panic.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let output = self.last_output();
        let Self { running, home, .. } = self;
        // Windows has no SIGTERM: there the proxy is killed.
        let status = if cfg!(windows) { None } else { Some(running.stop(STOP_LIMIT)?) };
        // If this fails, an unused folder stays in target/.
        let _ = fs::remove_dir_all(home);
        if output.contains("panicked at") {
            return Err(Failure::new(format!("the proxy panicked:\n{output}")));
        }
        if let Some(status) = status.filter(|status| !status.success()) {
            return Err(Failure::new(format!(
                "on SIGTERM the proxy ended with {status}:\n{output}"
            )));
        }
        Ok(())
    }
}

/// The base URL that follows `label` in `line`.
fn address(line: &str, label: &str) -> Option<String> {
    let (_, rest) = line.split_once(label)?;
    let url: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || ":/.-[]".contains(*c)).collect();
    let url = url.trim_end_matches(['/', '.']);
    url.starts_with("http://").then(|| url.to_owned())
}

/// The variables that `cargo run` has to find unchanged, or it would build everything once more.
const KEPT: &[&str] = &[
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "PATH",
    "RUSTFLAGS",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "TMPDIR",
];

/// Several run at the same time, each in a home of its own.
static STARTED: AtomicUsize = AtomicUsize::new(0);

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
        assert_eq!(address("listening on http://127.0.0.1:4711", "listening on "), url);
        assert_eq!(
            address(r#"{"message":"listening on http://127.0.0.1:4711/"}"#, "listening on "),
            url
        );
        assert_eq!(address("not listening yet", "listening on "), None);
    }
}
