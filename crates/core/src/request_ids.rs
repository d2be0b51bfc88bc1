//! The ids of a request, and those of the request that the thread polls.
//!
//! Log lines carry them (`docs/LOGGING.md`). They are no `tracing` span: making one, entering it at each poll and
//! closing it cost three allocations and a thousand instructions of every request, for lines that few requests have.

use std::cell::Cell;
use std::pin::Pin;

use http::HeaderValue;

use crate::request_texts::RequestTexts;
use crate::trace::{TraceId, hex};

/// The `x-request-id` of one request. It costs no allocation unless the client has sent its own.
#[derive(Debug, Clone)]
pub(crate) enum RequestId {
    /// The client's own: visible ASCII.
    Client(HeaderValue),
    /// `req_` and sixteen hex digits.
    New([u8; 20]),
}

impl RequestId {
    /// For work that is no client's.
    pub(crate) const NONE: Self = Self::New(*b"req_0000000000000000");

    /// A new id.
    pub(crate) fn new(random: u64) -> Self {
        let mut id = *b"req_0000000000000000";
        id[4..].copy_from_slice(&hex(random));
        Self::New(id)
    }

    /// As logs have it.
    pub(crate) fn as_str(&self) -> &str {
        let bytes = match self {
            Self::Client(id) => id.as_bytes(),
            Self::New(id) => id,
        };
        std::str::from_utf8(bytes).expect("both kinds are ASCII")
    }

    /// As the answer has it.
    pub(crate) fn to_header(&self, texts: &mut RequestTexts) -> HeaderValue {
        match self {
            Self::Client(id) => id.clone(),
            Self::New(id) => texts.header(id),
        }
    }
}

/// The ids that the log lines of a request carry, those of its background jobs too.
#[derive(Debug, Clone)]
pub struct RequestIds {
    pub(crate) request_id: RequestId,
    pub(crate) trace_id: TraceId,
}

impl RequestIds {
    /// `x-request-id`.
    pub fn request_id(&self) -> &str {
        self.request_id.as_str()
    }

    /// The trace that the request is part of.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// Passes the ids of the request that the thread polls, or whose background job it polls.
    pub fn with_current<T>(read: impl FnOnce(Option<&Self>) -> T) -> T {
        let ids = CURRENT.take();
        let result = read(ids.as_ref());
        CURRENT.set(ids);
        result
    }

    /// Those of the request that the thread polls.
    pub(crate) fn current() -> Option<Self> {
        Self::with_current(|ids| ids.cloned())
    }
}

/// Makes these the current ids until the guard is dropped. `ids` holds those of before meanwhile.
pub(crate) fn enter(ids: &mut Option<RequestIds>) -> Entered<'_> {
    *ids = CURRENT.replace(ids.take());
    Entered(ids)
}

/// Makes `ids` current for each poll of a future.
pub(crate) async fn within<F: Future>(
    mut ids: Option<RequestIds>,
    mut future: Pin<&mut F>,
) -> F::Output {
    std::future::poll_fn(|context| {
        let _entered = enter(&mut ids);
        future.as_mut().poll(context)
    })
    .await
}

/// Restores the ids of before when it is dropped.
#[derive(Debug)]
#[must_use = "the ids are current until the guard is dropped"]
pub(crate) struct Entered<'a>(&'a mut Option<RequestIds>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        *self.0 = CURRENT.replace(self.0.take());
    }
}

thread_local! {
    static CURRENT: Cell<Option<RequestIds>> = const { Cell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(random: u64) -> Option<RequestIds> {
        Some(RequestIds { request_id: RequestId::new(random), trace_id: TraceId(1) })
    }

    fn current() -> Option<String> {
        RequestIds::with_current(|ids| ids.map(|ids| ids.request_id().to_owned()))
    }

    #[test]
    fn the_inner_request_is_current_and_then_the_outer_one_again() {
        let (mut outer, mut inner) = (ids(1), ids(2));
        for _ in 0..2 {
            {
                let _outer = enter(&mut outer);
                assert_eq!(current().unwrap(), "req_0000000000000001");
                let inner = enter(&mut inner);
                assert_eq!(current().unwrap(), "req_0000000000000002");
                drop(inner);
                assert_eq!(current().unwrap(), "req_0000000000000001");
            }
            assert_eq!(current(), None);
        }
    }

    #[test]
    fn a_panic_leaves_no_request_behind() {
        let mut one = ids(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _entered = enter(&mut one);
            panic!("the test's own");
        }));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
        let _entered = enter(&mut one);
        assert_eq!(current().unwrap(), "req_0000000000000001");
    }

    #[test]
    fn a_reader_that_logs_itself_finds_no_request_and_does_not_lose_it() {
        let mut one = ids(1);
        let _entered = enter(&mut one);
        assert_eq!(RequestIds::with_current(|_| current()), None);
        assert!(current().is_some());
    }
}
