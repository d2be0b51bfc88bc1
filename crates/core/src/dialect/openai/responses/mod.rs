//! The Responses API (`docs/reference/dialects.md` 4).
//!
//! Nothing is kept between requests: there is no store, so a request holds its whole input.

mod echo;
mod items;
pub mod read;
#[cfg(test)]
mod tests;
mod tools;
pub mod write;

use std::sync::Arc;

use crate::dialect::translate::answer::AnswerPlan;

/// What the answer to a request needs to know of the request.
#[derive(Debug, Clone)]
pub struct ResponsesPlan {
    /// What every dialect needs.
    pub plan: AnswerPlan,
    /// The members of the answer's object that repeat the request, as JSON on one line, without braces.
    pub echo: Arc<str>,
    /// The client has asked for the probabilities of the text's tokens.
    pub logprobs: bool,
}
