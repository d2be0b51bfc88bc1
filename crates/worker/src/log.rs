//! Log lines, the same as those of the native binary (`docs/LOGGING.md`). They go to the console, where
//! `wrangler tail` and Workers Logs read them.

use std::fmt;
use std::io;

use code_assist_core::settings::LogFormat;
use jiff::Timestamp;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields, MakeWriter};
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

/// One JSON object per line: that of the library, with the fields of the current span as its last
/// members. The only span is that of a request, and its fields are `request_id` and `trace_id`.
#[derive(Debug)]
struct JsonLine(Format<Json, RuntimeClock>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> FormatEvent<S, JsonFields> for JsonLine {
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let span = context.lookup_current();
        // The access log line names its request itself. No member may occur twice.
        let Some(span) = span.filter(|_| event.fields().all(|field| field.name() != "request_id"))
        else {
            return self.0.format_event(context, writer, event);
        };
        let extensions = span.extensions();
        let members = extensions.get::<FormattedFields<JsonFields>>();
        let members = members.and_then(|fields| fields.fields.strip_prefix('{'));
        let members = members.filter(|members| *members != "}");
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        match (line.strip_suffix("}\n"), members) {
            // `members` has the closing brace of the object.
            (Some(line), Some(members)) => writeln!(writer, "{line},{members}"),
            _ => writer.write_str(&line),
        }
    }
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
