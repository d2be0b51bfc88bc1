//! One event of a Gemini answer, or a whole answer, as parts of the text that it came in.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::fields::{Word, read_fields};
use super::text::JsonText;

/// A `GenerateContentResponse`: an event of a stream, or a whole answer.
#[derive(Debug, Default)]
pub struct AnswerEvent<'a> {
    /// Upstream's id of the answer.
    pub response_id: Option<Cow<'a, str>>,
    /// When upstream began it (RFC 3339).
    pub create_time: Option<Cow<'a, str>>,
    /// The candidates; usually one.
    pub candidates: Option<Vec<Candidate<'a>>>,
    /// Why the prompt was refused.
    pub prompt_feedback: Option<PromptFeedback<'a>>,
    /// `usageMetadata`, as it is written.
    pub usage_metadata: Option<&'a RawValue>,
}

/// `promptFeedback`.
#[derive(Debug, Default)]
pub struct PromptFeedback<'a> {
    /// Such as `SAFETY`.
    pub block_reason: Option<Cow<'a, str>>,
    /// For people.
    pub block_reason_message: Option<Cow<'a, str>>,
}

/// A candidate.
#[derive(Debug, Default)]
pub struct Candidate<'a> {
    /// Its position; absent is 0.
    pub index: Option<u32>,
    /// Its parts.
    pub content: Option<Content<'a>>,
    /// Why it ended.
    pub finish_reason: Option<Cow<'a, str>>,
    /// For people.
    pub finish_message: Option<Cow<'a, str>>,
    /// Where its facts come from.
    pub grounding_metadata: Option<&'a RawValue>,
    /// What it quotes.
    pub citation_metadata: Option<&'a RawValue>,
    /// The probabilities of its tokens.
    pub logprobs_result: Option<&'a RawValue>,
}

/// A candidate's content.
#[derive(Debug, Default)]
pub struct Content<'a> {
    /// The parts.
    pub parts: Option<Vec<Part<'a>>>,
}

/// A part. Exactly one of its data fields is there.
#[derive(Debug, Default)]
pub struct Part<'a> {
    /// Text.
    pub text: Option<JsonText<'a>>,
    /// The text is a summary of the model's thoughts.
    pub thought: Option<bool>,
    /// The part's signature. Base64, in either alphabet.
    pub thought_signature: Option<Cow<'a, str>>,
    /// A call of a tool.
    pub function_call: Option<FunctionCall<'a>>,
    /// Data, such as an image.
    pub inline_data: Option<Blob<'a>>,
    /// Code that Google runs.
    pub executable_code: Option<ExecutableCode<'a>>,
    /// What that code has printed.
    pub code_execution_result: Option<CodeResult<'a>>,
}

/// A call of a tool.
#[derive(Debug, Default)]
pub struct FunctionCall<'a> {
    /// Gemini's id of the call.
    pub id: Option<Cow<'a, str>>,
    /// The name upstream.
    pub name: Option<Cow<'a, str>>,
    /// The arguments, an object.
    pub args: Option<&'a RawValue>,
}

/// Data.
#[derive(Debug, Default)]
pub struct Blob<'a> {
    /// The MIME type.
    pub mime_type: Option<Cow<'a, str>>,
    /// Base64.
    pub data: Option<JsonText<'a>>,
}

/// Code that Google runs.
#[derive(Debug, Default)]
pub struct ExecutableCode<'a> {
    /// Such as `PYTHON`.
    pub language: Option<Cow<'a, str>>,
    /// The code.
    pub code: Option<JsonText<'a>>,
}

/// What code has printed.
#[derive(Debug, Default)]
pub struct CodeResult<'a> {
    /// Such as `OUTCOME_OK`.
    pub outcome: Option<Cow<'a, str>>,
    /// What it has printed.
    pub output: Option<JsonText<'a>>,
}

impl<'a> AnswerEvent<'a> {
    /// Reads an event or a whole answer.
    pub fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The candidates with their positions in the answer. Protobuf's JSON leaves out a 0, and Vertex AI leaves
    /// out every index.
    pub fn indexed_candidates(&self) -> impl Iterator<Item = (u32, &Candidate<'a>)> {
        let candidates = self.candidates.as_deref().unwrap_or_default();
        let has_indexes = candidates.iter().any(|candidate| candidate.index.is_some());
        (0..).zip(candidates).map(move |(place, candidate)| {
            (candidate.index.unwrap_or(if has_indexes { 0 } else { place }), candidate)
        })
    }

    /// The candidate that becomes the answer of a dialect that has one only.
    pub fn first_candidate(&self) -> Option<&Candidate<'a>> {
        let mut candidates = self.candidates.iter().flatten();
        candidates.find(|candidate| candidate.index.unwrap_or_default() == 0)
    }

    /// When upstream began the answer, in seconds since 1970, if it says so.
    pub fn created(&self) -> Option<u64> {
        let time: jiff::Timestamp = self.create_time.as_deref()?.parse().ok()?;
        u64::try_from(time.as_second()).ok()
    }

    /// How many parts are of a kind that no dialect here knows.
    pub fn unknown_parts(&self) -> usize {
        let parts = self.candidates.iter().flatten().flat_map(Candidate::parts);
        parts.filter(|part| part.is_unknown()).count()
    }
}

impl<'a> Candidate<'a> {
    /// Its parts.
    pub fn parts(&self) -> &[Part<'a>] {
        self.content.as_ref().and_then(|content| content.parts.as_deref()).unwrap_or_default()
    }
}

impl<'a> Part<'a> {
    /// The text, if the part has one with characters.
    pub fn written_text(&self) -> Option<JsonText<'a>> {
        self.text.filter(|text| text.is_string() && !text.is_empty())
    }

    /// True for a part that a client gets something of. A thought does not count.
    pub fn is_product(&self) -> bool {
        let code = self.executable_code.as_ref().and_then(|code| code.code);
        let output = self.code_execution_result.as_ref().and_then(|result| result.output);
        self.written_text().is_some_and(|_| self.thought != Some(true))
            || self.function_call.is_some()
            || self.inline_data.as_ref().and_then(Blob::image).is_some()
            || code.or(output).is_some_and(JsonText::is_string)
    }

    /// True for a part of a kind that no dialect here knows.
    fn is_unknown(&self) -> bool {
        self.text.is_none()
            && self.function_call.is_none()
            && self.inline_data.is_none()
            && self.executable_code.is_none()
            && self.code_execution_result.is_none()
            // One may come in an otherwise empty part.
            && self.thought_signature.is_none()
    }
}

impl<'a> Blob<'a> {
    /// The MIME type and the data of an image. No dialect has a form for other data.
    pub fn image(&self) -> Option<(&str, JsonText<'a>)> {
        let mime = self.mime_type.as_deref().filter(|mime| mime.starts_with("image/"))?;
        Some((mime, self.data.filter(|data| data.is_string())?))
    }
}

read_fields!(AnswerEvent {
    "responseId" | "response_id" => response_id: Word<'de>,
    "createTime" | "create_time" => create_time: Word<'de>,
    "candidates" => candidates: Vec<Candidate<'de>>,
    "promptFeedback" | "prompt_feedback" => prompt_feedback: PromptFeedback<'de>,
    "usageMetadata" | "usage_metadata" => usage_metadata: &'de RawValue,
});

read_fields!(PromptFeedback {
    "blockReason" | "block_reason" => block_reason: Word<'de>,
    "blockReasonMessage" | "block_reason_message" => block_reason_message: Word<'de>,
});

read_fields!(Candidate {
    "index" => index: u32,
    "content" => content: Content<'de>,
    "finishReason" | "finish_reason" => finish_reason: Word<'de>,
    "finishMessage" | "finish_message" => finish_message: Word<'de>,
    "groundingMetadata" | "grounding_metadata" => grounding_metadata: &'de RawValue,
    "citationMetadata" | "citation_metadata" => citation_metadata: &'de RawValue,
    "logprobsResult" | "logprobs_result" => logprobs_result: &'de RawValue,
});

read_fields!(Content {
    "parts" => parts: Vec<Part<'de>>,
});

read_fields!(Part {
    "text" => text: JsonText<'de>,
    "thought" => thought: bool,
    "thoughtSignature" | "thought_signature" => thought_signature: Word<'de>,
    "functionCall" | "function_call" => function_call: FunctionCall<'de>,
    "inlineData" | "inline_data" => inline_data: Blob<'de>,
    "executableCode" | "executable_code" => executable_code: ExecutableCode<'de>,
    "codeExecutionResult" | "code_execution_result" => code_execution_result: CodeResult<'de>,
});

read_fields!(FunctionCall {
    "id" => id: Word<'de>,
    "name" => name: Word<'de>,
    "args" => args: &'de RawValue,
});

read_fields!(Blob {
    "mimeType" | "mime_type" => mime_type: Word<'de>,
    "data" => data: JsonText<'de>,
});

read_fields!(ExecutableCode {
    "language" => language: Word<'de>,
    "code" => code: JsonText<'de>,
});

read_fields!(CodeResult {
    "outcome" => outcome: Word<'de>,
    "output" => output: JsonText<'de>,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_without_a_copy() {
        let text = br#"{"responseId":"R","createTime":"2026-01-02T03:04:05Z","candidates":[{"index":1,"content":{"role":"model","parts":[{"text":"a\n","thought":true},{"functionCall":{"id":"1","name":"f","args":{"n":1.0}},"thoughtSignature":"S=="}]},"finishReason":"STOP","avgLogprobs":-0.3}],"usageMetadata":{"promptTokenCount":1},"modelVersion":"m"}"#;
        let event = AnswerEvent::read(text).unwrap();
        assert!(matches!(event.response_id, Some(Cow::Borrowed("R"))));
        assert_eq!(event.usage_metadata.unwrap().get(), r#"{"promptTokenCount":1}"#);
        let [candidate] = &event.candidates.unwrap()[..] else { panic!("one candidate") };
        assert_eq!(candidate.index, Some(1));
        assert!(matches!(candidate.finish_reason, Some(Cow::Borrowed("STOP"))));
        let parts = candidate.content.as_ref().unwrap().parts.as_ref().unwrap();
        assert_eq!(parts[0].text.unwrap().quoted(), r#""a\n""#);
        assert_eq!(parts[0].thought, Some(true));
        assert!(matches!(parts[1].thought_signature, Some(Cow::Borrowed("S=="))));
        let call = parts[1].function_call.as_ref().unwrap();
        assert_eq!(call.args.unwrap().get(), r#"{"n":1.0}"#);
        assert_eq!((call.id.as_deref(), call.name.as_deref()), (Some("1"), Some("f")));
    }

    #[test]
    fn null_snake_case_unknown_and_repeated_fields_are_taken() {
        for (text, expected) in [
            (r#"{"candidates":null,"usageMetadata":null,"promptFeedback":null}"#, None),
            (r#"{"candidates":[{"content":null,"finishReason":null,"index":null}]}"#, None),
            (r#"{"candidates":[{"content":{"parts":null}}],"new":{"a":[1]}}"#, None),
            (r#"{"candidates":[{"content":{"parts":[{"text":null,"x":1}]}}]}"#, None),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"1","thought_signature":"S"}]}}]}"#,
                Some((r#""1""#, Some("S"))),
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"1","text":"2"}]}}],"usage_metadata":{}}"#,
                Some((r#""2""#, None)),
            ),
            (
                "{\"candidates\":[{\"content\":{\"parts\":[{\"te\\u0078t\":\"\\ud83d\",\"thoughtSignature\":\"\\u0053\"}]}}]}",
                Some((r#""\ud83d""#, Some("S"))),
            ),
        ] {
            let event = AnswerEvent::read(text.as_bytes())
                .unwrap_or_else(|error| panic!("{text}: {error}"));
            let candidate = event.candidates.and_then(|mut candidates| candidates.pop());
            let parts =
                candidate.and_then(|candidate| candidate.content?.parts).unwrap_or_default();
            let found = parts
                .first()
                .and_then(|part| Some((part.text?.quoted(), part.thought_signature.as_deref())));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in ["", "[]", "1", r#"{"candidates":{}}"#, r#"{"candidates":[{}]} x"#, "{"] {
            assert!(AnswerEvent::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
