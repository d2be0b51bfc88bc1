//! The calls of OpenAI's and Anthropic's dialects as one type: their requests, and the plans of their
//! answers.

mod answer;
mod left_out;

use bytes::Bytes;

use super::anthropic::count::write_count;
use super::anthropic::{self, MessagesPlan};
use super::openai::chat::{self, ChatPlan};
use super::openai::completions;
use super::openai::responses::read::write_tokens;
use super::openai::responses::{self, ResponsesPlan};
use super::translate::request::Written;
use super::translate::target::Target;
use crate::error::Error;
pub(crate) use answer::{AnswerForm, TranslatedEncoder};
pub(crate) use left_out::LeftOut;

/// A call that is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TranslatedCall {
    /// It counts tokens.
    Count(CountCall),
    /// It generates an answer.
    Generate(GenerateCall),
}

/// A call that counts tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountCall {
    /// OpenAI's `responses/input_tokens`.
    InputTokens,
    /// Anthropic's `messages/count_tokens`.
    MessageTokens,
}

/// A call that generates an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GenerateCall {
    /// OpenAI's `chat/completions`.
    ChatCompletions,
    /// OpenAI's `completions`.
    Completions,
    /// Anthropic's `messages`.
    Messages,
    /// OpenAI's `responses`.
    Responses,
}

/// A request in Gemini's form, and what its answer needs to know of it.
#[derive(Debug)]
pub(crate) struct Translation {
    pub(crate) written: Written,
    /// `None` for a count of tokens, which needs nothing.
    pub(crate) plan: Option<WriterPlan>,
}

/// What an answer needs to know of its request, by dialect.
#[derive(Debug, Clone)]
pub(crate) enum WriterPlan {
    Chat(ChatPlan),
    Completions(ChatPlan),
    Messages(MessagesPlan),
    Responses(ResponsesPlan),
}

impl TranslatedCall {
    /// Translates a request for `target`.
    pub(crate) fn translate(self, body: &Bytes, target: &Target) -> Result<Translation, Error> {
        match self {
            Self::Count(call) => {
                Ok(Translation { written: call.translate(body, target)?, plan: None })
            }
            Self::Generate(call) => {
                let (written, plan) = call.translate(body, target)?;
                Ok(Translation { written, plan: Some(plan) })
            }
        }
    }
}

impl CountCall {
    fn translate(self, body: &Bytes, target: &Target) -> Result<Written, Error> {
        match self {
            Self::InputTokens => responses::read::read_tokens(body, target),
            Self::MessageTokens => anthropic::read::read_count(body, target),
        }
    }

    /// Translates the answer, which is one of `countTokens`.
    pub(crate) fn answer(self, text: &[u8]) -> Result<Bytes, Error> {
        let total = total_tokens(text)?;
        Ok(match self {
            Self::InputTokens => write_tokens(total),
            Self::MessageTokens => write_count(total),
        })
    }
}

impl GenerateCall {
    fn translate(self, body: &Bytes, target: &Target) -> Result<(Written, WriterPlan), Error> {
        Ok(match self {
            Self::ChatCompletions => {
                let (written, plan) = chat::read::read(body, target)?;
                (written, WriterPlan::Chat(plan))
            }
            Self::Completions => {
                let (written, plan) = completions::read::read(body, target)?;
                (written, WriterPlan::Completions(plan))
            }
            Self::Messages => {
                let (written, plan) = anthropic::read::read(body, target)?;
                (written, WriterPlan::Messages(plan))
            }
            Self::Responses => {
                let (written, plan) = responses::read::read(body, target)?;
                (written, WriterPlan::Responses(plan))
            }
        })
    }
}

impl WriterPlan {
    /// True if the client gets one call at most.
    fn gives_one_call(&self) -> bool {
        match self {
            Self::Chat(plan) | Self::Completions(plan) => plan.plan.one_call,
            Self::Messages(plan) => plan.plan.one_call,
            Self::Responses(plan) => plan.plan.one_call,
        }
    }
}

/// The count in an answer of `countTokens`.
fn total_tokens(text: &[u8]) -> Result<u64, Error> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Counted {
        #[serde(default)]
        total_tokens: u64,
    }
    serde_json::from_slice(text)
        .map(|counted: Counted| counted.total_tokens)
        .map_err(|error| Error::UpstreamMalformed { what: format!("the count of tokens: {error}") })
}
