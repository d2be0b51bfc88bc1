//! What all clones of a scripted platform share.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::{LockRecord, Monotonic, Timestamp, WaitQueue};

use super::{Received, Reply};

pub(super) struct World {
    pub(super) now: Monotonic,
    /// The wall clock at `Monotonic(0)`.
    pub(super) epoch: Timestamp,
    pub(super) timers: Vec<Monotonic>,
    pub(super) received: Vec<Received>,
    pub(super) upstream: Box<dyn FnMut(&Received) -> Reply + Send>,
    pub(super) store: BTreeMap<String, (Bytes, Timestamp)>,
    pub(super) store_broken: bool,
    /// Whose turn it is, once there is somebody to take turns with.
    pub(super) turns: Option<BTreeMap<String, LockRecord>>,
    /// What all processes count together.
    pub(super) limiter: Option<RateLimiter>,
    pub(super) saves: usize,
    pub(super) login: Option<(u64, Bytes)>,
    pub(super) random: u64,
    /// What every draw gives, once a test has said so.
    pub(super) draw: Option<u64>,
    pub(super) line: WaitQueue,
    /// How often a place has come free: whoever is next can go on without any timer.
    pub(super) freed: usize,
    /// Upstream bodies that were dropped before their end.
    pub(super) cancelled: usize,
    /// Exchanges with upstream that have not ended, and the most there have been.
    pub(super) exchanges: usize,
    pub(super) most_exchanges: usize,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now).finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(upstream: impl FnMut(&Received) -> Reply + Send + 'static) -> Self {
        Self {
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
        }
    }
}

/// 2025-06-15T15:06:40Z.
const START: Timestamp = Timestamp(1_750_000_000_000);
