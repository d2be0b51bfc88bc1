//! The dialect of clients that speak OpenAI's API.

pub mod chat;
pub mod completions;
pub mod content;
mod deltas;
pub mod error;
pub mod place;
pub mod tools;
pub mod values;
