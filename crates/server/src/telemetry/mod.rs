//! The log: format, level and output.

mod line;
mod log_buffer;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};

use code_assist_core::settings::LogFormat;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, registry};

pub(crate) use log_buffer::LogGuard;

/// A handle to the running log.
#[derive(Debug)]
pub(crate) struct Log(Handle<Targets, Registry>);

impl Log {
    pub(crate) fn set_level(&self, level: &str) {
        // Fails only when the log no longer exists.
        let _ = self.0.reload(filter(level));
    }
}

/// Starts logging to standard output. A thread writes the lines. When the reader is too slow, lines
/// are dropped, so that requests never wait. Dropping the guard flushes the buffer.
pub(crate) fn start(level: &str, format: LogFormat) -> io::Result<(Log, LogGuard)> {
    let (writer, guard) = log_buffer::start(io::stdout())?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => {
            let lines = lines.fmt_fields(line::JsonMembers).event_format(line::JsonLine);
            registry().with(filter).with(lines).init();
        }
        LogFormat::Pretty => {
            let colours = io::stdout().is_terminal() && !no_colour();
            registry().with(filter).with(lines.compact().with_ansi(colours)).init();
        }
    }
    Ok((Log(handle), guard))
}

/// Not an `EnvFilter`: that one takes a lock each time a span is entered, for directives about spans,
/// of which there are none here.
fn filter(level: &str) -> Targets {
    // `LOG_LEVEL` is one of the five names.
    let level = level.parse().unwrap_or(Level::INFO);
    // Debug lines of the libraries show headers and addresses, and are never logged.
    let quiet = ["hyper", "hyper_util", "h2", "rustls", "tower"];
    Targets::new().with_default(level).with_targets(quiet.map(|library| (library, Level::WARN)))
}

/// <https://no-color.org>
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
