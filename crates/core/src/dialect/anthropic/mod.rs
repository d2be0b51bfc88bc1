//! The dialect of clients that speak Anthropic's Messages API (`docs/reference/dialects.md` 5).

pub mod count;
pub mod error;
pub mod models;
pub mod read;
#[cfg(test)]
mod tests;
pub mod write;

use crate::dialect::translate::answer::AnswerPlan;

/// What the answer to a request for a message needs to know of the request.
#[derive(Debug, Clone)]
pub struct MessagesPlan {
    /// What every dialect needs.
    pub plan: AnswerPlan,
    /// The client has asked for thinking, so that the answer may have `thinking` blocks. They carry the
    /// signatures, also for a client that does not want to see the thoughts.
    pub thinking: bool,
    /// The client has asked to see the thoughts.
    pub shows_thoughts: bool,
}
