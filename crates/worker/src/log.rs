//! Log lines, the same as those of the native binary (`docs/LOGGING.md`). They go to the console, where
//! `wrangler tail` and Workers Logs read them.

use std::fmt;
use std::io;

use code_assist_core::RequestIds;
use code_assist_core::settings::LogFormat;
use jiff::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt::layer, registry};

use crate::executor::clock;
use crate::runtime;

/// Starts logging for the life of the isolate.
pub(crate) fn start(level: &str, format: LogFormat) {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    let lines = layer().with_writer(Console).with_timer(RuntimeClock).with_ansi(false);
    let lines = match format {
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false);
            lines.map_event_format(JsonLine).boxed()
        }
        LogFormat::Pretty => lines.compact().boxed(),
    };
    // It fails only if logging has started already.
    let _ = tracing::subscriber::set_global_default(registry().with(lines.with_filter(level)));
}

/// One JSON object per line: that of the library, with the ids of the request that is being answered as its last
/// members.
#[derive(Debug)]
struct JsonLine(Format<Json, RuntimeClock>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for JsonLine {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        // The line of a request names its ids itself. No member may occur twice.
        if event.fields().any(|field| field.name() == "request_id") {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        RequestIds::with_current(|ids| match (line.strip_suffix("}\n"), ids) {
            (Some(line), Some(ids)) => {
                let (request, trace) = (quoted(ids.request_id()), ids.trace_id());
                writeln!(writer, r#"{line},"request_id":{request},"trace_id":"{trace}"}}"#)
            }
            _ => writer.write_str(&line),
        })
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is written to memory")
}

/// The console. It gets each line in one call.
#[derive(Debug, Clone, Copy)]
struct Console;

impl MakeWriter<'_> for Console {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl io::Write for Console {
    /// The layer writes a whole line with each call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        runtime::log(&String::from_utf8_lossy(line.trim_ascii_end()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The runtime's clock, since `std` has none on this target.
#[derive(Debug)]
struct RuntimeClock;

impl FormatTime for RuntimeClock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let millis = i64::try_from(clock().0).unwrap_or(i64::MAX);
        write!(writer, "{:.6}", Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX))
    }
}
