//! Streams whose head is sent before upstream has answered (`EARLY_HEARTBEAT_MS`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{EarlyHead, ProxyBody};
use http::{HeaderMap, Response};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::response::OpenResponse;
use crate::platform::TokioPlatform;

/// The answer that is awaited. It owns what it borrows, since it outlives the service's call.
pub(super) type Awaited =
    Pin<Box<dyn Future<Output = Response<ProxyBody<TokioPlatform>>> + Send + 'static>>;

/// What a client gets first.
#[expect(clippy::large_enum_variant, reason = "matched as soon as it is made")]
pub(super) enum First {
    /// The answer, within the time.
    Answer(Response<ProxyBody<TokioPlatform>>),
    /// The head of a stream, and its body, which awaits the answer.
    Head(HeaderMap, Box<AwaitedBody>),
}

/// Waits for the answer. If it takes longer than `after`, and turns out to be a stream that may begin with
/// heartbeats, its head goes first.
pub(super) async fn first(mut answer: Awaited, early: EarlyHead, after: Duration) -> First {
    loop {
        if let Ok(response) = timeout(after, &mut answer).await {
            return First::Answer(response);
        }
        // A client that sends its body slowly has not asked for a stream yet.
        if let Some(headers) = early.begin() {
            let pause = Box::pin(sleep(Duration::ZERO));
            return First::Head(headers, Box::new(AwaitedBody { answer, early, pause }));
        }
    }
}

/// The body of a stream whose answer is awaited: heartbeats until it is there.
pub(super) struct AwaitedBody {
    answer: Awaited,
    early: EarlyHead,
    /// Ends when the next heartbeat is sent.
    pause: Pin<Box<Sleep>>,
}

/// What an [`AwaitedBody`] has next.
#[expect(clippy::large_enum_variant, reason = "matched as soon as it is made")]
pub(super) enum Next {
    /// The answer has come: the rest of the stream is its body.
    Answered(ProxyBody<TokioPlatform>),
    Heartbeat(Bytes),
}

impl AwaitedBody {
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        open: &Arc<OpenResponse>,
    ) -> Poll<Next> {
        if let Poll::Ready(response) = self.answer.as_mut().poll(cx) {
            let body = response.into_body();
            // The head is sent, so that the client cannot learn of a lack of memory any more.
            let _ = open.answered(&body);
            return Poll::Ready(Next::Answered(body));
        }
        ready!(self.pause.as_mut().poll(cx));
        self.pause.as_mut().reset(Instant::now() + EarlyHead::PAUSE);
        Poll::Ready(Next::Heartbeat(self.early.heartbeat()))
    }
}
