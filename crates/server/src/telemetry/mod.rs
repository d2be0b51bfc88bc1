//! Where log lines go.

mod line;
mod log_buffer;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};

use code_assist_core::settings::LogFormat;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, registry};

pub(crate) use log_buffer::LogGuard;

/// The log that runs, for changing its level.
#[derive(Debug)]
pub(crate) struct Log(Handle<EnvFilter, Registry>);

impl Log {
    /// Logs this much from now on.
    pub(crate) fn set_level(&self, level: &str) {
        // It fails only when the log is gone, and nobody would read of it.
        let _ = self.0.reload(filter(level));
    }
}

/// Starts logging to standard output. Lines are written by a thread of its own and, when nobody
/// reads them, lost rather than waited for. Those that are left are written when `LogGuard` is
/// dropped.
pub(crate) fn start(level: &str, format: LogFormat) -> io::Result<(Log, LogGuard)> {
    let (writer, last) = log_buffer::start(io::stdout())?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => {
            registry().with(filter).with(lines.event_format(line::JsonLine)).init();
        }
        LogFormat::Pretty => {
            let colours = io::stdout().is_terminal() && !no_colour();
            registry().with(filter).with(lines.compact().with_ansi(colours)).init();
        }
    }
    Ok((Log(handle), last))
}

fn filter(level: &str) -> EnvFilter {
    // Others' debug lines tell of headers and addresses that nobody asked about.
    EnvFilter::new(format!("{level},hyper=warn,hyper_util=warn,h2=warn,rustls=warn,tower=warn"))
}

/// <https://no-color.org>
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
