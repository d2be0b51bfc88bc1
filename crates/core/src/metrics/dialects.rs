//! Counts of requests in OpenAI's and Anthropic's dialects.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::dialect::Dialect;

/// What only translated requests count.
#[derive(Debug, Default)]
pub(crate) struct DialectCounts {
    anthropic: AtomicU64,
    openai: AtomicU64,
    signature_fallbacks: AtomicU64,
    unknown_parts: AtomicU64,
}

impl DialectCounts {
    /// Counts a request. One of the Gemini API is counted by the other families.
    pub(crate) fn request(&self, dialect: Dialect) {
        match dialect {
            Dialect::Anthropic => self.anthropic.fetch_add(1, Relaxed),
            Dialect::Gemini => return,
            Dialect::OpenAi => self.openai.fetch_add(1, Relaxed),
        };
    }

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

    /// The requests of each dialect.
    pub(super) fn requests(&self) -> [(Dialect, u64); 2] {
        [
            (Dialect::Anthropic, self.anthropic.load(Relaxed)),
            (Dialect::OpenAi, self.openai.load(Relaxed)),
        ]
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
