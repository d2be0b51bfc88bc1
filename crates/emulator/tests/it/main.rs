//! Tests of the emulator over real sockets: what it refuses, its faults, its answers.

#![expect(clippy::unwrap_used, reason = "a helper's failure fails its test")]

mod accounts;
mod answers;
mod client;
mod faults;
mod gemini_api;
mod google_auth;
mod logins;
mod oauth;
mod strictness;
mod vertex;
mod vertex_client;
