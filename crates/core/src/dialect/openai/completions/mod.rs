//! The legacy completions (`docs/reference/dialects.md` 2.6).

#[cfg(test)]
mod tests;
pub mod write;
