//! Requests of the Gemini API that are copied, with their answers, and connections that become WebSockets.

use std::future::ready;
use std::io::Read as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::response::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Body;

use super::calls::Calls;
use super::io::read_answer;
use super::want::{Want, is_failure, is_web_page};
use crate::body::EventLimits;
use crate::context::RequestContext;
use crate::error::Error;
use crate::failure::{Failure, FailureClass};
use crate::google::error;
use crate::intake::upload::{Paced, UploadProgress, answer_in_time};
use crate::metrics::RetryReason;
use crate::platform::{Platform, RequestBodyError};
use crate::policy::breaker::CallOutcomes;
use crate::policy::endpoint::Tries;
use crate::policy::retry::{self, RetryVerdict};
use crate::provider::Provider;
use crate::provider::gemini_api::copied::Repeats;
use crate::provider::request::UpstreamRequest;
use crate::time::Monotonic;

/// Waits for the head of an answer that is copied; an error is read, since it may concern the operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copied;

/// An answer that is copied.
#[derive(Debug)]
pub(crate) struct CopiedAnswer<P: Platform> {
    pub(crate) head: Parts,
    pub(crate) body: CopiedBody<P>,
}

#[derive(Debug)]
pub(crate) enum CopiedBody<P: Platform> {
    /// It is passed on as it arrives.
    Open(P::Body),
    /// The whole body of an error.
    Read(Bytes),
}

impl<P: Platform> Want<P> for Copied {
    type Answer = CopiedAnswer<P>;

    const GOES_ON: bool = true;

    async fn read(
        self,
        _: &Arc<Provider>,
        limits: EventLimits,
        head: Parts,
        body: P::Body,
        context: &mut RequestContext<P>,
    ) -> Result<CopiedAnswer<P>, Error> {
        if !is_failure(head.status) {
            return Ok(CopiedAnswer { head, body: CopiedBody::Open(body) });
        }
        let idle = limits.idle.min(LONGEST_SILENCE);
        let text = read_answer(context, body, LONGEST_ERROR, idle, Duration::ZERO).await;
        // Without its text, the status alone says what has failed.
        Ok(CopiedAnswer { head, body: CopiedBody::Read(text.unwrap_or_default()) })
    }

    fn record(answer: &CopiedAnswer<P>, context: &mut RequestContext<P>, now: Monotonic) {
        let head = &answer.head;
        if is_failure(head.status) {
            let is_page = is_web_page(&head.headers) && head.status.is_server_error();
            let failure = Failure { is_page, ..Failure::new(FailureClass::of_status(head.status)) };
            context.end_call(CallOutcomes::of(failure), &Tries::default(), now);
            context.release_permit();
        } else {
            context.call_alive(now);
        }
    }
}

impl Calls {
    /// Sends a request without a body, with the usual retries, and copies the answer.
    pub(crate) async fn copy<P: Platform>(
        &self,
        request: &UpstreamRequest,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<CopiedAnswer<P>, Error> {
        let answer = self.call_with_retries(request, Copied, context, now).await?;
        self.judged(answer)
    }

    /// Sends a request whose body is read from the client meanwhile, and copies the answer. Nothing is sent
    /// twice: the request is tried again only if nothing of it has been sent.
    pub(crate) async fn copy_streamed<P, B>(
        &self,
        request: &UpstreamRequest,
        mut body: Pin<&mut B>,
        repeats: Repeats,
        context: &mut RequestContext<P>,
        mut now: Monotonic,
    ) -> Result<CopiedAnswer<P>, Error>
    where
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let platform = context.platform().clone();
        let progress = UploadProgress::default();
        let mut tries = Tries::default();
        let mut number = 0;
        let answer = loop {
            let begun = self.begin_single(request, &tries, context, now).await;
            let (http_request, index);
            ((http_request, index), now) = match begun {
                Ok(begun) => begun,
                Err(error) => break Err(error),
            };
            let began = now;
            let (limit, late) = context.first_byte_limit(self.first_byte_timeout(), now);
            let answer = {
                let mut paced = Paced::new(body.as_mut(), &platform, &progress);
                let sending = platform.send_streamed(http_request, Pin::new(&mut paced));
                // Boxed, since the future of an upload is large and uploads are few.
                let sending = Box::pin(sending);
                match answer_in_time(&platform, limit, &progress, sending).await {
                    Some(sent) => sent.map_err(Error::from),
                    None => Err(late),
                }
            };
            context.bytes_in = progress.bytes();
            let sent;
            (sent, now) = self.await_head(pin!(ready(answer)), context, began).await;
            let answer;
            let times = (began, now);
            (answer, now) = Box::pin(self.read_sent(sent, request, Copied, context, times)).await;
            let error = match answer {
                Ok(answer) => break Ok(answer),
                Err(error) => error,
            };
            context.note_try_error(&error);
            let failure = error.failure();
            let outcomes = CallOutcomes::of(failure);
            tries.failed(index, outcomes);
            let after = context.end_call(outcomes, &tries, now);
            let is_unsent = repeats == Repeats::Unsent
                && progress.bytes() == 0
                && matches!(failure.class, FailureClass::NotProcessed | FailureClass::Unreachable);
            let attempt = retry::Try {
                number,
                failure,
                reauthorized: true,
                more_endpoints: after.is_some_and(|after| after.more_endpoints),
            };
            let left = context.time_left(now);
            let verdict = retry::judge(&attempt, self.retries(), platform.random(), left);
            match verdict {
                RetryVerdict::Again { after } if is_unsent => {
                    number += 1;
                    context.release_permit();
                    context.retried(RetryReason::of(failure.class));
                    platform.timer(after).await;
                    now = platform.now();
                }
                _ => break Err(error),
            }
        };
        match answer {
            Ok(answer) => self.judged(answer),
            Err(error) => Err(self.ended(error, context)),
        }
    }

    /// Asks upstream for a WebSocket, once. The extensions of an answer with the status 101 are the shell's.
    pub(crate) async fn connect<P: Platform>(
        &self,
        request: &UpstreamRequest,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<CopiedAnswer<P>, Error> {
        let platform = context.platform().clone();
        let ((http_request, _), now) =
            self.begin_single(request, &Tries::default(), context, now).await?;
        let began = now;
        let sending = pin!(platform.upgrade(http_request));
        let (sent, now) = self.await_head(sending, context, began).await;
        let (answer, now) = self.read_sent(sent, request, Copied, context, (began, now)).await;
        match answer {
            Ok(answer) => self.judged(answer),
            Err(error) => {
                context.note_try_error(&error);
                context.end_call(CallOutcomes::of(error.failure()), &Tries::default(), now);
                Err(self.ended(error, context))
            }
        }
    }

    /// Gives the permit back after a failure, and returns the error for the client.
    fn ended<P: Platform>(&self, error: Error, context: &mut RequestContext<P>) -> Error {
        context.release_permit();
        match error {
            Error::Upstream(error) => self.auth.shown(*error),
            error => error,
        }
    }

    /// The answer as the client may see it: without the operator's key, and with an error in its place where
    /// the operator's credentials are refused.
    fn judged<P: Platform>(&self, answer: CopiedAnswer<P>) -> Result<CopiedAnswer<P>, Error> {
        let CopiedAnswer { mut head, body } = answer;
        let CopiedBody::Read(sent) = body else { return Ok(CopiedAnswer { head, body }) };
        let status = |text: &Bytes| error::read(head.status, &head.headers, text);
        let Some(text) = unpacked(&head, &sent) else {
            return Err(Error::Upstream(Box::new(status(&Bytes::new()))));
        };
        let clean = error::without_keys(&self.auth.redact(&text));
        let stated = status(&clean);
        let is_refusal = stated.is_key_refused() || head.status == StatusCode::UNAUTHORIZED;
        if is_refusal || clean.is_empty() {
            return Err(self.auth.shown(stated));
        }
        if clean == text {
            return Ok(CopiedAnswer { head, body: CopiedBody::Read(sent) });
        }
        head.headers.remove(CONTENT_ENCODING);
        Ok(CopiedAnswer { head, body: CopiedBody::Read(clean) })
    }
}

/// The text of an error, which comes in the encoding that the client has asked for. `None` if it cannot be
/// read.
fn unpacked(head: &Parts, sent: &Bytes) -> Option<Bytes> {
    let encoding = head.headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    match encoding.trim_ascii() {
        b"" | b"identity" => Some(sent.clone()),
        b"gzip" => {
            let mut text = Vec::new();
            let mut unpacking = GzDecoder::new(&sent[..]).take(LONGEST_ERROR as u64 + 1);
            unpacking.read_to_end(&mut text).ok()?;
            (text.len() <= LONGEST_ERROR).then(|| Bytes::from(text))
        }
        _ => None,
    }
}

/// Bytes read of an error's body.
const LONGEST_ERROR: usize = 1 << 20;

/// How long an error's body may pause.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
