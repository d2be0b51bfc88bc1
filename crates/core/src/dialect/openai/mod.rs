//! The dialect of clients that speak OpenAI's API.

pub mod chat;
pub mod completions;
mod deltas;
pub mod error;
