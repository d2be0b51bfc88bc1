//! A scripted platform: its clock is turned by hand, its upstream is a closure, its store is a map.
//!
//! Whole lives of requests run over it in a loop that polls everything there is and, when nothing
//! moves, turns the clock to the next timer. No runtime, no sleeping, the same every time.

mod body;
mod platform;
mod reply;
mod world;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{BackgroundJob, Proxy, Timestamp};

pub use body::ScriptBody;
pub use platform::{ScriptPlace, ScriptTimer};
pub use reply::{Piece, Received, Reply};
use world::World;

/// A platform for tests. Clones share everything.
#[derive(Debug, Clone)]
pub struct Script {
    world: Arc<Mutex<World>>,
    /// What this process's requests have left behind.
    chores: Arc<Mutex<Vec<BackgroundJob>>>,
}

impl Script {
    /// A world whose upstream is this closure.
    pub fn new(upstream: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(upstream))), chores: Arc::default() }
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
        self.world().line.set_places(places);
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
