//! Tools for tests: a scripted platform, which whole requests run over, and the contract of a
//! key-value store.

#![forbid(unsafe_code)]

pub mod client;
pub mod contract;
pub mod google;
pub mod script;
pub mod subject;
