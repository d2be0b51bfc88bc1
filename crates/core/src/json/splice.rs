//! Changes to a text, and the join of old and new bytes.

use std::ops::Range;

use bytes::Bytes;

use crate::payload::Payload;

/// Changes to a text: spans, each with the bytes that replace it. Spans must not overlap.
///
/// ```
/// # #[cfg(feature = "internals")] {
/// use bytes::Bytes;
/// use code_assist_core::internals::json::Splice;
///
/// let text = Bytes::from_static(br#"{"role":"tool"}"#);
/// let mut splice = Splice::default();
/// splice.replace(8..14, r#""user""#);
/// splice.replace(14..14, r#","parts":[]"#);
/// assert_eq!(splice.pieces(&text, 0..text.len()).to_bytes(), r#"{"role":"user","parts":[]}"#);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Splice {
    edits: Vec<Edit>,
}

/// A piece of the new text.
#[derive(Debug)]
pub enum SplicePart<'a> {
    /// A span of the old text.
    Kept(Range<usize>),
    /// New bytes.
    New(&'a Bytes),
}

#[derive(Debug, Clone)]
struct Edit {
    span: Range<usize>,
    by: Bytes,
}

impl Splice {
    /// Replaces `span` by `by`.
    pub fn replace(&mut self, span: Range<usize>, by: impl Into<Bytes>) {
        self.edits.push(Edit { span, by: by.into() });
    }
    /// Removes `span`.
    pub fn remove(&mut self, span: Range<usize>) {
        self.replace(span, Bytes::new());
    }

    /// How many edits there are.
    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// True when there is no edit.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The new form of `span`, in order. Edits at its two edges are included.
    pub fn parts(&mut self, span: Range<usize>) -> impl Iterator<Item = SplicePart<'_>> {
        // At one place an insertion comes before a removal.
        self.edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let first = self.edits.partition_point(|edit| edit.span.start < span.start);
        let within = self.edits[first..]
            .iter()
            .take_while(move |edit| edit.span.start <= span.end)
            .filter(move |edit| edit.span.end <= span.end);
        let mut at = span.start;
        within
            .map(Some)
            .chain(std::iter::once(None))
            .flat_map(move |edit| {
                let (until, next) = match edit {
                    Some(edit) => (edit.span.start, edit.span.end),
                    None => (span.end, span.end),
                };
                let kept = at..until.max(at);
                at = next.max(at);
                let new =
                    edit.filter(|edit| !edit.by.is_empty()).map(|edit| SplicePart::New(&edit.by));
                [(!kept.is_empty()).then_some(SplicePart::Kept(kept)), new]
            })
            .flatten()
    }

    /// The new form of `span` of `text`: slices of `text`, with new bytes between them.
    ///
    /// Short pieces are copied and joined: a piece of its own would cost more than the copy.
    pub fn pieces(&mut self, text: &Bytes, span: Range<usize>) -> Payload {
        if self.is_empty() {
            return text.slice(span).into();
        }
        let mut payload = Payload::default();
        let mut short = Vec::new();
        for part in self.parts(span) {
            let bytes = match &part {
                SplicePart::Kept(kept) => &text[kept.clone()],
                SplicePart::New(new) => new,
            };
            if bytes.len() < SHORT {
                short.extend_from_slice(bytes);
                continue;
            }
            payload.push(std::mem::take(&mut short));
            payload.push(match part {
                SplicePart::Kept(kept) => text.slice(kept),
                SplicePart::New(new) => new.clone(),
            });
        }
        payload.push(short);
        payload
    }
}

/// Below this number of bytes a copy is cheaper than a piece of its own.
const SHORT: usize = 256;
