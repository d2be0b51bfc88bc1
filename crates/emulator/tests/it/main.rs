//! The emulator over real sockets: every strictness, every fault, every answer.

mod accounts;
mod answers;
mod client;
mod faults;
mod oauth;
mod strictness;
