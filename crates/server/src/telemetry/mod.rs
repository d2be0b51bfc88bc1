//! The log: format, level and output.

mod line;
mod log_buffer;
mod pretty;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use code_assist_core::RequestLine;
use code_assist_core::settings::LogFormat;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry};

pub(crate) use log_buffer::LogGuard;

use crate::clock;
use log_buffer::{LogWriter, LostLines};

/// A handle to the running log.
#[derive(Debug)]
pub(crate) struct Log(Handle<Targets, Registry>);

impl Log {
    pub(crate) fn set_level(&self, level: &str) {
        // Fails only when the log no longer exists.
        let _ = self.0.reload(filter(level));
        if let Some(direct) = DIRECT.get() {
            direct.are_on.store(has_requests(level), Relaxed);
        }
    }
}

/// Writes the line of a request. In JSON it does not pass through `tracing`.
pub(crate) fn log_request(line: &RequestLine<'_>) {
    match DIRECT.get() {
        Some(direct) if direct.are_on.load(Relaxed) => {
            let write = |line: &[u8]| direct.writer.write_request(line);
            line::with_request_line(line, clock::wall_clock(), write);
        }
        Some(_) => {}
        None => line.emit(),
    }
}

/// The way of request lines to the log.
#[derive(Debug)]
struct DirectLines {
    writer: LogWriter,
    /// `LOG_LEVEL` lets them through.
    are_on: AtomicBool,
}

/// Warns when lines are lost: the first time at once, then at most once a minute. Never ends.
pub(crate) async fn warn_of_lost_lines() {
    let mut known = 0;
    loop {
        let count = lost_lines().unwrap_or(0);
        if count > known {
            tracing::warn!(
                lost = count - known,
                "log lines were lost: standard output is not read fast enough"
            );
            known = count;
            tokio::time::sleep(BETWEEN_WARNINGS).await;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Starts logging to standard output. A thread writes the lines. When the reader is too slow, lines
/// are dropped, so that requests never wait. Dropping the guard flushes the buffer.
pub(crate) fn start(level: &str, format: LogFormat) -> io::Result<(Log, LogGuard)> {
    let (writer, guard) = log_buffer::start(io::stdout())?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let _ = LOST_LINES.set(writer.lost());
    let lines = fmt::layer().with_writer(writer.clone());
    match format {
        LogFormat::Json => {
            let are_on = AtomicBool::new(has_requests(level));
            let _ = DIRECT.set(DirectLines { writer, are_on });
            let format = line::JsonLine { wall_clock: clock::wall_clock };
            registry().with(filter).with(lines.event_format(format)).init();
        }
        LogFormat::Pretty => {
            let colours = io::stdout().is_terminal() && !no_colour();
            let lines = lines.compact().with_ansi(colours).fmt_fields(pretty::FieldsAndIds);
            registry().with(filter).with(lines).init();
        }
    }
    Ok((Log(handle), guard))
}

fn filter(level: &str) -> Targets {
    // `LOG_LEVEL` is one of the five names.
    let level = level.parse().unwrap_or(Level::INFO);
    // Debug lines of the libraries show headers and addresses, and are never logged.
    let quiet = ["hyper", "hyper_util", "h2", "rustls", "tower"];
    Targets::new().with_default(level).with_targets(quiet.map(|library| (library, Level::WARN)))
}

/// Whether this level lets the lines of requests through.
fn has_requests(level: &str) -> bool {
    filter(level).would_enable(RequestLine::TARGET, &Level::INFO)
}

/// The lines that were lost since the start; `None` before the log has started.
pub(crate) fn lost_lines() -> Option<u64> {
    LOST_LINES.get().map(LostLines::count)
}

/// A process has one log. `None` where it is not JSON.
static DIRECT: OnceLock<DirectLines> = OnceLock::new();
static LOST_LINES: OnceLock<LostLines> = OnceLock::new();

/// How often lost lines are looked for, and the pause after a warning.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// <https://no-color.org>
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
