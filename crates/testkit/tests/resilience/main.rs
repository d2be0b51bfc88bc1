//! Whole lives in bad weather: tries, breakers, endpoints, the line, the limit, shared answers
//! (`docs/RESILIENCE.md` and `docs/ACCESS.md`). Each ends with a look at the gauges: nothing may be
//! left behind.

mod breaker;
mod cache;
mod chaos;
mod endpoints;
mod fixture;
mod rate_limit;
mod retry;
mod wait_queue;
