//! A connection as requests see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use code_assist_core::PayloadBuf;
use h2::client::SendRequest;

use super::connection::ConnectionState;
use super::stream::StreamPermit;
use crate::http_client::idle::IdleEnd;
use crate::http_client::lock;
use crate::http_client::origin::Origin;

/// A connection that requests share. h2 closes it when the last reference is dropped.
#[derive(Debug)]
pub(in crate::http_client) struct SharedConnection {
    pub(super) requests: SendRequest<PayloadBuf>,
    pub(in crate::http_client) state: Arc<ConnectionState>,
    /// None: the connection is for one request.
    pub(super) origin: Option<Arc<Origin>>,
    /// When it was last idle; None since it was opened.
    idle_end: Mutex<Option<IdleEnd>>,
}

impl SharedConnection {
    pub(in crate::http_client) fn new(
        requests: SendRequest<PayloadBuf>,
        state: Arc<ConnectionState>,
        origin: Option<Arc<Origin>>,
    ) -> Arc<Self> {
        Arc::new(Self { requests, state, origin, idle_end: Mutex::default() })
    }

    /// The permit for a stream that is counted already.
    pub(in crate::http_client) fn counted(self: &Arc<Self>) -> StreamPermit {
        StreamPermit::new(Arc::clone(self))
    }

    /// Takes a stream beside open ones. The first stream of an idle connection is taken under the origin's
    /// lock, so that no connection is closed as idle meanwhile.
    pub(in crate::http_client) fn take_further_stream(self: &Arc<Self>) -> Option<StreamPermit> {
        let state = &self.state;
        if state.has_ended() || state.is_silent() {
            return None;
        }
        state.take_stream(1).then(|| self.counted())
    }

    /// Notes that the connection was idle until now.
    pub(in crate::http_client) fn end_idle(&self, idle_end: IdleEnd) {
        *lock(&self.idle_end) = Some(idle_end);
    }

    /// When the connection was last idle. It cannot change while a stream is open.
    pub(super) fn idle_end(&self) -> Option<IdleEnd> {
        *lock(&self.idle_end)
    }

    /// Opens no more streams. The open ones go on.
    pub(super) fn retire(&self) {
        if let Some(origin) = &self.origin {
            origin.retire(&self.state);
        }
    }

    /// Counts the end of a stream.
    pub(super) fn release(&self) {
        let left = self.state.streams.fetch_sub(1, Ordering::SeqCst) - 1;
        match &self.origin {
            Some(origin) => origin.released(&self.state, left),
            None => self.state.close(),
        }
    }
}
