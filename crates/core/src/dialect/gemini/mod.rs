//! The dialect of clients that speak the Gemini API.

pub mod error;
pub mod models;
pub mod route;
pub(crate) mod stream;
