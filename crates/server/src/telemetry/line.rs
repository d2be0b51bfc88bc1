//! Formats events and the lines of requests as JSON.
//!
//! The output equals that of `tracing-subscriber`'s JSON format byte for byte, and so does the line of a request,
//! which is no event: the library passes each value through `fmt` in pieces, which made the log line the most
//! expensive part of a request. The ids of the request that is being answered become members too.

use std::cell::RefCell;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use code_assist_core::{RequestIds, RequestLine};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// One JSON object per line: time, level, the event's fields, target, the ids of its request.
#[derive(Debug)]
pub(crate) struct JsonLine {
    /// Reads the clock.
    pub(crate) wall_clock: fn() -> SystemTime,
}

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
        let mut line = String::new();
        let json = &mut line;
        json.push_str(r#"{"timestamp":""#);
        push_time(json, (self.wall_clock)())?;
        json.push_str(r#"","level":""#);
        json.push_str(event.metadata().level().as_str());
        json.push('"');
        event.record(&mut JsonVisitor { json });
        JsonVisitor { json }.text("target", event.metadata().target());
        RequestIds::with_current(|ids| {
            if let Some(ids) = ids {
                JsonVisitor { json }.text("request_id", ids.request_id());
                JsonVisitor { json }.text("trace_id", ids.trace_id().text().as_str());
            }
        });
        json.push_str("}\n");
        writer.write_str(json)
    }
}

/// Passes the line of a request. An event through `tracing` would cost three times as much.
pub(crate) fn with_request_line(
    line: &RequestLine<'_>,
    now: SystemTime,
    write: impl FnOnce(&[u8]),
) {
    thread_local! {
        static BUFFER: RefCell<RequestLines> = const { RefCell::new(RequestLines::EMPTY) };
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    BUFFER.with_borrow_mut(|buffer| write(buffer.line(now, |json| line.write_members(json))));
}

/// The buffer of a thread. It begins with the time up to the second, which many lines share.
pub(super) struct RequestLines {
    json: Vec<u8>,
    second: Option<u64>,
}

impl RequestLines {
    pub(super) const EMPTY: Self = Self { json: Vec::new(), second: None };

    /// The line with these members. `now` is the time since the epoch.
    pub(super) fn line(&mut self, now: Duration, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if self.second != Some(now.as_secs()) {
            self.begin_second(now.as_secs());
        }
        let json = &mut self.json;
        json.truncate(UP_TO_THE_SECOND);
        let micros = now.subsec_micros();
        let digit = |place| b'0' + (micros / place % 10) as u8;
        json.extend_from_slice(&[100_000, 10_000, 1000, 100, 10, 1].map(digit));
        json.extend_from_slice(br#"Z","level":"INFO""#);
        write(json);
        json.extend_from_slice(b",\"target\":\"request\"}\n");
        json
    }

    /// Also gives the memory of a long line back.
    fn begin_second(&mut self, second: u64) {
        const PRINTER: DateTimePrinter = DateTimePrinter::new();
        let time = Timestamp::from_second(second.try_into().unwrap_or(i64::MAX));
        let time = PRINTER.timestamp_to_string(&time.unwrap_or(Timestamp::MAX));
        self.json = Vec::with_capacity(USUAL_LENGTH);
        self.json.extend_from_slice(br#"{"timestamp":""#);
        self.json.extend_from_slice(time.trim_end_matches('Z').as_bytes());
        self.json.push(b'.');
        self.second = Some(second);
    }
}

/// Appends the time, in UTC with microseconds.
fn push_time(json: &mut String, now: SystemTime) -> fmt::Result {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    let now = Timestamp::try_from(now).map_err(|_| fmt::Error)?;
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

/// The length of `{"timestamp":"2026-11-23T03:24:35.`.
const UP_TO_THE_SECOND: usize = 34;

/// Most lines of requests are shorter.
const USUAL_LENGTH: usize = 1024;
