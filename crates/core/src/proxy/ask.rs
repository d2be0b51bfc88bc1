//! Asking upstream: sending within the first-byte timeout, reading a whole answer, making ids.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body::Body;

use super::Proxy;
use crate::assist::call::Call;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::refusal::{Awaited, Refusal};
use crate::report::{Entry, Ledger};

impl Proxy {
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

    /// A call of the proxy's own, outside of any client's request: same token, same tries.
    pub(super) async fn call_for_whole<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
    ) -> Result<Bytes, Refusal> {
        let mut entry = Entry::new(String::new(), platform.now());
        entry.counted = false;
        let mut ledger = Ledger::open(platform, &self.report, entry);
        let response = self.attempt(platform, call, &mut ledger).await?;
        self.read_whole(platform, response.into_body(), &mut ledger).await
    }
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

/// A fresh `x-request-id`.
pub(super) fn request_id<P: Platform>(platform: &P) -> String {
    format!("req_{:016x}", platform.random())
}

/// A fresh `user_prompt_id`, in the form of a random UUID as the CLI sends it (RFC 9562, version 4).
pub(super) fn prompt_id<P: Platform>(platform: &P) -> String {
    let (high, low) = (platform.random(), platform.random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff,
    )
}

/// An error body is text for people; a megabyte is generous.
pub(super) const ERROR_LIMIT: usize = 1 << 20;
