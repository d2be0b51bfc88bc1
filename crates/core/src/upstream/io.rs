//! Sending a request within a limit, and reading an answer to its end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;

use crate::collected::CollectedBody;
use crate::context::RequestContext;
use crate::error::{Awaited, Error};
use crate::memory;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::memory::{MemoryReservation, SMALL_ANSWER};
use crate::wait::within;

/// Sends a request and waits for the head, but not longer than `limit`.
pub(super) async fn send_within<P: Platform>(
    platform: &P,
    request: Request<Payload>,
    limit: Duration,
) -> Result<Response<P::Body>, Error> {
    let late = Error::UpstreamTimeout { awaited: Awaited::FirstByte, after: limit };
    let spare = request.clone();
    let sending = pin!(platform.send(request, || Some(spare.clone())));
    sent_within(platform, (limit, late), sending).await
}

/// Waits for the response head of a request that is being sent. After `limit` it returns `late`.
pub(super) async fn sent_within<P: Platform, E: Into<Error>>(
    platform: &P,
    (limit, late): (Duration, Error),
    sending: Pin<&mut impl Future<Output = Result<Response<P::Body>, E>>>,
) -> Result<Response<P::Body>, Error> {
    match within(platform, limit, sending).await {
        Some(sent) => sent.map_err(Into::into),
        None => Err(late),
    }
}

/// Reads a body to its end: at most `limit` bytes, with at most `idle` between two chunks.
pub(super) async fn read_whole<P: Platform>(
    platform: &P,
    body: P::Body,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, Error> {
    read_held(platform, body, limit, idle, None).await
}

/// Reads a body to its end for a client's request. Memory for each step is reserved before that step is
/// read. While too little memory is free, the request waits for `longest` at most.
pub(super) async fn read_answer<P: Platform>(
    context: &mut RequestContext<P>,
    body: P::Body,
    limit: usize,
    idle: Duration,
    longest: Duration,
) -> Result<Bytes, Error> {
    let platform = context.platform().clone();
    let before = context.memory.as_ref().map_or(0, MemoryReservation::bytes);
    let answer = read_held(&platform, body, limit, idle, Some((context, longest))).await;
    if answer.is_err() {
        context.shrink_memory(before);
    }
    answer
}

async fn read_held<P: Platform>(
    platform: &P,
    mut body: P::Body,
    limit: usize,
    idle: Duration,
    mut holder: Option<(&mut RequestContext<P>, Duration)>,
) -> Result<Bytes, Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    let mut reserved = SMALL_ANSWER;
    let mut collected = CollectedBody::default();
    loop {
        let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let Some(frame) = within(platform, idle, pin!(next)).await else {
            note_cut(&mut holder, &collected);
            return Err(Error::UpstreamTimeout { awaited: Awaited::NextChunk, after: idle });
        };
        let chunk = match frame {
            None => return Ok(collected.into_bytes()),
            Some(Err(error)) => {
                note_cut(&mut holder, &collected);
                return Err(error.into());
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => chunk,
                Err(_) => continue,
            },
        };
        let received = collected.len() + chunk.len();
        if received > limit {
            let what = format!("the answer is longer than {limit} bytes");
            return Err(Error::UpstreamMalformed { what });
        }
        if received > reserved {
            let larger = (reserved * 2).max(announced).max(received);
            if let Some((context, longest)) = &mut holder {
                Box::pin(memory::grow(context, larger - reserved, *longest)).await?;
            }
            reserved = larger;
        }
        let capacity = if reserved > SMALL_ANSWER { reserved } else { announced.max(received) };
        collected.push(chunk, capacity);
    }
}

/// Records how much of an answer has come that breaks off.
fn note_cut<P: Platform>(
    holder: &mut Option<(&mut RequestContext<P>, Duration)>,
    collected: &CollectedBody,
) {
    if let Some((context, _)) = holder {
        context.cut_bytes = collected.len() as u64;
    }
}
