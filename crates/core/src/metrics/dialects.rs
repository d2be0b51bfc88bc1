//! Counts of what only requests in OpenAI's and Anthropic's dialects have.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What only translated requests count.
#[derive(Debug, Default)]
pub(crate) struct DialectCounts {
    signature_fallbacks: AtomicU64,
    unknown_parts: AtomicU64,
}

impl DialectCounts {
    /// Counts a request that is sent again without its thought signatures.
    pub(crate) fn signature_fallback(&self) {
        self.signature_fallbacks.fetch_add(1, Relaxed);
    }

    /// Counts parts of an answer that the client's dialect has no form for.
    pub(crate) fn unknown_parts(&self, parts: usize) {
        if parts > 0 {
            self.unknown_parts.fetch_add(parts as u64, Relaxed);
        }
    }

    /// How often signatures were refused.
    pub(super) fn fallbacks(&self) -> u64 {
        self.signature_fallbacks.load(Relaxed)
    }

    /// How many parts were left out of answers.
    pub(super) fn left_out(&self) -> u64 {
        self.unknown_parts.load(Relaxed)
    }
}
