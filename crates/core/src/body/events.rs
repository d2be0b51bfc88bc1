//! Upstream's event stream on its way to the client: a provider's decoder reads each event, and a
//! dialect's encoder writes it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;

use super::drain;
use super::idle::IdleTimer;
use crate::context::RequestContext;
use crate::dialect::StreamEncoder;
use crate::dialect::event::GeminiEvent as _;
use crate::error::{Awaited, Error, OVERLOADED};
use crate::metrics::RequestOutcome;
use crate::platform::Platform;
use crate::policy::breaker::CallOutcomes;
use crate::policy::memory::SMALL_ANSWER;
use crate::provider::StreamDecoder;
use crate::provider::event::EventContent;
use crate::sse::{Event, Reader};

/// A stream of events, read from upstream and written for the client.
#[derive(Debug)]
pub(crate) struct Events<P: Platform> {
    /// `None` once nothing more is read from it, so that a client that reads slowly keeps no call open.
    upstream: Option<P::Body>,
    reader: Reader,
    decoder: StreamDecoder,
    encoder: StreamEncoder,
    idle: IdleTimer<P>,
    /// How long nothing has been sent, where heartbeats are sent. Boxed, since few streams have them.
    silence: Option<Box<IdleTimer<P>>>,
    /// How many bytes the request has memory for: of events that are read and of those that are written.
    may_hold: usize,
    /// Pieces that are ready to be sent.
    ready: VecDeque<Bytes>,
    phase: StreamPhase<P>,
}

/// The bounds of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventLimits {
    /// `MAX_EVENT_BYTES`.
    pub(crate) event_bytes: usize,
    /// `STREAM_IDLE_TIMEOUT_MS`.
    pub(crate) idle: Duration,
    /// `QUEUE_TIMEOUT_MS`, for which a whole answer waits for memory.
    pub(crate) queue_timeout: Duration,
}

#[derive(Debug)]
enum StreamPhase<P: Platform> {
    /// No event has come yet. The time until the first one is not limited here.
    Awaited,
    /// Upstream's stream has not ended.
    Live,
    Over,
    /// The error event has been sent. After a pause the last piece follows in a chunk of its own.
    Pause(P::Timer, Bytes),
}

/// The next result of reading upstream.
enum StreamStep {
    End,
    Failed(Error),
    Piece(Bytes),
}

impl<P: Platform> Events<P> {
    /// Reads `upstream` with `decoder` and writes it with `encoder`.
    pub(crate) fn new(
        upstream: P::Body,
        decoder: StreamDecoder,
        encoder: StreamEncoder,
        limits: EventLimits,
        platform: &P,
    ) -> Self {
        let silence =
            encoder.has_heartbeats().then(|| Box::new(IdleTimer::new(platform, HEARTBEAT_PAUSE)));
        Self {
            upstream: Some(upstream),
            reader: Reader::new(limits.event_bytes),
            decoder,
            encoder,
            idle: IdleTimer::new(platform, limits.idle),
            silence,
            may_hold: SMALL_ANSWER,
            ready: VecDeque::new(),
            phase: StreamPhase::Awaited,
        }
    }

    /// Waits for the first event, on which the client's status line depends. An error before it, or a
    /// stream without one, becomes an HTTP error. The caller limits the time.
    pub(crate) async fn peek_first(
        &mut self,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        poll_fn(|cx| {
            let Poll::Ready(step) = self.poll_step(cx, context) else { return Poll::Pending };
            Poll::Ready(match step {
                StreamStep::Piece(piece) => {
                    self.ready.push_front(piece);
                    self.phase = StreamPhase::Live;
                    Ok(())
                }
                // For example a web page with status 200.
                StreamStep::End if self.decoder.ignored_lines() => {
                    let what = "the answer is no event stream".to_owned();
                    Err(Error::UpstreamMalformed { what })
                }
                StreamStep::End => Err(Error::UpstreamNoEvents),
                StreamStep::Failed(error) => Err(error),
            })
        })
        .await
    }

    /// The memory that the stream has reserved beyond that of every request.
    pub(crate) fn reserved(&self) -> usize {
        self.may_hold - SMALL_ANSWER
    }

    /// Reads what upstream has delivered and the client has not taken, for its usage.
    pub(super) fn drain(&mut self, context: &mut RequestContext<P>) {
        let Some(mut upstream) = self.upstream.take() else { return };
        self.drain_events(context);
        drain::delivered(&mut upstream, |chunk| {
            self.reader.push(chunk);
            self.drain_events(context);
        });
    }

    fn drain_events(&mut self, context: &mut RequestContext<P>) {
        while let Ok(Some(event)) = self.reader.event() {
            if let Ok(Some(decoded)) = self.decoder.decode(&event)
                && let Some(usage) = decoded.usage
            {
                context.usage = usage;
            }
        }
    }

    /// Returns the next piece for the client, `None` at the end.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        context: &mut RequestContext<P>,
    ) -> Poll<Option<Bytes>> {
        // The shell asks again when the client has taken the piece before.
        if self.may_hold > SMALL_ANSWER && self.ready.is_empty() && self.held() <= SMALL_ANSWER {
            self.shrink(SMALL_ANSWER, context);
        }
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(piece));
            }
            match &mut self.phase {
                StreamPhase::Over => return Poll::Ready(None),
                StreamPhase::Pause(timer, last) => {
                    ready!(Pin::new(timer).poll(cx));
                    let last = std::mem::take(last);
                    self.phase = StreamPhase::Over;
                    return Poll::Ready(Some(last));
                }
                StreamPhase::Awaited | StreamPhase::Live => {
                    match ready!(self.poll_step(cx, context)) {
                        StreamStep::Piece(piece) => return Poll::Ready(Some(piece)),
                        StreamStep::End => self.end(context),
                        // It is too late to retry, and the client must not see upstream's 401 as its own.
                        StreamStep::Failed(Error::Upstream(error)) => {
                            self.fail(&(*error).into(), context)
                        }
                        StreamStep::Failed(error) => self.fail(&error, context),
                    }
                }
            }
        }
    }

    /// Reads until there is something for the client.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        context: &mut RequestContext<P>,
    ) -> Poll<StreamStep> {
        loop {
            match self.reader.event() {
                Ok(Some(event)) => {
                    let step = self.read(&event, context);
                    drop(event);
                    match step {
                        Some(StreamStep::Piece(piece)) => {
                            if let Some(silence) = &mut self.silence {
                                silence.reset();
                            }
                            // What was read of the event is not held any more.
                            if self.may_hold > SMALL_ANSWER {
                                self.shrink(self.held() + piece.len(), context);
                            }
                            return Poll::Ready(StreamStep::Piece(piece));
                        }
                        Some(step) => return Poll::Ready(step),
                        None => continue,
                    }
                }
                Ok(None) => {
                    let held = self.held();
                    // The reader's buffer doubles as it grows.
                    if held > self.may_hold
                        && !self.grow(held.saturating_add(self.reader.held()), context)
                    {
                        return Poll::Ready(StreamStep::Failed(OVERLOADED));
                    }
                }
                Err(too_long) => {
                    let what = too_long.to_string();
                    return Poll::Ready(StreamStep::Failed(Error::UpstreamMalformed { what }));
                }
            }
            if self.reader.finished() {
                return Poll::Ready(StreamStep::End);
            }
            let Some(upstream) = &mut self.upstream else {
                self.reader.finish();
                continue;
            };
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.reset();
                    if let Ok(chunk) = frame.into_data() {
                        self.reader.push(chunk);
                    }
                }
                // Whole events from before the break have been delivered; half an event is not.
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(StreamStep::Failed(error.into()));
                }
                Poll::Ready(None) => self.reader.finish(),
                Poll::Pending if matches!(self.phase, StreamPhase::Awaited) => {
                    return Poll::Pending;
                }
                Poll::Pending => {
                    if let Some(silence) = &mut self.silence
                        && silence.poll(cx).is_ready()
                        && self.idle.poll(cx).is_pending()
                    {
                        silence.reset();
                        return Poll::Ready(StreamStep::Piece(self.encoder.heartbeat()));
                    }
                    ready!(self.idle.poll(cx));
                    let (awaited, after) = (Awaited::NextChunk, self.idle.limit);
                    return Poll::Ready(StreamStep::Failed(Error::UpstreamTimeout {
                        awaited,
                        after,
                    }));
                }
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

    /// The bytes that are kept for later: of events that are not complete, and of the answer so far.
    fn held(&self) -> usize {
        self.reader.held() + self.encoder.held()
    }

    /// Gives back the memory that exceeds so many bytes, and what every request has memory for.
    fn shrink(&mut self, bytes: usize, context: &mut RequestContext<P>) {
        let bytes = bytes.max(SMALL_ANSWER);
        if bytes < self.may_hold {
            context.shrink_memory_by(self.may_hold - bytes);
            self.may_hold = bytes;
        }
    }

    /// Reads one upstream event. Returns `None` if it has nothing for the client.
    fn read(&mut self, event: &Event, context: &mut RequestContext<P>) -> Option<StreamStep> {
        let decoded = match self.decoder.decode(event) {
            Ok(decoded) => decoded?,
            Err(error) => return Some(StreamStep::Failed(error)),
        };
        if decoded.new_trace
            && let Some(trace) = self.decoder.trace()
        {
            context.google_trace_id = Bytes::copy_from_slice(trace.as_bytes());
        }
        if let Some(usage) = decoded.usage {
            context.usage = usage;
        }
        context.note_signatures(event.text());
        context.note_finish(event.text());
        match decoded.content {
            EventContent::Error(error) => Some(StreamStep::Failed(Error::Upstream(error))),
            EventContent::Event(decoded) => {
                // Both the text that was read and the piece that is written are held for a moment.
                let held = self.reader.held() + event.len();
                if !self.grow(held + decoded.len_hint(), context) {
                    return Some(StreamStep::Failed(OVERLOADED));
                }
                let piece = match self.encoder.event(decoded) {
                    Ok(piece) => piece,
                    Err(error) => return Some(StreamStep::Failed(error)),
                };
                // Escapes make a piece up to three times as long as its event.
                if !self.grow(held + piece.len() + self.encoder.held(), context) {
                    return Some(StreamStep::Failed(OVERLOADED));
                }
                if piece.is_empty() { None } else { Some(StreamStep::Piece(piece)) }
            }
            EventContent::Nothing => None,
        }
    }

    /// Ends a stream that upstream ended cleanly. If upstream gave no `finishReason`, none is invented.
    fn end(&mut self, context: &mut RequestContext<P>) {
        let end = match self.encoder.end() {
            Ok(end) => end,
            Err(error) => return self.fail(&error, context),
        };
        self.upstream = None;
        context.note_left_out(self.encoder.left_out());
        context.upstream_ended(CallOutcomes::SUCCESS);
        let finished = self.decoder.finished();
        context.settle(if finished { RequestOutcome::Ok } else { RequestOutcome::Cut });
        self.phase = StreamPhase::Over;
        self.ready.extend(end);
    }

    /// Ends a stream that has failed after the client got its status line.
    fn fail(&mut self, error: &Error, context: &mut RequestContext<P>) {
        self.upstream = None;
        context.upstream_ended(CallOutcomes::of(error.failure()));
        context.settle(RequestOutcome::Cut);
        context.error = Some(error.label());
        let failure = self.encoder.error(error);
        self.ready.push_back(failure.event);
        self.ready.extend(failure.close);
        self.phase = match failure.after_pause {
            Some(last) => StreamPhase::Pause(self.idle.platform().timer(OWN_CHUNK), last),
            None => StreamPhase::Over,
        };
    }
}

/// How long a client gets nothing before a heartbeat is sent (`docs/reference/dialects.md` 6.7): some
/// gateways between the proxy and its clients cut connections that are silent for a minute.
pub(crate) const HEARTBEAT_PAUSE: Duration = Duration::from_secs(15);

/// The pause before the bare error, long enough that it does not arrive in the error event's chunk.
pub(super) const OWN_CHUNK: Duration = Duration::from_millis(20);
