//! Formats an event as a line of JSON.
//!
//! The output equals that of `tracing-subscriber`'s JSON format byte for byte, but is written into one
//! buffer. The library's format passes each value through `fmt` in pieces, which made the log line the
//! most expensive part of a request. The fields of the spans around an event become members of the
//! object, where the library nests them.

use std::cell::Cell;
use std::fmt;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;

/// One JSON object per line: time, level, the event's fields, target, the fields of its spans.
#[derive(Debug)]
pub(crate) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        with_buffer(|json| {
            json.push_str(r#"{"timestamp":""#);
            push_time(json)?;
            json.push_str(r#"","level":""#);
            json.push_str(event.metadata().level().as_str());
            json.push('"');
            event.record(&mut JsonVisitor { json });
            JsonVisitor { json }.text("target", event.metadata().target());
            for span in context.event_scope().into_iter().flatten() {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    json.push_str(&fields.fields);
                }
            }
            json.push_str("}\n");
            writer.write_str(json)
        })
    }
}

/// Formats the fields of a span as members, once for all its events.
#[derive(Debug)]
pub(crate) struct JsonMembers;

impl<'w> FormatFields<'w> for JsonMembers {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'w>, fields: R) -> fmt::Result {
        with_buffer(|json| {
            fields.record(&mut JsonVisitor { json });
            writer.write_str(json)
        })
    }
}

/// Passes the thread's buffer, which is empty and keeps its capacity. A value that logs while it is
/// formatted gets a buffer of its own.
fn with_buffer(write: impl FnOnce(&mut String) -> fmt::Result) -> fmt::Result {
    thread_local! {
        static BUFFER: Cell<String> = const { Cell::new(String::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.clear();
    let written = write(&mut buffer);
    if buffer.capacity() <= MOST_KEPT {
        BUFFER.set(buffer);
    }
    written
}

/// Appends the time, in UTC with microseconds.
fn push_time(json: &mut String) -> fmt::Result {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    let now = Timestamp::try_from(clock::wall_clock()).map_err(|_| fmt::Error)?;
    PRINTER.print_timestamp(&now, json).map_err(|_| fmt::Error)
}

/// Appends each field as a member of the object.
struct JsonVisitor<'a> {
    json: &'a mut String,
}

impl JsonVisitor<'_> {
    fn name(&mut self, name: &str) {
        self.json.push_str(",\"");
        // A Rust identifier needs no escapes.
        self.json.push_str(name);
        self.json.push_str("\":");
    }

    fn text(&mut self, name: &str, value: &str) {
        if needs_escapes(value) {
            let quoted = serde_json::to_string(value).expect("a string is written to memory");
            self.name(name);
            self.json.push_str(&quoted);
        } else {
            self.json.push_str(",\"");
            self.json.push_str(name);
            // Fewer pieces cost less.
            self.json.push_str("\":\"");
            self.json.push_str(value);
            self.json.push('"');
        }
    }

    fn integer(&mut self, name: &str, value: impl itoa::Integer) {
        self.name(name);
        self.json.push_str(itoa::Buffer::new().format(value));
    }
}

/// Without an early exit, so that the compiler can compare many bytes at once.
fn needs_escapes(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte < b' ') | (byte == b'"') | (byte == b'\\'))
}

impl Visit for JsonVisitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field.name());
        self.json.push_str(if value { "true" } else { "false" });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field.name());
        // JSON has no word for infinity.
        let mut digits = zmij::Buffer::new();
        self.json.push_str(if value.is_finite() { digits.format_finite(value) } else { "null" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field.name(), value);
    }
}

/// A longer buffer is not kept: one long line must not hold its memory for ever.
const MOST_KEPT: usize = 16 * 1024;
