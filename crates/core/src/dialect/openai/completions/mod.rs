//! The legacy completions (`docs/reference/dialects.md` 2.6).

pub mod write;
