//! The dialect of clients that speak Anthropic's API.

pub mod error;
