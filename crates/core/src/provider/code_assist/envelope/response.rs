//! The `response` inside an envelope: what the proxy reads of it and what it edits (`docs/UPSTREAMS.md`).

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Form;
use crate::google::usage::TokenUsage;
use crate::json::{Cursor, JsonError, Splice, SplicePart, ValueKind, line};

/// A `GenerateContentResponse` of Vertex, scanned once.
#[derive(Debug)]
pub(super) struct ScannedResponse {
    pub(super) finished: bool,
    pub(super) usage: Option<TokenUsage>,
    /// An `error` in place of an answer.
    pub(super) error: Option<Range<usize>>,
    span: Range<usize>,
    id: ResponseId,
    /// There is white space between the tokens.
    blanks: bool,
    is_ascii: bool,
    splice: Splice,
}

/// Whether a response has a `responseId`.
#[derive(Debug)]
enum ResponseId {
    Given,
    Null(Range<usize>),
    /// `only`: the object has no member at all.
    Missing {
        only: bool,
    },
}

impl ScannedResponse {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut inside = cursor.object()?;
        let mut response = Self {
            finished: false,
            usage: None,
            error: None,
            span: cursor.at() - 1..cursor.at(),
            id: ResponseId::Missing { only: true },
            blanks: false,
            is_ascii: cursor.is_ascii(),
            splice: Splice::default(),
        };
        let blanks = cursor.blanks();
        while let Some(key) = cursor.key(&mut inside)? {
            if let ResponseId::Missing { only } = &mut response.id {
                *only = false;
            }
            let kind = cursor.kind()?;
            match &*key.value {
                b"responseId" | b"response_id" => {
                    let span = cursor.skip()?;
                    response.id = if kind == ValueKind::Null {
                        ResponseId::Null(span)
                    } else {
                        ResponseId::Given
                    };
                }
                b"candidates" if kind == ValueKind::Array => {
                    let mut candidates = cursor.array()?;
                    while cursor.item(&mut candidates)? {
                        response.candidate(cursor)?;
                    }
                }
                b"promptFeedback" | b"prompt_feedback" if kind == ValueKind::Object => {
                    response.prompt_feedback(cursor)?;
                }
                b"usageMetadata" | b"usage_metadata" if kind == ValueKind::Object => {
                    response.usage = Some(usage(cursor)?);
                }
                b"error" if kind != ValueKind::Null => response.error = Some(cursor.skip()?),
                _ => {
                    cursor.skip()?;
                }
            }
        }
        response.span.end = cursor.at();
        response.blanks = cursor.blanks() > blanks;
        Ok(response)
    }

    /// True for an object without members.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.id, ResponseId::Missing { only: true })
    }

    /// The response as the client gets it: a slice of the envelope, unless an edit is needed.
    /// `trace` is the JSON string for a missing `responseId`, or empty.
    pub(super) fn into_bytes(self, envelope: &Bytes, form: Form, trace: &[u8]) -> Bytes {
        if self.is_unchanged(envelope, form, trace) {
            return envelope.slice(self.span);
        }
        let mut out = BytesMut::with_capacity(self.span.len() + SPACE_FOR_EDITS);
        self.write(envelope, form, trace, &mut out);
        out.freeze()
    }

    /// Appends to `out` what [`Self::into_bytes`] returns.
    pub(super) fn write(mut self, envelope: &Bytes, form: Form, trace: &[u8], out: &mut BytesMut) {
        if self.is_unchanged(envelope, form, trace) {
            return out.extend_from_slice(&envelope[self.span]);
        }
        let mut missing = None;
        match &self.id {
            _ if trace.is_empty() => {}
            ResponseId::Given => {}
            ResponseId::Null(span) => self.splice.replace(span.clone(), trace.to_vec()),
            ResponseId::Missing { only } => missing = Some(if *only { "" } else { "," }),
        }
        // A missing member is added before the closing brace.
        let end = self.span.end - usize::from(missing.is_some());
        let compact = form == Form::Compact && self.blanks;
        let mut in_string = false;
        for part in self.splice.parts(self.span.start..end) {
            match part {
                SplicePart::Kept(span) if compact => {
                    line::compact(&envelope[span], &mut in_string, out);
                }
                SplicePart::Kept(span) => line::escape_separators(&envelope[span], out),
                SplicePart::New(new) => line::escape_separators(new, out),
            }
        }
        if let Some(comma) = missing {
            out.extend_from_slice(comma.as_bytes());
            out.extend_from_slice(br#""responseId":"#);
            line::escape_separators(trace, out);
            out.extend_from_slice(b"}");
        }
    }

    /// True when no edit is needed.
    fn is_unchanged(&self, envelope: &[u8], form: Form, trace: &[u8]) -> bool {
        let has_id = trace.is_empty() || matches!(self.id, ResponseId::Given);
        let is_compact = form == Form::AsWritten || !self.blanks;
        let has_separators = || line::has_separators(&envelope[self.span.clone()]);
        has_id && is_compact && self.splice.is_empty() && (self.is_ascii || !has_separators())
    }

    fn candidate(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.kind()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(());
        }
        let mut inside = cursor.object()?;
        while let Some(key) = cursor.key(&mut inside)? {
            let kind = cursor.kind()?;
            match &*key.value {
                b"citationMetadata" | b"citation_metadata" if kind == ValueKind::Object => {
                    self.citations(cursor)?;
                }
                b"finishReason" | b"finish_reason" => {
                    cursor.skip()?;
                    self.finished |= kind != ValueKind::Null;
                }
                _ => {
                    cursor.skip()?;
                }
            }
        }
        Ok(())
    }

    /// Vertex writes `citations`, the public API `citationSources`. If both are there, both stay.
    fn citations(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let mut inside = cursor.object()?;
        let mut vertex = None;
        let mut public = false;
        while let Some(key) = cursor.key(&mut inside)? {
            cursor.skip()?;
            match &*key.value {
                b"citations" => vertex = Some(key.span),
                b"citationSources" | b"citation_sources" => public = true,
                _ => {}
            }
        }
        if let (Some(span), false) = (vertex, public) {
            self.splice.replace(span, r#""citationSources""#);
        }
        Ok(())
    }

    fn prompt_feedback(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        let mut inside = cursor.object()?;
        while let Some(key) = cursor.key(&mut inside)? {
            let given = cursor.kind()? != ValueKind::Null;
            cursor.skip()?;
            self.finished |= given && matches!(&*key.value, b"blockReason" | b"block_reason");
        }
        Ok(())
    }
}

fn usage(cursor: &mut Cursor<'_>) -> Result<TokenUsage, JsonError> {
    let mut usage = TokenUsage::default();
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        let value = cursor.skip()?;
        let count = match &*key.value {
            b"promptTokenCount" | b"prompt_token_count" => &mut usage.prompt,
            b"candidatesTokenCount" | b"candidates_token_count" => &mut usage.output,
            b"thoughtsTokenCount" | b"thoughts_token_count" => &mut usage.thoughts,
            b"cachedContentTokenCount" | b"cached_content_token_count" => &mut usage.cached,
            _ => continue,
        };
        // Proto JSON allows an integer to be a string.
        let number = match cursor.text(value) {
            [b'"', quoted @ .., b'"'] => quoted,
            number => number,
        };
        *count = whole_number(number).unwrap_or(0);
    }
    Ok(usage)
}

fn whole_number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Space for a `responseId` and a few escapes, so that the buffer need not grow.
const SPACE_FOR_EDITS: usize = 128;
