//! Upstream's answer on its way down: taken out of its wrapper, re-framed, or passed on.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{Answer, Content, JSON, Proxy, put};
use crate::assist::envelope::{self, Form};
use crate::assist::fault;
use crate::body::{Beginning, Events};
use crate::gemini::route::Framing;
use crate::platform::Platform;
use crate::refusal::Refusal;
use crate::report::Ledger;

impl Proxy {
    pub(super) async fn unary<P: Platform>(
        &self,
        platform: &P,
        upstream: Response<P::Body>,
        mut headers: HeaderMap,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let (head, body) = upstream.into_parts();
        let text = self.read_whole(platform, body, ledger).await?;
        let unwrapped = envelope::unwrap(&text, Form::AsWritten, None)
            .map_err(|why| Refusal::UpstreamMalformed { what: format!("no JSON: {why}") })?;
        if let Some(error) = unwrapped.error {
            return Err(fault::from_event(&error).into());
        }
        note_trace(&mut headers, &head.headers, unwrapped.trace_id.as_deref(), ledger);
        ledger.entry.usage = unwrapped.usage.unwrap_or_default();
        let response = unwrapped.response.ok_or_else(|| Refusal::UpstreamMalformed {
            what: "the answer has no `response`".to_owned(),
        })?;
        headers.insert(CONTENT_TYPE, JSON);
        Ok(Answer { status: StatusCode::OK, headers, body: Content::Whole(response) })
    }

    pub(super) async fn count<P: Platform>(
        &self,
        upstream: Response<P::Body>,
        mut headers: HeaderMap,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let (head, body) = upstream.into_parts();
        let platform = ledger.platform().clone();
        let text = self.read_whole(&platform, body, ledger).await?;
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text).is_err() {
            let what = "the count is no JSON object".to_owned();
            return Err(Refusal::UpstreamMalformed { what });
        }
        note_trace(&mut headers, &head.headers, None, ledger);
        headers.insert(CONTENT_TYPE, JSON);
        Ok(Answer { status: StatusCode::OK, headers, body: Content::Whole(text) })
    }

    pub(super) async fn stream<P: Platform>(
        &self,
        platform: &P,
        upstream: Response<P::Body>,
        framing: Framing,
        mut headers: HeaderMap,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let (head, body) = upstream.into_parts();
        let begun = platform.now();
        let (limit, idle) = (self.settings.max_event_bytes, self.settings.stream_idle_timeout);
        let mut events = Events::new(body, framing, limit, idle, ledger);
        let beginning = events.begin(ledger).await;
        let waited = platform.now().since(begun);
        ledger.entry.upstream += waited;
        ledger.entry.first_byte = ledger.entry.first_byte.map(|head| head + waited);
        if let Beginning::Bad(refusal) = beginning {
            return Err(refusal);
        }
        let trace = Some(ledger.entry.trace_id.clone()).filter(|trace| !trace.is_empty());
        note_trace(&mut headers, &head.headers, trace.as_deref(), ledger);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        let kind = match framing {
            Framing::Array => JSON,
            Framing::Sse => HeaderValue::from_static("text/event-stream"),
        };
        headers.insert(CONTENT_TYPE, kind);
        Ok(Answer { status: StatusCode::OK, headers, body: Content::Events(Box::new(events)) })
    }
}

/// Code Assist's own answer, untouched.
pub(super) fn passed_on<P: Platform>(
    upstream: Response<P::Body>,
    ledger: &mut Ledger<P>,
) -> Answer<P> {
    let (head, body) = upstream.into_parts();
    let mut headers = HeaderMap::new();
    for name in [CONTENT_TYPE, CACHE_CONTROL] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    note_trace(&mut headers, &head.headers, None, ledger);
    Answer { status: head.status, headers, body: Content::PassedOn(body) }
}

/// Upstream's trace id, from its header or else from its body.
fn note_trace<P: Platform>(
    headers: &mut HeaderMap,
    upstream: &HeaderMap,
    in_body: Option<&str>,
    ledger: &mut Ledger<P>,
) {
    let in_header = upstream.get(TRACE_ID).and_then(|value| value.to_str().ok());
    if let Some(trace) = in_header.or(in_body) {
        put(headers, TRACE_ID, trace);
        ledger.entry.trace_id = trace.to_owned();
    }
}

const TRACE_ID: &str = "x-cloudaicompanion-trace-id";
