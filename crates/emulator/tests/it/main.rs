//! The emulator over real sockets: every strictness, every fault, every answer.

#![expect(clippy::unwrap_used, reason = "in a helper, too, it is the test that fails")]

mod accounts;
mod answers;
mod client;
mod faults;
mod oauth;
mod strictness;
