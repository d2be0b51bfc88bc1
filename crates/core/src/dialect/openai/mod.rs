//! The dialect of clients that speak OpenAI's API.

mod call_input;
pub mod chat;
pub mod completions;
pub mod content;
mod deltas;
pub mod embeddings;
pub mod error;
pub(super) mod frames;
mod logprobs;
pub mod models;
pub mod place;
pub mod responses;
mod settings;
pub mod tools;
pub mod values;
