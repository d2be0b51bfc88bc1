//! Whole requests with failures: retries, breakers, endpoints, the wait queue, the rate limit, the
//! response cache (`docs/RESILIENCE.md` and `docs/ACCESS.md`). At its end each test checks that the
//! gauges are zero.

mod breaker;
mod cache;
mod chaos;
mod endpoints;
mod fixture;
mod kept;
mod memory;
mod models;
mod quota;
mod rate_limit;
mod retry;
mod wait_queue;
