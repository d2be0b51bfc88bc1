//! The trace that a request is part of (W3C Trace Context, <https://www.w3.org/TR/trace-context/>).

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::request_texts::RequestTexts;

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
        TraceIdText::of([(self.0 >> 64) as u64, self.0 as u64])
    }
}

impl TraceIdText {
    fn of([upper, lower]: [u64; 2]) -> Self {
        let mut text = [0; 32];
        text[..16].copy_from_slice(&hex(upper));
        text[16..].copy_from_slice(&hex(lower));
        Self(text)
    }

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
    /// The upper and the lower half of the id. Both are zero for the proxy's own work, which is in no trace.
    id: [u64; 2],
    /// The span of the last try. Before the first one it is the client's, or zero without a client's trace.
    span: u64,
    /// Only the flags that have a meaning.
    flags: u8,
    /// What other systems say of the trace, which the proxy passes on and does not read. Boxed, since few
    /// clients send it.
    state: Option<Box<HeaderValue>>,
}

impl TraceContext {
    /// The proxy's own work is in no trace.
    pub(crate) const NONE: Self = Self { id: [0; 2], span: 0, flags: 0, state: None };

    /// The client's trace if its `traceparent` is valid, else a new one. `headers` are all of the client's.
    pub(crate) fn of(
        traceparent: Option<&HeaderValue>,
        headers: &HeaderMap,
        random: impl Fn() -> u64,
    ) -> Self {
        if let Some((id, parent, flags)) = traceparent.and_then(client_trace) {
            let state = state(headers).map(Box::new);
            return Self { id, span: parent, flags, state };
        }
        Self { id: [random(), random().max(1)], span: 0, flags: 0, state: None }
    }

    /// The id.
    pub(crate) fn id(&self) -> TraceId {
        TraceId(u128::from(self.id[0]) << 64 | u128::from(self.id[1]))
    }

    /// The id as logs have it.
    pub(crate) fn id_text(&self) -> TraceIdText {
        TraceIdText::of(self.id)
    }

    /// The span of the client that sent the request. It is known until the first try begins.
    pub(crate) fn parent(&self) -> Option<SpanId> {
        (self.span != 0).then_some(SpanId(self.span))
    }

    /// Whether the client records its trace; `None` without a client's trace.
    pub(crate) fn client_samples(&self) -> Option<bool> {
        self.parent().map(|_| self.flags & SAMPLED != 0)
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
    pub(crate) fn begin_span(&mut self, random: u64) {
        self.span = random.max(1);
    }

    /// The span of the last try.
    pub(crate) fn span(&self) -> SpanId {
        SpanId(self.span)
    }

    /// Sets the headers of a try.
    pub(crate) fn write(&self, headers: &mut HeaderMap, texts: &mut RequestTexts) {
        if self.id == [0; 2] {
            headers.remove(TRACEPARENT);
            return;
        }
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.id_text().0);
        text[36..52].copy_from_slice(&hex(self.span));
        text[54] = b'0' + self.flags;
        put(headers, &TRACEPARENT, texts.header(&text));
        if let Some(state) = &self.state {
            headers.insert(TRACESTATE, HeaderValue::clone(state));
        }
    }
}

/// Reads `traceparent`. A later version is read as far as version 00 goes.
fn client_trace(value: &HeaderValue) -> Option<([u64; 2], u64, u8)> {
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
    let id = [number(&text[3..19])?, number(&text[19..35])?];
    let parent = number(&text[36..52])?;
    let flags = u8::try_from(number(&text[53..55])?).ok()? & (SAMPLED | RANDOM);
    (id != [0; 2] && parent != 0).then_some((id, parent, flags))
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

/// The number of at most 16 hex digits, which are in lower case.
fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number: u64, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(value))
    })
}

/// Sets a header. One that is there keeps its place, which costs less than `insert`: that looks for memory for one
/// more header first.
pub(crate) fn put(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    match headers.get_mut(name) {
        Some(place) => *place = value,
        None => {
            headers.insert(name, value);
        }
    }
}

/// The hex digits of a number.
pub(crate) fn hex(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

/// The two hex digits of each byte.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    pairs
};

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

    fn of(headers: &HeaderMap, random: impl Fn() -> u64) -> TraceContext {
        TraceContext::of(headers.get(TRACEPARENT), headers, random)
    }

    fn sent(trace: &mut TraceContext) -> HeaderMap {
        let mut headers = HeaderMap::new();
        trace.begin_span(0xab);
        trace.write(&mut headers, &mut RequestTexts::default());
        headers
    }

    #[test]
    fn a_clients_trace_goes_on_with_the_proxys_span_as_parent() {
        let headers = with(&[("traceparent", CLIENT), ("tracestate", "a=1,b=2")]);
        let mut trace = of(&headers, || panic!("nothing is made"));
        assert_eq!(trace.id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent(), Some(SpanId(0x00f0_67aa_0ba9_02b7)));
        let sent = sent(&mut trace);
        assert_eq!(sent["traceparent"], "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert_eq!(sent["tracestate"], "a=1,b=2");
    }

    #[test]
    fn a_request_without_a_trace_begins_one_that_nothing_records() {
        let mut trace = of(&with(&[("tracestate", "a=1")]), || 0x1f);
        assert_eq!((trace.parent(), trace.client_samples()), (None, None));
        let sent = sent(&mut trace);
        assert_eq!(sent["traceparent"], "00-000000000000001f000000000000001f-00000000000000ab-00");
        assert_eq!(sent.get("tracestate"), None, "it belongs to a trace that is not valid");
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
            let trace = of(&with(&[("traceparent", invalid)]), || 7);
            assert_eq!((trace.id(), trace.parent()), (TraceId(7 << 64 | 7), None), "{invalid}");
        }
    }

    #[test]
    fn a_later_version_and_flags_without_a_meaning_are_read_as_version_00() {
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more";
        let mut trace = of(&with(&[("traceparent", later)]), || 7);
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
            of(&with(&fields), || 7).state().cloned()
        };
        assert_eq!(state(&["a=1", "b=2"]), Some(HeaderValue::from_static("a=1,b=2")));
        assert!(state(&[&"a".repeat(512)]).is_some());
        assert_eq!(state(&[&"a".repeat(513)]), None);
        assert_eq!(state(&[&"a".repeat(400), &"b".repeat(400)]), None);
    }

    #[test]
    fn the_flag_says_whether_the_proxy_records() {
        let mut trace = of(&with(&[("traceparent", CLIENT)]), || 7);
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
        let mut trace = of(&HeaderMap::new(), || 0);
        trace.begin_span(0);
        assert_eq!((trace.id(), trace.span()), (TraceId(1), SpanId(1)));
    }
}
