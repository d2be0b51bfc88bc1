//! The token counts of an answer (`docs/reference/dialects.md` 6.6).

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fields::{Word, read_fields};
use super::json::push_number;

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
    /// Reads `usageMetadata`. `None` if it holds no count: early events may have a `trafficType` only.
    pub fn read(usage: &RawValue) -> Option<Self> {
        let read: Counts<'_> = serde_json::from_str(usage.get()).ok()?;
        let usage = Self {
            prompt: number(read.prompt),
            tool_prompt: number(read.tool_prompt),
            cached: number(read.cached),
            output: number(read.output),
            thoughts: number(read.thoughts),
            prompt_kinds: read.prompt_kinds.unwrap_or_default(),
            output_kinds: read.output_kinds.unwrap_or_default(),
        };
        (usage != Self::default()).then_some(usage)
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
        let kinds = &self.prompt_kinds;
        push_numbers(
            &[
                (r#"{"prompt_tokens":"#, self.input_tokens()),
                (r#","completion_tokens":"#, self.output_tokens()),
                (r#","total_tokens":"#, self.total_tokens()),
                (r#","prompt_tokens_details":{"cached_tokens":"#, self.cached),
                (r#","audio_tokens":"#, kinds.audio),
                (r#","image_tokens":"#, kinds.image),
                (r#","text_tokens":"#, kinds.text),
                (
                    r#","cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":"#,
                    self.thoughts,
                ),
                (r#","audio_tokens":"#, self.output_kinds.audio),
            ],
            r#","accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#,
            out,
        );
    }

    /// Appends the object of the Responses API.
    pub fn push_responses(&self, out: &mut BytesMut) {
        push_numbers(
            &[
                (r#"{"input_tokens":"#, self.input_tokens()),
                (r#","input_tokens_details":{"cached_tokens":"#, self.cached),
                (r#","cache_write_tokens":0},"output_tokens":"#, self.output_tokens()),
                (r#","output_tokens_details":{"reasoning_tokens":"#, self.thoughts),
                (r#"},"total_tokens":"#, self.total_tokens()),
            ],
            "}",
            out,
        );
    }
}

/// Appends each number after its text, then `end`.
fn push_numbers(numbers: &[(&str, u64)], end: &str, out: &mut BytesMut) {
    for (text, number) in numbers {
        out.put_slice(text.as_bytes());
        push_number(*number, out);
    }
    out.put_slice(end.as_bytes());
}

/// `usageMetadata`, as far as it is read. A value that is no count is none.
#[derive(Default)]
struct Counts<'a> {
    prompt: Option<&'a RawValue>,
    tool_prompt: Option<&'a RawValue>,
    cached: Option<&'a RawValue>,
    output: Option<&'a RawValue>,
    thoughts: Option<&'a RawValue>,
    prompt_kinds: Option<TokenKinds>,
    output_kinds: Option<TokenKinds>,
}

read_fields!(Counts {
    "promptTokenCount" | "prompt_token_count" => prompt: &'de RawValue,
    "toolUsePromptTokenCount" | "tool_use_prompt_token_count" => tool_prompt: &'de RawValue,
    "cachedContentTokenCount" | "cached_content_token_count" => cached: &'de RawValue,
    "candidatesTokenCount" | "candidates_token_count" => output: &'de RawValue,
    "thoughtsTokenCount" | "thoughts_token_count" => thoughts: &'de RawValue,
    "promptTokensDetails" | "prompt_tokens_details" => prompt_kinds: TokenKinds,
    "candidatesTokensDetails" | "candidates_tokens_details" => output_kinds: TokenKinds,
});

/// The count of one kind of data.
#[derive(Default)]
struct Kind<'a> {
    modality: Option<Cow<'a, str>>,
    count: Option<&'a RawValue>,
}

read_fields!(Kind {
    "modality" => modality: Word<'de>,
    "tokenCount" | "token_count" => count: &'de RawValue,
});

impl<'de> Deserialize<'de> for TokenKinds {
    /// Adds up a list of counts, without a list of its own: nearly every event of a stream has one.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kinds;
        impl<'de> Visitor<'de> for Kinds {
            type Value = TokenKinds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of token counts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut kinds: A) -> Result<Self::Value, A::Error> {
                let mut counts = TokenKinds::default();
                while let Some(kind) = kinds.next_element::<Kind<'de>>()? {
                    let count = match kind.modality.as_deref() {
                        Some("TEXT") => &mut counts.text,
                        Some("IMAGE") => &mut counts.image,
                        Some("AUDIO") => &mut counts.audio,
                        _ => continue,
                    };
                    *count = count.saturating_add(number(kind.count));
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_seq(Kinds)
    }
}

/// A count. Protobuf's JSON writes long integers as strings.
fn number(value: Option<&RawValue>) -> u64 {
    value.and_then(|value| value.get().trim_matches('"').parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(usage: &Value) -> Option<Usage> {
        Usage::read(&serde_json::value::to_raw_value(usage).unwrap())
    }

    fn printed(print: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        print(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn thoughts_are_output_and_what_tools_returned_is_input() {
        let usage = read(&json!({
            "promptTokenCount": 10, "toolUsePromptTokenCount": 3, "cachedContentTokenCount": 4,
            "candidatesTokenCount": 2, "thoughtsTokenCount": 5, "totalTokenCount": 20,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 6}, {"modality": "IMAGE", "tokenCount": 3},
                {"modality": "AUDIO", "tokenCount": 1}, {"modality": "VIDEO", "tokenCount": 9}],
        }))
        .unwrap();
        assert_eq!(
            printed(|out| usage.push_chat(out)),
            r#"{"prompt_tokens":13,"completion_tokens":7,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":1,"image_tokens":3,"text_tokens":6,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#
        );
        assert_eq!(
            printed(|out| usage.push_responses(out)),
            r#"{"input_tokens":13,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":20}"#
        );
        assert_eq!(usage.uncached_input_tokens(), 9);
    }

    #[test]
    fn metadata_without_a_count_are_none() {
        for empty in [
            json!({}),
            json!({"trafficType": "ON_DEMAND"}),
            json!({"promptTokenCount": 0, "candidatesTokenCount": null}),
            json!({"promptTokensDetails": []}),
            json!([]),
            json!(1),
        ] {
            assert_eq!(read(&empty), None, "{empty}");
        }
    }

    #[test]
    fn a_count_in_another_form_is_read_or_is_none() {
        let usage = read(&json!({
            "promptTokenCount": "12", "candidates_token_count": 3, "thoughtsTokenCount": -1,
            "cachedContentTokenCount": 1.5, "candidatesTokensDetails": null,
        }));
        assert_eq!(usage, Some(Usage { prompt: 12, output: 3, ..Usage::default() }));
    }

    #[test]
    fn the_parts_of_each_printed_usage_are_its_total() {
        for (prompt, tool, output, thoughts) in
            [(0, 0, 0, 1), (1, 2, 3, 4), (u64::MAX / 8, 7, 1, 0), (u64::MAX, 1, 1, u64::MAX)]
        {
            let usage = Usage { prompt, tool_prompt: tool, output, thoughts, ..Usage::default() };
            for (text, parts) in [
                (printed(|out| usage.push_chat(out)), ["prompt_tokens", "completion_tokens"]),
                (printed(|out| usage.push_responses(out)), ["input_tokens", "output_tokens"]),
            ] {
                let value: Value = serde_json::from_str(&text).unwrap();
                let part = |name: &str| value[name].as_u64().unwrap();
                let sum = part(parts[0]).saturating_add(part(parts[1]));
                assert_eq!(part("total_tokens"), sum, "{text}");
            }
        }
    }

    #[test]
    fn numbers_are_written_with_all_their_digits() {
        for number in [0, 7, 10, 1_048_576, u64::MAX] {
            assert_eq!(printed(|out| push_number(number, out)), number.to_string());
        }
    }
}
