//! The body of an answer in the provider's own protocol: upstream's bytes, with the idle timeout.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, SizeHint};

use super::drain;
use super::idle::IdleTimer;
use super::scan::AnswerScan;
use crate::context::RequestContext;
use crate::error::Error;
use crate::failure::{Failure, FailureClass};
use crate::metrics::RequestOutcome;
use crate::platform::{BodyError, Platform};
use crate::policy::breaker::CallOutcomes;

#[derive(Debug)]
pub(super) struct PassThrough<P: Platform> {
    upstream: P::Body,
    scan: Option<AnswerScan>,
    ended: bool,
    idle: IdleTimer<P>,
}

impl<P: Platform> PassThrough<P> {
    pub(super) fn new(
        upstream: P::Body,
        scan: Option<AnswerScan>,
        context: &mut RequestContext<P>,
        idle: Duration,
    ) -> Self {
        let idle = IdleTimer::new(context.platform(), idle);
        let mut body = Self { upstream, scan, ended: false, idle };
        if context.status != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
            body.note_end(context);
        }
        body
    }

    /// Settles the request with the last piece, since a body of a known length is not polled for its end.
    fn note_end(&mut self, context: &mut RequestContext<P>) {
        if self.upstream.is_end_stream() {
            self.ended = true;
            context.upstream_ended(CallOutcomes::SUCCESS);
            context.settle(RequestOutcome::Ok);
        }
    }

    /// Reads what upstream has delivered and the client has not taken, for its usage.
    pub(super) fn drain(&mut self, context: &mut RequestContext<P>) {
        let Some(scan) = self.scan.as_mut().filter(|_| !self.ended) else { return };
        drain::delivered(&mut self.upstream, |chunk| scan.push(&chunk, context));
    }

    /// The length of what is left, where upstream has announced it.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }

    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        context: &mut RequestContext<P>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            return match Pin::new(&mut self.upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.idle.reset();
                    let Ok(chunk) = frame.into_data() else { continue };
                    if let Some(scan) = &mut self.scan {
                        scan.push(&chunk, context);
                    }
                    self.note_end(context);
                    Poll::Ready(Some(Ok(chunk)))
                }
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    let failure = Error::from(error.clone()).failure();
                    context.upstream_ended(CallOutcomes::of(failure));
                    context.settle(RequestOutcome::Cut);
                    Poll::Ready(Some(Err(error)))
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    context.upstream_ended(CallOutcomes::SUCCESS);
                    context.settle(RequestOutcome::Ok);
                    Poll::Ready(None)
                }
                Poll::Pending => {
                    ready!(self.idle.poll(cx));
                    context.upstream_ended(CallOutcomes::of(Failure::new(FailureClass::TimedOut)));
                    context.settle(RequestOutcome::Cut);
                    Poll::Ready(Some(Err(BodyError::Disconnected(SILENT.to_owned()))))
                }
            };
        }
    }
}

pub(super) const SILENT: &str = "upstream sent nothing within the idle timeout";
