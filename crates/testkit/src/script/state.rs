//! The state that all processes of a scripted platform share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{LockRecord, Monotonic, RequestLine, RequestRecord, Timestamp, WaitQueue};

use super::usage::UsageStore;
use super::{Received, Reply};

/// What a test does with the log line of a request.
pub(super) type LineObserver = Arc<dyn Fn(&RequestLine<'_>) + Send + Sync>;

pub(super) struct ScriptState {
    pub(super) now: Monotonic,
    pub(super) clock_reads: usize,
    /// The wall clock at `Monotonic(0)`.
    pub(super) epoch: Timestamp,
    /// When the timers end, also those that were dropped.
    pub(super) timers: Vec<Monotonic>,
    pub(super) received: Vec<Received>,
    pub(super) upstream: Box<dyn FnMut(&Received) -> Reply + Send>,
    /// Values with their expiry.
    pub(super) store: BTreeMap<String, (Bytes, Timestamp)>,
    pub(super) store_broken: bool,
    pub(super) usage: UsageStore,
    /// The store carries batches out, and its answers are lost.
    pub(super) usage_answers_lost: bool,
    pub(super) usage_refused: bool,
    /// How late the store answers a reservation.
    pub(super) reservations_take: Duration,
    /// The distributed locks; `None` while there is one process.
    pub(super) locks: Option<BTreeMap<String, LockRecord>>,
    /// The shared counts of the callers' requests, by limit.
    pub(super) limiters: BTreeMap<u32, RateLimiter>,
    pub(super) saves: usize,
    /// The credential file with its stamp.
    pub(super) credential_file: Option<(u64, Bytes)>,
    /// Files by path with their stamps. Once there is one, no other path has a file.
    pub(super) files: BTreeMap<String, (u64, Bytes)>,
    /// Variables of the environment.
    pub(super) variables: BTreeMap<String, String>,
    /// How often the core has had something signed.
    pub(super) signatures: usize,
    /// What the shell says of every trace: see `Platform::samples`.
    pub(super) samples: Option<bool>,
    pub(super) auditing: bool,
    /// The requests that have ended, as the core has recorded them.
    pub(super) records: Vec<RequestRecord>,
    /// Sees the log line of each request before it is logged.
    pub(super) request_lines: Option<LineObserver>,
    pub(super) random: u64,
    /// Every random number, where the test has set it.
    pub(super) fixed_random: Option<u64>,
    /// The holders of concurrency permits, and the requests that wait for one.
    pub(super) queue: WaitQueue,
    /// How many concurrency permits have been released.
    pub(super) permits_released: usize,
    /// Upstream bodies that were dropped before their end.
    pub(super) cancelled: usize,
    /// Open exchanges with upstream, and the most that were open at one time.
    pub(super) exchanges: usize,
    pub(super) most_exchanges: usize,
    /// How often the core has asked for heavy work.
    pub(super) heavy_work: usize,
    pub(super) heavy_threads: HeavyThreads,
    /// Heavy work that the test ends.
    pub(super) unfinished_work: Vec<Box<dyn FnOnce() + Send>>,
}

/// What happens to heavy work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeavyThreads {
    /// It is done at once.
    Free,
    /// It is done when the test ends it, and the request does not get its result.
    Slow,
    /// It does not begin.
    Taken,
}

impl fmt::Debug for ScriptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptState").field("now", &self.now).finish_non_exhaustive()
    }
}

impl ScriptState {
    pub(super) fn new(upstream: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self {
            now: Monotonic(0),
            clock_reads: 0,
            epoch: START,
            timers: Vec::new(),
            received: Vec::new(),
            upstream: Box::new(upstream),
            store: BTreeMap::new(),
            store_broken: false,
            usage: UsageStore::default(),
            usage_answers_lost: false,
            usage_refused: false,
            reservations_take: Duration::ZERO,
            locks: None,
            limiters: BTreeMap::new(),
            saves: 0,
            credential_file: None,
            files: BTreeMap::new(),
            variables: BTreeMap::new(),
            signatures: 0,
            samples: None,
            auditing: false,
            records: Vec::new(),
            request_lines: None,
            random: 0,
            fixed_random: None,
            queue: WaitQueue::new(100, 100),
            permits_released: 0,
            cancelled: 0,
            exchanges: 0,
            most_exchanges: 0,
            heavy_work: 0,
            heavy_threads: HeavyThreads::Free,
            unfinished_work: Vec::new(),
        }
    }
}

/// 2025-06-15T15:06:40Z.
const START: Timestamp = Timestamp(1_750_000_000_000);
