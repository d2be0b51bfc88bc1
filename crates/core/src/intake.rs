//! The client's body: collected within its limits, and decompressed.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, EXPECT};
use http_body::{Body, Frame};

use crate::error::Error;
use crate::platform::Platform;
use crate::time::Monotonic;

/// Reads a request body to its end. Returns it with the time of its last chunk.
///
/// The buffer has the announced length and grows only when none was announced; a body in one chunk
/// is not copied. `limit` holds before and after decompression. A body that comes too slowly is
/// refused: its time is counted from `begun`. `Content-Type` is ignored: every body is read as JSON
/// (`docs/reference/clients.md` R13).
pub async fn collect<P: Platform, B: Body<Data = Bytes>>(
    platform: &P,
    headers: &HeaderMap,
    body: B,
    limit: usize,
    begun: Monotonic,
) -> Result<(Bytes, Monotonic), Error> {
    let encoding = BodyEncoding::of(headers)?;
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(Error::BodyTooLarge { limit });
    }
    let mut now = begun;
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = next(platform, body.as_mut()).await? {
        let Ok(chunk) = frame.into_data() else { continue };
        let received = first.len() + all.len() + chunk.len();
        if received > limit {
            return Err(Error::BodyTooLarge { limit });
        }
        now = platform.now();
        if now.since(begun) > longest_time(received) {
            return Err(Error::RequestTimeout);
        }
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            let announced = usize::try_from(announced).unwrap_or(0);
            all.reserve(announced.max(first.len() + chunk.len()));
            all.extend_from_slice(&first);
            first = Bytes::new();
        }
        all.extend_from_slice(&chunk);
    }
    let whole = if all.is_empty() { first } else { all.freeze() };
    match encoding {
        BodyEncoding::Gzip => Ok((gunzip(&whole, limit)?, now)),
        BodyEncoding::Identity => Ok((whole, now)),
    }
}

/// The longest time that so many bytes may take.
fn longest_time(received: usize) -> Duration {
    SLOW_START + Duration::from_secs(received as u64 / LEAST_BYTES_PER_SECOND)
}

/// Reads and drops the rest of a body whose request was refused. HTTP/1 has no other way to stop a
/// client that is still sending: it would see a reset connection instead of the answer.
pub async fn drain<P: Platform, B: Body<Data = Bytes>>(
    platform: &P,
    headers: &HeaderMap,
    mut body: Pin<&mut B>,
) {
    // A client that waits for a 100 has sent nothing, and reading would make the server send the
    // 100.
    if body.is_end_stream() || headers.contains_key(EXPECT) {
        return;
    }
    let mut timer = platform.timer(LONGEST_DRAIN);
    let mut dropped = 0;
    poll_fn(|cx| {
        while dropped < LARGEST_DRAIN {
            match body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    dropped += frame.data_ref().map_or(0, Bytes::len);
                }
                Poll::Ready(None | Some(Err(_))) => return Poll::Ready(()),
                Poll::Pending => return Pin::new(&mut timer).poll(cx),
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// The next frame, or the error for a client that is silent or gone.
async fn next<P: Platform, B: Body<Data = Bytes>>(
    platform: &P,
    mut body: Pin<&mut B>,
) -> Result<Option<Frame<Bytes>>, Error> {
    let mut timer = None;
    poll_fn(|cx| {
        if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
            return Poll::Ready(match frame {
                None => Ok(None),
                Some(Ok(frame)) => Ok(Some(frame)),
                // The connection broke: no client will read this error.
                Some(Err(_)) => Err(Error::RequestTimeout),
            });
        }
        let timer = timer.get_or_insert_with(|| platform.timer(LONGEST_SILENCE));
        Pin::new(timer).poll(cx).map(|()| Err(Error::RequestTimeout))
    })
    .await
}

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

fn gunzip(packed: &[u8], limit: usize) -> Result<Bytes, Error> {
    let corrupt =
        |_| Error::UnsupportedEncoding { what: "gzip that cannot be decompressed".to_owned() };
    let mut decoder = MultiGzDecoder::new(BoundedWriter { out: Vec::new(), limit, over: false });
    for piece in packed.chunks(PIECE) {
        let written = decoder.write_all(piece);
        if decoder.get_ref().over {
            return Err(Error::BodyTooLarge { limit });
        }
        written.map_err(corrupt)?;
    }
    let tried = decoder.try_finish();
    if decoder.get_ref().over {
        return Err(Error::BodyTooLarge { limit });
    }
    tried.map_err(corrupt)?;
    Ok(Bytes::from(decoder.finish().map_err(corrupt)?.out))
}

/// A writer with a limit: a compressed kilobyte can become a gigabyte.
struct BoundedWriter {
    out: Vec<u8>,
    limit: usize,
    over: bool,
}

impl Write for BoundedWriter {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        if self.out.len() + piece.len() > self.limit {
            self.over = true;
            return Err(std::io::Error::other("too large"));
        }
        self.out.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The longest pause between two chunks of a body.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// The lowest average speed after [`SLOW_START`], a tenth of the slowest mobile network. It bounds
/// the time that a client can hold a connection with single bytes.
const LEAST_BYTES_PER_SECOND: u64 = 2 * 1024;

/// The time in which a body may come at any speed.
const SLOW_START: Duration = Duration::from_secs(60);

/// The most bytes that are read of a refused body.
const LARGEST_DRAIN: usize = 32 << 20;

/// The longest time for which a refused body is read.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);

const PIECE: usize = 64 * 1024;
