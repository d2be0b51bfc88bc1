//! Tools for tests: a scripted platform, which whole requests run over, the contract of a key-value
//! store, and a second reader of lenient JSON.

#![forbid(unsafe_code)]

pub mod client;
pub mod contract;
pub mod google;
pub mod lenient_json;
pub mod rsa;
pub mod script;
pub mod subject;
