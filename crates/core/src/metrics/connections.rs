//! The counts of the shell's client connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::labels::Counters;

/// The connections of clients to the main port.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    open: AtomicU64,
    /// 0 in a shell without connections.
    limit: AtomicU64,
    ended: Counters<{ ConnectionEnd::ALL.len() }>,
    refused_streams: AtomicU64,
    stalled_streams: AtomicU64,
}

/// Why the proxy has closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The client sent no byte.
    FirstByteTimeout,
    /// It was the longest idle connection, and a new one needed its place.
    IdleEvicted,
    /// There was no memory for what the client sends.
    MemoryLimit,
    /// Nearly all places have requests in flight.
    PlacesExhausted,
    /// The client did not read.
    Stalled,
}

impl ConnectionEnd {
    const ALL: [Self; 5] = [
        Self::FirstByteTimeout,
        Self::IdleEvicted,
        Self::MemoryLimit,
        Self::PlacesExhausted,
        Self::Stalled,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::FirstByteTimeout => "first_byte_timeout",
            Self::IdleEvicted => "idle_evicted",
            Self::MemoryLimit => "memory_limit",
            Self::PlacesExhausted => "places_exhausted",
            Self::Stalled => "stalled",
        }
    }
}

impl ConnectionCounts {
    /// Records how many connections the shell may have open.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit as u64, Relaxed);
    }

    /// Records how many connections are open.
    pub fn set_open(&self, open: usize) {
        self.open.store(open as u64, Relaxed);
    }

    /// The number of connections that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Relaxed)
    }

    /// Counts a connection that the proxy has closed.
    pub fn ended(&self, why: ConnectionEnd) {
        self.ended.add(why as usize, 1);
    }

    /// Counts a stream that was refused for want of memory.
    pub fn stream_refused(&self) {
        self.refused_streams.fetch_add(1, Relaxed);
    }

    /// Counts a stream that was reset because its client did not read it.
    pub fn stream_stalled(&self) {
        self.stalled_streams.fetch_add(1, Relaxed);
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// The streams that were reset, by reason.
    pub(super) fn reset_streams(&self) -> [(&'static str, u64); 2] {
        [
            ("memory_limit", self.refused_streams.load(Relaxed)),
            ("stalled", self.stalled_streams.load(Relaxed)),
        ]
    }

    /// The connections that the proxy has closed, by reason.
    pub(super) fn by_end(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ConnectionEnd::ALL.into_iter().map(|end| (end.label(), self.ended.of(end as usize)))
    }
}
