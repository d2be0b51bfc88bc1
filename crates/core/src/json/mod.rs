//! JSON as bytes: one strict scan, no tree.
//!
//! [`Cursor`] walks a text by RFC 8259 and hands out spans; [`Splice`] collects what is to change
//! at which span, and puts old and new bytes together without copying the old ones.

mod cursor;
mod splice;
#[cfg(test)]
mod tests;

pub use cursor::{Cursor, Inside, Kind, Text};
pub use splice::{Part, Splice};

/// Checks that `text` is exactly one JSON value.
pub fn check(text: &[u8]) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(text)?;
    cursor.skip()?;
    cursor.end()
}

/// Adds a JSON string to `out`.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    if cursor::plain(text.as_bytes()) == text.len() {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a string is written to memory");
    }
}

/// Not exactly one JSON value of the expected kind.
///
/// Boxed, since every step of a scan returns one or else its result: a pointer fits in a register.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} at line {} column {}", .0.what, .0.line, .0.column)]
pub struct JsonError(Box<UpstreamError>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct UpstreamError {
    what: &'static str,
    line: usize,
    column: usize,
}

impl JsonError {
    /// `what` is wrong at the byte `offset` of `text`.
    #[cold]
    pub fn at(text: &[u8], offset: usize, what: &'static str) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self(Box::new(UpstreamError { what, line, column: before.len() - line_start + 1 }))
    }

    /// What is wrong, such as `expected a value` or `trailing characters`.
    pub fn what(&self) -> &'static str {
        self.0.what
    }

    /// Where it is wrong: line and column, in bytes, both from 1.
    pub fn place(&self) -> (usize, usize) {
        (self.0.line, self.0.column)
    }
}
