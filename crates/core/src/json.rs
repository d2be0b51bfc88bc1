//! JSON as bytes: one strict scan, no tree.

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
