//! A scripted platform: its clock is turned by hand, its upstream is a closure, its store is a map.
//!
//! Whole lives of requests run over it in a loop that polls everything there is and, when nothing
//! moves, turns the clock to the next timer. No runtime, no sleeping, the same every time.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{
    BackgroundJob, BodyError, Caller, CredentialFile, FencingToken, LockRecord, LockResult,
    Monotonic, Payload, Platform, Proxy, Rate, RateStanding, SendError, StoreError, Ticket,
    Timestamp, WaitQueue,
};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};

/// A platform for tests. Clones share everything.
#[derive(Debug, Clone)]
pub struct Script {
    world: Arc<Mutex<World>>,
    /// What this process's requests have left behind.
    chores: Arc<Mutex<Vec<BackgroundJob>>>,
}

/// A request as upstream saw it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and URL, such as `POST http://code.test/v1internal:generateContent`.
    pub line: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// When it came.
    pub at: Monotonic,
}

impl Received {
    /// True when the line ends with this.
    pub fn is(&self, end: &str) -> bool {
        self.line.ends_with(end)
    }
}

/// What upstream does with a request.
#[derive(Debug, Clone)]
pub struct Reply {
    delay: Duration,
    head: Result<(StatusCode, HeaderMap), SendError>,
    pieces: Vec<Piece>,
}

/// One thing that happens in a reply's body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// The body breaks.
    Break(String),
    /// Bytes come.
    Data(Bytes),
    /// Nothing comes for so long.
    Silence(Duration),
}

impl Reply {
    /// 200 with this body.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200, body)
    }

    /// This status with this body.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).expect("a test names a valid status");
        let head = Ok((status, HeaderMap::new()));
        Self { delay: Duration::ZERO, head, pieces: vec![Piece::Data(body.into())] }
    }

    /// 200 with a body in pieces.
    pub fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut reply = Self::ok("");
        reply.pieces = pieces.into_iter().collect();
        reply
    }

    /// The same, and then these things happen.
    pub fn then(mut self, pieces: impl IntoIterator<Item = Piece>) -> Self {
        self.pieces.extend(pieces);
        self
    }

    /// No answer at all.
    pub fn unreachable(why: SendError) -> Self {
        Self { delay: Duration::ZERO, head: Err(why), pieces: Vec::new() }
    }

    /// The same, after a while.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The same, with a header.
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        if let Ok((_, headers)) = &mut self.head {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        self
    }
}

struct World {
    now: Monotonic,
    /// The wall clock at `Monotonic(0)`.
    epoch: Timestamp,
    timers: Vec<Monotonic>,
    received: Vec<Received>,
    upstream: Box<dyn FnMut(&Received) -> Reply + Send>,
    store: BTreeMap<String, (Bytes, Timestamp)>,
    store_broken: bool,
    /// Whose turn it is, once there is somebody to take turns with.
    turns: Option<BTreeMap<String, LockRecord>>,
    /// What all processes count together.
    limiter: Option<RateLimiter>,
    saves: usize,
    login: Option<(u64, Bytes)>,
    random: u64,
    /// What every draw gives, once a test has said so.
    draw: Option<u64>,
    line: WaitQueue,
    /// How often a place has come free: whoever is next can go on without any timer.
    freed: usize,
    /// Upstream bodies that were dropped before their end.
    cancelled: usize,
    /// Exchanges with upstream that have not ended, and the most there have been.
    exchanges: usize,
    most_exchanges: usize,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Script {
    /// A world whose upstream is this closure.
    pub fn new(upstream: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self {
            world: Arc::new(Mutex::new(World {
                now: Monotonic(0),
                epoch: START,
                timers: Vec::new(),
                received: Vec::new(),
                upstream: Box::new(upstream),
                store: BTreeMap::new(),
                store_broken: false,
                turns: None,
                limiter: None,
                saves: 0,
                login: None,
                random: 0,
                draw: None,
                line: WaitQueue::new(100),
                freed: 0,
                cancelled: 0,
                exchanges: 0,
                most_exchanges: 0,
            })),
            chores: Arc::default(),
        }
    }

    /// Another process in the same world, which shares the store and takes turns over it.
    pub fn another(&self) -> Self {
        self.world().turns.get_or_insert_default();
        Self { world: Arc::clone(&self.world), chores: Arc::default() }
    }

    /// Runs a future to its end, with every chore that comes up on the way and the clock turned as
    /// needed.
    pub fn run<F: Future>(&self, proxy: &Proxy, future: F) -> F::Output {
        self.run_fleet(&[(self, proxy)], future)
    }

    /// The same for several processes of one world.
    pub fn run_fleet<F: Future>(&self, fleet: &[(&Self, &Proxy)], future: F) -> F::Output {
        let mut future = pin!(future);
        let mut chores: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        let mut output = None;
        loop {
            let mut context = Context::from_waker(Waker::noop());
            let freed = self.world().freed;
            if output.is_none()
                && let Poll::Ready(ended) = future.as_mut().poll(&mut context)
            {
                output = Some(ended);
            }
            let mut moved = false;
            for (script, proxy) in fleet {
                moved |= script.step(proxy, &mut chores);
            }
            // What the future leaves behind is run to its end too.
            if !moved
                && chores.is_empty()
                && let Some(output) = output
            {
                return output;
            }
            if !moved && self.world().freed == freed {
                self.turn_clock();
            }
        }
    }

    /// Polls what there is once. True when something began or ended.
    fn step<'a>(
        &'a self,
        proxy: &'a Proxy,
        chores: &mut Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>,
    ) -> bool {
        let begun: Vec<BackgroundJob> = lock(&self.chores).drain(..).collect();
        let before = chores.len();
        let mut moved = !begun.is_empty();
        for chore in begun {
            chores.push(Box::pin(proxy.run_job(self, chore)));
        }
        let count = chores.len();
        let mut context = Context::from_waker(Waker::noop());
        chores.retain_mut(|chore| chore.as_mut().poll(&mut context).is_pending());
        moved |= chores.len() != count || count != before;
        moved
    }

    fn turn_clock(&self) {
        let mut world = self.world();
        let now = world.now;
        world.timers.retain(|at| *at > now);
        let next = world.timers.iter().min().copied();
        world.now = next.expect("everything waits and no timer is set: a deadlock");
    }

    /// Lets time pass.
    pub fn pass(&self, how_long: Duration) {
        let mut world = self.world();
        world.now = world.now + how_long;
    }

    /// Sets the wall clock forward or back. The monotonic one does not notice.
    pub fn set_clock(&self, by_seconds: i64) {
        let mut world = self.world();
        world.epoch = Timestamp(world.epoch.0.saturating_add_signed(by_seconds * 1000));
    }

    /// What upstream received whose line ends with this.
    pub fn received(&self, end: &str) -> Vec<Received> {
        self.world().received.iter().filter(|it| it.is(end)).cloned().collect()
    }

    /// Everything upstream received.
    pub fn all_received(&self) -> Vec<Received> {
        self.world().received.clone()
    }

    /// How many upstream bodies were dropped before their end.
    pub fn cancelled(&self) -> usize {
        self.world().cancelled
    }

    /// How many exchanges with upstream have not ended: their bodies are still held.
    pub fn exchanges(&self) -> usize {
        self.world().exchanges
    }

    /// The most exchanges with upstream that there have been at one time.
    pub fn most_exchanges(&self) -> usize {
        self.world().most_exchanges
    }

    /// How many have a place or wait for one.
    pub fn in_line(&self) -> usize {
        self.world().line.len()
    }

    /// From now on every draw gives these bits: jitter at its least with 0, at its most with
    /// `u64::MAX`.
    pub fn draw(&self, bits: u64) {
        self.world().draw = Some(bits);
    }

    /// How often the store was written.
    pub fn saves(&self) -> usize {
        self.world().saves
    }

    /// Puts an entry into the store.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) {
        let until = Timestamp(u64::MAX);
        self.world().store.insert(key.to_owned(), (value.into(), until));
    }

    /// An entry of the store as text.
    pub fn stored(&self, key: &str) -> Option<String> {
        let world = self.world();
        let (value, _) = world.store.get(key)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// How many places there are from now on.
    pub fn places(&self, places: usize) {
        self.world().line.set_permits(places);
    }

    /// From now on the store fails, or works again.
    pub fn break_store(&self, broken: bool) {
        self.world().store_broken = broken;
    }

    /// Writes the credential file.
    pub fn write_login(&self, content: impl Into<Bytes>) {
        let mut world = self.world();
        let stamp = world.login.as_ref().map_or(1, |(stamp, _)| stamp + 1);
        world.login = Some((stamp, content.into()));
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Platform for Script {
    type Body = ScriptBody;
    type Timer = ScriptTimer;
    type Permit = ScriptPlace;

    fn now(&self) -> Monotonic {
        self.world().now
    }

    fn wall_clock(&self) -> Timestamp {
        let world = self.world();
        world.epoch + world.now.since(Monotonic(0))
    }

    fn random(&self) -> u64 {
        let mut world = self.world();
        if let Some(bits) = world.draw {
            return bits;
        }
        world.random = world.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        world.random
    }

    fn timer(&self, how_long: Duration) -> ScriptTimer {
        let mut world = self.world();
        let at = world.now + how_long;
        world.timers.push(at);
        ScriptTimer { script: self.clone(), at }
    }

    async fn acquire_permit(&self) -> ScriptPlace {
        let ticket = {
            let mut world = self.world();
            let now = world.now;
            world.line.join(now)
        };
        let place = ScriptPlace { script: self.clone(), ticket };
        std::future::poll_fn(|_| {
            let at_work = self.world().line.has_permit(ticket);
            if at_work { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        place
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<ScriptBody>, SendError> {
        let (head, payload) = request.into_parts();
        let reply = {
            let mut world = self.world();
            let received = Received {
                line: format!("{} {}", head.method, head.uri),
                headers: head.headers,
                body: String::from_utf8_lossy(&payload.to_bytes()).into_owned(),
                at: world.now,
            };
            world.received.push(received.clone());
            (world.upstream)(&received)
        };
        let exchange = Exchange::new(self);
        if !reply.delay.is_zero() {
            self.timer(reply.delay).await;
        }
        let (status, headers) = reply.head?;
        let pieces = reply.pieces.into_iter();
        let script = self.clone();
        let body = ScriptBody { script, pieces, silence: None, ended: false, _exchange: exchange };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let clock = self.wall_clock();
        let world = self.world();
        if world.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        let found = world.store.get(key).filter(|(_, until)| clock < *until);
        Ok(found.map(|(value, _)| value.clone()))
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        let until = self.wall_clock() + ttl;
        let mut world = self.world();
        world.saves += 1;
        if world.store_broken {
            return Err(StoreError("the test broke the store".to_owned()));
        }
        if let (Some(fence), Some(turns)) = (fence, &mut world.turns)
            && !turns.entry(key.to_owned()).or_default().write(fence)
        {
            return Ok(());
        }
        world.store.insert(key.to_owned(), (value, until));
        Ok(())
    }

    async fn lock(&self, key: &str, ttl: Duration) -> LockResult {
        let clock = self.wall_clock();
        match &mut self.world().turns {
            Some(turns) => turns.entry(key.to_owned()).or_default().claim(clock, ttl),
            None => LockResult::NotShared,
        }
    }

    async fn unlock(&self, key: &str, token: FencingToken) {
        if let Some(turns) = &mut self.world().turns {
            turns.entry(key.to_owned()).or_default().release(token);
        }
    }

    fn has_shared_store(&self) -> bool {
        self.world().turns.is_some()
    }

    async fn count_request(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        let now = self.now();
        let world = &mut *self.world();
        if world.turns.is_none() || world.store_broken {
            return None;
        }
        if world.limiter.is_none() {
            world.limiter = RateLimiter::new(rate.limit, rate.window);
        }
        world.limiter.as_mut().map(|limiter| limiter.ask(caller, now))
    }

    fn store_connected(&self) -> bool {
        true
    }

    async fn credential_file(&self, seen: Option<u64>) -> CredentialFile {
        match &self.world().login {
            None => CredentialFile::Absent {
                path: "oauth_creds.json".to_owned(),
                encrypted_store: false,
            },
            Some((stamp, _)) if seen == Some(*stamp) => CredentialFile::Unchanged,
            Some((stamp, content)) => {
                CredentialFile::Read { stamp: *stamp, content: content.clone() }
            }
        }
    }

    fn spawn_job(&self, chore: BackgroundJob) {
        lock(&self.chores).push(chore);
    }
}

/// A place in line: those in front are at work, as many as there are places.
#[derive(Debug)]
pub struct ScriptPlace {
    script: Script,
    ticket: Ticket,
}

impl Drop for ScriptPlace {
    fn drop(&mut self) {
        let ticket = self.ticket;
        let mut world = self.script.world();
        world.freed += 1;
        world.line.leave(ticket);
    }
}

/// Counts a request as in flight until its body, or the future that waits for its head, is dropped.
#[derive(Debug)]
struct Exchange {
    script: Script,
}

impl Exchange {
    fn new(script: &Script) -> Self {
        let mut world = script.world();
        world.exchanges += 1;
        world.most_exchanges = world.most_exchanges.max(world.exchanges);
        Self { script: script.clone() }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.script.world().exchanges -= 1;
    }
}

/// A timer of the scripted clock.
#[derive(Debug)]
pub struct ScriptTimer {
    script: Script,
    at: Monotonic,
}

impl Future for ScriptTimer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.script.now() >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A body that does what its reply says.
#[derive(Debug)]
pub struct ScriptBody {
    script: Script,
    pieces: std::vec::IntoIter<Piece>,
    silence: Option<ScriptTimer>,
    ended: bool,
    _exchange: Exchange,
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(silence) = &mut self.silence {
                if Pin::new(silence).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.silence = None;
            }
            match self.pieces.next() {
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Some(Piece::Break(why)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::Disconnected(why))));
                }
                Some(Piece::Data(data)) if data.is_empty() => {}
                Some(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Piece::Silence(how_long)) => {
                    let timer = self.script.timer(how_long);
                    self.silence = Some(timer);
                }
            }
        }
    }
}

impl Drop for ScriptBody {
    fn drop(&mut self) {
        if !self.ended && self.pieces.len() > 0 {
            self.script.world().cancelled += 1;
        }
    }
}

/// 2025-06-15T15:06:40Z.
const START: Timestamp = Timestamp(1_750_000_000_000);
