//! Whole requests with several upstreams: when another one takes a request, and when none does
//! (`docs/RESILIENCE.md`, `docs/reference/upstreams.md` 7).

mod affinity;
mod bound;
mod cache;
mod choice;
mod dialects;
mod fixture;
mod headers;
mod matrix;
mod memory;
mod metrics;
mod secrets;
