//! Connections for each origin: kept, shared, opened when needed, closed when idle.
//!
//! HTTP/2 connections are filled one after the other up to the peer's stream limit. When all are
//! full, as many are dialled as those who wait will fill, and no more: the first by one dial
//! however many wait, since it teaches the limit. HTTP/1.1 connections are dialled by the request
//! that needs one.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::payload::Payload;
use h2::client::SendRequest;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::connector::{Opened, Spoken, Way};
use super::{Failed, Source, http1, http2};

/// All connections.
#[derive(Debug)]
pub(super) struct Pool {
    way: Way,
    rules: Rules,
    /// A handful: endpoints and token URLs.
    origins: Mutex<Vec<Arc<Origin>>>,
}

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// False: a connection for each request.
    pub(super) pooling: bool,
    /// An idle connection is closed after this.
    pub(super) keep_alive: Duration,
    /// How long a connection with open streams may be silent before it is asked.
    pub(super) ping_every: Duration,
    /// How long it may take to answer that.
    pub(super) ping_timeout: Duration,
    /// How long an HTTP/2 peer may take to say how many streams it allows.
    pub(super) settings_timeout: Duration,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(way: Way, rules: Rules) -> Self {
        Self { way, rules, origins: Mutex::default() }
    }

    /// The right to send one request to where `uri` points. The error says why there is none.
    pub(super) async fn lease(&self, uri: &Uri) -> Result<Lease, String> {
        let origin = self.origin(uri)?;
        match self.rules.pooling {
            true => origin.lease().await,
            // On the heap, like every dial: a request that finds a connection stays small.
            false => Box::pin(origin.dial_for_one()).await,
        }
    }

    /// Opens a connection to where `uri` points, for a request that has yet to come. The error says
    /// why there is none.
    pub(super) async fn warm(&self, uri: &Uri) -> Result<(), String> {
        if !self.rules.pooling {
            return Ok(());
        }
        if let Lease::Http1 { connection, origin: Some(origin), .. } = self.lease(uri).await? {
            origin.keep(connection);
        }
        Ok(())
    }

    fn origin(&self, uri: &Uri) -> Result<Arc<Origin>, String> {
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err("an address without scheme and host".to_owned());
        };
        let mut origins = lock(&self.origins);
        let known = origins.iter().find(|known| known.is(scheme, authority));
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let origin = Arc::new(Origin::new(scheme, authority, self)?);
        origins.push(Arc::clone(&origin));
        Ok(origin)
    }
}

/// The right to send one request on one connection.
#[derive(Debug)]
pub(super) enum Lease {
    Http1 {
        connection: http1::Connection,
        /// Where it goes afterwards.
        origin: Option<Arc<Origin>>,
        reused: bool,
    },
    Http2(http2::Lease),
}

impl Lease {
    /// True when the connection may have died since it was last used.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Http1 { reused, .. } => *reused,
            Self::Http2(_) => true,
        }
    }

    /// Sends the request.
    pub(super) async fn send(
        self,
        request: Box<Request<Payload>>,
    ) -> Result<Response<Source>, Failed> {
        match self {
            Self::Http1 { connection, origin, .. } => {
                let response = connection.send(request, origin).await?;
                Ok(response.map(Source::Http1))
            }
            Self::Http2(lease) => Ok(lease.send(request).await?.map(Source::Http2)),
        }
    }
}

/// One scheme, host and port, and the connections to it.
#[derive(Debug)]
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    to: Uri,
    way: Way,
    rules: Rules,
    state: Mutex<State>,
    /// Something has changed for those who wait.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// What the last dial agreed on.
    spoken: Spoken,
    /// HTTP/1.1 connections without a request, the one used last at the end.
    idle: Vec<(http1::Connection, Instant)>,
    /// HTTP/2 connections, the oldest first.
    shared: Vec<Shared>,
    /// Dials under way, and fresh connections whose limit is not known yet.
    dialing: usize,
    /// How many streams the next connection will take.
    expected: usize,
    waiting: usize,
    /// Counts the times that all dialling failed, with the last reason.
    failures: (u64, String),
    reaping: bool,
}

#[derive(Debug)]
struct Shared {
    requests: SendRequest<Bytes>,
    line: Arc<http2::Line>,
    idle_since: Instant,
}

enum Verdict {
    Dial,
    Failed(String),
    Http1(http1::Connection),
    Http2(SendRequest<Bytes>, Arc<http2::Line>),
    Wait { dial: bool },
}

impl Origin {
    fn new(scheme: &Scheme, authority: &Authority, pool: &Pool) -> Result<Self, String> {
        let to = Uri::builder().scheme(scheme.clone()).authority(authority.clone());
        let to = to.path_and_query("/").build().map_err(|error| error.to_string())?;
        let secure = *scheme == Scheme::HTTPS;
        Ok(Self {
            scheme: scheme.clone(),
            authority: authority.clone(),
            to,
            way: pool.way.clone(),
            rules: pool.rules,
            state: Mutex::new(State {
                spoken: if secure { Spoken::Http2 } else { Spoken::Http1 },
                idle: Vec::new(),
                shared: Vec::new(),
                dialing: 0,
                expected: usize::MAX,
                waiting: 0,
                failures: (0, String::new()),
                reaping: false,
            }),
            changed: Notify::new(),
        })
    }

    fn is(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority == *authority
    }

    /// A connection for one request and nothing else.
    async fn dial_for_one(&self) -> Result<Lease, String> {
        let Opened { wire, spoken, via } = self.way.open(&self.to).await?;
        match spoken {
            Spoken::Http1 => {
                let connection = http1::Connection::start(wire, via).await?;
                Ok(Lease::Http1 { connection, origin: None, reused: false })
            }
            Spoken::Http2 => {
                let (requests, line, driver) = http2::start(wire, self.rules, 1, None).await?;
                tokio::spawn(driver);
                Ok(Lease::Http2(http2::Lease::new(requests, line, None)))
            }
        }
    }

    async fn lease(self: Arc<Self>) -> Result<Lease, String> {
        let mut waiter = Waiter { origin: Arc::clone(&self), since: None };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            match waiter.ask() {
                Verdict::Dial => return Box::pin(Arc::clone(&self).dial_http1()).await,
                Verdict::Failed(why) => return Err(why),
                Verdict::Http1(connection) => {
                    let origin = Some(Arc::clone(&self));
                    return Ok(Lease::Http1 { connection, origin, reused: true });
                }
                Verdict::Http2(requests, line) => {
                    let origin = Some(Arc::clone(&self));
                    return Ok(Lease::Http2(http2::Lease::new(requests, line, origin)));
                }
                Verdict::Wait { dial: true } => {
                    // In a task: others wait for it too, and shall not lose it with this client.
                    tokio::spawn(Arc::clone(&self).dial_http2());
                }
                Verdict::Wait { dial: false } => {}
            }
            changed.await;
        }
    }

    /// Dials for the request that needs it. Should the peer have learned HTTP/2 meanwhile, the
    /// connection is shared.
    async fn dial_http1(self: Arc<Self>) -> Result<Lease, String> {
        let Opened { wire, spoken, via } = self.way.open(&self.to).await?;
        match spoken {
            Spoken::Http1 => {
                let connection = http1::Connection::start(wire, via).await?;
                Ok(Lease::Http1 { connection, origin: Some(self), reused: false })
            }
            Spoken::Http2 => {
                let origin = Some(Arc::clone(&self));
                let (requests, line, driver) =
                    http2::start(wire, self.rules, 1, origin.clone()).await?;
                self.state().dialing += 1;
                self.share(requests.clone(), Arc::clone(&line));
                tokio::spawn(driver);
                Ok(Lease::Http2(http2::Lease::new(requests, line, origin)))
            }
        }
    }

    /// Dials for whoever waits.
    async fn dial_http2(self: Arc<Self>) {
        let opened = match self.way.open(&self.to).await {
            Ok(opened) => opened,
            Err(why) => return self.not_dialled(why),
        };
        let Opened { wire, spoken, via } = opened;
        if spoken == Spoken::Http1 {
            match http1::Connection::start(wire, via).await {
                Ok(connection) => {
                    let mut state = self.state();
                    state.dialing -= 1;
                    state.spoken = Spoken::Http1;
                    state.expected = 1;
                    drop(state);
                    self.keep(connection);
                    self.changed.notify_waiters();
                }
                Err(why) => self.not_dialled(why),
            }
            return;
        }
        match http2::start(wire, self.rules, 0, Some(Arc::clone(&self))).await {
            Ok((requests, line, driver)) => {
                self.share(requests, line);
                tokio::spawn(driver);
            }
            Err(why) => self.not_dialled(why),
        }
    }

    fn share(self: &Arc<Self>, requests: SendRequest<Bytes>, line: Arc<http2::Line>) {
        let mut state = self.state();
        state.spoken = Spoken::Http2;
        state.shared.push(Shared { requests, line, idle_since: Instant::now() });
        self.reap_later(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    fn not_dialled(&self, why: String) {
        let mut state = self.state();
        state.dialing -= 1;
        if state.dialing == 0 {
            state.failures = (state.failures.0 + 1, why);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The peer's stream limit is known, or has changed.
    pub(super) fn learned(&self, line: &http2::Line, first: bool) {
        let mut state = self.state();
        state.expected = line.limit().max(1);
        if first {
            state.dialing = state.dialing.saturating_sub(1);
            if line.limit() == 0 && state.dialing == 0 {
                let why = "the peer allows no streams".to_owned();
                state.failures = (state.failures.0 + 1, why);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A connection has ended.
    pub(super) fn ended(&self, line: &Arc<http2::Line>, settled: bool, why: &str) {
        let mut state = self.state();
        state.shared.retain(|shared| !Arc::ptr_eq(&shared.line, line));
        if !settled {
            state.dialing = state.dialing.saturating_sub(1);
            if state.dialing == 0 {
                state.failures = (state.failures.0 + 1, why.to_owned());
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A connection takes no new streams any more; those that it has go on.
    pub(super) fn retire(&self, line: &Arc<http2::Line>) {
        let mut state = self.state();
        state.shared.retain(|shared| !Arc::ptr_eq(&shared.line, line));
    }

    /// A stream has ended.
    pub(super) fn release(self: &Arc<Self>, line: &Arc<http2::Line>) {
        let mut state = self.state();
        let left = line.streams.fetch_sub(1, Ordering::Relaxed) - 1;
        let waited_for = state.waiting > 0;
        let known = state.shared.iter_mut().find(|shared| Arc::ptr_eq(&shared.line, line));
        match known {
            Some(shared) if left == 0 => {
                shared.idle_since = Instant::now();
                self.reap_later(&mut state);
            }
            None if left == 0 => line.close(),
            Some(_) | None => {}
        }
        drop(state);
        if waited_for {
            self.changed.notify_waiters();
        }
    }

    /// An HTTP/1.1 connection has done its request.
    pub(super) fn keep(self: &Arc<Self>, connection: http1::Connection) {
        if connection.is_closed() {
            return;
        }
        let mut state = self.state();
        state.idle.push((connection, Instant::now()));
        self.reap_later(&mut state);
    }

    fn reap_later(self: &Arc<Self>, state: &mut State) {
        if !state.reaping {
            state.reaping = true;
            tokio::spawn(Arc::clone(self).reap());
        }
    }

    /// Closes what has been idle for too long, until nothing is idle.
    async fn reap(self: Arc<Self>) {
        loop {
            let Some(next) = self.state().reap(Instant::now(), self.rules.keep_alive) else {
                return;
            };
            sleep_until(next).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The place for one request, or what to do to get one.
    fn ask(&mut self, failures: u64) -> Verdict {
        self.shared.retain(|shared| !shared.line.has_ended());
        if let Some(shared) = self.shared.iter().find(|shared| shared.line.free() > 0) {
            let before = shared.line.streams.fetch_add(1, Ordering::Relaxed);
            if before == 0 && shared.idle_since.elapsed() > LONG_SILENCE {
                shared.line.probe();
            }
            return Verdict::Http2(shared.requests.clone(), Arc::clone(&shared.line));
        }
        self.idle.retain(|(connection, _)| !connection.is_closed());
        if let Some(at) = self.idle.iter().rposition(|(connection, _)| connection.is_ready()) {
            return Verdict::Http1(self.idle.remove(at).0);
        }
        if self.spoken == Spoken::Http1 {
            return Verdict::Dial;
        }
        if self.failures.0 != failures {
            return Verdict::Failed(self.failures.1.clone());
        }
        let dial = self.waiting > self.dialing.saturating_mul(self.expected);
        self.dialing += usize::from(dial);
        Verdict::Wait { dial }
    }

    /// Closes what has been idle for too long; returns when to look again.
    fn reap(&mut self, now: Instant, keep_alive: Duration) -> Option<Instant> {
        self.idle
            .retain(|(connection, since)| !connection.is_closed() && now < *since + keep_alive);
        self.shared.retain(|shared| {
            let idle = shared.line.streams.load(Ordering::Relaxed) == 0;
            let over = idle && now >= shared.idle_since + keep_alive;
            if over {
                shared.line.close();
            }
            !over
        });
        let shared = self.shared.iter().map(|shared| (shared.idle_since, &shared.line.streams));
        let shared = shared.filter(|(_, streams)| streams.load(Ordering::Relaxed) == 0);
        let idle = self.idle.iter().map(|(_, since)| *since);
        let next = idle.chain(shared.map(|(since, _)| since)).min();
        self.reaping = next.is_some();
        next.map(|since| since + keep_alive)
    }
}

/// Somebody in line for a place. Leaves the line when dropped.
struct Waiter {
    origin: Arc<Origin>,
    /// The count of failures when the waiting began.
    since: Option<u64>,
}

impl Waiter {
    fn ask(&mut self) -> Verdict {
        let mut state = self.origin.state();
        let since = *self.since.get_or_insert_with(|| {
            state.waiting += 1;
            state.failures.0
        });
        let verdict = state.ask(since);
        if !matches!(verdict, Verdict::Wait { .. }) {
            self.since = None;
            state.waiting -= 1;
        }
        verdict
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.since.is_some() {
            self.origin.state().waiting -= 1;
        }
    }
}

/// A panic elsewhere must not take the lock's data with it: it is plain data, and still good.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// After so long without a stream a connection is asked for a sign of life when it is used again:
/// firewalls forget idle connections without a word.
const LONG_SILENCE: Duration = Duration::from_secs(10);
