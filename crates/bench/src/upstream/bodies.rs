//! The bodies of answers and events.

use bytes::{Bytes, BytesMut};

use crate::clock;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerFormat {
    CodeAssist,
    /// The Gemini API and Vertex AI.
    Gemini,
    /// A server with OpenAI's Chat Completions, for a gateway that speaks to no other.
    OpenaiChat,
}

/// Bodies of whole answers, built once.
#[derive(Debug)]
pub(super) struct Bodies {
    code_assist: Bytes,
    gemini: Bytes,
    openai_chat: Bytes,
}

impl Default for Bodies {
    fn default() -> Self {
        let gemini = gemini(&filler(ANSWER - 450), true);
        Self {
            code_assist: wrap(&gemini).into(),
            gemini: gemini.into(),
            openai_chat: completion(&filler(ANSWER - 450)).into(),
        }
    }
}

impl Bodies {
    /// A whole answer, 2 KiB.
    pub(super) fn whole(&self, format: AnswerFormat) -> Bytes {
        match format {
            AnswerFormat::CodeAssist => self.code_assist.clone(),
            AnswerFormat::Gemini => self.gemini.clone(),
            AnswerFormat::OpenaiChat => self.openai_chat.clone(),
        }
    }
}

/// One event with the present time in it, framed as a chunk or bare.
pub(super) fn event(format: AnswerFormat, last: bool, chunked: bool) -> Bytes {
    let text = clock::stamp(clock::now()) + &filler(EVENT);
    let event = match format {
        AnswerFormat::CodeAssist => format!("data: {}\r\n\r\n", wrap(&gemini(&text, last))),
        AnswerFormat::Gemini => format!("data: {}\r\n\r\n", gemini(&text, last)),
        AnswerFormat::OpenaiChat => {
            let done = if last { "data: [DONE]\n\n" } else { "" };
            format!("data: {}\n\n{done}", chunk(&text, last))
        }
    };
    let mut framed = BytesMut::with_capacity(event.len() + 16);
    if chunked {
        framed.extend_from_slice(format!("{:x}\r\n", event.len()).as_bytes());
    }
    framed.extend_from_slice(event.as_bytes());
    if chunked {
        framed.extend_from_slice(b"\r\n");
    }
    framed.freeze()
}

fn gemini(text: &str, last: bool) -> String {
    let finish = if last { r#","finishReason":"STOP""# } else { "" };
    format!(
        r#"{{"candidates":[{{"content":{{"role":"model","parts":[{{"text":"{text}"}}]}}{finish},"index":0}}],"usageMetadata":{{"promptTokenCount":217,"candidatesTokenCount":41,"totalTokenCount":258}},"modelVersion":"gemini-2.5-flash","responseId":"bench-response"}}"#
    )
}

fn wrap(inner: &str) -> String {
    format!(r#"{{"response":{inner},"traceId":"bench-trace"}}"#)
}

/// A whole answer in OpenAI's Chat Completions.
fn completion(text: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1764000000,"model":"gemini-2.5-flash","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":217,"completion_tokens":41,"total_tokens":258}}}}"#
    )
}

/// One event of the same.
fn chunk(text: &str, last: bool) -> String {
    let finish = if last { r#""stop""# } else { "null" };
    format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1764000000,"model":"gemini-2.5-flash","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{finish}}}]}}"#
    )
}

fn filler(size: usize) -> String {
    PROSE.chars().cycle().take(size).collect()
}

const PROSE: &str = "All happy families are alike; each unhappy one is so in its own way. ";

/// Bytes of a whole answer.
const ANSWER: usize = 2 << 10;

/// Bytes of an event's text, about twenty words.
const EVENT: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_events_are_json_of_nearly_the_same_size_in_each_format() {
        use AnswerFormat::{CodeAssist, Gemini, OpenaiChat};
        let bodies = Bodies::default();
        for format in [CodeAssist, Gemini, OpenaiChat] {
            let whole = bodies.whole(format);
            serde_json::from_slice::<serde_json::Value>(&whole).unwrap();
            assert!((ANSWER - 256..=ANSWER).contains(&whole.len()), "{} bytes", whole.len());
            let event = event(format, false, false);
            let json = event.strip_prefix(b"data: ").unwrap();
            serde_json::from_slice::<serde_json::Value>(json).unwrap();
        }
    }
}
