//! The counts that every request changes. Each shard has its own; the metrics are their sums.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;

use super::histogram::{self, Histogram};
use super::labels::{Counters, METHODS, STATUS_CLASSES, TOKEN_KINDS};
use super::names::{CLIENTS, MODELS};

/// The counts of one shard. Of what begins on one thread and ends on another, one shard has the beginning and
/// another one the end, so that a gauge may be below zero here; it wraps around.
#[derive(Debug)]
pub(super) struct RequestCounts {
    pub(super) requests: AtomicU64,
    pub(super) in_flight: AtomicU64,
    /// The requests in flight that are for the proxy itself.
    pub(super) set_aside: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) permits_in_use: AtomicU64,
    pub(super) overhead_micros: AtomicU64,
    pub(super) token_asked: AtomicU64,
    pub(super) token_at_hand: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    /// Requests of other dialects than Gemini's.
    pub(super) anthropic: AtomicU64,
    pub(super) openai: AtomicU64,
    /// The calls in flight at each endpoint.
    pub(super) at_endpoints: Box<[AtomicU64]>,
    pub(super) total: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) overhead: Histogram,
    /// One table for each upstream, and the last one for requests that went to none. With one upstream
    /// there is one table.
    by_model: Box<[ModelTable]>,
    pub(super) by_client: Counters<{ CLIENTS + 2 }>,
}

/// By model. Few models are in use, so that the counts of a model are made with its first request.
type ModelTable = [OnceLock<Box<ModelCounts>>; MODELS + 2];

/// The counts of one model.
#[derive(Debug, Default)]
pub(super) struct ModelCounts {
    /// By method, then by status class.
    pub(super) requests: Counters<{ METHODS.len() * STATUS_CLASSES.len() }>,
    pub(super) tokens: Counters<{ TOKEN_KINDS.len() }>,
}

impl RequestCounts {
    /// Counts at zero, for so many endpoints and tables of models.
    pub(super) fn new(endpoints: usize, tables: usize) -> Self {
        let zeros = std::iter::repeat_with(AtomicU64::default);
        let table = || [const { OnceLock::new() }; MODELS + 2];
        Self {
            requests: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            set_aside: AtomicU64::default(),
            queued: AtomicU64::default(),
            permits_in_use: AtomicU64::default(),
            overhead_micros: AtomicU64::default(),
            token_asked: AtomicU64::default(),
            token_at_hand: AtomicU64::default(),
            bytes_in: AtomicU64::default(),
            bytes_out: AtomicU64::default(),
            anthropic: AtomicU64::default(),
            openai: AtomicU64::default(),
            at_endpoints: zeros.take(endpoints).collect(),
            total: Histogram::new(histogram::LONG),
            first_byte: Histogram::new(histogram::LONG),
            overhead: Histogram::new(histogram::SHORT),
            by_model: std::iter::repeat_with(table).take(tables).collect(),
            by_client: Counters::default(),
        }
    }

    /// The counts of a model in a table.
    pub(super) fn of_model(&self, table: usize, model: usize) -> &ModelCounts {
        self.by_model[table][model].get_or_init(Box::default)
    }

    /// The same, if the model has had a request here.
    pub(super) fn known_model(&self, table: usize, model: usize) -> Option<&ModelCounts> {
        self.by_model[table][model].get().map(|counts| &**counts)
    }
}
