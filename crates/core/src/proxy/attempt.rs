//! Trying upstream: the one loop that tries again, sending within the first-byte timeout, reading a
//! whole answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;

use super::{BackgroundJob, Content, Proxy, lock};
use crate::body::{Beginning, Events};
use crate::dialect::gemini::route::Framing;
use crate::error::{Awaited, Error};
use crate::google::error;
use crate::metrics::{Entry, Ledger, RetryReason};
use crate::payload::Payload;
use crate::platform::{Platform, SendError};
use crate::policy::breaker;
use crate::policy::endpoint::NoEndpointError;
use crate::policy::in_flight::InFlightGuard;
use crate::policy::retry::{self, Failure, Try};
use crate::provider::request::Call;

/// How much of upstream's answer a call waits for, before it counts as answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The first event of a stream: the client's status line depends on it.
    Events(Framing),
    /// The head: the rest is passed on as it comes.
    Head,
    /// All of it.
    Whole,
}

/// Upstream's answer, as much of it as was wanted.
pub(super) struct Arrived<P: Platform> {
    pub(super) head: http::response::Parts,
    pub(super) content: Content<P>,
}

impl Proxy {
    /// Sends a call until there is an answer for the client.
    pub(super) async fn attempt<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        want: Want,
        ledger: &mut Ledger<P>,
    ) -> Result<Arrived<P>, Error> {
        let arrived = self.try_and_try_again(platform, call, want, ledger).await;
        if arrived.is_err() {
            // However long the client takes to read of its failure, upstream is done with it.
            ledger.leave_line();
        }
        arrived
    }

    /// The only loop that tries again, and never once the client has received a byte.
    async fn try_and_try_again<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        want: Want,
        ledger: &mut Ledger<P>,
    ) -> Result<Arrived<P>, Error> {
        // Nobody may be called: no token and no place is worth waiting for.
        self.somewhere_to_go(platform)?;
        let mut tried = Vec::new();
        let (mut number, mut reauthorized) = (0, false);
        let mut failed: Option<(Error, RetryReason)> = None;
        loop {
            let bearer = self.bearer(platform, ledger).await?;
            let visit = match self.go(platform, &tried, ledger).await {
                Ok(visit) => visit,
                // What it met before says more than that there is no way now. A 401 in it has had
                // no replay.
                Err(no_way) => {
                    let refusal = failed.map_or(no_way, |(refusal, _)| refusal);
                    return Err(self.deliver(platform, call, refusal, false, ledger));
                }
            };
            if let Some((_, reason)) = failed.take() {
                ledger.retried(reason);
            }
            let index = visit.index;
            let base = self.bases.get(index).ok_or(Error::Internal)?.as_ref();
            let request = call.request(base.map_err(|bad| *bad)?, &bearer.header)?;
            ledger.visit(visit);
            let tried_once =
                self.one_try(platform, pin!(platform.send(request)), call, want, ledger).await;
            let refusal = match tried_once {
                Ok(arrived) => return Ok(arrived),
                Err(refusal) => refusal,
            };
            tried.push(index);
            let attempt = Try {
                number,
                failure: match &refusal {
                    Error::Upstream(fault) => Failure::Fault(fault),
                    other => Failure::Error(other),
                },
                reauthorized,
                more_endpoints: lock(&self.endpoints).elsewhere(platform.now(), &tried),
            };
            let left = ledger.entry.deadline.map(|at| at.since(platform.now()));
            match retry::judge(&attempt, &self.retries, platform.random(), left) {
                retry::Verdict::Deliver => {
                    return Err(self.deliver(platform, call, refusal, reauthorized, ledger));
                }
                retry::Verdict::Reauthorize => {
                    if !self.tokens().condemn(&bearer, platform.now()) {
                        return Err(self.deliver(platform, call, refusal, false, ledger));
                    }
                    reauthorized = true;
                    // It is not the endpoint that was wrong.
                    tried.pop();
                    failed = Some((refusal, RetryReason::Unauthorized));
                }
                retry::Verdict::Again { after, .. } => {
                    if lock(&self.endpoints).rest(platform.now() + after).is_some() {
                        // This failure was the last that the breaker allowed.
                        return Err(self.deliver(platform, call, refusal, reauthorized, ledger));
                    }
                    number += 1;
                    let reason = RetryReason::of(&refusal);
                    failed = Some((refusal, reason));
                    if !after.is_zero() {
                        // Who only waits for time to pass must not keep others from upstream.
                        ledger.leave_line();
                        platform.timer(after).await;
                        ledger.entry.upstream += after;
                    }
                }
            }
        }
    }

    /// Refuses at once while every endpoint's breaker is open.
    pub(super) fn somewhere_to_go<P: Platform>(&self, platform: &P) -> Result<(), Error> {
        match lock(&self.endpoints).rest(platform.now()) {
            Some(NoEndpointError { after }) => Err(Error::CircuitOpen { after }),
            None => Ok(()),
        }
    }

    /// A place in line, and then an endpoint that lets the call come.
    async fn go<P: Platform>(
        &self,
        platform: &P,
        tried: &[usize],
        ledger: &mut Ledger<P>,
    ) -> Result<InFlightGuard, Error> {
        self.wait_in_line(platform, ledger).await?;
        let visit = InFlightGuard::begin(&self.endpoints, platform.now(), tried)
            .map_err(|NoEndpointError { after }| Error::CircuitOpen { after })?;
        if visit.is_probe {
            self.report.breaker(visit.index, breaker::State::HalfOpen);
        }
        Ok(visit)
    }

    /// One try at one endpoint. Whatever comes of it is told to the endpoint's breaker.
    async fn one_try<P: Platform>(
        &self,
        platform: &P,
        sending: Pin<&mut impl Future<Output = Result<Response<P::Body>, SendError>>>,
        call: &Call,
        want: Want,
        ledger: &mut Ledger<P>,
    ) -> Result<Arrived<P>, Error> {
        let begun = platform.now();
        let sent = sent_within(platform, self.settings.first_byte_timeout, sending).await;
        let waited = platform.now().since(begun);
        ledger.entry.upstream += waited;
        ledger.entry.first_byte = sent.is_ok().then_some(waited);
        let response = match sent {
            Ok(response) => response,
            Err(refusal) => {
                ledger.upstream_did(breaker::Outcome::of_refusal(&refusal));
                return Err(refusal);
            }
        };
        let (head, body) = response.into_parts();
        let passes = call.passes_errors() && is_error_of_its_own(head.status);
        if !head.status.is_success() && !passes {
            let begun = platform.now();
            let refusal = self.read_error(platform, &head, body).await;
            ledger.entry.upstream += platform.now().since(begun);
            ledger.upstream_did(breaker::Outcome::of_refusal(&refusal));
            return Err(refusal);
        }
        if let Some(refusal) = unreadable(&head.headers, want) {
            ledger.upstream_did(breaker::Outcome::of_refusal(&refusal));
            return Err(refusal);
        }
        let idle = self.settings.stream_idle_timeout;
        let begun = platform.now();
        let content = match want {
            Want::Head => Ok(Content::PassedOn(body)),
            Want::Whole => {
                whole(platform, body, self.settings.max_event_bytes, idle).await.map(Content::Whole)
            }
            Want::Events(framing) => {
                let limit = self.settings.max_event_bytes;
                let mut events = Box::new(Events::new(body, framing, limit, idle, ledger));
                match events.begin(ledger).await {
                    Beginning::Good => Ok(Content::Events(events)),
                    Beginning::Bad(refusal) => Err(refusal),
                }
            }
        };
        let waited = platform.now().since(begun);
        ledger.entry.upstream += waited;
        match content {
            Ok(Content::Events(events)) => {
                ledger.entry.first_byte = ledger.entry.first_byte.map(|head| head + waited);
                ledger.upstream_alive();
                Ok(Arrived { head, content: Content::Events(events) })
            }
            Ok(Content::PassedOn(body)) => {
                if passes {
                    ledger.upstream_did(breaker::Outcome::of(head.status));
                } else {
                    ledger.upstream_alive();
                }
                Ok(Arrived { head, content: Content::PassedOn(body) })
            }
            Ok(Content::Whole(text)) => {
                ledger.upstream_did(breaker::Outcome::Success);
                Ok(Arrived { head, content: Content::Whole(text) })
            }
            Err(refusal) => {
                ledger.upstream_did(breaker::Outcome::of_refusal(&refusal));
                Err(refusal)
            }
        }
    }

    /// A place among `MAX_CONCURRENT_REQUESTS`, within `QUEUE_TIMEOUT_MS`. A try that follows
    /// another at once keeps the place it has.
    async fn wait_in_line<P: Platform>(
        &self,
        platform: &P,
        ledger: &mut Ledger<P>,
    ) -> Result<(), Error> {
        if ledger.has_place() {
            return Ok(());
        }
        let begun = platform.now();
        let place = {
            let _waiting = self.report.in_line();
            within(platform, self.settings.queue_timeout, pin!(platform.place())).await
        };
        ledger.entry.queue += platform.now().since(begun);
        match place {
            Some(place) => {
                ledger.keep(place);
                Ok(())
            }
            None => Err(Error::QueueTimeout { after: QUEUE_PAUSE }),
        }
    }

    /// A failure on its way to the client: what it teaches is remembered.
    fn deliver<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        refusal: Error,
        reauthorized: bool,
        ledger: &Ledger<P>,
    ) -> Error {
        let Error::Upstream(fault) = refusal else { return refusal };
        if let Some(project) = call.project().filter(|_| fault.is_project_problem()) {
            self.distrust_project(project, platform.now());
        }
        if fault.is_unauthenticated() && reauthorized {
            self.tokens().refused_again(platform.now());
        }
        // Generations have a project and a quota of their own; counting does not use it up.
        if call.project().is_some() {
            let news = lock(&self.quotas).note(&ledger.entry.model, &fault, platform.wall_clock());
            if news && platform.shares() {
                platform.spawn_job(BackgroundJob::PublishQuotas);
            }
        }
        // A 401 of upstream's is not the client's.
        Error::from(*fault)
    }

    /// Upstream's own error, with everything it said.
    async fn read_error<P: Platform>(
        &self,
        platform: &P,
        head: &http::response::Parts,
        body: P::Body,
    ) -> Error {
        if head.status.is_redirection() || head.status.is_informational() {
            let what = format!("it answered {}, which no API call should", head.status);
            return Error::UpstreamMalformed { what };
        }
        let text = whole(platform, body, ERROR_LIMIT, self.settings.stream_idle_timeout);
        let text = within(platform, ERROR_PATIENCE, pin!(text)).await.and_then(Result::ok);
        let text = text.unwrap_or_default();
        Error::Upstream(Box::new(error::read(head.status, &head.headers, &text)))
    }

    /// A call of the proxy's own: same token, same tries.
    pub(super) async fn call_for_whole<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Error> {
        let arrived = self.attempt(platform, call, Want::Whole, ledger).await?;
        ledger.leave_line();
        match arrived.content {
            Content::Whole(text) => Ok(text),
            Content::Events(_) | Content::PassedOn(_) => Err(Error::Internal),
        }
    }

    /// A ledger for work outside of any client's request.
    pub(super) fn own_ledger<P: Platform>(&self, platform: &P) -> Ledger<P> {
        let mut entry = Entry::new(String::new(), platform.now());
        entry.counted = false;
        Ledger::open(platform, &self.report, entry)
    }
}

/// An error that a client of Code Assist's own protocol reads as it is; a 401 is ours to deal with.
fn is_error_of_its_own(status: StatusCode) -> bool {
    (status.is_client_error() || status.is_server_error()) && status != StatusCode::UNAUTHORIZED
}

/// The refusal for a good answer in a form that was not asked for. A stream would otherwise be taken
/// for an empty one: lines that are no events mean nothing in it.
fn unreadable(headers: &HeaderMap, want: Want) -> Option<Error> {
    let said = |name| headers.get(name).map_or(&b""[..], |value| value.as_bytes().trim_ascii());
    let (packed, kind) = (said(CONTENT_ENCODING), said(CONTENT_TYPE));
    let what = if !matches!(packed, b"" | b"identity") {
        let packed = String::from_utf8_lossy(packed);
        format!("the answer is packed ({packed}) though that was not asked for")
    } else if matches!(want, Want::Events(_)) && kind.starts_with(WEB_PAGE) {
        let kind = String::from_utf8_lossy(kind);
        format!("a web page ({kind}) came in place of a stream")
    } else {
        return None;
    };
    Some(Error::UpstreamMalformed { what })
}

/// Sends a request and waits for the head, but not longer than `limit`.
pub(super) async fn send_within<P: Platform>(
    platform: &P,
    request: Request<Payload>,
    limit: Duration,
) -> Result<Response<P::Body>, Error> {
    sent_within(platform, limit, pin!(platform.send(request))).await
}

async fn sent_within<P: Platform>(
    platform: &P,
    limit: Duration,
    sending: Pin<&mut impl Future<Output = Result<Response<P::Body>, SendError>>>,
) -> Result<Response<P::Body>, Error> {
    match within(platform, limit, sending).await {
        Some(sent) => sent.map_err(Error::from),
        None => Err(timed_out(Awaited::FirstByte, limit)),
    }
}

/// What a future gives, unless it takes longer than `limit`.
///
/// It is pinned where it was made: handed over by value, it would be there twice, as an argument
/// and as what is polled, and each level of that doubles the size of a request's future.
pub(super) async fn within<P: Platform, F: Future>(
    platform: &P,
    limit: Duration,
    mut future: Pin<&mut F>,
) -> Option<F::Output> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let timer = timer.get_or_insert_with(|| platform.timer(limit));
        Pin::new(timer).poll(cx).map(|()| None)
    })
    .await
}

/// Reads a body to its end: at most `limit` bytes, never silent for longer than `idle`.
pub(super) async fn whole<P: Platform>(
    platform: &P,
    mut body: P::Body,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let Some(frame) = within(platform, idle, pin!(next)).await else {
            return Err(timed_out(Awaited::NextChunk, idle));
        };
        let chunk = match frame {
            None => return Ok(if all.is_empty() { first } else { all.freeze() }),
            Some(Err(broken)) => return Err(broken.into()),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => chunk,
                Err(_) => continue,
            },
        };
        if first.len() + all.len() + chunk.len() > limit {
            let what = format!("the answer is longer than {limit} bytes");
            return Err(Error::UpstreamMalformed { what });
        }
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.reserve(announced.max(first.len() + chunk.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&chunk);
    }
}

fn timed_out(awaited: Awaited, after: Duration) -> Error {
    Error::UpstreamTimeout { awaited, after }
}

/// What a captive portal or a load balancer answers with.
const WEB_PAGE: &[u8] = b"text/html";

/// An error body is text for people; a megabyte is generous.
const ERROR_LIMIT: usize = 1 << 20;

/// The status has said the most important thing; the words may not hold it up for long.
const ERROR_PATIENCE: Duration = Duration::from_secs(10);

/// What a client that found no place is told to wait: places come free one at a time.
const QUEUE_PAUSE: Duration = Duration::from_secs(1);
