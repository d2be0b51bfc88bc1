//! What a store keeps of usage, and what processes that share a store reserve together.

use std::sync::Arc;
use std::time::Duration;

use super::charge::Charge;
use super::day::Day;
use super::judge::{Counts, Limits, Reserved};

/// A random number that tells a process, or an isolate of a Worker, from the others that share its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId(pub u64);

/// What one key has used of one model on one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The `id` of the key.
    pub key: Arc<str>,
    /// The model as it was asked for upstream.
    pub model: Arc<str>,
    /// The day.
    pub day: Day,
    /// Requests that a model, or a cache, has answered.
    pub requests: u64,
    /// What they have used.
    pub charge: Charge,
}

/// What a process adds to the usage in the store, about once a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// The process.
    pub process: ProcessId,
    /// Counts the batches of the process from 1. A batch that may have been carried out is sent again
    /// with the same number, and the store carries it out once.
    pub number: u64,
    /// What has been used since the batch before.
    pub rows: Vec<UsageRow>,
    /// Of each key that has requests in flight, or had some since the batch before: what they have
    /// reserved. It replaces what the store knows of this process.
    pub reserved: Vec<(Arc<str>, Reserved)>,
}

/// A request that wants to begin, for a store in which several processes count together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedReservation {
    /// The process.
    pub process: ProcessId,
    /// The `id` of the key.
    pub key: Arc<str>,
    /// The limits of the key.
    pub limits: Limits,
    /// What the request may use.
    pub estimate: Reserved,
    /// What this process's other requests have reserved, with what was used and is not in the store yet.
    /// It replaces what the store knows of this process.
    pub own: Reserved,
    /// The day.
    pub day: Day,
}

/// What the store says to a [`SharedReservation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedStanding {
    /// Whether the request may begin, as the core decides for one process. The estimate is reserved then.
    pub is_granted: bool,
    /// What is used and reserved by all processes, without the estimate.
    pub counts: Counts,
    /// How long until the oldest tokens of the last minute do not count any more.
    pub minute_frees_in: Duration,
}
