//! What tests stand on: a scripted platform for whole lives of requests, and the contract that
//! every store must pass.

#![forbid(unsafe_code)]

pub mod client;
pub mod contract;
pub mod google;
pub mod script;
pub mod subject;
