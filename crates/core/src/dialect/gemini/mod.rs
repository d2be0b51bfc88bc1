//! The Gemini API, as clients speak it.

pub mod error;
pub mod models;
pub mod route;
pub(crate) mod stream;
