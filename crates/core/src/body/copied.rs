//! A stream of the Gemini API on its way to the client: upstream's own chunks. What is in them is read
//! beside, for the log, the metrics and the breakers.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body;

use super::drain;
use super::events::OWN_CHUNK;
use super::idle::IdleTimer;
use super::{EventLimits, SILENT};
use crate::context::RequestContext;
use crate::dialect::StreamFormat;
use crate::dialect::gemini;
use crate::dialect::gemini::route::Framing;
use crate::error::{Awaited, Error, OVERLOADED};
use crate::failure::Failure;
use crate::google::error::UpstreamError;
use crate::metrics::RequestOutcome;
use crate::platform::{BodyError, Platform};
use crate::policy::breaker::CallOutcomes;
use crate::policy::memory::SMALL_ANSWER;
use crate::provider::gemini_api::observer::{
    Boundary, Meaning, Observed, StreamForm, StreamObserver,
};

/// A stream that is copied chunk by chunk.
#[derive(Debug)]
pub(crate) struct CopiedStream<P: Platform> {
    /// `None` once it has ended.
    upstream: Option<P::Body>,
    observer: StreamObserver,
    facts: StreamFacts,
    idle: IdleTimer<P>,
    /// How many bytes the request has memory for.
    may_hold: usize,
    /// Chunks that came before the client got its status line, and what the proxy adds at the end.
    ready: VecDeque<Bytes>,
    /// Follows the pieces after a pause, in a chunk of its own.
    last: Option<Bytes>,
    pause: Option<P::Timer>,
    /// The stream broke off within an event, and the client's breaks off too.
    broken: Option<BodyError>,
}

/// What the events of a stream have said.
#[derive(Debug, Default)]
struct StreamFacts {
    /// There was an event for the client.
    begun: bool,
    /// An event said why the answer ended.
    finished: bool,
    /// There was text that is no event.
    stray: bool,
    /// Upstream has stated an error.
    failed: Option<Box<UpstreamError>>,
}

impl<P: Platform> CopiedStream<P> {
    /// Copies `upstream`, whose events have this form.
    pub(crate) fn new(
        upstream: P::Body,
        form: StreamForm,
        limits: EventLimits,
        platform: &P,
    ) -> Self {
        Self {
            upstream: Some(upstream),
            observer: StreamObserver::new(form, limits.event_bytes),
            facts: StreamFacts::default(),
            idle: IdleTimer::new(platform, limits.idle),
            may_hold: SMALL_ANSWER,
            ready: VecDeque::new(),
            last: None,
            pause: None,
            broken: None,
        }
    }

    /// Waits for the first event, on which the client's status line depends. An error before it, or a
    /// stream without one, becomes an HTTP error. The caller limits the time.
    pub(crate) async fn peek_first(
        &mut self,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        loop {
            let Some(upstream) = &mut self.upstream else { return Err(Error::Internal) };
            let chunk = match poll_fn(|cx| Pin::new(&mut *upstream).poll_frame(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => chunk,
                    Err(_) => continue,
                },
                Some(Err(error)) => return Err(error.into()),
                None => {
                    self.upstream = None;
                    self.observer.finish();
                    self.observe(context);
                    if self.facts.begun {
                        return Ok(());
                    }
                    return Err(self.without_event());
                }
            };
            self.observer.push(&chunk);
            self.ready.push_back(chunk);
            self.observe(context);
            // An error behind an event is passed on, also where both came in one chunk.
            if self.facts.failed.is_some() && !self.facts.begun {
                return Err(self.without_event());
            }
            // An event that is too long to be read is one all the same.
            if self.facts.begun || self.observer.has_missed() {
                return Ok(());
            }
            let held = self.ready.iter().map(Bytes::len).sum::<usize>() + self.observer.held();
            if !self.grow(held, context) {
                return Err(OVERLOADED);
            }
        }
    }

    /// The error for a stream that has failed or ended before its first event.
    fn without_event(&mut self) -> Error {
        if let Some(error) = self.facts.failed.take() {
            return Error::Upstream(error);
        }
        if self.facts.stray || self.observer.has_stray_text() {
            let what = "the answer is no event stream".to_owned();
            return Error::UpstreamMalformed { what };
        }
        Error::UpstreamNoEvents
    }

    /// The memory that the stream has reserved beyond that of every request.
    pub(crate) fn reserved(&self) -> usize {
        self.may_hold - SMALL_ANSWER
    }

    /// Reads what upstream has delivered and the client has not taken, for its usage.
    pub(super) fn drain(&mut self, context: &mut RequestContext<P>) {
        let Some(mut upstream) = self.upstream.take() else { return };
        drain::delivered(&mut upstream, |chunk| {
            self.observer.push(&chunk);
            self.observe(context);
        });
    }

    /// Returns the next chunk for the client, `None` at the end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        context: &mut RequestContext<P>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            if let Some(timer) = &mut self.pause {
                ready!(Pin::new(timer).poll(cx));
                self.pause = None;
                return Poll::Ready(self.last.take().map(Ok));
            }
            let Some(upstream) = &mut self.upstream else {
                if let Some(broken) = self.broken.take() {
                    return Poll::Ready(Some(Err(broken)));
                }
                // The whole stream came before the client got its status line.
                self.settle(context);
                return Poll::Ready(None);
            };
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.reset();
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.observer.push(&chunk);
                    self.observe(context);
                    // What was read before the first event is not held any more.
                    self.shrink(self.observer.held().saturating_mul(2), context);
                    // The client gets the chunk also where there is no memory to read it.
                    if !self.grow(self.observer.held().saturating_mul(2), context) {
                        self.observer.pass_over();
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(Some(Err(error))) => {
                    let stated = Error::from(error.clone());
                    self.fail(&stated, error, context);
                }
                Poll::Ready(None) => {
                    self.upstream = None;
                    self.observer.finish();
                    self.observe(context);
                    self.settle(context);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(self.idle.poll(cx));
                    let (awaited, after) = (Awaited::NextChunk, self.idle.limit);
                    let silent = BodyError::Disconnected(SILENT.to_owned());
                    self.fail(&Error::UpstreamTimeout { awaited, after }, silent, context);
                }
            }
        }
    }

    /// Reads the events that have become complete.
    fn observe(&mut self, context: &mut RequestContext<P>) {
        while let Some(event) = self.observer.take_event() {
            self.observe_event(&event, context);
        }
    }

    /// Reads one event, whose bytes the client has got or is about to get.
    fn observe_event(&mut self, event: &Observed, context: &mut RequestContext<P>) {
        context.note_signatures(&event.text);
        context.note_finish(&event.text);
        match event.meaning() {
            Meaning::Error(error) => self.facts.failed = Some(error),
            Meaning::Event { usage, finished } => {
                self.facts.begun = true;
                self.facts.finished |= finished;
                if let Some(usage) = usage {
                    context.usage = usage;
                }
            }
            Meaning::Nothing => {}
            Meaning::Stray => self.facts.stray = true,
        }
    }

    /// Records how a stream ended that upstream has ended cleanly. An error that upstream has stated within
    /// it was passed on as it came.
    fn settle(&mut self, context: &mut RequestContext<P>) {
        if let Some(failed) = self.facts.failed.take() {
            let error = Error::Upstream(failed);
            self.record(&error, error.failure(), context);
            return;
        }
        context.upstream_ended(CallOutcomes::SUCCESS);
        // The event with the reason may be the one that was too long to be read.
        let finished = self.facts.finished || self.observer.has_missed();
        context.settle(if finished { RequestOutcome::Ok } else { RequestOutcome::Cut });
    }

    fn record(&self, error: &Error, failure: Failure, context: &mut RequestContext<P>) {
        context.upstream_ended(CallOutcomes::of(failure));
        context.settle(RequestOutcome::Cut);
        context.error = Some(error.label());
    }

    /// Ends a stream that has broken off or is silent. Between two events the client gets an error; within
    /// one, its stream breaks off too.
    fn fail(&mut self, error: &Error, broken: BodyError, context: &mut RequestContext<P>) {
        self.upstream = None;
        // What upstream has stated before says more.
        match self.facts.failed.take() {
            Some(stated) => {
                let stated = Error::Upstream(stated);
                self.record(&stated, stated.failure(), context);
            }
            None => self.record(error, error.failure(), context),
        }
        let body = || gemini::error::body(error);
        match self.observer.boundary() {
            None => self.broken = Some(broken),
            Some(Boundary::Sse) => {
                let failure = StreamFormat::Gemini(Framing::Sse).encoder().error(error);
                self.ready.push_back(failure.event);
                self.last = failure.after_pause;
                self.pause = Some(self.idle.platform().timer(OWN_CHUNK));
            }
            Some(boundary) => {
                if boundary == Boundary::BeforeComma {
                    self.ready.push_back(Bytes::from_static(b"\n,\r\n"));
                }
                self.ready.extend([body(), Bytes::from_static(b"\n]")]);
            }
        }
    }

    /// Reserves memory for so many bytes, if there is less. False if too little is free.
    fn grow(&mut self, bytes: usize, context: &mut RequestContext<P>) -> bool {
        if bytes <= self.may_hold {
            return true;
        }
        let grown = context.try_grow_memory(bytes - self.may_hold);
        if grown {
            self.may_hold = bytes;
        }
        grown
    }

    /// Gives back the memory that exceeds so many bytes, and what every request has memory for.
    fn shrink(&mut self, bytes: usize, context: &mut RequestContext<P>) {
        let bytes = bytes.max(SMALL_ANSWER);
        if bytes < self.may_hold {
            context.shrink_memory_by(self.may_hold - bytes);
            self.may_hold = bytes;
        }
    }
}
