//! How much of upstream's answer a request waits for: all of it, its first event, or its head.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::response::Parts;

use super::io::read_answer;
use crate::body::{CopiedStream, EventLimits, Events};
use crate::context::RequestContext;
use crate::dialect::gemini::route::ClientMode;
use crate::dialect::{StreamFormat, WholeCall};
use crate::error::Error;
use crate::failure::{Failure, FailureClass};
use crate::google::usage::TokenUsage;
use crate::memory;
use crate::platform::{HEAVY, Platform};
use crate::policy::breaker::CallOutcomes;
use crate::policy::endpoint::Tries;
use crate::policy::memory::MemoryReservation;
use crate::provider::answer::GeminiAnswer;
use crate::provider::gemini_api::observer::StreamForm;
use crate::provider::{Provider, UpstreamFormat};
use crate::time::Monotonic;

/// How much of upstream's answer a request waits for, before a try counts as answered.
pub(crate) trait Want<P: Platform> {
    /// What [`Want::read`] returns.
    type Answer;

    /// True when the answer is a stream of events, whose first byte counts as its first event.
    const IS_STREAM: bool = false;

    /// Reads that much of a successful answer.
    async fn read(
        self,
        provider: &Arc<Provider>,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<Self::Answer, Error>;

    /// True when the answer goes on after the request was dropped, and may still break off.
    const GOES_ON: bool = false;

    /// Records for the breakers what the answer says.
    fn record(answer: &Self::Answer, context: &mut RequestContext<P>, now: Monotonic);
}

/// Waits for the whole answer, and takes it out of the provider's form: an error inside a successful
/// answer fails the try. The proxy's own calls read their answers themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole(pub(crate) Option<(WholeCall, ClientMode)>);

/// A whole answer, with the head that came before it.
#[derive(Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
}

impl<P: Platform> Want<P> for Whole {
    type Answer = WholeAnswer;

    async fn read(
        self,
        provider: &Arc<Provider>,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<WholeAnswer, Error> {
        // The client's deadline holds until the last byte, also where it is longer.
        let idle = context.deadline.map_or(limits.idle, |it| it.allowed.max(limits.idle));
        let text = match read_answer(context, body, limits.event_bytes, idle, limits.queue_timeout)
            .await
        {
            Ok(text) => text,
            Err(error) => {
                if head.status.is_success() {
                    context.estimate_cut_answer();
                }
                return Err(error);
            }
        };
        let Some((call, mode)) = self.0 else { return Ok(WholeAnswer { head, body: text }) };
        let answer = if text.len() <= HEAVY {
            context.note_signatures(&text);
            owned(provider.read_answer(call, mode, &text), &text)
        } else {
            let notes = context.signatures().cloned();
            let (provider, length) = (Arc::clone(provider), text.len());
            let work = move || {
                if let Some(notes) = notes {
                    notes.note(&text);
                }
                owned(provider.read_answer(call, mode, &text), &text)
            };
            Box::pin(memory::work_on(length, context, limits.queue_timeout, work)).await?
        };
        let (body, usage, trace_id) = match answer {
            Err(Error::UpstreamMalformed { .. }) if is_web_page(&head.headers) => {
                let what = "a web page came in place of the answer".to_owned();
                return Err(Error::UpstreamPage { what });
            }
            answer => answer?,
        };
        context.usage = usage;
        context.note_finish(&body);
        if let Some(trace) = trace_id {
            context.google_trace_id = trace;
        }
        Ok(WholeAnswer { head, body })
    }

    fn record(_: &WholeAnswer, context: &mut RequestContext<P>, now: Monotonic) {
        context.end_call(CallOutcomes::SUCCESS, &Tries::default(), now);
        context.release_permit();
    }
}

/// The parts of an answer, which count references to its text.
fn owned(
    answer: Result<GeminiAnswer<'_>, Error>,
    text: &Bytes,
) -> Result<(Bytes, TokenUsage, Option<Bytes>), Error> {
    let GeminiAnswer { body, usage, trace_id } = answer?;
    let trace_id = trace_id.map(|trace_id| match trace_id {
        Cow::Borrowed(trace_id) => text.slice_ref(trace_id.as_bytes()),
        Cow::Owned(trace_id) => trace_id.into(),
    });
    Ok((body, usage, trace_id))
}

/// Waits for the first event of a stream, on which the client's status line depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstEvent<'a> {
    /// The form in which upstream writes the stream.
    pub(crate) from: UpstreamFormat,
    /// The form in which the client gets it.
    pub(crate) to: StreamFormat<'a>,
}

/// A stream whose first event has arrived.
#[derive(Debug)]
pub(crate) struct EventStream<P: Platform> {
    pub(crate) head: Parts,
    pub(crate) events: Box<Events<P>>,
}

impl<P: Platform> Want<P> for FirstEvent<'_> {
    type Answer = EventStream<P>;

    const IS_STREAM: bool = true;
    const GOES_ON: bool = true;

    async fn read(
        self,
        _: &Arc<Provider>,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<EventStream<P>, Error> {
        let (decoder, encoder) = (self.from.decoder(), self.to.encoder());
        let mut events = Box::new(Events::new(body, decoder, encoder, limits, context.platform()));
        let before = context.memory.as_ref().map_or(0, MemoryReservation::bytes);
        if let Err(error) = events.peek_first(context).await {
            context.shrink_memory(before);
            return Err(error);
        }
        Ok(EventStream { head, events })
    }

    fn record(_: &EventStream<P>, context: &mut RequestContext<P>, now: Monotonic) {
        context.call_alive(now);
    }
}

/// Waits for the first event of a stream that is copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstCopied;

/// A stream that is copied, whose first event has arrived.
#[derive(Debug)]
pub(crate) struct CopiedEvents<P: Platform> {
    pub(crate) head: Parts,
    pub(crate) stream: Box<CopiedStream<P>>,
}

impl<P: Platform> Want<P> for FirstCopied {
    type Answer = CopiedEvents<P>;

    const IS_STREAM: bool = true;
    const GOES_ON: bool = true;

    async fn read(
        self,
        _: &Arc<Provider>,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<CopiedEvents<P>, Error> {
        let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
        let is_sse = kind.trim_ascii_start().to_ascii_lowercase().starts_with(b"text/event-stream");
        let form = if is_sse { StreamForm::Sse } else { StreamForm::Array };
        let mut stream = Box::new(CopiedStream::new(body, form, limits, context.platform()));
        let before = context.memory.as_ref().map_or(0, MemoryReservation::bytes);
        if let Err(error) = stream.peek_first(context).await {
            context.shrink_memory(before);
            return Err(error);
        }
        Ok(CopiedEvents { head, stream })
    }

    fn record(_: &CopiedEvents<P>, context: &mut RequestContext<P>, now: Monotonic) {
        context.call_alive(now);
    }
}

/// Waits for the head; the body is passed on as it arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head;

/// An answer of which only the head has been read.
#[derive(Debug)]
pub(crate) struct HeadAnswer<P: Platform> {
    pub(crate) head: Parts,
    pub(crate) body: P::Body,
}

impl<P: Platform> Want<P> for Head {
    type Answer = HeadAnswer<P>;

    const GOES_ON: bool = true;

    async fn read(
        self,
        _: &Arc<Provider>,
        _: EventLimits,
        head: Parts,
        body: P::Body,
        _: &mut RequestContext<P>,
    ) -> Result<HeadAnswer<P>, Error> {
        Ok(HeadAnswer { head, body })
    }

    fn record(answer: &HeadAnswer<P>, context: &mut RequestContext<P>, now: Monotonic) {
        let HeadAnswer { head, .. } = answer;
        if is_failure(head.status) {
            let is_page = is_web_page(&head.headers);
            let failure = Failure { is_page, ..Failure::new(FailureClass::of_status(head.status)) };
            context.end_call(CallOutcomes::of(failure), &Tries::default(), now);
        } else {
            context.proves_quota = true;
            context.call_alive(now);
        }
    }
}

/// True for a 4xx or a 5xx.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// True for the content type with which a captive portal or a load balancer answers.
pub(super) fn is_web_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().trim_ascii().starts_with(b"text/html"))
}
