//! What is refused, and in which words.

mod access;
mod proto;
mod rules;
