//! The standard Gemini API, as clients speak it.

pub mod models;
pub mod rewrite;
pub mod route;
pub mod status;
