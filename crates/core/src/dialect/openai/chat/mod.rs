//! Chat Completions (`docs/reference/dialects.md` 2 and 3).

mod messages;
pub mod read;
#[cfg(test)]
mod tests;
mod thinking;
pub mod write;

use crate::dialect::translate::answer::AnswerPlan;

/// What the answer to a chat request needs to know of the request.
#[derive(Debug, Clone)]
pub struct ChatPlan {
    /// What every dialect needs.
    pub plan: AnswerPlan,
    /// A stream ends with its token counts (`stream_options.include_usage`).
    pub include_usage: bool,
    /// Thoughts are part of the text, between tags of this name (`thought_tag_marker`).
    pub thought_tag: Option<String>,
    /// The client has sent `functions`, and gets a `function_call`.
    pub legacy_functions: bool,
}
