//! How much of upstream's answer a request waits for: all of it, its first event, or its head.

use bytes::Bytes;
use http::StatusCode;
use http::response::Parts;

use super::io::read_whole;
use crate::body::{EventLimits, Events};
use crate::context::RequestContext;
use crate::dialect::StreamFormat;
use crate::error::Error;
use crate::failure::FailureClass;
use crate::platform::Platform;
use crate::policy::breaker;
use crate::provider::Provider;
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
        provider: &Provider,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<Self::Answer, Error>;

    /// Tells the breaker what the answer says about the endpoint.
    fn record(answer: &Self::Answer, context: &mut RequestContext<P>, now: Monotonic);
}

/// Waits for the whole answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole;

/// A whole answer, with the head that came before it.
#[derive(Debug)]
pub(crate) struct WholeAnswer {
    pub(crate) head: Parts,
    pub(crate) text: Bytes,
}

impl<P: Platform> Want<P> for Whole {
    type Answer = WholeAnswer;

    async fn read(
        self,
        _: &Provider,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<WholeAnswer, Error> {
        let text = read_whole(context.platform(), body, limits.event_bytes, limits.idle).await?;
        Ok(WholeAnswer { head, text })
    }

    fn record(_: &WholeAnswer, context: &mut RequestContext<P>, now: Monotonic) {
        context.end_call(breaker::CallOutcome::Success, &[], now);
        context.release_permit();
    }
}

/// Waits for the first event of a stream, on which the client's status line depends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstEvent(pub(crate) StreamFormat);

/// A stream whose first event has arrived.
#[derive(Debug)]
pub(crate) struct EventStream<P: Platform> {
    pub(crate) head: Parts,
    pub(crate) events: Box<Events<P>>,
}

impl<P: Platform> Want<P> for FirstEvent {
    type Answer = EventStream<P>;

    const IS_STREAM: bool = true;

    async fn read(
        self,
        provider: &Provider,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<EventStream<P>, Error> {
        let (decoder, encoder) = (provider.stream_decoder(), self.0.encoder());
        let mut events = Box::new(Events::new(body, decoder, encoder, limits, context.platform()));
        events.peek_first(context).await?;
        Ok(EventStream { head, events })
    }

    fn record(_: &EventStream<P>, context: &mut RequestContext<P>, now: Monotonic) {
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

    async fn read(
        self,
        _: &Provider,
        _: EventLimits,
        head: Parts,
        body: P::Body,
        _: &mut RequestContext<P>,
    ) -> Result<HeadAnswer<P>, Error> {
        Ok(HeadAnswer { head, body })
    }

    fn record(answer: &HeadAnswer<P>, context: &mut RequestContext<P>, now: Monotonic) {
        let status = answer.head.status;
        if is_failure(status) {
            let outcome = breaker::CallOutcome::of(FailureClass::of_status(status));
            context.end_call(outcome, &[], now);
        } else {
            context.call_alive(now);
        }
    }
}

/// True for a 4xx or a 5xx.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}
