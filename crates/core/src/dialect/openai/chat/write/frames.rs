//! The frames of a streamed chat (`docs/reference/dialects.md` 3.3).

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use crate::dialect::openai::call_input::CallInput;
use crate::dialect::openai::deltas::{Delta, DeltaSink, GivenCall};
use crate::dialect::openai::frames::push_end;
use crate::dialect::openai::logprobs::push_logprobs;
use crate::dialect::translate::citations::Citation;
use crate::dialect::translate::json::{push_escaped, push_number, push_string, push_written};

/// Writes each piece as a frame.
pub(super) struct Frames<'w> {
    head: &'w [u8],
    include_usage: bool,
    out: &'w mut BytesMut,
}

impl<'w> Frames<'w> {
    pub(super) fn new(head: &'w [u8], include_usage: bool, out: &'w mut BytesMut) -> Self {
        Self { head, include_usage, out }
    }

    fn frame(
        &mut self,
        index: u32,
        logprobs: Option<&RawValue>,
        write: impl FnOnce(&mut BytesMut),
    ) {
        self.begin(index);
        write(self.out);
        self.out.put_slice(br#"},"logprobs":"#);
        match logprobs {
            Some(logprobs) => push_logprobs(logprobs, self.out),
            None => self.out.put_slice(b"null"),
        }
        self.out.put_slice(br#","finish_reason":null}"#);
        self.end();
    }

    fn begin(&mut self, index: u32) {
        self.out.put_slice(self.head);
        self.out.put_slice(br#"{"index":"#);
        push_number(index.into(), self.out);
        self.out.put_slice(br#","delta":{"#);
    }

    fn end(&mut self) {
        push_end(self.include_usage, self.out);
    }
}

impl DeltaSink for Frames<'_> {
    fn delta(&mut self, index: u32, delta: Delta<'_>) {
        match delta {
            Delta::Begin { is_null } => self.frame(index, None, |out| {
                out.put_slice(br#""role":"assistant","content":"#);
                out.put_slice(if is_null { b"null" } else { br#""""# });
            }),
            Delta::Text { pieces, logprobs } => self.frame(index, logprobs, |out| {
                out.put_slice(br#""content":""#);
                pieces.iter().for_each(|piece| push_written(piece, out));
                out.put_u8(b'"');
            }),
            Delta::Thought(text) => self.frame(index, None, |out| {
                out.put_slice(br#""reasoning_content":""#);
                push_written(text, out);
                out.put_u8(b'"');
            }),
            Delta::Call(call) if call.is_legacy => self.frame(index, None, |out| {
                out.put_slice(br#""function_call":"#);
                push_function(&call, out);
            }),
            Delta::Call(call) => self.frame(index, None, |out| {
                out.put_slice(br#""tool_calls":["#);
                push_call(&call, true, out);
                out.put_u8(b']');
            }),
            Delta::Image { index: place, mime, data } => self.frame(index, None, |out| {
                out.put_slice(br#""images":["#);
                push_image(place, mime, data, out);
                out.put_u8(b']');
            }),
            Delta::Refusal(refusal) => self.frame(index, None, |out| {
                out.put_slice(br#""refusal":"#);
                push_string(refusal, out);
            }),
            Delta::Logprobs(logprobs) => self.frame(index, Some(logprobs), |_| {}),
            Delta::Annotations(citations) => self.frame(index, None, |out| {
                out.put_slice(br#""annotations":"#);
                push_annotations(citations, out);
            }),
            Delta::Signature(signature) => self.frame(index, None, |out| {
                push_signature(signature, out);
            }),
            Delta::Finish(word) => {
                self.begin(index);
                self.out.put_slice(br#"},"finish_reason":""#);
                self.out.put_slice(word.as_bytes());
                self.out.put_slice(br#""}"#);
                self.end();
            }
        }
    }
}

/// Appends a call. Only streams have its `index`, and without it clients cannot put calls together.
pub(super) fn push_call(call: &GivenCall<'_>, with_index: bool, out: &mut BytesMut) {
    out.put_u8(b'{');
    if with_index {
        out.put_slice(br#""index":"#);
        push_number(call.index.into(), out);
        out.put_u8(b',');
    }
    out.put_slice(br#""id":"#);
    push_string(call.id, out);
    match call.input {
        CallInput::Arguments(_) => {
            out.put_slice(br#","type":"function","function":"#);
            push_function(call, out);
        }
        CallInput::Text(_) | CallInput::NoText(_) => {
            out.put_slice(br#","type":"custom","custom":{"name":"#);
            push_string(call.name, out);
            out.put_slice(br#","input":""#);
            call.input.push(out);
            out.put_slice(br#""}"#);
        }
    }
    if let Some(signature) = call.signature {
        out.put_u8(b',');
        push_signature(signature, out);
    }
    out.put_u8(b'}');
}

/// Appends a function's name and its arguments as JSON in a string.
pub(super) fn push_function(call: &GivenCall<'_>, out: &mut BytesMut) {
    out.put_slice(br#"{"name":"#);
    push_string(call.name, out);
    out.put_slice(br#","arguments":""#);
    call.input.push(out);
    out.put_slice(br#""}"#);
}

/// Appends an image.
pub(super) fn push_image(index: u32, mime: &str, data: &str, out: &mut BytesMut) {
    out.put_slice(br#"{"type":"image_url","image_url":{"url":"data:"#);
    push_escaped(mime, out);
    out.put_slice(b";base64,");
    push_written(data, out);
    out.put_slice(br#""},"index":"#);
    push_number(index.into(), out);
    out.put_u8(b'}');
}

/// Appends the list of citations.
pub(super) fn push_annotations(citations: &[Citation], out: &mut BytesMut) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    for (place, citation) in citations.iter().enumerate() {
        out.put_u8(if place == 0 { b'[' } else { b',' });
        out.put_slice(br#"{"type":"url_citation","url_citation":{"start_index":"#);
        push_number(count(citation.start), out);
        out.put_slice(br#","end_index":"#);
        push_number(count(citation.end), out);
        out.put_slice(br#","url":"#);
        push_string(&citation.url, out);
        out.put_slice(br#","title":"#);
        push_string(&citation.title, out);
        out.put_slice(b"}}");
    }
    out.put_u8(b']');
}

/// Appends a signature as the member that Google's own endpoint has.
pub(super) fn push_signature(signature: &str, out: &mut BytesMut) {
    out.put_slice(br#""extra_content":{"google":{"thought_signature":"#);
    push_string(signature, out);
    out.put_slice(b"}}");
}
