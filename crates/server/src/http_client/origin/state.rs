//! What an origin knows of its connections, and which of them the next request gets.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::http_client::error::ConnectError;
use crate::http_client::idle::{IdleEnd, SleepWatch};
use crate::http_client::pool::PoolOptions;
use crate::http_client::{http1, http2};
use crate::http_version::HttpVersion;

#[derive(Debug)]
pub(super) struct OriginState {
    /// What the last dial agreed on.
    pub(super) version: HttpVersion,
    /// HTTP/1.1 connections without a request, the one used last at the end.
    pub(super) idle: Vec<(http1::Connection, Instant)>,
    /// HTTP/2 connections, the oldest first.
    pub(super) shared: Vec<ListedConnection>,
    /// Dials under way, and fresh connections whose stream limit is not known yet.
    pub(super) dialing: usize,
    /// How many streams the next connection is expected to take.
    pub(super) expected_streams: usize,
    /// Counts the times that all dials under way had failed.
    pub(super) failures: u64,
    pub(super) last_failure: Option<ConnectError>,
    /// A task runs that closes idle connections.
    pub(super) reaping: bool,
    sleep: SleepWatch,
}

#[derive(Debug)]
pub(super) struct ListedConnection {
    pub(super) connection: Arc<http2::SharedConnection>,
    pub(super) idle_since: Instant,
    /// No stream has been opened on it.
    fresh: bool,
}

/// A connection that can be used now.
pub(super) enum OpenConnection {
    Http1(http1::Connection),
    Http2(http2::StreamPermit),
}

/// What a waiter has to do next.
pub(super) enum NextStep {
    DialHttp1,
    Fail(ConnectError),
    Use(OpenConnection),
    Wait { dial: bool },
}

impl OriginState {
    /// `version` is what the first dial is expected to agree on.
    pub(super) fn new(version: HttpVersion, options: &PoolOptions) -> Self {
        Self {
            version,
            idle: Vec::new(),
            shared: Vec::new(),
            dialing: 0,
            expected_streams: usize::MAX,
            failures: 0,
            last_failure: None,
            reaping: false,
            sleep: SleepWatch::new(clock::now(), (options.wall_clock)()),
        }
    }

    /// Finds a connection that can be used now.
    pub(super) fn find_open(&mut self, options: &PoolOptions) -> Option<OpenConnection> {
        self.shared.retain(|shared| !shared.state().has_ended());
        if let Some(permit) = self.take_stream(options) {
            return Some(OpenConnection::Http2(permit));
        }
        self.idle.retain(|(connection, _)| !connection.is_closed());
        let at = self.idle.iter().rposition(|(connection, _)| connection.is_ready())?;
        Some(OpenConnection::Http1(self.idle.remove(at).0))
    }

    /// Finds a connection for one of `waiting` requests, or says how to get one. `seen_failures` is the count
    /// of failures when the waiting began.
    pub(super) fn next_step(
        &mut self,
        seen_failures: u64,
        waiting: usize,
        options: &PoolOptions,
    ) -> NextStep {
        if let Some(open) = self.find_open(options) {
            return NextStep::Use(open);
        }
        // Nothing is dialled while a check is under way: most silent connections are alive.
        if self.check_silent() {
            return NextStep::Wait { dial: false };
        }
        if self.version == HttpVersion::Http1 {
            return NextStep::DialHttp1;
        }
        if self.failures != seen_failures
            && let Some(error) = &self.last_failure
        {
            return NextStep::Fail(error.clone());
        }
        let dial = waiting > self.dialing.saturating_mul(self.expected_streams);
        self.dialing += usize::from(dial);
        NextStep::Wait { dial }
    }

    /// Takes a stream of an HTTP/2 connection that is not silent. The clocks are read only for a
    /// connection without open streams. If there are some when the machine wakes, the driver finds the
    /// silence at one of its next looks.
    fn take_stream(&mut self, options: &PoolOptions) -> Option<http2::StreamPermit> {
        let is_usable = |shared: &ListedConnection| {
            shared.state().free_streams() > 0 && !shared.state().is_silent()
        };
        while let Some(at) = self.shared.iter().position(is_usable) {
            let was_idle = self.shared[at].state().streams.load(Ordering::SeqCst) == 0;
            if was_idle {
                let now = clock::now();
                if self.notice_sleep(now, options) {
                    return None;
                }
                let shared = &mut self.shared[at];
                if !std::mem::take(&mut shared.fresh) {
                    shared.connection.end_idle(IdleEnd::new(now, &shared.state().reads));
                }
            }
            let shared = &self.shared[at];
            // Requests that do not wait for the lock may have taken the last stream meanwhile.
            if shared.state().take_stream(0) {
                return Some(shared.connection.counted());
            }
        }
        None
    }

    /// Makes all connections prove that they are alive if the machine has slept. Returns true if it has.
    pub(super) fn notice_sleep(&mut self, now: Instant, options: &PoolOptions) -> bool {
        let wall = (options.wall_clock)();
        let has_slept = self.sleep.has_slept(options.idle_before_check, now, wall);
        if has_slept {
            self.shared.iter().for_each(|shared| shared.state().set_silent());
        }
        has_slept
    }

    /// Makes HTTP/2 connections without open streams prove that they are alive before the next request,
    /// unless they were used recently.
    pub(super) fn doubt_idle(&self, now: Instant, options: &PoolOptions) {
        let idle = self.shared.iter().filter(|shared| {
            shared.state().streams.load(Ordering::SeqCst) == 0
                && now >= shared.idle_since + options.recent_use
        });
        idle.for_each(|shared| shared.state().set_silent());
    }

    /// Checks all silent connections with a free stream at once, so that the wait is that of one check.
    /// Returns true if there is any.
    fn check_silent(&self) -> bool {
        let silent = self.shared.iter().map(ListedConnection::state);
        let silent = silent.filter(|state| state.free_streams() > 0 && state.is_silent());
        silent.inspect(|state| state.check()).count() > 0
    }

    /// Fails those who wait, unless a dial under way may still serve them.
    pub(super) fn fail_waiters_if_none_dials(&mut self, error: ConnectError) {
        if self.dialing == 0 {
            self.failures += 1;
            self.last_failure = Some(error);
        }
    }

    /// Closes connections that have been idle for too long. Returns when the next one will be.
    pub(super) fn reap(&mut self, now: Instant, keep_alive: Duration) -> Option<Instant> {
        self.idle
            .retain(|(connection, since)| !connection.is_closed() && now < *since + keep_alive);
        self.shared.retain(|shared| {
            let idle = shared.state().streams.load(Ordering::SeqCst) == 0;
            let expired = idle && now >= shared.idle_since + keep_alive;
            if expired {
                shared.state().close();
            }
            !expired
        });
        let shared = self.shared.iter().map(|shared| (shared.idle_since, &shared.state().streams));
        let shared = shared.filter(|(_, streams)| streams.load(Ordering::SeqCst) == 0);
        let idle = self.idle.iter().map(|(_, since)| *since);
        let next = idle.chain(shared.map(|(since, _)| since)).min();
        self.reaping = next.is_some();
        next.map(|since| since + keep_alive)
    }
}

impl ListedConnection {
    pub(super) fn new(connection: Arc<http2::SharedConnection>) -> Self {
        let fresh = connection.state.streams.load(Ordering::SeqCst) == 0;
        Self { connection, idle_since: clock::now(), fresh }
    }

    pub(super) fn state(&self) -> &Arc<http2::ConnectionState> {
        &self.connection.state
    }
}
