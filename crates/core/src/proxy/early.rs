//! A head that is sent before upstream has answered, where the operator prefers an open connection to a
//! meaningful status (`EARLY_HEARTBEAT_MS`, `docs/DIALECTS.md`).
//!
//! The shell decides when it sends the head, since it has the connection. The core says whether a request
//! may have one, and writes its later errors as events.

use std::sync::{Arc, Mutex};
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
use crate::sync::lock;

/// What a shell and the core share about one request, as an extension of the request.
#[derive(Debug, Clone, Default)]
pub struct EarlyHead(Arc<Mutex<EarlyState>>);

#[derive(Debug, Default)]
struct EarlyState {
    awaited: Option<AwaitedStream>,
    /// The shell has sent the head.
    begun: bool,
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
        let mut state = lock(&self.0);
        let headers = state.awaited.as_ref()?.headers.clone();
        state.begun = true;
        Some(headers)
    }

    /// A heartbeat.
    pub fn heartbeat(&self) -> Bytes {
        let state = lock(&self.0);
        state.awaited.as_ref().map(|awaited| awaited.form.first_heartbeat()).unwrap_or_default()
    }
}

/// The place for an early head, with the headers that it has whatever upstream is asked.
pub(super) struct EarlyPlace {
    early: EarlyHead,
    headers: HeaderMap,
}

impl EarlyPlace {
    /// Records that a request waits for the first event of a stream. `headers` tell the client what was
    /// changed for the upstream that is asked. A head that was sent stays as it is.
    pub(super) fn announce(&self, form: AnswerForm, headers: &HeaderMap) {
        let mut state = lock(&self.early.0);
        if !state.begun {
            let mut headers = headers.clone();
            headers.extend(self.headers.clone());
            state.awaited = Some(AwaitedStream { headers, form });
        }
    }
}

impl Proxy {
    /// The place for an early head, if the shell may send one for this request.
    pub(super) fn early_place<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
    ) -> Option<EarlyPlace> {
        let early = parts.extensions.get::<EarlyHead>()?.clone();
        let mut headers = respond::stream_headers();
        self.add_common_headers(parts, &mut headers, context);
        Some(EarlyPlace { early, headers })
    }
}

/// An error for a client that has got its head: the event that ends the stream.
pub(super) fn error<P: Platform>(
    parts: &Parts,
    error: &Error,
    context: &mut RequestContext<P>,
) -> Option<Answer<P>> {
    let state = lock(&parts.extensions.get::<EarlyHead>()?.0);
    let awaited = state.awaited.as_ref().filter(|_| state.begun)?;
    context.error = Some(error.label());
    context.settle(RequestOutcome::Cut);
    let body = AnswerBody::Whole(awaited.form.error(error));
    Some(Answer { status: StatusCode::OK, headers: awaited.headers.clone(), body })
}
