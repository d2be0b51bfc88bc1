//! The answer's body: an `http_body::Body` over upstream's body, which writes each event anew when it
//! is polled. Nothing is read ahead, so a slow client slows upstream down. Dropping the body drops
//! upstream's body, which cancels the call.

mod copied;
mod drain;
mod events;
mod idle;
mod passthrough;
mod scan;

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::context::RequestContext;
use crate::metrics::RequestOutcome;
use crate::platform::{BodyError, Platform};

pub(crate) use copied::CopiedStream;
pub(crate) use events::{EventLimits, Events, HEARTBEAT_PAUSE};
use passthrough::{PassThrough, SILENT};
use scan::AnswerScan;

/// The body of an answer, of any kind. The request's context ends with it.
#[derive(Debug)]
pub struct ProxyBody<P: Platform> {
    content: BodyContent<P>,
    context: RequestContext<P>,
}

#[derive(Debug)]
enum BodyContent<P: Platform> {
    /// Upstream's events, as they come.
    Copied(Box<CopiedStream<P>>),
    /// Upstream's events, written for the client.
    Events(Box<Events<P>>),
    /// Upstream's bytes, unchanged.
    PassThrough(Box<PassThrough<P>>),
    /// What has not been taken of a whole body.
    Whole(Bytes),
}

impl<P: Platform> ProxyBody<P> {
    /// True if memory is reserved for this body.
    pub fn has_reserved_memory(&self) -> bool {
        self.context.memory.is_some()
    }

    /// Counts what an upgraded connection has carried, before its body is dropped. `is_cut` says that the proxy
    /// has ended it.
    pub fn upgrade_ended(&mut self, bytes_in: u64, bytes_out: u64, is_cut: bool) {
        self.context.bytes_in += bytes_in;
        self.context.bytes_out += bytes_out;
        self.context.settle(if is_cut { RequestOutcome::Cut } else { RequestOutcome::Ok });
    }

    /// Makes a body of complete bytes.
    pub(crate) fn whole(bytes: Bytes, context: RequestContext<P>) -> Self {
        Self { content: BodyContent::Whole(bytes), context }
    }

    /// Makes a body of a stream whose first event has arrived.
    pub(crate) fn events(events: Box<Events<P>>, context: RequestContext<P>) -> Self {
        Self { content: BodyContent::Events(events), context }
    }

    /// Makes a body of a stream that is copied, whose first event has arrived.
    pub(crate) fn copied(stream: Box<CopiedStream<P>>, context: RequestContext<P>) -> Self {
        Self { content: BodyContent::Copied(stream), context }
    }

    /// Makes a body of upstream's unchanged bytes, with at most `idle` between two chunks.
    pub(crate) fn pass_through(
        upstream: P::Body,
        headers: &HeaderMap,
        mut context: RequestContext<P>,
        idle: Duration,
    ) -> Self {
        let scan = AnswerScan::new(headers, &context);
        let body = PassThrough::new(upstream, scan, &mut context, idle);
        Self { content: BodyContent::PassThrough(Box::new(body)), context }
    }
}

/// A client that leaves is charged with what upstream has counted until then.
impl<P: Platform> Drop for ProxyBody<P> {
    fn drop(&mut self) {
        let Self { content, context } = self;
        if context.charged_holder().is_none() {
            return;
        }
        match content {
            BodyContent::Copied(stream) => stream.drain(context),
            BodyContent::Events(events) => events.drain(context),
            BodyContent::PassThrough(body) => body.drain(context),
            BodyContent::Whole(_) => {}
        }
    }
}

impl<P: Platform> Body for ProxyBody<P> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { content, context } = &mut *self;
        let next = match content {
            BodyContent::Copied(stream) => ready!(stream.poll_piece(cx, context)),
            BodyContent::Events(events) => ready!(events.poll_piece(cx, context)).map(Ok),
            BodyContent::PassThrough(body) => ready!(body.poll_piece(cx, context)),
            BodyContent::Whole(bytes) => {
                // The shell buffers what it takes. So a large body is given in pieces, and its memory
                // stays reserved until the client has taken nearly all of it.
                let piece = bytes.split_to(bytes.len().min(WHOLE_PIECE));
                if bytes.is_empty() {
                    context.settle(RequestOutcome::Ok);
                }
                (!piece.is_empty()).then_some(Ok(piece))
            }
        };
        if let Some(Ok(piece)) = &next {
            context.bytes_out += piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, BodyContent::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            BodyContent::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodyContent::PassThrough(body) => body.size_hint(),
            BodyContent::Copied(_) | BodyContent::Events(_) => SizeHint::default(),
        }
    }
}

/// The length of the pieces of a whole body.
const WHOLE_PIECE: usize = 64 << 10;
