//! Code Assist's wrapper: put on by splicing, taken off by slicing (`protocol.md` 2.4, 2.5).

mod answer;
#[cfg(test)]
mod tests;
mod writing;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::json::{Cursor, JsonError, JsonString, ValueKind, quote};
use crate::payload::Payload;
use answer::Answer;

/// `{"model":M,"project":P,"user_prompt_id":I,"request":` + the client's bytes + `}`.
pub fn wrap_generate(model: &str, project: &str, prompt_id: &str, request: Payload) -> Payload {
    let mut head = Vec::with_capacity(HEAD + model.len() + project.len() + prompt_id.len());
    let names = [r#"{"model":"#, r#","project":"#, r#","user_prompt_id":"#];
    for (name, value) in names.into_iter().zip([model, project, prompt_id]) {
        head.extend_from_slice(name.as_bytes());
        quote(value, &mut head);
    }
    head.extend_from_slice(br#","request":"#);
    wrap(head, request)
}

/// `{"request":` + the rewritten bytes + `}`: countTokens has an envelope of its own.
pub fn wrap_count(request: Payload) -> Payload {
    wrap(r#"{"request":"#, request)
}

/// One unary answer or one stream event, taken out of its wrapper.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unwrapped {
    /// The `response` object as the client gets it; `None` when the wrapper has none.
    pub response: Option<Bytes>,
    /// The whole `error` object's holder, `{"error":{…}}`, on one line, when the wrapper is an
    /// error.
    pub error: Option<Bytes>,
    /// `traceId`, unescaped, when it is another than the one that was seen earlier: the events of
    /// a stream all carry the same.
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
///
/// An array of one wrapper is read as that wrapper: errors come that way (`protocol.md` 4.3).
/// Of a key that is there twice, the last one counts.
pub fn unwrap(wrapper: &Bytes, form: Form, trace: Option<&str>) -> Result<Unwrapped, JsonError> {
    let opened = open(wrapper, trace)?;
    Ok(Unwrapped {
        finished: opened.finished(),
        usage: opened.usage(),
        response: opened.response.map(|response| response.into_bytes(form)),
        error: opened.error,
        trace_id: opened.trace_id.map(Cow::into_owned),
    })
}

/// A wrapper that has been read, its `response` not yet written.
#[derive(Debug)]
pub struct Opened<'a> {
    /// As in [`Unwrapped`].
    pub error: Option<Bytes>,
    /// As in [`Unwrapped`].
    pub trace_id: Option<Cow<'a, str>>,
    /// What is to be written.
    pub response: Option<Response<'a>>,
}

impl Opened<'_> {
    /// As in [`Unwrapped`].
    pub fn finished(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.answer.finished)
    }

    /// As in [`Unwrapped`].
    pub fn usage(&self) -> Option<Usage> {
        self.response.as_ref()?.answer.usage
    }
}

/// A `response` in its wrapper, with what has to change about it.
#[derive(Debug)]
pub struct Response<'a> {
    wrapper: &'a Bytes,
    answer: Answer,
    /// The JSON string to fill a missing `responseId` with, or empty.
    trace: Cow<'a, [u8]>,
}

impl Response<'_> {
    /// Adds it to `out`, on one line.
    pub fn write_line(self, out: &mut BytesMut) {
        self.answer.write(self.wrapper, Form::Compact, &self.trace, out);
    }

    /// It by itself, in this form: a slice of the wrapper unless something has to change.
    pub fn into_bytes(self, form: Form) -> Bytes {
        self.answer.into_bytes(self.wrapper, form, &self.trace)
    }
}

/// What [`unwrap`] does, but for the writing.
pub fn open<'a>(wrapper: &'a Bytes, trace: Option<&str>) -> Result<Opened<'a>, JsonError> {
    let opened = Wrapper::read(wrapper)?;
    let written = opened.trace.filter(|text| !text.value.is_empty());
    let trace_json = match (&written, trace) {
        (Some(text), _) => Cow::Borrowed(&wrapper[text.span.clone()]),
        (None, Some(trace)) => {
            let mut json = Vec::new();
            quote(trace, &mut json);
            Cow::Owned(json)
        }
        (None, None) => Cow::Borrowed(&[][..]),
    };
    Ok(Opened {
        trace_id: written
            .filter(|text| Some(&*text.value) != trace.map(str::as_bytes))
            .map(JsonString::into_str),
        error: opened.error.map(|span| writing::error(&wrapper[span])),
        response: opened.response.map(|answer| Response { wrapper, answer, trace: trace_json }),
    })
}

/// The keys of a wrapper that mean something to us.
#[derive(Default)]
struct Wrapper<'a> {
    response: Option<Answer>,
    error: Option<Range<usize>>,
    trace: Option<JsonString<'a>>,
}

impl<'a> Wrapper<'a> {
    fn read(text: &'a [u8]) -> Result<Self, JsonError> {
        let mut cursor = Cursor::new(text)?;
        let mut wrapper = Self::default();
        if cursor.kind()? == ValueKind::Array {
            let mut inside = cursor.array()?;
            if !cursor.item(&mut inside)? {
                return Err(cursor.malformed("expected one element"));
            }
            wrapper.object(&mut cursor)?;
            if cursor.item(&mut inside)? {
                return Err(cursor.malformed("expected one element"));
            }
        } else {
            wrapper.object(&mut cursor)?;
        }
        cursor.end()?;
        Ok(wrapper)
    }

    fn object(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        let mut inside = cursor.object()?;
        while let Some(key) = cursor.key(&mut inside)? {
            let absent = cursor.kind()? == ValueKind::Null;
            match &*key.value {
                b"response" if !absent => self.response = Some(Answer::read(cursor)?),
                b"error" if !absent => self.error = Some(cursor.skip()?),
                b"traceId" | b"trace_id" => self.trace = cursor.string_or_skip()?,
                _ => {
                    cursor.skip()?;
                }
            }
        }
        Ok(())
    }
}

fn wrap(head: impl Into<Bytes>, mut request: Payload) -> Payload {
    request.push_front(head);
    request.push("}");
    request
}

/// The head of an envelope without its values, which have no escapes as a rule.
const HEAD: usize = r#"{"model":"","project":"","user_prompt_id":"","request":"#.len();
