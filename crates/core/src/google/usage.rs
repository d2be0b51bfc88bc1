//! Token counts, as all three APIs report them.

/// `usageMetadata` in numbers. Cumulative: the last one of a stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// `promptTokenCount`.
    pub prompt: u64,
    /// `candidatesTokenCount`.
    pub output: u64,
    /// `thoughtsTokenCount`.
    pub thoughts: u64,
    /// `cachedContentTokenCount`.
    pub cached: u64,
}
