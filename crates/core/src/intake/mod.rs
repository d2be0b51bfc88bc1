//! The client's body: collected within its limits and within the memory budget, and decompressed.

mod gzip;
mod pace;
pub mod upload;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http_body::{Body, Frame};

use crate::collected::CollectedBody;
use crate::context::RequestContext;
use crate::error::{BodyBound, Error};
use crate::memory;
use crate::platform::{Platform, RequestBodyError};
use crate::policy::memory::REQUEST_BASE;
use pace::Pace;

/// The bounds of a client's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// `MAX_REQUEST_BODY_BYTES`, before and after decompression.
    pub(crate) bytes: usize,
    /// The most of the memory budget that one caller may hold.
    pub(crate) memory: usize,
    /// `QUEUE_TIMEOUT_MS`.
    pub(crate) queue_timeout: Duration,
}

impl BodyLimits {
    /// Refuses a body that is longer than any wait makes acceptable.
    pub(crate) fn check(&self, length: usize) -> Result<(), Error> {
        if length > self.bytes {
            return Err(Error::BodyTooLarge { limit: self.bytes, bound: BodyBound::Setting });
        }
        if REQUEST_BASE.saturating_add(length) > self.memory {
            return Err(self.over_budget());
        }
        Ok(())
    }

    pub(crate) fn over_budget(&self) -> Error {
        let limit = self.memory.saturating_sub(REQUEST_BASE);
        Error::BodyTooLarge { limit, bound: BodyBound::Budget }
    }
}

/// What is known of a body before it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnnouncedBody {
    encoding: BodyEncoding,
    /// `None` for a body whose length is known at its end only.
    length: Option<usize>,
}

impl AnnouncedBody {
    /// Reads what the request says of its body, and refuses a body that no wait makes acceptable.
    pub(crate) fn of<B: Body>(
        headers: &HeaderMap,
        body: &B,
        limits: &BodyLimits,
    ) -> Result<Self, Error> {
        let encoding = BodyEncoding::of(headers)?;
        // A shell whose bodies do not know their length passes the header on.
        let in_header = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        let length = body.size_hint().exact().or_else(in_header);
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        limits.check(length.unwrap_or(0))?;
        Ok(Self { encoding, length })
    }

    /// What the request reserves before its body is read.
    pub(crate) fn memory(&self) -> usize {
        REQUEST_BASE + self.length.unwrap_or(0)
    }

    /// True for a body that holds no more memory than the buffers of its connection. It is read before
    /// the request has a concurrency permit, so that malformed requests and those that the cache answers
    /// need none.
    pub(crate) fn is_small(&self) -> bool {
        self.length.is_some_and(|length| length <= SMALL_BODY)
    }
}

/// Reads a request body to its end. [`AnnouncedBody::memory`] is reserved.
///
/// The buffer has the announced length and grows only when none was announced; a body in one chunk
/// is not copied. The memory of each step is reserved before it. A body that comes too slowly is
/// refused. `Content-Type` is ignored: every body is read as JSON (`docs/reference/clients.md` R13).
pub(crate) async fn collect<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
    context: &mut RequestContext<P>,
    announced: AnnouncedBody,
    body: B,
    limits: &BodyLimits,
) -> Result<Bytes, Error> {
    let began = context.platform().now();
    let waited_before = context.timings.queue;
    let mut now = began;
    let mut pace = Pace::default();
    let mut reserved = announced.length.unwrap_or_else(|| SMALL_BODY.min(limits.bytes));
    let mut body = pin!(body);
    let mut collected = CollectedBody::default();
    while let Some(frame) = next(context.platform(), body.as_mut()).await? {
        let Ok(chunk) = frame.into_data() else { continue };
        let received = collected.len() + chunk.len();
        now = context.platform().now();
        let waited = context.timings.queue.saturating_sub(waited_before);
        if !pace.keeps_up(now.since(began).saturating_sub(waited), chunk.len()) {
            return Err(Error::RequestTimeout);
        }
        if received > reserved {
            reserved = grow(context, reserved, received, limits).await?;
        }
        collected.push(chunk, reserved);
    }
    let whole = collected.into_bytes();
    let whole = match announced.encoding {
        BodyEncoding::Gzip => {
            let unpacked = Box::pin(gzip::unpack(context, whole, limits)).await?;
            now = context.platform().now();
            unpacked
        }
        BodyEncoding::Identity => whole,
    };
    let waited = context.timings.queue.saturating_sub(waited_before);
    context.timings.intake = now.since(began).saturating_sub(waited);
    Ok(whole)
}

/// Reserves memory for a body that has become longer than what is `reserved`. Returns what is reserved now.
async fn grow<P: Platform>(
    context: &mut RequestContext<P>,
    reserved: usize,
    needed: usize,
    limits: &BodyLimits,
) -> Result<usize, Error> {
    limits.check(needed)?;
    let most = limits.bytes.min(limits.memory - REQUEST_BASE);
    let larger = reserved.saturating_mul(2).clamp(needed, most);
    Box::pin(memory::grow(context, larger - reserved, limits.queue_timeout)).await?;
    Ok(larger)
}

/// Reads and drops the rest of a body whose request was refused. HTTP/1 has no other way to stop a
/// client that is still sending: it would see a reset connection instead of the answer. The wait ends
/// when the client sends nothing more, since a body may be announced and never come.
pub(crate) async fn drain<P: Platform, B: Body<Data = Bytes>>(
    platform: &P,
    headers: &HeaderMap,
    mut body: Pin<&mut B>,
) {
    // A client that waits for a 100 has sent nothing, and reading would make the server send the
    // 100.
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let mut timer = platform.timer(DRAIN_SILENCE);
    let (mut waits, mut dropped, mut dropped_before) = (0, 0, 0);
    poll_fn(|cx| {
        while dropped < LARGEST_DRAIN {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    dropped += frame.data_ref().map_or(0, Bytes::len);
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Pending => {
                    ready!(Pin::new(&mut timer).poll(cx));
                    waits += 1;
                    if dropped == dropped_before || waits == LONGEST_DRAIN {
                        return Poll::Ready(());
                    }
                    dropped_before = dropped;
                    timer = platform.timer(DRAIN_SILENCE);
                }
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// The next frame, or the error for a client that is silent or gone, or that breaks HTTP's rules.
async fn next<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
    platform: &P,
    mut body: Pin<&mut B>,
) -> Result<Option<Frame<Bytes>>, Error> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
            return Poll::Ready(match frame.transpose() {
                Ok(frame) => Ok(frame),
                Err(error) => Err(error.into().into()),
            });
        }
        let timer = timer.get_or_insert_with(|| platform.timer(LONGEST_SILENCE));
        Pin::new(timer).poll(cx).map(|()| Err(Error::RequestTimeout))
    })
    .await
}

#[derive(Debug, Clone, Copy)]
enum BodyEncoding {
    Gzip,
    Identity,
}

impl BodyEncoding {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Identity) };
        match value.to_str().map(|value| value.trim().to_ascii_lowercase()).as_deref() {
            Ok("" | "identity") => Ok(Self::Identity),
            Ok("gzip" | "x-gzip") => Ok(Self::Gzip),
            Ok(other) => Err(Error::UnsupportedEncoding { what: other.to_owned() }),
            Err(_) => Err(Error::UnsupportedEncoding { what: "unreadable".to_owned() }),
        }
    }
}

/// The longest body that costs no more than the buffers of its connection, which [`REQUEST_BASE`]
/// covers. Also the first step of a body whose length is not known.
const SMALL_BODY: usize = 64 << 10;

/// The longest pause between two chunks of a body.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// The most bytes that are read of a refused body.
const LARGEST_DRAIN: usize = 32 << 20;

/// How long a client may send nothing of a refused body.
const DRAIN_SILENCE: Duration = Duration::from_millis(200);

/// For how many times as long a refused body is read.
const LONGEST_DRAIN: u32 = 10;
