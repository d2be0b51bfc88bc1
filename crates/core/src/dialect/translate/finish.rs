//! Why an answer has ended (`docs/reference/dialects.md` 3.2).

use std::borrow::Cow;

use super::part::{AnswerEvent, Candidate, PromptFeedback};
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
        let reason = candidate.finish_reason.as_deref()?;
        let with = || {
            let message = candidate.finish_message.as_deref().filter(|message| !message.is_empty());
            (reason.to_owned(), message.map(str::to_owned))
        };
        Some(match reason {
            "" | "FINISH_REASON_UNSPECIFIED" => return None,
            "STOP" => Self::Stop,
            "MAX_TOKENS" | "CONTINUATION" => Self::Length,
            reason if FILTERS.contains(&reason) => {
                let (reason, message) = with();
                Self::Filtered { reason, message }
            }
            // Also what no model gives today.
            _ => {
                let (reason, message) = with();
                Self::Failed { reason, message }
            }
        })
    }

    /// The end of an answer whose prompt is refused, if it is.
    pub fn of_prompt(feedback: &PromptFeedback<'_>) -> Option<Self> {
        let reason = feedback.block_reason.as_deref()?;
        if matches!(reason, "" | "BLOCK_REASON_UNSPECIFIED" | "BLOCKED_REASON_UNSPECIFIED") {
            return None;
        }
        let message = feedback.block_reason_message.as_deref();
        let message = message.filter(|message| !message.is_empty()).map(str::to_owned);
        Some(Self::Filtered { reason: reason.to_owned(), message })
    }

    /// The error of a candidate that has failed before it produced anything. A text, a call, code and data
    /// such as an image count; a thought does not.
    pub fn error(&self, has_produced: bool) -> Option<Error> {
        match self {
            Self::Failed { reason, message } if !has_produced => {
                Some(Error::NoAnswer { reason: reason.clone(), message: message.clone() })
            }
            _ => None,
        }
    }

    /// What a client gets in place of the text that a filter keeps back: Google's own message, or
    /// `The prompt was blocked (SAFETY).`
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Filtered { message: Some(message), .. } => Some(message.clone()),
            Self::Filtered { reason, .. } => Some(format!("The prompt was blocked ({reason}).")),
            _ => None,
        }
    }
}

/// Gives a reason to the candidates of a whole answer that have none. A whole answer is complete, whatever
/// it says; a stream without a reason may have been cut off.
pub fn finish_all(answer: &mut AnswerEvent<'_>) {
    for candidate in answer.candidates.iter_mut().flatten() {
        if Finish::of(candidate).is_none() {
            candidate.finish_reason = Some(Cow::Borrowed("STOP"));
        }
    }
}

/// The reasons that say that a filter has ended a candidate.
const FILTERS: [&str; 10] = [
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "LANGUAGE",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(reason: &str) -> Option<Finish> {
        Finish::of(&Candidate { finish_reason: Some(reason.into()), ..Candidate::default() })
    }

    #[test]
    fn each_reason_has_its_kind() {
        assert_eq!(Finish::of(&Candidate::default()), None);
        assert_eq!(finish("FINISH_REASON_UNSPECIFIED"), None);
        assert_eq!(finish("STOP"), Some(Finish::Stop));
        assert_eq!(finish("MAX_TOKENS"), Some(Finish::Length));
        assert_eq!(finish("CONTINUATION"), Some(Finish::Length));
        for reason in FILTERS {
            let reason = reason.to_owned();
            assert_eq!(finish(&reason), Some(Finish::Filtered { reason, message: None }));
        }
        for reason in [
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "TOO_MANY_TOOL_CALLS",
            "MISSING_THOUGHT_SIGNATURE",
            "OTHER",
            "NO_IMAGE",
            "IMAGE_OTHER",
            "A_WORD_OF_TOMORROW",
        ] {
            let reason = reason.to_owned();
            assert_eq!(finish(&reason), Some(Finish::Failed { reason, message: None }));
        }
    }

    #[test]
    fn only_a_failure_with_nothing_produced_is_an_error() {
        let failed = Finish::of(&Candidate {
            finish_reason: Some("OTHER".into()),
            finish_message: Some("It was too long.".into()),
            ..Candidate::default()
        })
        .unwrap();
        let error = Error::NoAnswer {
            reason: "OTHER".to_owned(),
            message: Some("It was too long.".to_owned()),
        };
        assert_eq!(failed.error(false), Some(error));
        assert_eq!(failed.error(true), None);
        for reason in ["STOP", "MAX_TOKENS", "SAFETY"] {
            assert_eq!(finish(reason).unwrap().error(false), None, "{reason}");
        }
    }

    #[test]
    fn a_refused_prompt_is_told_in_googles_words_or_in_ours() {
        let refusal = |reason: Option<&str>, message: Option<&str>| {
            let finish = Finish::of_prompt(&PromptFeedback {
                block_reason: reason.map(Into::into),
                block_reason_message: message.map(Into::into),
            });
            finish.map(|finish| finish.refusal().unwrap())
        };
        assert_eq!(refusal(None, Some("no")), None);
        assert_eq!(refusal(Some("BLOCK_REASON_UNSPECIFIED"), None), None);
        let ours = Some("The prompt was blocked (SAFETY).".to_owned());
        assert_eq!(refusal(Some("SAFETY"), None), ours);
        assert_eq!(refusal(Some("SAFETY"), Some("")), ours);
        assert_eq!(refusal(Some("OTHER"), Some("Not this.")), Some("Not this.".to_owned()));
    }
}
