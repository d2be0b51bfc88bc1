//! Code Assist's wrapper: put on by splicing, taken off by slicing (`protocol.md` 2.4, 2.5).

use bytes::Bytes;

use crate::json::Malformed;
use crate::payload::Payload;

/// `{"model":M,"project":P,"user_prompt_id":I,"request":` + the client's bytes + `}`.
pub fn wrap_generate(model: &str, project: &str, prompt_id: &str, request: Payload) -> Payload {
    todo!("{model} {project} {prompt_id} {}", request.len())
}

/// `{"request":` + the rewritten bytes + `}`: countTokens has an envelope of its own.
pub fn wrap_count(request: Payload) -> Payload {
    todo!("{}", request.len())
}

/// One unary answer or one stream event, taken out of its wrapper.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unwrapped {
    /// The `response` object as the client gets it; `None` when the wrapper has none.
    pub response: Option<Bytes>,
    /// The whole `error` object's holder, `{"error":{…}}`, when the wrapper is an error.
    pub error: Option<Bytes>,
    /// `traceId`, unescaped.
    pub trace_id: Option<String>,
    /// A candidate has a `finishReason`, or `promptFeedback` has a `blockReason`.
    pub finished: bool,
    /// Token counts of `usageMetadata`, when there.
    pub usage: Option<Usage>,
}

/// `usageMetadata` in numbers. Cumulative: the last one of a stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// `promptTokenCount`.
    pub prompt: u64,
    /// `candidatesTokenCount`.
    pub output: u64,
    /// `thoughtsTokenCount`.
    pub thoughts: u64,
    /// `cachedContentTokenCount`.
    pub cached: u64,
}

/// How the bytes of the answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As upstream wrote it: for unary answers.
    AsWritten,
    /// Insignificant white space removed, so that it is one line: for stream events.
    Compact,
}

/// Takes `wrapper` apart. `trace` is a trace id seen earlier on the same stream.
pub fn unwrap(wrapper: &Bytes, form: Form, trace: Option<&str>) -> Result<Unwrapped, Malformed> {
    todo!("{} {form:?} {trace:?}", wrapper.len())
}
