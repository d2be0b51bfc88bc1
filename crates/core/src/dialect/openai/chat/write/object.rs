//! The object of a chat that is not streamed (`docs/reference/dialects.md` 3.1).

use bytes::{BufMut, BytesMut};

use super::frames::{push_annotations, push_call, push_function, push_image, push_signature};
use crate::dialect::openai::deltas::{Delta, DeltaSink};
use crate::dialect::openai::logprobs::push_tokens;
use crate::dialect::translate::json::{push_comma, push_number, push_string, push_written};

/// Collects the pieces of all choices.
#[derive(Default)]
pub(super) struct Object {
    choices: Vec<Message>,
}

/// A choice: its texts are the insides of JSON strings, its lists have no brackets.
#[derive(Default)]
struct Message {
    index: u32,
    content: BytesMut,
    reasoning: BytesMut,
    calls: BytesMut,
    function_call: BytesMut,
    images: BytesMut,
    logprobs: BytesMut,
    /// Members that come once, each with a comma before it.
    others: BytesMut,
    refusal: Option<String>,
    finish: &'static str,
}

impl Object {
    /// About how many bytes the choices take.
    pub(super) fn len(&self) -> usize {
        let of = |message: &Message| {
            256 + message.content.len()
                + message.reasoning.len()
                + message.calls.len()
                + message.images.len()
                + message.logprobs.len()
                + message.others.len()
        };
        self.choices.iter().map(of).sum()
    }

    /// Appends the choices, by index.
    pub(super) fn push_choices(&mut self, out: &mut BytesMut) {
        self.choices.sort_by_key(|message| message.index);
        for (place, message) in self.choices.iter().enumerate() {
            if place > 0 {
                out.put_u8(b',');
            }
            message.push(out);
        }
    }

    fn message(&mut self, index: u32) -> &mut Message {
        let at = self.choices.iter().position(|message| message.index == index);
        let at = at.unwrap_or_else(|| {
            self.choices.push(Message { index, ..Message::default() });
            self.choices.len() - 1
        });
        &mut self.choices[at]
    }
}

impl Message {
    fn push(&self, out: &mut BytesMut) {
        out.put_slice(br#"{"index":"#);
        push_number(self.index.into(), out);
        out.put_slice(br#","message":{"role":"assistant","content":"#);
        let has_calls = !self.calls.is_empty() || !self.function_call.is_empty();
        if self.content.is_empty() && (has_calls || self.refusal.is_some()) {
            out.put_slice(b"null");
        } else {
            out.put_u8(b'"');
            out.put_slice(&self.content);
            out.put_u8(b'"');
        }
        out.put_slice(br#","refusal":"#);
        match &self.refusal {
            Some(refusal) => push_string(refusal, out),
            None => out.put_slice(b"null"),
        }
        for (before, value, after) in [
            (r#","reasoning_content":""#, &self.reasoning, r#"""#),
            (r#","tool_calls":["#, &self.calls, "]"),
            (r#","function_call":"#, &self.function_call, ""),
            (r#","images":["#, &self.images, "]"),
            ("", &self.others, ""),
        ] {
            if !value.is_empty() {
                out.put_slice(before.as_bytes());
                out.put_slice(value);
                out.put_slice(after.as_bytes());
            }
        }
        out.put_slice(br#"},"logprobs":"#);
        if self.logprobs.is_empty() {
            out.put_slice(b"null");
        } else {
            out.put_slice(br#"{"content":["#);
            out.put_slice(&self.logprobs);
            out.put_slice(br#"],"refusal":null}"#);
        }
        out.put_slice(br#","finish_reason":""#);
        out.put_slice(self.finish.as_bytes());
        out.put_slice(br#""}"#);
    }
}

impl DeltaSink for Object {
    fn delta(&mut self, index: u32, delta: Delta<'_>) {
        let message = self.message(index);
        match delta {
            Delta::Begin { .. } => {}
            Delta::Text { pieces, logprobs } => {
                pieces.iter().for_each(|piece| push_written(piece, &mut message.content));
                if let Some(logprobs) = logprobs {
                    push_tokens(logprobs, &mut message.logprobs);
                }
            }
            Delta::Thought(text) => push_written(text, &mut message.reasoning),
            Delta::Call(call) if call.is_legacy => {
                push_function(&call, &mut message.function_call);
            }
            Delta::Call(call) => {
                push_comma(&mut message.calls);
                push_call(&call, false, &mut message.calls);
            }
            Delta::Image { index, mime, data } => {
                push_comma(&mut message.images);
                push_image(index, mime, data, &mut message.images);
            }
            Delta::Refusal(refusal) => message.refusal = Some(refusal.to_owned()),
            Delta::Logprobs(logprobs) => {
                push_tokens(logprobs, &mut message.logprobs);
            }
            Delta::Annotations(citations) => {
                message.others.put_slice(br#","annotations":"#);
                push_annotations(citations, &mut message.others);
            }
            Delta::Signature(signature) => {
                message.others.put_u8(b',');
                push_signature(signature, &mut message.others);
            }
            Delta::Finish(word) => message.finish = word,
        }
    }
}
