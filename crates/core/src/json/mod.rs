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
pub fn check(text: &[u8]) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(text)?;
    cursor.skip()?;
    cursor.end()
}

/// Not exactly one JSON value of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at line {line} column {column}")]
pub struct Malformed {
    /// What is wrong, such as `expected a value` or `trailing characters`.
    pub what: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
}

impl Malformed {
    /// `what` is wrong at the byte `offset` of `text`.
    #[cold]
    pub fn at(text: &[u8], offset: usize, what: &'static str) -> Self {
        let before = &text[..offset.min(text.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self { what, line, column: before.len() - line_start + 1 }
    }
}
