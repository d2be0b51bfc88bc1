//! The token counts of an answer (`docs/reference/dialects.md` 6.6).

use bytes::BytesMut;
use serde_json::value::RawValue;

/// The token counts of an answer. Counts that upstream has not given are 0.
///
/// They are totals, never parts to be added: the last `usageMetadata` that has any count is the answer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// `promptTokenCount`, cached tokens included.
    pub prompt: u64,
    /// `toolUsePromptTokenCount`: what tools that Google runs have given to the model.
    pub tool_prompt: u64,
    /// `cachedContentTokenCount`.
    pub cached: u64,
    /// `candidatesTokenCount`, without thoughts.
    pub output: u64,
    /// `thoughtsTokenCount`.
    pub thoughts: u64,
    /// `promptTokensDetails`.
    pub prompt_kinds: TokenKinds,
    /// `candidatesTokensDetails`.
    pub output_kinds: TokenKinds,
}

/// Token counts by kind of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenKinds {
    /// `TEXT`.
    pub text: u64,
    /// `IMAGE`.
    pub image: u64,
    /// `AUDIO`.
    pub audio: u64,
}

impl Usage {
    /// Reads `usageMetadata`. `None` if it holds no count.
    pub fn read(usage: &RawValue) -> Option<Self> {
        let _ = usage;
        todo!()
    }

    /// All tokens that the model has read.
    pub fn input_tokens(&self) -> u64 {
        self.prompt.saturating_add(self.tool_prompt)
    }

    /// All tokens that the model has read, but for cached ones.
    pub fn uncached_input_tokens(&self) -> u64 {
        self.input_tokens().saturating_sub(self.cached)
    }

    /// All tokens that the model has written, thoughts included.
    pub fn output_tokens(&self) -> u64 {
        self.output.saturating_add(self.thoughts)
    }

    /// The sum of both.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens().saturating_add(self.output_tokens())
    }

    /// Appends the object of Chat Completions.
    pub fn push_chat(&self, out: &mut BytesMut) {
        let _ = out;
        todo!()
    }

    /// Appends the object of the Responses API.
    pub fn push_responses(&self, out: &mut BytesMut) {
        let _ = out;
        todo!()
    }
}
