//! Label values from closed lists, with one counter for each value.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::dialect::Operation;
use crate::failure::FailureClass;
use crate::policy::breaker;

/// Why a request was retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryReason {
    /// No connection could be made.
    Connect,
    /// The connection broke before upstream processed the request.
    Disconnected,
    /// 429.
    RateLimited,
    /// 5xx.
    ServerError,
    /// 401.
    Unauthorized,
}

impl RetryReason {
    /// The reason for a retry after a failure of this class.
    pub(crate) fn of(class: FailureClass) -> Self {
        match class {
            FailureClass::LocalResources | FailureClass::Unreachable => Self::Connect,
            FailureClass::RateLimited | FailureClass::Throttled => Self::RateLimited,
            FailureClass::Unauthenticated => Self::Unauthorized,
            // The first two are retried for the proxy's own calls only.
            FailureClass::BrokenAnswer
            | FailureClass::Disconnected
            | FailureClass::NotProcessed => Self::Disconnected,
            _ => Self::ServerError,
        }
    }
}

/// The result of coalescing and response cache for a request (`docs/RESILIENCE.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheResult {
    /// A repeatable request whose client wants no answer from the cache.
    Bypass,
    /// Answered together with an equal request in flight.
    Coalesced,
    /// Answered from memory.
    Hit,
    /// Sent upstream.
    Miss,
}

impl CacheResult {
    /// The value of `x-cache`.
    pub(crate) fn header(self) -> &'static str {
        match self {
            Self::Bypass => "BYPASS",
            Self::Coalesced => "COALESCED",
            Self::Hit => "HIT",
            Self::Miss => "MISS",
        }
    }

    /// True when the request itself was sent upstream, so that its tokens count as used.
    pub(super) fn asks_upstream(self) -> bool {
        matches!(self, Self::Bypass | Self::Miss)
    }
}

/// The state of an endpoint's circuit breaker, in ascending order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum BreakerState {
    /// All requests pass.
    #[default]
    Closed,
    /// One request is let through as a probe.
    HalfOpen,
    /// No request passes.
    Open,
}

impl From<breaker::State> for BreakerState {
    fn from(state: breaker::State) -> Self {
        match state {
            breaker::State::Closed => Self::Closed,
            breaker::State::HalfOpen => Self::HalfOpen,
            breaker::State::Open => Self::Open,
        }
    }
}

impl BreakerState {
    /// All of them, in order.
    pub(super) const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// `closed`, `half_open` or `open`.
    pub(crate) fn label(self) -> &'static str {
        BREAKER_STATES[self as usize]
    }

    pub(super) fn from_index(index: u8) -> Self {
        Self::ALL.get(usize::from(index)).copied().unwrap_or(Self::Open)
    }
}

/// One counter for each of `N` values.
#[derive(Debug)]
pub(super) struct Counters<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> Counters<N> {
    pub(super) fn add(&self, index: usize, count: u64) {
        if let Some(counter) = self.0.get(index) {
            counter.fetch_add(count, Relaxed);
        }
    }

    pub(super) fn of(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |counter| counter.load(Relaxed))
    }
}

/// In the order of [`RetryReason`].
pub(super) const RETRY_REASONS: [&str; 5] =
    ["connect", "disconnected", "rate_limited", "server_error", "unauthorized"];

/// In the order of [`CacheResult`].
pub(super) const CACHE_RESULTS: [&str; 4] = ["bypass", "coalesced", "hit", "miss"];

/// In the order of [`BreakerState`].
pub(super) const BREAKER_STATES: [&str; 3] = ["closed", "half_open", "open"];

/// The operations that have a label; the last label stands for all others.
pub(super) const METHODS: [&str; 10] = [
    "batchEmbedContents",
    "copied",
    "countTokens",
    "embedContent",
    "generateContent",
    "models.get",
    "models.list",
    "streamGenerateContent",
    "v1internal",
    "other",
];

/// Classes of HTTP status; the last one is for clients that disconnected before the answer.
pub(super) const STATUS_CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];

/// The kinds of tokens in `usageMetadata`.
pub(super) const TOKEN_KINDS: [&str; 4] = ["prompt", "output", "thoughts", "cached"];

/// The place of an operation in [`METHODS`].
pub(super) fn method_index(operation: Option<Operation>) -> usize {
    match operation {
        Some(Operation::BatchEmbed) => 0,
        Some(Operation::Copy(_)) => 1,
        Some(Operation::CountTokens) => 2,
        Some(Operation::Embed) => 3,
        Some(Operation::Generate) => 4,
        Some(Operation::GetModel) => 5,
        Some(Operation::ListModels) => 6,
        Some(Operation::Stream) => 7,
        Some(Operation::PassThrough) => 8,
        Some(
            Operation::Health
            | Operation::HealthDetailed
            | Operation::Hello
            | Operation::Live
            | Operation::Metrics
            | Operation::Options
            | Operation::Ready
            | Operation::Root
            | Operation::Usage
            | Operation::VertexResource,
        )
        | None => 9,
    }
}

/// The place of `status` in [`STATUS_CLASSES`].
pub(super) fn status_index(status: u16) -> usize {
    match status {
        200..300 => 0,
        300..400 => 1,
        400..500 => 2,
        500..600 => 3,
        _ => 4,
    }
}

/// The label of an error. Upstream's own errors are counted by status: a used-up quota needs
/// another reaction of the operator than an outage.
pub(super) fn error_label(reason: &'static str, status: u16) -> &'static str {
    if reason != "upstream_error" {
        return reason;
    }
    match status {
        400 => "upstream_400",
        401 => "upstream_401",
        403 => "upstream_403",
        404 => "upstream_404",
        429 => "upstream_429",
        500 => "upstream_500",
        502 => "upstream_502",
        503 => "upstream_503",
        504 => "upstream_504",
        _ => reason,
    }
}
