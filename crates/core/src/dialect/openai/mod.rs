//! The dialect of clients that speak OpenAI's API.

pub mod chat;
pub mod completions;
mod deltas;
pub mod error;
pub mod responses;
pub mod content;
pub mod models;
pub mod place;
pub mod tools;
pub mod values;
pub mod embeddings;
