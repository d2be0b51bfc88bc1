//! What upstream has delivered of an answer whose client has left. It is read for its usage, without waiting.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body;

/// Takes the chunks that are at hand, as many as one connection may hold.
pub(super) fn delivered<B: Body<Data = Bytes> + Unpin>(
    upstream: &mut B,
    mut take: impl FnMut(Bytes),
) {
    let mut cx = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    for _ in 0..MOST_CHUNKS {
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut *upstream).poll_frame(&mut cx) else {
            return;
        };
        let Ok(chunk) = frame.into_data() else { continue };
        bytes += chunk.len();
        take(chunk);
        if bytes > MOST_BYTES {
            return;
        }
    }
}

const MOST_CHUNKS: usize = 256;
const MOST_BYTES: usize = 1 << 20;
