//! Client bodies that arrive slowly, over the scripted clock.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::Error;
use code_assist_core::Platform as _;
use code_assist_core::internals::intake;
use code_assist_testkit::google::google;
use code_assist_testkit::script::ScriptedPlatform;
use http::HeaderMap;
use http_body::{Body, Frame};

#[test]
fn a_body_that_arrives_byte_by_byte_times_out() {
    let (taken, result) = collected(1, Duration::from_secs(29), 100_000_000);
    assert_eq!(result, Err(Error::RequestTimeout));
    assert_eq!(taken, 3, "the slow start is over after 60 seconds");
}

#[test]
fn a_body_over_a_slow_connection_arrives() {
    let (taken, result) = collected(64 * 1024, Duration::from_secs(20), 300);
    assert_eq!(result, Ok(300 * 64 * 1024));
    assert_eq!(taken, 300);
}

#[test]
fn a_small_body_may_arrive_slowly_at_the_start() {
    let (_, result) = collected(10, Duration::from_secs(14), 4);
    assert_eq!(result, Ok(40));
}

/// Collects a body of `pieces` chunks with a pause before each. Returns how many chunks were taken,
/// and how many bytes there are.
fn collected(size: usize, pause: Duration, pieces: usize) -> (usize, Result<usize, Error>) {
    let script = ScriptedPlatform::new(google());
    let mut body = Trickle { script: script.clone(), size, pause, pieces };
    let headers = HeaderMap::new();
    let begun = script.now();
    let mut collecting = Box::pin(intake::collect(&script, &headers, &mut body, usize::MAX, begun));
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(result) = collecting.as_mut().poll(&mut cx) else {
        panic!("every piece is there when it is asked for");
    };
    drop(collecting);
    (pieces - body.pieces, result.map(|(whole, _)| whole.len()))
}

/// A body that advances the clock before each chunk.
struct Trickle {
    script: ScriptedPlatform,
    size: usize,
    pause: Duration,
    pieces: usize,
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        self.pieces -= 1;
        self.script.advance(self.pause);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'.'; self.size])))))
    }
}
