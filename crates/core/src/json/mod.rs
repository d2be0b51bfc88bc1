//! JSON as bytes: one strict scan (RFC 8259) without a tree.
//!
//! [`Cursor`] walks through a text and returns the spans of its values. [`Splice`] collects changes
//! to spans, and joins old and new bytes without copying the old ones. [`lenient`] rewrites what only
//! Google's own parser takes. `line` copies a value onto one line.

mod cursor;
pub mod lenient;
pub(crate) mod line;
mod scan;
mod splice;
#[cfg(test)]
mod tests;

use bytes::BufMut;

pub use cursor::{Cursor, JsonString, ValueKind};
pub use splice::{Splice, SplicePart};

/// Appends `text` to `out` as a JSON string.
pub fn quote(text: &str, out: &mut impl BufMut) {
    if scan::plain(text.as_bytes()) == text.len() {
        out.put_u8(b'"');
        out.put_slice(text.as_bytes());
        out.put_u8(b'"');
    } else {
        serde_json::to_writer(out.writer(), text).expect("a string is written to memory");
    }
}

/// A text is not exactly one JSON value of the expected kind.
///
/// The content is boxed because every step of a scan returns a `Result`: a pointer fits in a
/// register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} at line {} column {}", .0.what, .0.line, .0.column)]
pub struct JsonError(Box<JsonErrorData>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct JsonErrorData {
    what: &'static str,
    line: usize,
    column: usize,
}

impl JsonError {
    /// An error at the byte `offset` of `text`.
    #[cold]
    pub fn at(text: &[u8], offset: usize, what: &'static str) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self::new(what, line, before.len() - line_start + 1)
    }

    /// An error at this line and column, in bytes, both counted from 1.
    #[cold]
    fn new(what: &'static str, line: usize, column: usize) -> Self {
        Self(Box::new(JsonErrorData { what, line, column }))
    }
}
