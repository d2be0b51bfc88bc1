//! Decisions. Each room is a plain value that is told the time and returns a verdict.

pub mod project;
pub mod token;
