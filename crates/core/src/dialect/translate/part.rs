//! One event of a Gemini answer, or a whole answer, as parts of the text that it came in.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::JsonText;

/// A `GenerateContentResponse`: an event of a stream, or a whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerEvent<'a> {
    /// Upstream's id of the answer.
    #[serde(borrow, default)]
    pub response_id: Option<Cow<'a, str>>,
    /// When upstream began it (RFC 3339).
    #[serde(borrow, default)]
    pub create_time: Option<Cow<'a, str>>,
    /// The candidates; usually one.
    #[serde(borrow, default)]
    pub candidates: Option<Vec<Candidate<'a>>>,
    /// Why the prompt was refused.
    #[serde(borrow, default)]
    pub prompt_feedback: Option<PromptFeedback<'a>>,
    /// `usageMetadata`, as it is written.
    #[serde(borrow, default)]
    pub usage_metadata: Option<&'a RawValue>,
}

/// `promptFeedback`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptFeedback<'a> {
    /// Such as `SAFETY`.
    #[serde(borrow, default)]
    pub block_reason: Option<Cow<'a, str>>,
    /// For people.
    #[serde(borrow, default)]
    pub block_reason_message: Option<Cow<'a, str>>,
}

/// A candidate.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate<'a> {
    /// Its position; absent is 0.
    #[serde(default)]
    pub index: Option<u32>,
    /// Its parts.
    #[serde(borrow, default)]
    pub content: Option<Content<'a>>,
    /// Why it ended.
    #[serde(borrow, default)]
    pub finish_reason: Option<Cow<'a, str>>,
    /// For people.
    #[serde(borrow, default)]
    pub finish_message: Option<Cow<'a, str>>,
    /// Where its facts come from.
    #[serde(borrow, default)]
    pub grounding_metadata: Option<&'a RawValue>,
    /// Whom it quotes.
    #[serde(borrow, default)]
    pub citation_metadata: Option<&'a RawValue>,
    /// The probabilities of its tokens.
    #[serde(borrow, default)]
    pub logprobs_result: Option<&'a RawValue>,
}

/// A candidate's content.
#[derive(Debug, Default, Deserialize)]
pub struct Content<'a> {
    /// The parts.
    #[serde(borrow, default)]
    pub parts: Option<Vec<Part<'a>>>,
}

/// A part. Exactly one of its data fields is there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Part<'a> {
    /// Text.
    #[serde(borrow, default)]
    pub text: Option<JsonText<'a>>,
    /// The text is a summary of the model's thoughts.
    #[serde(default)]
    pub thought: Option<bool>,
    /// The part's signature. Base64, in either alphabet.
    #[serde(borrow, default)]
    pub thought_signature: Option<Cow<'a, str>>,
    /// A call of a tool.
    #[serde(borrow, default)]
    pub function_call: Option<FunctionCall<'a>>,
    /// Data, such as an image.
    #[serde(borrow, default)]
    pub inline_data: Option<Blob<'a>>,
    /// Code that Google runs.
    #[serde(borrow, default)]
    pub executable_code: Option<ExecutableCode<'a>>,
    /// What that code has printed.
    #[serde(borrow, default)]
    pub code_execution_result: Option<CodeResult<'a>>,
}

/// A call of a tool.
#[derive(Debug, Default, Deserialize)]
pub struct FunctionCall<'a> {
    /// Gemini's id of the call.
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    /// The name upstream.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// The arguments, an object.
    #[serde(borrow, default)]
    pub args: Option<&'a RawValue>,
}

/// Data.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blob<'a> {
    /// The MIME type.
    #[serde(borrow, default)]
    pub mime_type: Option<Cow<'a, str>>,
    /// Base64.
    #[serde(borrow, default)]
    pub data: Option<JsonText<'a>>,
}

/// Code that Google runs.
#[derive(Debug, Default, Deserialize)]
pub struct ExecutableCode<'a> {
    /// Such as `PYTHON`.
    #[serde(borrow, default)]
    pub language: Option<Cow<'a, str>>,
    /// The code.
    #[serde(borrow, default)]
    pub code: Option<JsonText<'a>>,
}

/// What code has printed.
#[derive(Debug, Default, Deserialize)]
pub struct CodeResult<'a> {
    /// Such as `OUTCOME_OK`.
    #[serde(borrow, default)]
    pub outcome: Option<Cow<'a, str>>,
    /// What it has printed.
    #[serde(borrow, default)]
    pub output: Option<JsonText<'a>>,
}

impl<'a> AnswerEvent<'a> {
    /// Reads an event or a whole answer.
    pub fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }
}
