//! Old bytes and new ones, put together.

use std::ops::Range;

use bytes::Bytes;

use crate::payload::Payload;

/// What is to change in a text: spans, and what takes their place. Spans do not overlap.
#[derive(Debug, Clone, Default)]
pub struct Splice {
    edits: Vec<Edit>,
}

/// A stretch of the text that a [`Splice`] makes.
#[derive(Debug)]
pub enum Part<'a> {
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
    /// Puts `by` in the place of `span`.
    pub fn replace(&mut self, span: Range<usize>, by: impl Into<Bytes>) {
        self.edits.push(Edit { span, by: by.into() });
    }

    /// Puts `new` before the byte at `offset`.
    pub fn insert(&mut self, offset: usize, new: impl Into<Bytes>) {
        self.replace(offset..offset, new);
    }

    /// Takes `span` out.
    pub fn remove(&mut self, span: Range<usize>) {
        self.replace(span, Bytes::new());
    }

    /// How many edits there are.
    pub fn len(&self) -> usize {
        self.edits.len()
    }

    /// True when nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// The new form of one span of the text, in order. Edits at its two edges belong to it.
    pub fn parts(&mut self, span: Range<usize>) -> impl Iterator<Item = Part<'_>> {
        // An insertion before the text that is removed at the same place.
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
                let new = edit.filter(|edit| !edit.by.is_empty()).map(|edit| Part::New(&edit.by));
                [(!kept.is_empty()).then_some(Part::Kept(kept)), new]
            })
            .flatten()
    }

    /// The new form of one span of `text`: slices of it, and new bytes between them.
    ///
    /// Short stretches are copied together: a piece costs more than it saves.
    pub fn pieces(&mut self, text: &Bytes, span: Range<usize>) -> Payload {
        if self.is_empty() {
            return text.slice(span).into();
        }
        let mut payload = Payload::default();
        let mut short = Vec::new();
        for part in self.parts(span) {
            let bytes = match &part {
                Part::Kept(kept) => &text[kept.clone()],
                Part::New(new) => new,
            };
            if bytes.len() < SHORT {
                short.extend_from_slice(bytes);
                continue;
            }
            payload.push(std::mem::take(&mut short));
            payload.push(match part {
                Part::Kept(kept) => text.slice(kept),
                Part::New(new) => new.clone(),
            });
        }
        payload.push(short);
        payload
    }
}

/// Below this many bytes a copy is cheaper than a piece of its own.
const SHORT: usize = 256;
