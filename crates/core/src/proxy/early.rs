//! A head that is sent before upstream has answered, where the operator prefers an open connection to a
//! meaningful status (`EARLY_HEARTBEAT_MS`, `docs/DIALECTS.md`).
//!
//! The shell decides when it sends the head, since it has the connection. The core says whether a request
//! may have one, and writes its later errors as events.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::Proxy;
use super::respond::{self, Answer, AnswerBody};
use crate::body::HEARTBEAT_PAUSE;
use crate::context::RequestContext;
use crate::dialect::AnswerForm;
use crate::error::Error;
use crate::metrics::RequestOutcome;
use crate::platform::Platform;

/// What a shell and the core share about one request, as an extension of the request.
#[derive(Debug, Clone, Default)]
pub struct EarlyHead(Arc<EarlyState>);

#[derive(Debug, Default)]
struct EarlyState {
    awaited: OnceLock<AwaitedStream>,
    /// The shell has sent the head.
    begun: AtomicBool,
}

/// A stream that has been asked for, and has no event yet.
#[derive(Debug)]
struct AwaitedStream {
    headers: HeaderMap,
    form: AnswerForm,
}

impl EarlyHead {
    /// The pause between two heartbeats, as within a stream.
    pub const PAUSE: Duration = HEARTBEAT_PAUSE;

    /// The headers of a 200, if the request waits for the first event of a stream in a dialect with
    /// heartbeats. The shell sends them, and then [`Self::heartbeat`] every [`Self::PAUSE`] until the
    /// answer is there, of which it sends the body only.
    pub fn begin(&self) -> Option<HeaderMap> {
        let awaited = self.0.awaited.get()?;
        self.0.begun.store(true, SeqCst);
        Some(awaited.headers.clone())
    }

    /// A heartbeat.
    pub fn heartbeat(&self) -> Bytes {
        self.0.awaited.get().map(|awaited| awaited.form.first_heartbeat()).unwrap_or_default()
    }

    /// The stream for which the shell has sent the head.
    fn begun(&self) -> Option<&AwaitedStream> {
        self.0.awaited.get().filter(|_| self.0.begun.load(SeqCst))
    }
}

impl Proxy {
    /// Records that a request waits for the first event of a stream.
    pub(super) fn announce_stream<P: Platform>(
        &self,
        parts: &Parts,
        form: Option<AnswerForm>,
        context: &RequestContext<P>,
    ) {
        let Some((early, form)) = parts.extensions.get::<EarlyHead>().zip(form) else { return };
        let mut headers = respond::stream_headers();
        self.add_common_headers(parts, &mut headers, context);
        let _ = early.0.awaited.set(AwaitedStream { headers, form });
    }
}

/// An error for a client that has got its head: the event that ends the stream.
pub(super) fn error<P: Platform>(
    parts: &Parts,
    error: &Error,
    context: &mut RequestContext<P>,
) -> Option<Answer<P>> {
    let awaited = parts.extensions.get::<EarlyHead>()?.begun()?;
    context.error = Some(error.label());
    context.settle(RequestOutcome::Cut);
    let body = AnswerBody::Whole(awaited.form.error(error));
    Some(Answer { status: StatusCode::OK, headers: awaited.headers.clone(), body })
}
