//! Testkit.

pub mod contract;
