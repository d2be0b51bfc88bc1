//! Decisions. Each room is a plain value that is told the time and returns a verdict.
//!
//! Nobody waits on another request's future here: who has to wait is told so and asks again on a
//! timer of its own, since a Worker's request cannot be woken by another one (`design.md` 5.1).

pub mod breaker;
pub mod cache;
pub mod endpoint;
pub mod in_flight;
pub mod lease;
pub mod lock;
pub mod project;
pub mod quota;
pub mod rate_limit;
pub mod retry;
pub mod token;
pub mod wait_queue;
