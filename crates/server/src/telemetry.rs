//! Where log lines go.

use std::io::IsTerminal;

use code_assist_core::settings::LogFormat;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Starts logging to standard output. Lines are written by a thread of its own and, when nobody
/// reads them, lost rather than waited for. The guard writes out what is left when it is dropped.
pub(crate) fn start(level: &str, format: LogFormat) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stdout());
    // Others' debug lines tell of headers and addresses that nobody asked about.
    let filter = EnvFilter::new(format!(
        "{level},hyper=warn,hyper_util=warn,h2=warn,rustls=warn,tower=warn"
    ));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
        LogFormat::Pretty => {
            let colours = std::io::stdout().is_terminal() && !no_colour();
            lines.compact().with_ansi(colours).init();
        }
    }
    guard
}

/// <https://no-color.org>
fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}
