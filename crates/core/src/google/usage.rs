//! Token counts, as all three APIs report them.

/// The token counts of `usageMetadata`. They are cumulative: the last event of a stream has the
/// totals.
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
