//! The dialect of clients that speak OpenAI's API.

pub mod embeddings;
pub mod error;
pub mod models;
