//! How often one upstream has stood in for another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::failure::FailoverReason;
use crate::job::UpstreamId;

/// Counts by the upstream that failed, the one that stood in, and the class of the failure.
#[derive(Debug, Default)]
pub(crate) struct FailoverCounts {
    names: Vec<Arc<str>>,
    /// For each pair of upstreams, one counter for each reason.
    counts: Vec<[AtomicU64; FailoverReason::ALL.len()]>,
}

impl FailoverCounts {
    /// Counters at zero for these upstreams, in order of preference.
    pub(super) fn new(names: Vec<Arc<str>>) -> Self {
        let counts = std::iter::repeat_with(Default::default);
        let counts = counts.take(names.len() * names.len()).collect();
        Self { names, counts }
    }

    /// Counts one failover.
    pub(crate) fn add(&self, from: UpstreamId, to: UpstreamId, reason: FailoverReason) {
        let (from, to) = (from.position(), to.position());
        // A key's own upstream is none of these.
        let is_counted = from.max(to) < self.names.len();
        let pair = from.saturating_mul(self.names.len()).saturating_add(to);
        if let Some(counts) = self.counts.get(pair).filter(|_| is_counted) {
            counts[reason as usize].fetch_add(1, Relaxed);
        }
    }

    /// The counts with their labels: those that are not zero, and those of each upstream and the next one. A
    /// counter that begins at its first event hides that event from `increase()`.
    pub(super) fn counted(&self) -> impl Iterator<Item = (&str, &str, &'static str, u64)> {
        self.counts.iter().enumerate().flat_map(move |(pair, counts)| {
            let (from, to) = (pair / self.names.len(), pair % self.names.len());
            FailoverReason::ALL.into_iter().filter_map(move |reason| {
                let count = counts[reason as usize].load(Relaxed);
                (count > 0 || to == from + 1)
                    .then(|| (&*self.names[from], &*self.names[to], reason.word(), count))
            })
        })
    }
}
