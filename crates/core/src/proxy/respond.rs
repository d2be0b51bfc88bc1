//! The answer on its way to the client.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use super::choose::UPSTREAM;
use super::{Proxy, budget};
use crate::body::{CopiedStream, Events, ProxyBody};
use crate::context::RequestContext;
use crate::dialect::gemini::route::Framing;
use crate::dialect::translate::fault::{self, Fault};
use crate::dialect::{Dialect, anthropic, gemini, openai};
use crate::error::{Error, OVERLOADED};
use crate::google::status;
use crate::metrics::RequestOutcome;
use crate::platform::Platform;
use crate::policy::cache::CachedAnswer;
use crate::policy::memory::{REQUEST_BASE, SMALL_ANSWER};
use crate::provider::{Provider, forward};
use crate::request_texts::RequestTexts;
use crate::upstream::{
    CopiedAnswer, CopiedBody, CopiedEvents, EventStream, HeadAnswer, WholeAnswer,
};

/// What a request is answered with, before the headers that every answer carries.
pub(super) struct Answer<P: Platform> {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: AnswerBody<P>,
}

pub(super) enum AnswerBody<P: Platform> {
    Copied(Box<CopiedStream<P>>),
    Events(Box<Events<P>>),
    PassThrough(P::Body),
    /// A connection to upstream that the shell joins to the client's.
    Upgraded(P::Body, Extensions),
    Whole(Bytes),
}

impl<P: Platform> From<CachedAnswer> for Answer<P> {
    fn from(answer: CachedAnswer) -> Self {
        let CachedAnswer { status, headers, body } = answer;
        Self { status, headers, body: AnswerBody::Whole(body) }
    }
}

impl Proxy {
    /// Reserves memory for what the client has not taken of its answer, and gives back what was reserved
    /// for the request's body. If too little is free, the answer is an error.
    pub(super) fn with_memory<P: Platform>(
        &self,
        answer: Answer<P>,
        context: &mut RequestContext<P>,
    ) -> Answer<P> {
        let length = match &answer.body {
            AnswerBody::Copied(stream) => SMALL_ANSWER + stream.reserved(),
            AnswerBody::Events(events) => SMALL_ANSWER + events.reserved(),
            AnswerBody::PassThrough(_) | AnswerBody::Upgraded(..) => SMALL_ANSWER,
            AnswerBody::Whole(bytes) => bytes.len(),
        };
        let is_held = match &context.memory {
            Some(memory) => {
                let needed = REQUEST_BASE + length.saturating_sub(SMALL_ANSWER);
                let missing = needed.saturating_sub(memory.bytes());
                context.shrink_memory(needed);
                missing == 0 || context.try_grow_memory(missing)
            }
            // The connection's own buffers hold so small an answer.
            None if length <= FREE_ANSWER => true,
            None => {
                context.memory = self.memory.try_reserve_own(context.caller, length);
                context.memory.is_some()
            }
        };
        if is_held { answer } else { error(&OVERLOADED, false, context) }
    }

    /// Adds what every answer carries. The request's context goes on with the body.
    pub(super) fn respond<P: Platform>(
        &self,
        parts: &Parts,
        answer: Answer<P>,
        mut context: RequestContext<P>,
    ) -> Response<ProxyBody<P>> {
        let is_long = matches!(&answer.body, AnswerBody::Whole(body) if body.len() > LONG_ANSWER);
        // An answer that upstream did not give is there when its request has come: all its time is work.
        let now = match is_long || !context.asked_upstream {
            true => context.platform().now_anew(),
            false => context.platform().now(),
        };
        context.timings.answered = Some(now);
        context.status = answer.status.as_u16();
        let mut headers = answer.headers;
        let more = if context.holder.is_some() { HEADERS_OF_HOLDERS } else { 0 };
        headers.reserve(USUAL_HEADERS + more);
        if !context.headers.is_empty() {
            headers.extend(std::mem::take(&mut context.headers));
        }
        if let Some(x_cache) = context.cache.header() {
            headers.insert(X_CACHE, HeaderValue::from_static(x_cache));
        }
        self.add_common_headers(parts, &mut headers, &mut context);
        if context.holder.is_some() {
            budget::put_standing(&mut headers, &context, self.limits.are_on(), now);
        }
        if parts.method == Method::HEAD {
            // The body is not sent.
            context.settle(RequestOutcome::Ok);
        }
        if let Some(name) = context.upstream() {
            put(&mut headers, UPSTREAM, &**name);
        }
        // Behind upstream's, where the answer is copied.
        headers.append(SERVER_TIMING, context.server_timing(now));
        // A stream lives for long, and must not hold the block.
        context.texts = RequestTexts::default();
        let mut extensions = None;
        let idle = self.settings.stream_idle_timeout;
        let body = match answer.body {
            AnswerBody::Copied(stream) => ProxyBody::copied(stream, context),
            AnswerBody::Upgraded(upstream, of_upstream) => {
                extensions = Some(of_upstream);
                ProxyBody::pass_through(upstream, &headers, context, idle)
            }
            AnswerBody::Events(events) => ProxyBody::events(events, context),
            AnswerBody::PassThrough(upstream) => {
                ProxyBody::pass_through(upstream, &headers, context, idle)
            }
            AnswerBody::Whole(bytes) => ProxyBody::whole(bytes, context),
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = headers;
        if let Some(extensions) = extensions {
            response.extensions_mut().extend(extensions);
        }
        response
    }
}

impl Proxy {
    /// Adds what an answer carries whatever becomes of its request: the request's id, and what browsers
    /// need.
    pub(super) fn add_common_headers<P: Platform>(
        &self,
        parts: &Parts,
        headers: &mut HeaderMap,
        context: &mut RequestContext<P>,
    ) {
        if parts.method != Method::OPTIONS {
            self.reloadable().access.add_cors_headers(&parts.headers, headers);
        }
        let id = context.id.to_header(&mut context.texts);
        if context.dialect == Dialect::Anthropic {
            headers.insert(ANTHROPIC_REQUEST_ID, id.clone());
        }
        headers.insert(REQUEST_ID, id);
    }
}

/// The headers of a stream of server-sent events.
pub(super) fn stream_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(USUAL_HEADERS + 3);
    put_stream_headers(&mut headers, Framing::Sse);
    headers
}

fn put_stream_headers(headers: &mut HeaderMap, framing: Framing) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    let kind = match framing {
        Framing::Array => JSON,
        Framing::Sse => HeaderValue::from_static("text/event-stream"),
    };
    headers.insert(CONTENT_TYPE, kind);
}

/// Turns an error into an answer. (An error after the head ends the stream: `StreamEncoder::error`.)
pub(super) fn error<P: Platform>(
    error: &Error,
    in_array: bool,
    context: &mut RequestContext<P>,
) -> Answer<P> {
    context.error = Some(error.label());
    context.settle(RequestOutcome::Refused);
    let mut headers = error.headers();
    headers.insert(CONTENT_TYPE, JSON);
    let as_sent = match error {
        Error::Upstream(error) => error.as_sent.clone(),
        _ => None,
    };
    if context.dialect != Dialect::Gemini {
        return translated_error(error, headers, context);
    }
    let body = as_sent.unwrap_or_else(|| {
        let body = gemini::error::body(error);
        if in_array { status::as_array(&body) } else { body }
    });
    Answer { status: error.status(), headers, body: AnswerBody::Whole(body) }
}

/// Turns an error into an answer for a client that speaks another dialect.
#[cold]
fn translated_error<P: Platform>(
    error: &Error,
    mut headers: HeaderMap,
    context: &RequestContext<P>,
) -> Answer<P> {
    let fault = Fault::of(error, context.dialect).for_prompt_in(context.prompt_field);
    headers.extend(fault::headers(&fault));
    let body = match context.dialect {
        Dialect::Anthropic => anthropic::error::body(&fault, context.id.as_str()),
        Dialect::Gemini | Dialect::OpenAi => openai::error::body(&fault),
    };
    Answer { status: fault.status, headers, body: AnswerBody::Whole(body) }
}

/// A whole answer of a model's.
pub(super) fn whole<P: Platform>(
    provider: &Provider,
    mut answer: WholeAnswer,
    context: &mut RequestContext<P>,
) -> CachedAnswer {
    let mut headers = HeaderMap::with_capacity(HEADERS_OF_REQUESTS);
    if provider.copies_answers() {
        headers = forward::answer_headers(&answer.head.headers);
        note_timing(&answer.head.headers, context);
        headers.entry(CONTENT_TYPE).or_insert(JSON);
    } else {
        headers.insert(CONTENT_TYPE, JSON);
    }
    note_trace(provider, &mut headers, &mut answer.head.headers, context);
    CachedAnswer { status: StatusCode::OK, headers, body: answer.body }
}

/// A stream whose first event has come.
pub(super) fn stream<P: Platform>(
    provider: &Provider,
    mut stream: EventStream<P>,
    framing: Framing,
    mut headers: HeaderMap,
    context: &mut RequestContext<P>,
) -> Answer<P> {
    note_trace(provider, &mut headers, &mut stream.head.headers, context);
    put_stream_headers(&mut headers, framing);
    Answer { status: StatusCode::OK, headers, body: AnswerBody::Events(stream.events) }
}

/// A stream that is copied, whose first event has come.
pub(super) fn copied_stream<P: Platform>(
    answer: CopiedEvents<P>,
    more: HeaderMap,
    context: &mut RequestContext<P>,
) -> Answer<P> {
    let CopiedEvents { head, stream } = answer;
    let mut headers = forward::answer_headers(&head.headers);
    note_timing(&head.headers, context);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.extend(more);
    Answer { status: head.status, headers, body: AnswerBody::Copied(stream) }
}

/// An answer of any kind that is copied, with upstream's headers as they are after `edit`.
pub(super) fn copied<P: Platform>(
    answer: CopiedAnswer<P>,
    edit: impl FnOnce(&mut HeaderMap),
    context: &mut RequestContext<P>,
) -> Answer<P> {
    let CopiedAnswer { head, body } = answer;
    let mut headers = forward::copied_answer_headers(&head.headers);
    note_timing(&head.headers, context);
    edit(&mut headers);
    let body = match body {
        CopiedBody::Open(body) => AnswerBody::PassThrough(body),
        CopiedBody::Read(text) => {
            context.error = Some("upstream_error");
            context.settle(RequestOutcome::Refused);
            AnswerBody::Whole(text)
        }
    };
    Answer { status: head.status, headers, body }
}

/// Keeps what upstream says of its own time, which the proxy's own follows.
fn note_timing<P: Platform>(upstream: &HeaderMap, context: &mut RequestContext<P>) {
    for value in upstream.get_all(SERVER_TIMING) {
        context.headers.append(SERVER_TIMING, value.clone());
    }
}

/// An answer in the provider's own protocol, untouched.
pub(super) fn passed_through<P: Platform>(
    provider: &Provider,
    answer: HeadAnswer<P>,
    context: &mut RequestContext<P>,
) -> Answer<P> {
    let HeadAnswer { mut head, body } = answer;
    if !head.status.is_success() {
        context.settle(RequestOutcome::Refused);
    }
    let mut headers = HeaderMap::new();
    for name in [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    note_trace(provider, &mut headers, &mut head.headers, context);
    Answer { status: head.status, headers, body: AnswerBody::PassThrough(body) }
}

/// The answer to a client that asks whether the server is there.
pub(super) fn hello<P: Platform>(context: &mut RequestContext<P>) -> Answer<P> {
    context.set_aside();
    Answer {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        body: AnswerBody::Whole(Bytes::new()),
    }
}

/// A JSON answer of the proxy's own.
pub(super) fn json<P: Platform>(mut headers: HeaderMap, body: Bytes) -> Answer<P> {
    headers.insert(CONTENT_TYPE, JSON);
    Answer { status: StatusCode::OK, headers, body: AnswerBody::Whole(body) }
}

/// Upstream's trace id, from its header or else from its body, where the context has it from.
fn note_trace<P: Platform>(
    provider: &Provider,
    headers: &mut HeaderMap,
    upstream: &mut HeaderMap,
    context: &mut RequestContext<P>,
) {
    let Some(name) = provider.trace_header() else { return };
    let in_header = upstream.remove(&name).filter(|value| value.to_str().is_ok());
    if let Some(value) = in_header {
        if context.google_trace_id != value.as_bytes() {
            context.google_trace_id = Bytes::copy_from_slice(value.as_bytes());
        }
        headers.insert(name, value);
    } else if !context.google_trace_id.is_empty() {
        let value = HeaderValue::from_maybe_shared(context.google_trace_id.clone());
        headers.extend(value.ok().map(|value| (name, value)));
    }
}

/// Adds a header; a value that no header may have is left out.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}

pub(super) const JSON: HeaderValue = HeaderValue::from_static(status::CONTENT_TYPE);

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// How many headers an answer gets on its way out, CORS left aside.
const USUAL_HEADERS: usize = 4;

/// hyper reads a connection's next request into the map of its last answer, if that has space for it.
const HEADERS_OF_REQUESTS: usize = 12;

/// How many more it gets where a key has limits.
const HEADERS_OF_HOLDERS: usize = 3;

/// The length of an answer without an upstream call for which no memory is reserved.
const FREE_ANSWER: usize = 4 << 10;

/// An answer of this length takes longer to make than reading a clock by far, so that the work is measured. The
/// work on a shorter one, some microseconds, is left out where the clock stands still meanwhile.
const LONG_ANSWER: usize = 16 << 10;
