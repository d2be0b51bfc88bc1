//! The standard Gemini API, as clients speak it.

pub mod route;
