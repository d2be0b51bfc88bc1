//! The log line of a request, with its values in the order of `docs/LOGGING.md`.

use std::net::IpAddr;
use std::time::Duration;

use crate::json::quote;
use crate::time::{micros, millis};
use crate::trace::TraceIdText;

/// What the log says of one request.
#[derive(Debug, Clone)]
pub struct RequestLine<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) trace_id: TraceIdText,
    pub(crate) duration: Duration,
    pub(crate) cache_hit: bool,
    pub(crate) model: &'a str,
    pub(crate) status: u16,
    pub(crate) x_cache: &'static str,
    pub(crate) method: &'static str,
    pub(crate) dialect: &'static str,
    pub(crate) stream: bool,
    pub(crate) upstream_time: Duration,
    pub(crate) overhead: Duration,
    pub(crate) answered: Duration,
    pub(crate) retries: u32,
    pub(crate) google_trace_id: &'a str,
    pub(crate) client: &'a str,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) reason: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) upstream: Option<&'a str>,
    pub(crate) failover_from: Option<&'a str>,
    pub(crate) withheld_calls: Option<usize>,
}

impl RequestLine<'_> {
    /// What the log calls the module that writes these lines.
    pub const TARGET: &'static str = "request";

    /// Logs the line as an event at the level `INFO`.
    pub fn emit(&self) {
        let peer = self.peer.map(|peer| peer.to_string());
        tracing::info!(
            target: "request",
            // Written as a field, since a literal would go through `fmt`.
            message = "request",
            request_id = self.request_id,
            trace_id = self.trace_id.as_str(),
            duration_ms = millis(self.duration),
            cache_hit = self.cache_hit,
            model = self.model,
            status = self.status,
            x_cache = self.x_cache,
            method = self.method,
            dialect = self.dialect,
            stream = self.stream,
            upstream_ms = millis(self.upstream_time),
            overhead_ms = millis(self.overhead),
            ttfb_ms = millis(self.answered),
            retries = self.retries,
            google_trace_id = self.google_trace_id,
            client = self.client,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            prompt_tokens = self.prompt_tokens,
            output_tokens = self.output_tokens,
            reason = self.reason,
            outcome = self.outcome,
            peer = peer.as_deref(),
            upstream = self.upstream,
            failover_from = self.failover_from,
            withheld_calls = self.withheld_calls,
        );
    }

    /// Appends the members of the line's JSON object: those that the event of [`RequestLine::emit`] has. An
    /// event costs three times as much.
    pub fn write_members(&self, json: &mut Vec<u8>) {
        let mut members = Members(json);
        members.word(r#","message":""#, "request");
        members.text(r#","request_id":"#, self.request_id);
        members.word(r#","trace_id":""#, self.trace_id.as_str());
        members.millis(r#","duration_ms":"#, self.duration);
        members.flag(r#","cache_hit":"#, self.cache_hit);
        members.text(r#","model":"#, self.model);
        members.number(r#","status":"#, u64::from(self.status));
        members.word(r#","x_cache":""#, self.x_cache);
        members.word(r#","method":""#, self.method);
        members.word(r#","dialect":""#, self.dialect);
        members.flag(r#","stream":"#, self.stream);
        members.millis(r#","upstream_ms":"#, self.upstream_time);
        members.millis(r#","overhead_ms":"#, self.overhead);
        members.millis(r#","ttfb_ms":"#, self.answered);
        members.number(r#","retries":"#, u64::from(self.retries));
        members.text(r#","google_trace_id":"#, self.google_trace_id);
        members.text(r#","client":"#, self.client);
        members.number(r#","bytes_in":"#, self.bytes_in);
        members.number(r#","bytes_out":"#, self.bytes_out);
        members.number(r#","prompt_tokens":"#, self.prompt_tokens);
        members.number(r#","output_tokens":"#, self.output_tokens);
        members.word(r#","reason":""#, self.reason);
        members.word(r#","outcome":""#, self.outcome);
        if let Some(peer) = self.peer {
            members.word(r#","peer":""#, &peer.to_string());
        }
        if let Some(upstream) = self.upstream {
            members.text(r#","upstream":"#, upstream);
        }
        if let Some(upstream) = self.failover_from {
            members.text(r#","failover_from":"#, upstream);
        }
        if let Some(calls) = self.withheld_calls {
            members.number(r#","withheld_calls":"#, calls as u64);
        }
    }
}

/// Appends members. `name` has what comes before the value, since fewer pieces cost less.
struct Members<'a>(&'a mut Vec<u8>);

impl Members<'_> {
    #[inline]
    fn text(&mut self, name: &'static str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        quote(value, self.0);
    }

    /// A value that needs no escapes. `name` ends with its first quotation mark.
    #[inline]
    fn word(&mut self, name: &'static str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
    }

    #[inline]
    fn flag(&mut self, name: &'static str, value: bool) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
    }

    #[inline]
    fn number(&mut self, name: &'static str, value: u64) {
        self.0.extend_from_slice(name.as_bytes());
        push_number(self.0, value);
    }

    /// Milliseconds as a decimal fraction without zeros at its end, but for the first digit.
    #[inline]
    fn millis(&mut self, name: &'static str, value: Duration) {
        self.0.extend_from_slice(name.as_bytes());
        push_millis(self.0, value);
    }
}

fn push_number(json: &mut Vec<u8>, number: u64) {
    json.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_millis(json: &mut Vec<u8>, duration: Duration) {
    let micros = micros(duration);
    push_number(json, micros / 1000);
    let digit = |place| b'0' + (micros / place % 10) as u8;
    let fraction = [b'.', digit(100), digit(10), digit(1)];
    let len = match fraction {
        [.., b'0', b'0'] => 2,
        [.., b'0'] => 3,
        _ => 4,
    };
    json.extend_from_slice(&fraction[..len]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_written_as_the_number_that_they_are() {
        for micros in [0, 1, 10, 100, 120, 123, 999, 1000, 43_425, 87_300, 3_600_000_000, 1 << 52] {
            let mut json = Vec::new();
            push_millis(&mut json, Duration::from_micros(micros));
            let expected = serde_json::to_string(&(micros as f64 / 1000.0)).unwrap();
            assert_eq!(String::from_utf8(json).unwrap(), expected);
        }
        for (nanos, expected) in [(499, "0.0"), (500, "0.001"), (1_999_500, "2.0")] {
            let mut json = Vec::new();
            push_millis(&mut json, Duration::from_nanos(nanos));
            assert_eq!(String::from_utf8(json).unwrap(), expected);
        }
    }
}
