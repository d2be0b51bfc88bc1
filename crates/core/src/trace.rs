//! The trace that a request is part of (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The id of a trace. It is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

/// The id of one span in a trace. It is not zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub u64);

/// The 32 hex digits of a [`TraceId`], without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct TraceIdText([u8; 32]);

impl TraceId {
    /// As logs have it.
    pub fn text(self) -> TraceIdText {
        let mut text = [0; 32];
        text[..16].copy_from_slice(&hex((self.0 >> 64) as u64));
        text[16..].copy_from_slice(&hex(self.0 as u64));
        TraceIdText(text)
    }
}

impl TraceIdText {
    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// What a request has of its trace.
#[derive(Debug, Clone)]
pub(crate) struct TraceContext {
    pub(crate) id: TraceId,
    /// The span of the client that sent the request.
    pub(crate) parent: Option<SpanId>,
    /// The span of the try that is sent next; `None` for the proxy's own work, which is in no trace.
    span: Option<SpanId>,
    /// Only the flags that have a meaning.
    flags: u8,
    /// What other systems say of the trace, which the proxy passes on and does not read. Boxed, since few
    /// clients send it.
    state: Option<Box<HeaderValue>>,
}

impl TraceContext {
    /// The proxy's own work is in no trace.
    pub(crate) const NONE: Self =
        Self { id: TraceId(0), parent: None, span: None, flags: 0, state: None };

    /// The client's trace if its header is valid, else a new one.
    pub(crate) fn of(headers: &HeaderMap, random: impl Fn() -> u64) -> Self {
        if let Some((id, parent, flags)) = client_trace(headers) {
            let state = state(headers).map(Box::new);
            return Self { id, parent: Some(parent), span: Some(parent), flags, state };
        }
        let id = u128::from(random()) << 64 | u128::from(random());
        let span = Some(SpanId(0));
        Self { id: TraceId(id.max(1)), parent: None, span, flags: 0, state: None }
    }

    /// Whether the client records its trace; `None` without a client's trace.
    pub(crate) fn client_samples(&self) -> Option<bool> {
        self.parent.map(|_| self.flags & SAMPLED != 0)
    }

    /// Decides whether the spans of the request are recorded.
    pub(crate) fn set_sampled(&mut self, sampled: bool) {
        self.flags = self.flags & !SAMPLED | u8::from(sampled);
    }

    /// What other systems say of the trace.
    pub(crate) fn state(&self) -> Option<&HeaderValue> {
        self.state.as_deref()
    }

    /// Begins a span, under which the next try is sent.
    pub(crate) fn begin_span(&mut self, random: u64) -> SpanId {
        let span = SpanId(random.max(1));
        if self.span.is_some() {
            self.span = Some(span);
        }
        span
    }

    /// Sets the headers of a try.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let Some(span) = self.span else {
            headers.remove(TRACEPARENT);
            return;
        };
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.id.text().0);
        text[36..52].copy_from_slice(&hex(span.0));
        text[54] = b'0' + self.flags;
        let value = HeaderValue::from_bytes(&text).expect("hex digits are visible ASCII");
        headers.insert(TRACEPARENT, value);
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, HeaderValue::clone(state));
        }
    }
}

/// Reads `traceparent`. A later version is read as far as version 00 goes.
fn client_trace(headers: &HeaderMap) -> Option<(TraceId, SpanId, u8)> {
    let value = headers.get(TRACEPARENT)?;
    if headers.get_all(TRACEPARENT).iter().nth(1).is_some() {
        return None;
    }
    let text = value.as_bytes();
    let version = number(text.get(..2)?)?;
    let is_long_enough = match version {
        0 => text.len() == LENGTH,
        0xff => false,
        _ => text.len() == LENGTH || text.get(LENGTH) == Some(&b'-'),
    };
    if !is_long_enough || [2, 35, 52].iter().any(|at| text[*at] != b'-') {
        return None;
    }
    let id = number(&text[3..35])?;
    let parent = u64::try_from(number(&text[36..52])?).ok()?;
    let flags = u8::try_from(number(&text[53..55])?).ok()? & (SAMPLED | RANDOM);
    (id != 0 && parent != 0).then_some((TraceId(id), SpanId(parent), flags))
}

/// All values of `tracestate` as one. More bytes than every system has to pass on are dropped.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let first = values.next()?;
    let rest: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
    let whole = if rest.is_empty() {
        first.clone()
    } else {
        let all: Vec<&[u8]> = [&[first.as_bytes()][..], &rest].concat();
        HeaderValue::from_bytes(&all.join(&b","[..])).ok()?
    };
    (!whole.is_empty() && whole.len() <= LONGEST_STATE).then_some(whole)
}

/// The number of at most 32 hex digits, which are in lower case.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The hex digits of a number.
pub(crate) fn hex(number: u64) -> [u8; 16] {
    std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - place * 4)) as usize & 0xf])
}

/// The header with the ids of trace and span.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of version 00.
const LENGTH: usize = 55;

/// The client records its spans.
const SAMPLED: u8 = 1;

/// The id is random (level 2 of the standard).
const RANDOM: u8 = 2;

/// "Vendors SHOULD propagate at least 512 characters of a combined header."
const LONGEST_STATE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn with(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        headers
    }

    fn sent(trace: &mut TraceContext) -> HeaderMap {
        let mut headers = HeaderMap::new();
        trace.begin_span(0xab);
        trace.write(&mut headers);
        headers
    }

    #[test]
    fn a_clients_trace_goes_on_with_the_proxys_span_as_parent() {
        let headers = with(&[("traceparent", CLIENT), ("tracestate", "a=1,b=2")]);
        let mut trace = TraceContext::of(&headers, || panic!("nothing is made"));
        assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent, Some(SpanId(0x00f0_67aa_0ba9_02b7)));
        let sent = sent(&mut trace);
        assert_eq!(sent["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert_eq!(sent["tracestate"], "a=1,b=2");
    }

    #[test]
    fn a_request_without_a_trace_begins_one_that_nothing_records() {
        let mut trace = TraceContext::of(&with(&[("tracestate", "a=1")]), || 0x1f);
        let sent = sent(&mut trace);
        assert_eq!(sent["traceparent"], "00-000000000000001f000000000000001f-00000000000000ab-00");
        assert_eq!(sent.get("tracestate"), None, "it belongs to a trace that is not valid");
        assert_eq!(trace.client_samples(), None);
    }

    #[test]
    fn an_invalid_header_begins_a_new_trace() {
        for invalid in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ] {
            let trace = TraceContext::of(&with(&[("traceparent", invalid)]), || 7);
            assert_eq!((trace.id, trace.parent), (TraceId(7 << 64 | 7), None), "{invalid}");
        }
        let twice = with(&[("traceparent", CLIENT), ("traceparent", CLIENT)]);
        assert_eq!(TraceContext::of(&twice, || 7).parent, None);
    }

    #[test]
    fn a_later_version_and_flags_without_a_meaning_are_read_as_version_00() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more";
        let mut trace = TraceContext::of(&with(&[("traceparent", later)]), || 7);
        assert_eq!(
            sent(&mut trace)["traceparent"],
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-03"
        );
    }

    #[test]
    fn the_state_of_several_fields_is_joined_and_a_longer_one_than_the_standard_asks_for_is_dropped()
     {
        let state = |values: &[&str]| {
            let mut fields = vec![("traceparent", CLIENT)];
            fields.extend(values.iter().map(|value| ("tracestate", *value)));
            TraceContext::of(&with(&fields), || 7).state().cloned()
        };
        assert_eq!(state(&["a=1", "b=2"]), Some(HeaderValue::from_static("a=1,b=2")));
        assert!(state(&[&"a".repeat(512)]).is_some());
        assert_eq!(state(&[&"a".repeat(513)]), None);
        assert_eq!(state(&[&"a".repeat(400), &"b".repeat(400)]), None);
    }

    #[test]
    fn the_flag_says_whether_the_proxy_records() {
        let mut trace = TraceContext::of(&with(&[("traceparent", CLIENT)]), || 7);
        assert_eq!(trace.client_samples(), Some(true));
        trace.set_sampled(false);
        assert!(sent(&mut trace)["traceparent"].as_bytes().ends_with(b"-00"));
        trace.set_sampled(true);
        assert!(sent(&mut trace)["traceparent"].as_bytes().ends_with(b"-01"));
    }

    #[test]
    fn the_proxys_own_work_is_in_no_trace() {
        let mut trace = TraceContext::NONE;
        assert!(sent(&mut trace).is_empty());
    }

    #[test]
    fn no_id_is_zero() {
        let mut trace = TraceContext::of(&HeaderMap::new(), || 0);
        assert_eq!((trace.id, trace.begin_span(0)), (TraceId(1), SpanId(1)));
    }
}
