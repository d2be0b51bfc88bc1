//! Formats an event as a line of JSON.
//!
//! The output equals that of `tracing-subscriber`'s JSON format byte for byte, but is written into one
//! buffer. The library's format passes each value through `fmt` in pieces, which made the log line the
//! most expensive part of a request. The fields of the spans around an event become members of the
//! object, where the library nests them.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

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
            let mut text = String::from_utf8(std::mem::take(json)).map_err(|_| fmt::Error)?;
            text.push_str(r#"{"timestamp":""#);
            SystemTime.format_time(&mut Writer::new(&mut text))?;
            text.push_str(r#"","level":""#);
            text.push_str(event.metadata().level().as_str());
            text.push('"');
            *json = text.into_bytes();
            let mut visitor = JsonVisitor { json };
            event.record(&mut visitor);
            visitor.member("target", event.metadata().target());
            for span in context.event_scope().into_iter().flatten() {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    visitor.json.extend_from_slice(fields.as_bytes());
                }
            }
            visitor.json.extend_from_slice(b"}\n");
            writer.write_str(std::str::from_utf8(json).map_err(|_| fmt::Error)?)
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
            writer.write_str(std::str::from_utf8(json).map_err(|_| fmt::Error)?)
        })
    }
}

/// Passes the thread's buffer, which is empty and keeps its capacity. A value that logs while it is
/// formatted gets a buffer of its own.
fn with_buffer(write: impl FnOnce(&mut Vec<u8>) -> fmt::Result) -> fmt::Result {
    thread_local! {
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    buffer.clear();
    let written = write(&mut buffer);
    if buffer.capacity() <= MOST_KEPT {
        BUFFER.set(buffer);
    }
    written
}

/// Appends each field as a member of the object.
struct JsonVisitor<'a> {
    json: &'a mut Vec<u8>,
}

impl JsonVisitor<'_> {
    fn member(&mut self, name: &str, value: impl Serialize) {
        self.json.extend_from_slice(b",\"");
        // A Rust identifier needs no escapes.
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
        serde_json::to_writer(&mut *self.json, &value).expect("scalars are written to memory");
    }
}

impl Visit for JsonVisitor<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field.name(), format!("{value:?}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), value);
    }
}

/// A longer buffer is not kept: one long line must not hold its memory for ever.
const MOST_KEPT: usize = 16 * 1024;
