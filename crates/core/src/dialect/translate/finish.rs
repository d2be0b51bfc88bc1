//! Why an answer has ended (`docs/reference/dialects.md` 3.2).

use super::part::{Candidate, PromptFeedback};
use crate::error::Error;

/// Why a candidate has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// The model has come to its end.
    Stop,
    /// The limit of tokens is reached.
    Length,
    /// A filter of Google's has ended the candidate, or has refused the prompt.
    Filtered {
        /// Gemini's word, such as `SAFETY`.
        reason: String,
        /// What Gemini says about it.
        message: Option<String>,
    },
    /// The model has failed. With nothing produced this is an error.
    Failed {
        /// Gemini's word, such as `MALFORMED_FUNCTION_CALL`.
        reason: String,
        /// What Gemini says about it.
        message: Option<String>,
    },
}

impl Finish {
    /// Why a candidate has ended, if it has.
    pub fn of(candidate: &Candidate<'_>) -> Option<Self> {
        let _ = candidate;
        todo!()
    }

    /// The end of an answer whose prompt is refused, if it is.
    pub fn of_prompt(feedback: &PromptFeedback<'_>) -> Option<Self> {
        let _ = feedback;
        todo!()
    }

    /// The error of a candidate that has failed with nothing produced. A thought is nothing produced; a
    /// text, a call, code, and data such as an image are something.
    pub fn error(&self, has_produced: bool) -> Option<Error> {
        let _ = has_produced;
        todo!()
    }

    /// What a client is told in place of the text that a filter keeps back: Google's own message, or
    /// `The prompt was blocked (SAFETY).`
    pub fn refusal(&self) -> Option<String> {
        todo!()
    }
}
