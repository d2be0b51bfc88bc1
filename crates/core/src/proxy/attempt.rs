//! Trying upstream: the one loop that tries again, sending within the first-byte timeout, reading a
//! whole answer.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::Body;

use super::Proxy;
use crate::assist::call::Call;
use crate::assist::fault;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::refusal::{Awaited, Refusal};
use crate::report::{Entry, Ledger, RetryReason};

impl Proxy {
    /// Sends a call until there is an answer for the client. The only loop that tries again: for
    /// now, once after a 401, with a token that has been renewed.
    pub(super) async fn attempt<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        ledger: &mut Ledger<P>,
    ) -> Result<Response<P::Body>, Refusal> {
        let mut reauthorized = false;
        loop {
            let bearer = self.bearer(platform, ledger).await?;
            let begun = platform.now();
            ledger.upstream_at(0);
            let sent = self.send(platform, call.request(&bearer.header)).await;
            let waited = platform.now().since(begun);
            ledger.entry.upstream += waited;
            ledger.entry.first_byte = sent.is_ok().then_some(waited);
            let ok = matches!(&sent, Ok(response) if !response.status().is_server_error());
            self.report.upstream(ok);
            let response = sent?;
            let status = response.status();
            if status.is_success() || call.passes_errors() && is_error_of_its_own(status) {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED {
                if reauthorized {
                    self.tokens().refused_again(platform.now());
                } else if self.tokens().condemn(&bearer, platform.now()) {
                    reauthorized = true;
                    ledger.retried(RetryReason::Unauthorized);
                    continue;
                }
            }
            return Err(self.upstream_error(platform, response).await);
        }
    }

    /// Upstream's own error, passed on with everything it said; but its 401 is not the client's.
    pub(super) async fn upstream_error<P: Platform>(
        &self,
        platform: &P,
        response: Response<P::Body>,
    ) -> Refusal {
        let (head, body) = response.into_parts();
        if head.status.is_redirection() || head.status.is_informational() {
            let what = format!("it answered {}, which no API call should", head.status);
            return Refusal::UpstreamMalformed { what };
        }
        let idle = self.settings.stream_idle_timeout;
        let text = whole(platform, body, ERROR_LIMIT, idle).await.unwrap_or_default();
        let fault = fault::read(head.status, &head.headers, &text);
        if fault.is_project_problem() {
            self.distrust_project();
        }
        fault.into()
    }

    /// One try: the response head, within `FIRST_BYTE_TIMEOUT_MS`.
    pub(super) async fn send<P: Platform>(
        &self,
        platform: &P,
        request: Request<Payload>,
    ) -> Result<Response<P::Body>, Refusal> {
        send_within(platform, request, self.settings.first_byte_timeout).await
    }

    /// The whole body of a successful answer.
    pub(super) async fn read_whole<P: Platform>(
        &self,
        platform: &P,
        body: P::Body,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Refusal> {
        let begun = platform.now();
        let (limit, idle) = (self.settings.max_event_bytes, self.settings.stream_idle_timeout);
        let whole = whole(platform, body, limit, idle).await;
        ledger.entry.upstream += platform.now().since(begun);
        if whole.is_err() {
            self.report.upstream(false);
        }
        whole
    }

    /// A call of the proxy's own: same token, same tries.
    pub(super) async fn call_for_whole<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Refusal> {
        let response = self.attempt(platform, call, ledger).await?;
        self.read_whole(platform, response.into_body(), ledger).await
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

/// Sends a request and waits for the head, but not longer than `limit`.
pub(super) async fn send_within<P: Platform>(
    platform: &P,
    request: Request<Payload>,
    limit: Duration,
) -> Result<Response<P::Body>, Refusal> {
    let mut sending = pin!(platform.send(request));
    let mut timer = platform.timer(limit);
    poll_fn(|cx| {
        if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
            return Poll::Ready(sent.map_err(Refusal::from));
        }
        Pin::new(&mut timer).poll(cx).map(|()| Err(timed_out(Awaited::FirstByte, limit)))
    })
    .await
}

/// Reads a body to its end: at most `limit` bytes, never silent for longer than `idle`.
pub(super) async fn whole<P: Platform>(
    platform: &P,
    mut body: P::Body,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let mut timer = None;
        let frame = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                return Poll::Ready(Ok(frame));
            }
            let timer = timer.get_or_insert_with(|| platform.timer(idle));
            Pin::new(timer).poll(cx).map(|()| Err(timed_out(Awaited::NextChunk, idle)))
        })
        .await?;
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
            return Err(Refusal::UpstreamMalformed { what });
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

fn timed_out(awaited: Awaited, after: Duration) -> Refusal {
    Refusal::UpstreamTimeout { awaited, after }
}

/// An error body is text for people; a megabyte is generous.
const ERROR_LIMIT: usize = 1 << 20;
