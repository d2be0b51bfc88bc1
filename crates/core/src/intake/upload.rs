//! A client's body that is sent upstream while it is read: its least speed, what has been read of it, and
//! how long upstream may take nothing.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::LONGEST_SILENCE;
use super::pace::Pace;
use crate::platform::{Platform, RequestBodyError, SendError};
use crate::time::Monotonic;

/// How far an upload has come. The request that waits for the answer shares it with the body.
#[derive(Debug, Default)]
pub struct UploadProgress {
    bytes: AtomicU64,
    waits_for_client: AtomicBool,
}

impl UploadProgress {
    /// The bytes that were read from the client.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

/// A client's body that breaks with [`RequestBodyError::TooSlow`] when it comes more slowly than a collected
/// body may.
///
/// Only the time counts in which upstream waits for the client. The clock is read only where the client is
/// waited for.
#[derive(Debug)]
pub struct Paced<'a, P: Platform, B> {
    body: Pin<&'a mut B>,
    platform: &'a P,
    progress: &'a UploadProgress,
    pace: Pace,
    /// How long the client was waited for, without the wait that goes on.
    waited: Duration,
    wait: Option<Wait<P::Timer>>,
}

/// A wait for the client's next piece.
#[derive(Debug)]
struct Wait<T> {
    since: Monotonic,
    timer: T,
}

impl<'a, P: Platform, B> Paced<'a, P, B> {
    /// Reads `body` no more slowly than is allowed.
    pub fn new(body: Pin<&'a mut B>, platform: &'a P, progress: &'a UploadProgress) -> Self {
        let (pace, waited) = (Pace::default(), Duration::ZERO);
        Self { body, platform, progress, pace, waited, wait: None }
    }
}

impl<P: Platform, B> Body for Paced<'_, P, B>
where
    B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
{
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) else {
            let platform = this.platform;
            let wait = this.wait.get_or_insert_with(|| {
                this.progress.waits_for_client.store(true, Relaxed);
                Wait { since: platform.now(), timer: platform.timer(LONGEST_SILENCE) }
            });
            ready!(Pin::new(&mut wait.timer).poll(cx));
            return Poll::Ready(Some(Err(RequestBodyError::TooSlow)));
        };
        if let Some(wait) = this.wait.take() {
            this.progress.waits_for_client.store(false, Relaxed);
            this.waited += this.platform.now().since(wait.since);
        }
        let frame = frame.map(|frame| frame.map_err(Into::into));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            this.progress.bytes.fetch_add(data.len() as u64, Relaxed);
            if !this.pace.keeps_up(this.waited, data.len()) {
                return Poll::Ready(Some(Err(RequestBodyError::TooSlow)));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits for the answer to an upload. Returns `None` if upstream has neither taken a byte nor answered for
/// `longest` at least, and twice as long at most. Time in which upstream waits for the client does not count.
pub async fn answer_in_time<P: Platform, T>(
    platform: &P,
    longest: Duration,
    progress: &UploadProgress,
    sending: impl Future<Output = Result<T, SendError>>,
) -> Option<Result<T, SendError>> {
    let mut sending = pin!(sending);
    let mut timer = platform.timer(longest);
    let mut seen = 0;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        loop {
            ready!(Pin::new(&mut timer).poll(cx));
            let bytes = progress.bytes();
            if bytes == seen && !progress.waits_for_client.load(Relaxed) {
                return Poll::Ready(None);
            }
            seen = bytes;
            timer = platform.timer(longest);
        }
    })
    .await
}
