//! What `code-assist-proxy` knows, and nothing that it touches.
//!
//! In scope:
//! - the standard Gemini API as clients speak it ([`gemini`]), and Code Assist as Google speaks it
//!   ([`assist`], [`oauth`], [`sse`]);
//! - the policies, each a plain value that is told the time and returns a verdict ([`policy`],
//!   [`access`]);
//! - the life of a request, top to bottom ([`proxy`]), and every way to say no ([`refusal`]).
//!
//! Out of scope, and lent by a shell through [`platform::Platform`]:
//! - sockets, files, stores, environment variables;
//! - clocks, timers, randomness, tasks.
//!
//! See `ARCHITECTURE.md` for the map and the invariants.

#![forbid(unsafe_code)]

pub mod access;
pub mod body;
pub mod caller;
pub(crate) mod context;
pub mod dialect;
pub mod error;
pub mod failure;
pub mod google;
pub mod intake;
pub mod job;
pub mod json;
pub mod metrics;
pub mod payload;
pub mod platform;
pub mod policy;
pub mod provider;
pub mod proxy;
pub mod settings;
pub mod sse;
pub(crate) mod sync;
pub mod time;
pub(crate) mod upstream;
pub(crate) mod wait;
