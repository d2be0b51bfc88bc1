//! Token counts, as all three APIs report them.

use std::ops::AddAssign;

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

impl AddAssign for TokenUsage {
    fn add_assign(&mut self, other: Self) {
        self.prompt += other.prompt;
        self.output += other.output;
        self.thoughts += other.thoughts;
        self.cached += other.cached;
    }
}
