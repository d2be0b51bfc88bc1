//! The answer's body: an `http_body::Body` over upstream's, re-framed event by event as it is
//! polled. Nothing is read ahead, so a slow client slows upstream down; dropping the body drops
//! upstream's, which cancels it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

use crate::dialect::gemini::route::Framing;
use crate::error::{Awaited, Error};
use crate::google::error;
use crate::metrics::{Ledger, Outcome};
use crate::platform::{BodyError, Platform};
use crate::policy::breaker;
use crate::provider::code_assist::envelope::open;
use crate::sse::{Event, Reader};
use crate::time::Monotonic;

/// Every body that a client gets, with the ledger that is written down when it ends.
#[derive(Debug)]
pub struct ProxyBody<P: Platform> {
    state: State<P>,
    ledger: Ledger<P>,
}

#[derive(Debug)]
enum State<P: Platform> {
    /// All of it is here.
    Whole(Option<Bytes>),
    /// Upstream's events, re-framed.
    Events(Box<Events<P>>),
    /// Upstream's bytes as they are, for Code Assist's own protocol.
    PassedOn(Box<PassedOn<P>>),
}

impl<P: Platform> ProxyBody<P> {
    /// A body that is all there.
    pub fn whole(bytes: Bytes, ledger: Ledger<P>) -> Self {
        Self { state: State::Whole(Some(bytes)), ledger }
    }

    /// A stream whose first event has been seen.
    pub fn events(events: Box<Events<P>>, ledger: Ledger<P>) -> Self {
        Self { state: State::Events(events), ledger }
    }

    /// Upstream's own bytes.
    pub fn passed_on(upstream: P::Body, ledger: Ledger<P>, idle: Duration) -> Self {
        let idle = Idle::new(&ledger, idle);
        Self { state: State::PassedOn(Box::new(PassedOn { upstream, idle })), ledger }
    }

    /// The ledger, for the last entries before the body is sent.
    pub fn ledger(&mut self) -> &mut Ledger<P> {
        &mut self.ledger
    }
}

impl<P: Platform> Body for ProxyBody<P> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { state, ledger } = &mut *self;
        let next = match state {
            State::Whole(bytes) => {
                ledger.entry.settle(Outcome::Ok);
                bytes.take().filter(|bytes| !bytes.is_empty()).map(Ok)
            }
            State::Events(events) => ready!(events.poll_piece(cx, ledger)).map(Ok),
            State::PassedOn(body) => ready!(body.poll_piece(cx, ledger)),
        };
        if let Some(Ok(piece)) = &next {
            ledger.entry.bytes_out += piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.state, State::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            State::Events(_) | State::PassedOn(_) => SizeHint::default(),
        }
    }
}

/// Upstream's event stream on its way to the client.
#[derive(Debug)]
pub struct Events<P: Platform> {
    /// `None` once there is nothing more to come from it: whoever reads slowly keeps no call open.
    upstream: Option<P::Body>,
    reader: Reader,
    framing: Framing,
    idle: Idle<P>,
    /// Pieces that are ready to be sent.
    ready: VecDeque<Bytes>,
    /// Where pieces are written.
    buffer: BytesMut,
    phase: Phase<P>,
    /// The first element of an array has been written.
    begun: bool,
    /// An event told why the answer ended.
    finished: bool,
    /// There were lines that mean nothing.
    ignored: bool,
    trace: Option<String>,
}

#[derive(Debug)]
enum Phase<P: Platform> {
    /// Upstream goes on.
    Live,
    /// The error event is out; after a pause the bare error follows in a flush of its own.
    Pause(P::Timer, Bytes),
    Over,
}

/// What a stream began with.
#[derive(Debug)]
pub enum Beginning {
    /// An event, or a clean end without any.
    Good,
    /// An error, for which an HTTP status is still to be had.
    Bad(Error),
}

impl<P: Platform> Events<P> {
    /// Reads `upstream` as events of at most `limit` bytes, no more than `idle` apart.
    pub fn new(
        upstream: P::Body,
        framing: Framing,
        limit: usize,
        idle: Duration,
        ledger: &Ledger<P>,
    ) -> Self {
        Self {
            upstream: Some(upstream),
            reader: Reader::new(limit),
            framing,
            idle: Idle::new(ledger, idle),
            ready: VecDeque::new(),
            buffer: BytesMut::new(),
            phase: Phase::Live,
            begun: false,
            finished: false,
            ignored: false,
            trace: None,
        }
    }

    /// Waits for the first event: the client's status line depends on it.
    pub async fn begin(&mut self, ledger: &mut Ledger<P>) -> Beginning {
        std::future::poll_fn(|cx| {
            match ready!(self.poll_step(cx, ledger)) {
                Step::Piece(piece) => self.ready.push_front(piece),
                // A page, say, with the status of a stream.
                Step::End if self.ignored => {
                    let what = "the answer is no event stream".to_owned();
                    return Poll::Ready(Beginning::Bad(Error::UpstreamMalformed { what }));
                }
                Step::End => self.end(ledger),
                Step::Failed(refusal) => return Poll::Ready(Beginning::Bad(refusal)),
            }
            Poll::Ready(Beginning::Good)
        })
        .await
    }

    /// The next piece for the client, `None` at the end.
    fn poll_piece(&mut self, cx: &mut Context<'_>, ledger: &mut Ledger<P>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(piece));
            }
            match &mut self.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Pause(timer, _) => {
                    ready!(Pin::new(timer).poll(cx));
                    let Phase::Pause(_, bare) = std::mem::replace(&mut self.phase, Phase::Over)
                    else {
                        continue;
                    };
                    self.ready.push_back(bare);
                }
                Phase::Live => match ready!(self.poll_step(cx, ledger)) {
                    Step::Piece(piece) => return Poll::Ready(Some(piece)),
                    Step::End => self.end(ledger),
                    // Too late for another try: a 401 of upstream's is not the client's.
                    Step::Failed(Error::Upstream(fault)) => self.fail(&(*fault).into(), ledger),
                    Step::Failed(refusal) => self.fail(&refusal, ledger),
                },
            }
        }
    }

    /// Reads on until there is something for the client.
    fn poll_step(&mut self, cx: &mut Context<'_>, ledger: &mut Ledger<P>) -> Poll<Step> {
        loop {
            match self.reader.event() {
                Ok(Some(event)) => match self.take(&event, ledger) {
                    Some(step) => return Poll::Ready(step),
                    None => continue,
                },
                Ok(None) => {}
                Err(too_long) => {
                    let what = too_long.to_string();
                    return Poll::Ready(Step::Failed(Error::UpstreamMalformed { what }));
                }
            }
            if self.reader.finished() {
                return Poll::Ready(Step::End);
            }
            let Some(upstream) = &mut self.upstream else {
                self.reader.finish();
                continue;
            };
            match Pin::new(upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.touch();
                    if let Ok(chunk) = frame.into_data() {
                        self.reader.push(chunk);
                    }
                }
                Poll::Ready(Some(Err(broken))) => {
                    // What came before the break is delivered, a half event is not.
                    return Poll::Ready(Step::Failed(broken.into()));
                }
                Poll::Ready(None) => self.reader.finish(),
                Poll::Pending => {
                    ready!(self.idle.poll(cx));
                    let refusal = Error::UpstreamTimeout {
                        awaited: Awaited::NextChunk,
                        after: self.idle.limit,
                    };
                    return Poll::Ready(Step::Failed(refusal));
                }
            }
        }
    }

    /// One upstream event: what it means for the client, `None` for nothing at all.
    fn take(&mut self, event: &Event, ledger: &mut Ledger<P>) -> Option<Step> {
        let (text, bare) = match event {
            Event::Bare(text) => (text, true),
            Event::Data(text) => (text, false),
        };
        let opened = match open(text, self.trace.as_deref()) {
            Ok(opened) => opened,
            // Lines that are neither SSE nor JSON mean nothing; neither does OpenAI's end mark.
            Err(_) if bare => {
                self.ignored = true;
                return None;
            }
            Err(_) if text.trim_ascii() == b"[DONE]" => return None,
            Err(malformed) => {
                let what = format!("a stream event is no JSON: {malformed}");
                return Some(Step::Failed(Error::UpstreamMalformed { what }));
            }
        };
        let (finished, usage) = (opened.finished(), opened.usage());
        if let Some(trace) = opened.trace_id {
            trace.as_ref().clone_into(&mut ledger.entry.trace_id);
            self.trace = Some(trace.into_owned());
        }
        if let Some(error) = opened.error {
            return Some(Step::Failed(Error::Upstream(Box::new(error::from_event(&error)))));
        }
        self.ignored |= bare && opened.response.is_none();
        self.finished |= finished;
        if let Some(usage) = usage {
            ledger.entry.usage = usage;
        }
        // A chunk with only a trace id or credits is none of the client's business.
        let response = opened.response?;
        Some(Step::Piece(self.element(text.len(), |out| response.write_line(out))))
    }

    /// One element in the client's framing, as one piece; its JSON is about so long.
    ///
    /// Pieces share a buffer, which is used again once they have been sent: a client that takes
    /// what there is costs no allocation an event.
    fn element(&mut self, len: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
        let (before, after): (&[u8], &[u8]) = match (self.framing, self.begun) {
            (Framing::Sse, _) => (b"data: ", b"\r\n\r\n"),
            (Framing::Array, false) => (b"[", b""),
            (Framing::Array, true) => (b"\n,\r\n", b""),
        };
        self.begun = true;
        let needed = before.len() + len + after.len();
        if self.buffer.capacity() < needed {
            self.buffer.reserve(needed.max(BUFFER));
        }
        self.buffer.put_slice(before);
        write(&mut self.buffer);
        self.buffer.put_slice(after);
        self.buffer.split().freeze()
    }

    /// Upstream ended cleanly. Nothing is invented when it did not say why.
    fn end(&mut self, ledger: &mut Ledger<P>) {
        self.upstream = None;
        ledger.upstream_did(breaker::Outcome::Success);
        ledger.leave_line();
        let outcome = if self.finished { Outcome::Ok } else { Outcome::Cut };
        ledger.entry.settle(outcome);
        self.phase = Phase::Over;
        if self.framing == Framing::Array {
            let close: &'static [u8] = if self.begun { b"\n]" } else { b"[]" };
            self.ready.push_back(Bytes::from_static(close));
        }
    }

    /// Something went wrong and the status line is long gone.
    fn fail(&mut self, refusal: &Error, ledger: &mut Ledger<P>) {
        self.upstream = None;
        ledger.upstream_did(breaker::Outcome::of_refusal(refusal));
        ledger.leave_line();
        ledger.entry.settle(Outcome::Cut);
        ledger.entry.reason = Some(refusal.label());
        let error = one_line(&refusal.body());
        let element = self.element(error.len(), |out| out.put_slice(&error));
        self.ready.push_back(element);
        self.phase = match self.framing {
            Framing::Array => {
                self.ready.push_back(Bytes::from_static(b"\n]"));
                Phase::Over
            }
            // Two SDK generations see only the event, two only the bare object, and those only in
            // a chunk of its own (`protocol.md` 4.5).
            Framing::Sse => Phase::Pause(self.idle.platform.timer(OWN_FLUSH), error),
        };
    }
}

enum Step {
    End,
    Failed(Error),
    Piece(Bytes),
}

/// Code Assist's own protocol: bytes in, bytes out, with the idle timeout.
#[derive(Debug)]
struct PassedOn<P: Platform> {
    upstream: P::Body,
    idle: Idle<P>,
}

impl<P: Platform> PassedOn<P> {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        ledger: &mut Ledger<P>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            return match Pin::new(&mut self.upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.touch();
                    let Ok(chunk) = frame.into_data() else { continue };
                    Poll::Ready(Some(Ok(chunk)))
                }
                Poll::Ready(Some(Err(broken))) => {
                    ledger.upstream_did(match broken {
                        BodyError::Disconnected(_) => breaker::Outcome::Failure,
                        BodyError::ShuttingDown => breaker::Outcome::Neutral,
                    });
                    ledger.entry.settle(Outcome::Cut);
                    Poll::Ready(Some(Err(broken)))
                }
                Poll::Ready(None) => {
                    ledger.upstream_did(breaker::Outcome::Success);
                    ledger.leave_line();
                    ledger.entry.settle(Outcome::Ok);
                    Poll::Ready(None)
                }
                Poll::Pending => {
                    ready!(self.idle.poll(cx));
                    ledger.upstream_did(breaker::Outcome::Failure);
                    ledger.entry.settle(Outcome::Cut);
                    Poll::Ready(Some(Err(BodyError::Disconnected(SILENT.to_owned()))))
                }
            };
        }
    }
}

/// How long upstream has been silent. One timer for many chunks: when it ends, it looks at when the
/// last chunk came and goes on from there.
#[derive(Debug)]
struct Idle<P: Platform> {
    platform: P,
    limit: Duration,
    /// Since when upstream has been waited for: a client that is slow to take what there is does
    /// not make upstream silent.
    since: Option<Monotonic>,
    timer: Option<P::Timer>,
}

impl<P: Platform> Idle<P> {
    fn new(ledger: &Ledger<P>, limit: Duration) -> Self {
        Self { platform: ledger.platform().clone(), limit, since: None, timer: None }
    }

    fn touch(&mut self) {
        self.since = None;
    }

    /// Ready when upstream has been silent for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.platform.now();
            let silent = now.since(*self.since.get_or_insert(now));
            let Some(left) = self.limit.checked_sub(silent).filter(|left| !left.is_zero()) else {
                return Poll::Ready(());
            };
            let timer = self.timer.get_or_insert_with(|| self.platform.timer(left));
            ready!(Pin::new(timer).poll(cx));
            self.timer = None;
        }
    }
}

/// Error objects come as upstream wrote them, pretty-printed at times; an event is one line. A line
/// break in JSON can only be insignificant white space.
fn one_line(json: &Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', json).is_none() {
        return json.clone();
    }
    json.iter().filter(|byte| !matches!(byte, b'\n' | b'\r')).copied().collect()
}

/// Room for a few events of usual length.
const BUFFER: usize = 1024;

const SILENT: &str = "upstream fell silent";

/// Long enough that the error event and the bare error do not arrive as one chunk.
const OWN_FLUSH: Duration = Duration::from_millis(20);
