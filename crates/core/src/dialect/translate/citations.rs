//! Where the facts of an answer come from: `groundingMetadata` and `citationMetadata`.

use super::part::Candidate;
use super::text::JsonText;

/// A page that a part of the answer's text comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Citation {
    /// Where that part begins, in code points of the answer's text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The page's URL.
    pub url: String,
    /// Its title; empty if upstream gives none.
    pub title: String,
}

/// A page that a search has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its URL.
    pub url: String,
    /// Its title; empty if upstream gives none.
    pub title: String,
}

/// The sources of one candidate, as far as they have come. Each event repeats what came before, so the
/// last metadata with content are kept.
#[derive(Debug, Default)]
pub struct Sources {
    grounding: Option<Box<str>>,
    citations: Option<Box<str>>,
}

impl Sources {
    /// Keeps the sources in an event's candidate.
    pub fn note(&mut self, candidate: &Candidate<'_>) {
        let _ = candidate;
        todo!()
    }

    /// True while no source has come.
    pub fn is_empty(&self) -> bool {
        self.grounding.is_none() && self.citations.is_none()
    }

    /// How many bytes are kept.
    pub fn held(&self) -> usize {
        todo!()
    }

    /// The searches that the model has made (`webSearchQueries`).
    pub fn queries(&self) -> Vec<String> {
        todo!()
    }

    /// The pages that the searches have found (`groundingChunks`).
    pub fn pages(&self) -> Vec<Page> {
        todo!()
    }

    /// The citations. `positions` knows the answer's text.
    pub fn citations(&self, positions: &Positions) -> Vec<Citation> {
        let _ = positions;
        todo!()
    }
}

/// Converts positions in UTF-8 bytes to positions in code points, for a text that comes in pieces. An
/// ASCII text is only counted; of another one, one bit is kept for each byte.
#[derive(Debug, Default)]
pub struct Positions {
    ascii: usize,
    rest: usize,
    begins: Vec<u64>,
}

impl Positions {
    /// Takes the next piece of the text.
    pub fn push(&mut self, text: JsonText<'_>) {
        self.push_str(&text.decoded());
    }

    /// Takes the next piece of the text, decoded.
    pub fn push_str(&mut self, text: &str) {
        let _ = text;
        todo!()
    }

    /// The position in code points of a byte of the text, or the text's end.
    pub fn code_point(&self, byte: usize) -> usize {
        let _ = byte;
        todo!()
    }

    /// How many bytes are kept.
    pub fn held(&self) -> usize {
        self.begins.capacity() * 8
    }
}
