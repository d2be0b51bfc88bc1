//! The dialect of clients that speak OpenAI's API.

pub mod chat;
mod deltas;
pub mod completions;
pub mod content;
pub mod error;
pub mod place;
pub mod tools;
pub mod values;
