//! Formats an event as a line of JSON.
//!
//! The output equals that of `tracing-subscriber`'s JSON format byte for byte, but is written into one
//! buffer. The library's format passes each value through `fmt` in pieces, which made the log line the
//! most expensive part of a request.

use std::fmt;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object per line: time, level, the event's fields, target. Spans are left out.
#[derive(Debug)]
pub(crate) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::with_capacity(LINE_CAPACITY);
        text.push_str(r#"{"timestamp":""#);
        SystemTime.format_time(&mut Writer::new(&mut text))?;
        text.push_str(r#"","level":""#);
        text.push_str(event.metadata().level().as_str());
        text.push('"');
        let mut visitor = JsonVisitor { json: text.into_bytes() };
        event.record(&mut visitor);
        visitor.member("target", event.metadata().target());
        visitor.json.extend_from_slice(b"}\n");
        writer.write_str(std::str::from_utf8(&visitor.json).map_err(|_| fmt::Error)?)
    }
}

/// Appends each field as a member of the object.
struct JsonVisitor {
    json: Vec<u8>,
}

impl JsonVisitor {
    fn member(&mut self, name: &str, value: impl Serialize) {
        self.json.extend_from_slice(b",\"");
        // A Rust identifier needs no escapes.
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
        serde_json::to_writer(&mut self.json, &value).expect("scalars are written to memory");
    }
}

impl Visit for JsonVisitor {
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

/// Enough for the access log line of a request.
const LINE_CAPACITY: usize = 1024;
