//! The legacy completions (`docs/reference/dialects.md` 2.6).

pub mod read;
#[cfg(test)]
mod tests;
pub mod write;
