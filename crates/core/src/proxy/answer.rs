//! Upstream's answer on its way down: taken out of its wrapper, re-framed, or passed on.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::attempt::Arrived;
use super::{Answer, Content, JSON, put};
use crate::dialect::gemini::route::Framing;
use crate::error::Error;
use crate::google::error;
use crate::metrics::{Ledger, Outcome};
use crate::platform::Platform;
use crate::provider::code_assist::envelope::{self, Form};

/// An answer to `generateContent`: taken out of its wrapper.
pub(super) fn unary<P: Platform>(
    head: &Parts,
    text: &Bytes,
    ledger: &mut Ledger<P>,
) -> Result<Answer<P>, Error> {
    let opened = envelope::open(text, None)
        .map_err(|why| Error::UpstreamMalformed { what: format!("no JSON: {why}") })?;
    if let Some(error) = opened.error {
        return Err(error::from_event(&error).into());
    }
    let mut headers = HeaderMap::new();
    note_trace(&mut headers, &head.headers, opened.trace_id.as_deref(), ledger);
    ledger.entry.usage = opened.usage().unwrap_or_default();
    let response = opened.response.ok_or_else(|| Error::UpstreamMalformed {
        what: "the answer has no `response`".to_owned(),
    })?;
    let body = Content::Whole(response.into_bytes(Form::AsWritten));
    headers.insert(CONTENT_TYPE, JSON);
    Ok(Answer { status: StatusCode::OK, headers, body })
}

/// An answer to `countTokens`, which has no wrapper.
pub(super) fn count<P: Platform>(
    head: &Parts,
    text: Bytes,
    ledger: &mut Ledger<P>,
) -> Result<Answer<P>, Error> {
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text).is_err() {
        let what = "the count is no JSON object".to_owned();
        return Err(Error::UpstreamMalformed { what });
    }
    let mut headers = HeaderMap::new();
    note_trace(&mut headers, &head.headers, None, ledger);
    headers.insert(CONTENT_TYPE, JSON);
    Ok(Answer { status: StatusCode::OK, headers, body: Content::Whole(text) })
}

/// A stream whose first event is there.
pub(super) fn stream<P: Platform>(
    arrived: Arrived<P>,
    framing: Framing,
    mut headers: HeaderMap,
    ledger: &mut Ledger<P>,
) -> Answer<P> {
    let trace = Some(ledger.entry.trace_id.clone()).filter(|trace| !trace.is_empty());
    note_trace(&mut headers, &arrived.head.headers, trace.as_deref(), ledger);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    let kind = match framing {
        Framing::Array => JSON,
        Framing::Sse => HeaderValue::from_static("text/event-stream"),
    };
    headers.insert(CONTENT_TYPE, kind);
    Answer { status: StatusCode::OK, headers, body: arrived.content }
}

/// Code Assist's own answer, untouched.
pub(super) fn passed_on<P: Platform>(arrived: Arrived<P>, ledger: &mut Ledger<P>) -> Answer<P> {
    let Arrived { head, content } = arrived;
    if !head.status.is_success() {
        ledger.entry.settle(Outcome::Refused);
    }
    let mut headers = HeaderMap::new();
    for name in [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    note_trace(&mut headers, &head.headers, None, ledger);
    Answer { status: head.status, headers, body: content }
}

/// Upstream's trace id, from its header or else from its body.
fn note_trace<P: Platform>(
    headers: &mut HeaderMap,
    upstream: &HeaderMap,
    in_body: Option<&str>,
    ledger: &mut Ledger<P>,
) {
    let in_header = upstream.get(&TRACE_ID);
    if let Some((value, trace)) = in_header.and_then(|value| Some((value, value.to_str().ok()?))) {
        headers.insert(TRACE_ID, value.clone());
        trace.clone_into(&mut ledger.entry.trace_id);
    } else if let Some(trace) = in_body {
        put(headers, TRACE_ID, trace);
        trace.clone_into(&mut ledger.entry.trace_id);
    }
}

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const TRACE_ID: HeaderName = HeaderName::from_static("x-cloudaicompanion-trace-id");
