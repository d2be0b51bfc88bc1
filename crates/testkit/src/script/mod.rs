//! A scripted platform: the test sets its clock, its upstream is a closure, its store is a map.
//!
//! Whole requests run over it in a loop that polls every future. When no future makes progress, the
//! loop sets the clock to the next timer. There is no runtime and no sleeping, and every run is the
//! same.

mod body;
mod platform;
mod reply;
mod state;
mod usage;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{
    BackgroundJob, Day, Monotonic, Proxy, RequestLine, RequestRecord, Timestamp, UsageRow,
};

pub use body::ScriptedBody;
pub use platform::{ScriptedPermit, ScriptedTimer, ScriptedUpgrade};
pub use reply::{Piece, Received, Reply};
pub use state::HeavyThreads;
use state::ScriptState;

/// A platform for tests. Clones share their state.
#[derive(Debug, Clone)]
pub struct ScriptedPlatform {
    state: Arc<Mutex<ScriptState>>,
    /// The background jobs of this process that have not begun.
    jobs: Arc<Mutex<Vec<BackgroundJob>>>,
    killed: Arc<AtomicBool>,
}

/// A background job that has begun.
struct RunningJob<'a> {
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
    /// True when its process was killed.
    killed: Arc<AtomicBool>,
}

impl ScriptedPlatform {
    /// A platform whose upstream is this closure.
    pub fn new(upstream: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self {
            state: Arc::new(Mutex::new(ScriptState::new(upstream))),
            jobs: Arc::default(),
            killed: Arc::default(),
        }
    }

    /// Passes the log line of each request, before it is logged.
    pub fn on_request_line(&self, observe: impl Fn(&RequestLine<'_>) + Send + Sync + 'static) {
        self.state().request_lines = Some(Arc::new(observe));
    }

    /// Another process, which shares upstream, clock and store with this one. The store has
    /// distributed locks from now on.
    pub fn another_process(&self) -> Self {
        self.state().locks.get_or_insert_default();
        Self { state: Arc::clone(&self.state), jobs: Arc::default(), killed: Arc::default() }
    }

    /// Ends the background jobs of this process where they are, as `kill -9` does. The test drops the
    /// process's requests.
    pub fn kill(&self) {
        self.killed.store(true, Relaxed);
    }

    /// Runs a future to its end, and every background job that it spawns. The clock advances where
    /// everything waits.
    pub fn run<F: Future>(&self, proxy: &Proxy, future: F) -> F::Output {
        self.run_fleet(&[(self, proxy)], future)
    }

    /// Like [`run`](Self::run), for several processes that share their state.
    pub fn run_fleet<F: Future>(&self, fleet: &[(&Self, &Proxy)], future: F) -> F::Output {
        let mut future = pin!(future);
        let mut jobs = Vec::new();
        let mut output = None;
        loop {
            let mut context = Context::from_waker(Waker::noop());
            let permits_released = self.state().permits_released;
            if output.is_none()
                && let Poll::Ready(ended) = future.as_mut().poll(&mut context)
            {
                output = Some(ended);
            }
            let mut moved = false;
            for (script, proxy) in fleet {
                moved |= script.step(proxy, &mut jobs);
            }
            // The jobs that the future has spawned run to their end too.
            if !moved
                && jobs.is_empty()
                && let Some(output) = output
            {
                return output;
            }
            // A permit that was released lets a waiting request go on without any timer.
            if !moved && self.state().permits_released == permits_released {
                self.advance_clock();
            }
        }
    }

    /// Begins the spawned jobs and polls each job once. True when a job began or ended.
    fn step<'a>(&'a self, proxy: &'a Proxy, jobs: &mut Vec<RunningJob<'a>>) -> bool {
        let begun: Vec<BackgroundJob> = lock(&self.jobs).drain(..).collect();
        let before = jobs.len();
        let mut moved = !begun.is_empty();
        for job in begun {
            let future = Box::pin(proxy.run_job(self, job));
            jobs.push(RunningJob { future, killed: Arc::clone(&self.killed) });
        }
        let count = jobs.len();
        let mut context = Context::from_waker(Waker::noop());
        jobs.retain_mut(|job| {
            !job.killed.load(Relaxed) && job.future.as_mut().poll(&mut context).is_pending()
        });
        moved |= jobs.len() != count || count != before;
        moved
    }

    /// Sets the clock to the next timer.
    fn advance_clock(&self) {
        let mut state = self.state();
        let now = state.now;
        state.timers.retain(|at| *at > now);
        let next = state.timers.iter().min().copied();
        state.now = next.expect("a deadlock: every future waits, and no timer is set");
    }

    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now = state.now + by;
    }

    /// The time since the script began.
    pub fn elapsed(&self) -> Duration {
        self.state().now.since(Monotonic(0))
    }

    /// Sets the wall clock forward or back. The monotonic clock stays.
    pub fn shift_wall_clock(&self, by_seconds: i64) {
        let mut state = self.state();
        state.epoch = Timestamp(state.epoch.0.saturating_add_signed(by_seconds * 1000));
    }

    /// The requests to upstream whose line ends with `end`.
    pub fn received(&self, end: &str) -> Vec<Received> {
        self.state().received.iter().filter(|it| it.is(end)).cloned().collect()
    }

    /// All requests to upstream.
    pub fn all_received(&self) -> Vec<Received> {
        self.state().received.clone()
    }

    /// How many upstream bodies were dropped before their end.
    pub fn cancelled(&self) -> usize {
        self.state().cancelled
    }

    /// How many exchanges with upstream are open: the request was sent, and the answer has not been
    /// read or dropped.
    pub fn exchanges(&self) -> usize {
        self.state().exchanges
    }

    /// The most exchanges that were open at one time.
    pub fn most_exchanges(&self) -> usize {
        self.state().most_exchanges
    }

    /// How many requests have a concurrency permit or wait for one.
    pub fn queued(&self) -> usize {
        self.state().queue.len()
    }

    /// Every random number is `bits` from now on: 0 gives the shortest jitter, `u64::MAX` the
    /// Records the spans of requests, of those at least that a client's trace says, and of all others if
    /// `others` is true.
    pub fn sample(&self, others: bool) {
        self.state().samples = Some(others);
    }

    /// Keeps an audit log.
    pub fn audit(&self) {
        self.state().auditing = true;
    }

    /// The requests that have ended, as the core has recorded them.
    pub fn records(&self) -> Vec<RequestRecord> {
        self.state().records.clone()
    }

    /// longest.
    pub fn fix_random(&self, bits: u64) {
        self.state().fixed_random = Some(bits);
    }

    /// The keys of all distributed locks that were ever taken.
    pub fn locks_taken(&self) -> Vec<String> {
        self.state().locks.iter().flat_map(|locks| locks.keys().cloned()).collect()
    }

    /// How often the core has written to the store.
    pub fn saves(&self) -> usize {
        self.state().saves
    }

    /// Puts an entry into the store.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) {
        let until = Timestamp(u64::MAX);
        self.state().store.insert(key.to_owned(), (value.into(), until));
    }

    /// An entry of the store as text.
    pub fn stored(&self, key: &str) -> Option<String> {
        let state = self.state();
        let (value, _) = state.store.get(key)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// The entries of the store whose keys begin with `prefix`.
    pub fn stored_with_prefix(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let state = self.state();
        let entries = state.store.iter().filter(|(key, _)| key.starts_with(prefix));
        entries.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// Sets the number of concurrency permits, all of which one caller may hold.
    pub fn set_permits(&self, permits: usize) {
        self.set_permits_and_share(permits, permits);
    }

    /// Sets the number of concurrency permits, and how many of them one caller may hold.
    pub fn set_permits_and_share(&self, permits: usize, share: usize) {
        self.state().queue.set_limits(permits, share);
    }

    /// Makes the store lose the counts of all requests, as a server does that is full or was restarted.
    pub fn lose_counts(&self) {
        self.state().limiters.clear();
    }

    /// The usage of a key in the store, of all days.
    pub fn stored_usage(&self, key: &str) -> Vec<UsageRow> {
        let days = Day::of(Timestamp(0))..=Day::of(Timestamp(u64::MAX));
        self.state().usage.rows(days, Some(key))
    }

    /// Makes the store carry out what it is asked for with usage, and fail to say so, or say so again.
    pub fn lose_usage_answers(&self, lost: bool) {
        self.state().usage_answers_lost = lost;
    }

    /// Makes the store take no usage, or take it again. It can be read meanwhile.
    pub fn refuse_usage(&self, refused: bool) {
        self.state().usage_refused = refused;
    }

    /// Makes the store answer reservations this late.
    pub fn delay_reservations(&self, by: Duration) {
        self.state().reservations_take = by;
    }

    /// Makes the store fail, or work again.
    pub fn break_store(&self, broken: bool) {
        self.state().store_broken = broken;
    }

    /// Replaces the credential file.
    pub fn write_login(&self, content: impl Into<Bytes>) {
        let mut state = self.state();
        let stamp = state.credential_file.as_ref().map_or(1, |(stamp, _)| stamp + 1);
        state.credential_file = Some((stamp, content.into()));
    }

    /// Writes a file. From now on no path has a file but those that were written.
    pub fn write_file(&self, path: &str, content: impl Into<Bytes>) {
        let mut state = self.state();
        let stamp = state.files.get(path).map_or(1, |(stamp, _)| stamp + 1);
        state.files.insert(path.to_owned(), (stamp, content.into()));
    }

    /// Sets a variable of the environment.
    pub fn set_variable(&self, name: &str, value: &str) {
        self.state().variables.insert(name.to_owned(), value.to_owned());
    }

    /// How often the core has had something signed.
    pub fn signatures(&self) -> usize {
        self.state().signatures
    }

    /// How many pieces of work the core has asked to run apart from the serving threads.
    pub fn heavy_work(&self) -> usize {
        self.state().heavy_work
    }

    /// Sets what happens to heavy work.
    pub fn set_heavy_threads(&self, threads: HeavyThreads) {
        self.state().heavy_threads = threads;
    }

    /// Ends the heavy work that has begun.
    pub fn end_heavy_work(&self) {
        let work = std::mem::take(&mut self.state().unfinished_work);
        for work in work {
            work();
        }
    }

    /// How often the core has read the monotonic clock.
    pub fn clock_reads(&self) -> usize {
        self.state().clock_reads
    }

    fn state(&self) -> MutexGuard<'_, ScriptState> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
