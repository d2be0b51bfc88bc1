//! Code Assist's envelope around requests and answers (`docs/reference/protocol.md` 2.4, 2.5):
//! added by splicing, removed by slicing.

mod response;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::google::usage::TokenUsage;
use crate::json::{Cursor, JsonError, JsonString, ValueKind, line, quote};
use crate::payload::Payload;
use crate::request_texts::RequestTexts;
use response::ScannedResponse;

/// What Code Assist's envelope says besides the request itself.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The bare id of the model.
    pub model: &'a str,
    /// The project that pays.
    pub project: &'a Arc<str>,
    /// A random id, as the CLI sends it.
    pub prompt_id: &'a str,
}

impl Envelope<'_> {
    /// The envelope of generateContent: `{"model":M,"project":P,"user_prompt_id":I,"request":`, the
    /// adapted bytes, `}`.
    #[must_use]
    pub fn wrap(&self, request: Payload, texts: &mut RequestTexts) -> Payload {
        let Self { model, project, prompt_id } = *self;
        let names = [r#"{"model":"#, r#","project":"#, r#","user_prompt_id":"#];
        let head = texts.text(|head| {
            for (name, value) in names.into_iter().zip([model, project, prompt_id]) {
                head.put_slice(name.as_bytes());
                quote(value, head);
            }
            head.put_slice(br#","request":"#);
        });
        wrap(head, request)
    }
}

/// The envelope of countTokens: `{"request":`, the adapted bytes, `}`.
#[must_use]
pub fn wrap_count(request: Payload) -> Payload {
    wrap(r#"{"request":"#, request)
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As upstream wrote it: for unary answers.
    AsWritten,
    /// On one line, without white space between tokens: for stream events.
    Compact,
}

/// An envelope that has been read: one unary answer or one stream event.
#[derive(Debug)]
#[must_use]
pub struct Opened<'a> {
    /// `{"error":{…}}` on one line, when the envelope holds an error.
    pub error: Option<Bytes>,
    /// `traceId` without escapes, when it differs from the one seen earlier. All events of a stream
    /// carry the same.
    pub trace_id: Option<Cow<'a, str>>,
    /// The `response` object, when the envelope holds one.
    pub response: Option<OpenedResponse<'a>>,
    /// There are `candidates` outside of a `response`: this is no envelope of Code Assist's.
    pub unwrapped: bool,
}

impl Opened<'_> {
    /// True when a candidate has a `finishReason`, or `promptFeedback` a `blockReason`.
    pub fn finished(&self) -> bool {
        self.response.as_ref().is_some_and(|response| response.scanned.finished)
    }

    /// The token counts of `usageMetadata`.
    pub fn usage(&self) -> Option<TokenUsage> {
        self.response.as_ref()?.scanned.usage
    }
}

/// A `response` in its envelope, with the edits it needs.
#[derive(Debug)]
#[must_use]
pub struct OpenedResponse<'a> {
    envelope: &'a Bytes,
    scanned: ScannedResponse,
    /// The JSON string to fill a missing `responseId` with, or empty.
    trace: Cow<'a, [u8]>,
}

impl OpenedResponse<'_> {
    /// True for an object without members.
    pub fn is_empty(&self) -> bool {
        self.scanned.is_empty()
    }

    /// Appends the response to `out`, on one line, with the white space between tokens if there is no
    /// line break in it.
    pub fn write_as_written(self, out: &mut BytesMut) {
        let is_one_line = memchr::memchr2(b'\n', b'\r', self.envelope).is_none();
        let form = if is_one_line { Form::AsWritten } else { Form::Compact };
        self.scanned.write(self.envelope, form, &self.trace, out);
    }

    /// Appends the response to `out`, on one line.
    pub fn write_line(self, out: &mut BytesMut) {
        self.scanned.write(self.envelope, Form::Compact, &self.trace, out);
    }

    /// The response in this form: a slice of the envelope, unless an edit is needed.
    pub fn into_bytes(self, form: Form) -> Bytes {
        self.scanned.into_bytes(self.envelope, form, &self.trace)
    }
}

/// Reads `envelope`. `trace` is a trace id seen earlier on the same stream.
///
/// An array of one envelope is read as that envelope: errors come in this form
/// (`docs/reference/protocol.md` 4.3). Of duplicate keys the last one counts.
pub fn open<'a>(envelope: &'a Bytes, trace: Option<&str>) -> Result<Opened<'a>, JsonError> {
    let opened = EnvelopeMembers::read(envelope)?;
    let written = opened.trace.filter(|text| !text.value.is_empty());
    let trace_json = match (&written, trace) {
        (Some(text), _) => Cow::Borrowed(&envelope[text.span.clone()]),
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
        error: opened.error.map(|span| error_on_one_line(&envelope[span])),
        response: opened.response.map(|scanned| OpenedResponse {
            envelope,
            scanned,
            trace: trace_json,
        }),
        unwrapped: opened.unwrapped,
    })
}

/// Reads an answer of Vertex AI itself, which is the response without an envelope. An array of one is
/// read as that answer: errors come in this form.
pub fn open_bare(answer: &Bytes) -> Result<Opened<'_>, JsonError> {
    let mut cursor = Cursor::new(answer)?;
    let scanned = one_of_array(&mut cursor, ScannedResponse::read)?;
    cursor.end()?;
    let trace = Cow::Borrowed(&[][..]);
    Ok(Opened {
        trace_id: None,
        error: scanned.error.clone().map(|span| error_on_one_line(&answer[span])),
        response: Some(OpenedResponse { envelope: answer, scanned, trace }),
        unwrapped: false,
    })
}

/// Reads a value with `read`, or the only element of an array.
fn one_of_array<'a, T>(
    cursor: &mut Cursor<'a>,
    read: impl FnOnce(&mut Cursor<'a>) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    if cursor.kind()? != ValueKind::Array {
        return read(cursor);
    }
    let mut inside = cursor.array()?;
    if !cursor.item(&mut inside)? {
        return Err(cursor.malformed("expected one element"));
    }
    let value = read(cursor)?;
    if cursor.item(&mut inside)? {
        return Err(cursor.malformed("expected one element"));
    }
    Ok(value)
}

/// The members of an envelope that the proxy uses.
#[derive(Default)]
struct EnvelopeMembers<'a> {
    response: Option<ScannedResponse>,
    error: Option<Range<usize>>,
    trace: Option<JsonString<'a>>,
    unwrapped: bool,
}

impl<'a> EnvelopeMembers<'a> {
    fn read(text: &'a [u8]) -> Result<Self, JsonError> {
        let mut cursor = Cursor::new(text)?;
        let mut members = Self::default();
        one_of_array(&mut cursor, |cursor| members.object(cursor))?;
        cursor.end()?;
        Ok(members)
    }

    fn object(&mut self, cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        let mut inside = cursor.object()?;
        while let Some(key) = cursor.key(&mut inside)? {
            let absent = cursor.kind()? == ValueKind::Null;
            match &*key.value {
                b"response" if !absent => self.response = Some(ScannedResponse::read(cursor)?),
                b"error" if !absent => self.error = Some(cursor.skip()?),
                b"traceId" | b"trace_id" => self.trace = cursor.string_or_skip()?,
                b"candidates" => {
                    self.unwrapped = true;
                    cursor.skip()?;
                }
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

/// `{"error":…}` with this error, on one line.
fn error_on_one_line(error: &[u8]) -> Bytes {
    let mut out = BytesMut::from(&br#"{"error":"#[..]);
    line::compact(error, &mut false, &mut out);
    out.put_u8(b'}');
    out.freeze()
}
