//! The connections to one origin: shared, dialled when needed, closed when idle.
//!
//! HTTP/2 connections are filled one after the other up to the peer's stream limit. When all are
//! full, the origin dials as many as the waiters will fill. The first dial is a single one for any
//! number of waiters, since it learns the limit. An HTTP/1.1 connection is dialled by the request that
//! needs it.
//!
//! A silent HTTP/2 connection is checked with a PING before it takes a request: firewalls drop idle
//! connections without telling either end, and a request that was written to such a connection is not
//! sent again. One PING serves all requests that wait.

mod state;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use arc_swap::ArcSwap;
use http::Uri;
use http::uri::{Authority, Scheme};
use tokio::sync::{Notify, watch};

use super::connector::{Connected, Connector, IoStream};
use super::error::{ConnectError, ConnectionError};
use super::pool::{ConnectionLease, OneTryLease, PoolOptions};
use super::{http1, http2, lock};
use crate::clock::{self, Timer};
use crate::http_version::HttpVersion;
use state::{ListedConnection, NextStep, OpenConnection, OriginState};

/// One scheme, host and port, and the connections to it.
#[derive(Debug)]
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    uri: Uri,
    connector: Connector,
    options: PoolOptions,
    state: Mutex<OriginState>,
    /// The HTTP/2 connections of the state. Requests read it without the lock.
    shared: ArcSwap<Vec<Arc<http2::SharedConnection>>>,
    /// How many requests wait for a connection.
    waiting: AtomicUsize,
    /// Turns true when a shutdown ends what is in flight.
    abort: watch::Receiver<bool>,
    /// Wakes all waiters, which look at the state again.
    changed: Notify,
}

impl Origin {
    pub(super) fn new(
        scheme: &Scheme,
        authority: &Authority,
        connector: Connector,
        options: PoolOptions,
        abort: watch::Receiver<bool>,
    ) -> Result<Self, ConnectError> {
        let uri = Uri::builder().scheme(scheme.clone()).authority(authority.clone());
        let uri = uri.path_and_query("/").build();
        let uri = uri.map_err(|error| ConnectError::InvalidAddress(Arc::new(error)))?;
        let secure = *scheme == Scheme::HTTPS;
        let version = if secure { HttpVersion::Http2 } else { HttpVersion::Http1 };
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            uri,
            connector,
            options,
            state: Mutex::new(OriginState::new(version, &options)),
            shared: ArcSwap::default(),
            waiting: AtomicUsize::new(0),
            abort,
            changed: Notify::new(),
        })
    }

    pub(super) fn matches(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority == *authority
    }

    /// Dials a connection for one request, which is closed afterwards.
    pub(super) async fn dial_unpooled(&self) -> Result<ConnectionLease, ConnectError> {
        let Connected { stream, version, proxy } = self.connector.open(&self.uri).await?;
        match version {
            HttpVersion::Http1 => {
                let connection =
                    http1::Connection::start(stream, proxy, self.abort.clone()).await?;
                Ok(ConnectionLease::Http1 { connection, origin: None })
            }
            HttpVersion::Http2 => Ok(ConnectionLease::Http2(self.use_once(stream).await?)),
        }
    }

    /// Starts an HTTP/2 connection for one request.
    async fn use_once(&self, stream: IoStream) -> Result<http2::StreamPermit, ConnectError> {
        let abort = self.abort.clone();
        let (connection, driver) = http2::start(stream, self.options, 1, None, abort).await?;
        clock::spawn(driver);
        Ok(connection.counted())
    }

    /// Leases a pooled connection that can be used now. The lock of all connections is taken only if no
    /// HTTP/2 connection has both an open and a free stream.
    pub(super) fn lease_open(self: &Arc<Self>) -> Option<ConnectionLease> {
        let shared = self.shared.load();
        if let Some(permit) = shared.iter().find_map(|shared| shared.take_further_stream()) {
            return Some(ConnectionLease::Http2(permit));
        }
        let open = self.state().find_open(&self.options)?;
        Some(self.lease_of(open))
    }

    fn lease_of(self: &Arc<Self>, open: OpenConnection) -> ConnectionLease {
        match open {
            OpenConnection::Http1(connection) => {
                ConnectionLease::Http1 { connection, origin: Some(Arc::clone(self)) }
            }
            OpenConnection::Http2(permit) => ConnectionLease::Http2(permit),
        }
    }

    /// Leases a pooled connection, and dials one if all are in use.
    pub(super) async fn lease(self: Arc<Self>) -> Result<ConnectionLease, ConnectError> {
        let mut waiter = Waiter { origin: Arc::clone(&self), seen_failures: None };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Subscribes before the state is read, so that no change is missed.
            changed.as_mut().enable();
            match waiter.next_step() {
                NextStep::DialHttp1 => return Box::pin(Arc::clone(&self).dial_http1()).await,
                NextStep::Fail(error) => return Err(error),
                NextStep::Use(open) => return Ok(self.lease_of(open)),
                NextStep::Wait { dial: true } => {
                    // A task, since other waiters need this dial too when this client disconnects.
                    tokio::spawn(Arc::clone(&self).dial_http2());
                }
                NextStep::Wait { dial: false } => {}
            }
            changed.await;
        }
    }

    /// Leases a connection for a request that is never repeated, not even if the connection was dead before.
    ///
    /// An idle HTTP/1.1 connection may be closed by the peer at any moment, and HTTP/1.1 has no way to ask. So
    /// the request gets a fresh one. An idle HTTP/2 connection is checked with a PING: one round trip, where a
    /// new connection costs two or three. A peer that closes an HTTP/2 connection later says with its GOAWAY which
    /// requests it has not processed.
    pub(super) async fn lease_for_one_try(self: Arc<Self>) -> Result<OneTryLease, ConnectError> {
        let version = {
            let state = self.state();
            state.doubt_idle(clock::now(), &self.options);
            state.version
        };
        if self.options.pooling && version == HttpVersion::Http2 {
            match Arc::clone(&self).lease().await? {
                ConnectionLease::Http2(permit) => return Ok(OneTryLease::Http2(permit)),
                // The first dial has shown that the peer does not speak HTTP/2.
                ConnectionLease::Http1 { connection, .. } => self.keep(connection),
            }
        }
        let Connected { stream, version, proxy } = self.connector.open(&self.uri).await?;
        match version {
            HttpVersion::Http1 => Ok(OneTryLease::Http1 { stream, proxy }),
            HttpVersion::Http2 if self.options.pooling => {
                Ok(OneTryLease::Http2(self.share_dialled(stream).await?))
            }
            HttpVersion::Http2 => Ok(OneTryLease::Http2(self.use_once(stream).await?)),
        }
    }

    /// Dials for the calling request. If the peer speaks HTTP/2 by now, the connection is shared.
    async fn dial_http1(self: Arc<Self>) -> Result<ConnectionLease, ConnectError> {
        let Connected { stream, version, proxy } = self.connector.open(&self.uri).await?;
        match version {
            HttpVersion::Http1 => {
                let connection =
                    http1::Connection::start(stream, proxy, self.abort.clone()).await?;
                Ok(ConnectionLease::Http1 { connection, origin: Some(self) })
            }
            HttpVersion::Http2 => Ok(ConnectionLease::Http2(self.share_dialled(stream).await?)),
        }
    }

    /// Starts an HTTP/2 connection for the calling request, and shares it.
    async fn share_dialled(
        self: Arc<Self>,
        stream: IoStream,
    ) -> Result<http2::StreamPermit, ConnectError> {
        let origin = Some(Arc::clone(&self));
        let abort = self.abort.clone();
        let (connection, driver) = http2::start(stream, self.options, 1, origin, abort).await?;
        self.state().dialing += 1;
        self.share(Arc::clone(&connection));
        clock::spawn(driver);
        Ok(connection.counted())
    }

    /// Dials for all waiters.
    async fn dial_http2(self: Arc<Self>) {
        let connected = match self.connector.open(&self.uri).await {
            Ok(connected) => connected,
            Err(error) => return self.dial_failed(error),
        };
        let Connected { stream, version, proxy } = connected;
        if version == HttpVersion::Http1 {
            match http1::Connection::start(stream, proxy, self.abort.clone()).await {
                Ok(connection) => {
                    let mut state = self.state();
                    state.dialing -= 1;
                    state.version = HttpVersion::Http1;
                    state.expected_streams = 1;
                    drop(state);
                    self.offer(connection);
                    self.changed.notify_waiters();
                }
                Err(error) => self.dial_failed(error.into()),
            }
            return;
        }
        let (origin, abort) = (Some(Arc::clone(&self)), self.abort.clone());
        match http2::start(stream, self.options, 0, origin, abort).await {
            Ok((connection, driver)) => {
                self.share(connection);
                clock::spawn(driver);
            }
            Err(error) => self.dial_failed(error.into()),
        }
    }

    fn share(self: &Arc<Self>, connection: Arc<http2::SharedConnection>) {
        let mut state = self.state();
        state.version = HttpVersion::Http2;
        state.notice_sleep(clock::now(), &self.options);
        state.shared.push(ListedConnection::new(connection));
        self.publish(&state);
        self.start_reaping(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Makes a changed list of HTTP/2 connections the one that requests read.
    fn publish(&self, state: &OriginState) {
        let shared = state.shared.iter().map(|shared| Arc::clone(&shared.connection));
        self.shared.store(Arc::new(shared.collect()));
    }

    fn dial_failed(&self, error: ConnectError) {
        let mut state = self.state();
        state.dialing -= 1;
        state.fail_waiters_if_none_dials(error);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Takes over a connection's stream limit; `first` says that it was not known before.
    pub(super) fn limit_changed(&self, connection: &http2::ConnectionState, first: bool) {
        let mut state = self.state();
        state.expected_streams = connection.limit().max(1);
        if first {
            state.dialing = state.dialing.saturating_sub(1);
            if connection.limit() == 0 {
                state.fail_waiters_if_none_dials(ConnectionError::NoStreams.into());
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Forgets a connection that has ended. `settled` says that its stream limit was known.
    pub(super) fn connection_ended(
        &self,
        connection: &Arc<http2::ConnectionState>,
        settled: bool,
        error: ConnectionError,
    ) {
        let mut state = self.state();
        state.shared.retain(|shared| !Arc::ptr_eq(shared.state(), connection));
        self.publish(&state);
        if !settled {
            state.dialing = state.dialing.saturating_sub(1);
            state.fail_waiters_if_none_dials(error.into());
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Opens no more streams on a connection. Its open streams go on.
    pub(super) fn retire(&self, connection: &Arc<http2::ConnectionState>) {
        let mut state = self.state();
        state.shared.retain(|shared| !Arc::ptr_eq(shared.state(), connection));
        self.publish(&state);
    }

    /// Lets waiting requests use a silent connection, since it is alive.
    pub(super) fn check_answered(&self) {
        self.changed.notify_waiters();
    }

    /// Forgets a silent connection. The requests that wait for it use or dial another one.
    pub(super) fn check_failed(&self, connection: &Arc<http2::ConnectionState>) {
        tracing::debug!("a silent upstream connection does not answer: requests use another one");
        self.retire(connection);
        self.changed.notify_waiters();
    }

    /// A stream of a connection has ended, and `left` ones are open.
    pub(super) fn released(
        self: &Arc<Self>,
        connection: &Arc<http2::ConnectionState>,
        left: usize,
    ) {
        if left == 0 {
            self.note_idle(connection);
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// The last stream of a connection has ended.
    fn note_idle(self: &Arc<Self>, connection: &Arc<http2::ConnectionState>) {
        let mut state = self.state();
        // The next request may have taken the lock first.
        if connection.streams.load(Ordering::SeqCst) > 0 {
            return;
        }
        let known = state.shared.iter_mut().find(|shared| Arc::ptr_eq(shared.state(), connection));
        match known {
            Some(shared) => {
                shared.idle_since = clock::now();
                self.start_reaping(&mut state);
            }
            None => connection.close(),
        }
    }

    /// Takes back an HTTP/1.1 connection whose request has ended.
    pub(super) fn keep(self: &Arc<Self>, mut connection: http1::Connection) {
        if !connection.is_closed() {
            connection.set_idle();
            self.offer(connection);
        }
    }

    /// Puts an HTTP/1.1 connection where the next request finds it.
    fn offer(self: &Arc<Self>, connection: http1::Connection) {
        let mut state = self.state();
        state.idle.push((connection, clock::now()));
        self.start_reaping(&mut state);
    }

    fn start_reaping(self: &Arc<Self>, state: &mut OriginState) {
        if !state.reaping {
            state.reaping = true;
            clock::spawn(Arc::clone(self).reap());
        }
    }

    /// Closes connections that have been idle for too long, until none is idle.
    async fn reap(self: Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.reap(clock::now(), self.options.keep_alive);
                self.publish(&state);
                next
            };
            let Some(next) = next else { return };
            Timer::at(next).await;
        }
    }

    /// True if a connection is silent.
    #[cfg(test)]
    pub(super) fn is_silent(&self) -> bool {
        self.state().shared.iter().any(|shared| shared.state().is_silent())
    }

    fn state(&self) -> MutexGuard<'_, OriginState> {
        lock(&self.state)
    }
}

/// A request that waits for a connection. Dropping it ends the waiting.
struct Waiter {
    origin: Arc<Origin>,
    /// The count of failures when the waiting began; None while it does not wait.
    seen_failures: Option<u64>,
}

impl Waiter {
    fn next_step(&mut self) -> NextStep {
        let mut state = self.origin.state();
        let waiting = &self.origin.waiting;
        let seen_failures = *self.seen_failures.get_or_insert_with(|| {
            waiting.fetch_add(1, Ordering::SeqCst);
            state.failures
        });
        let count = waiting.load(Ordering::SeqCst);
        let step = state.next_step(seen_failures, count, &self.origin.options);
        if !matches!(step, NextStep::Wait { .. }) {
            self.seen_failures = None;
            waiting.fetch_sub(1, Ordering::SeqCst);
        }
        step
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.seen_failures.is_some() {
            self.origin.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
