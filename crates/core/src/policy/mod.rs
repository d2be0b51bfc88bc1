//! The policies: what the proxy decides, apart from doing it. A policy is a plain value that takes
//! the time as an argument and returns a verdict.
//!
//! | Policy | Decides |
//! |---|---|
//! | [`breaker`] | whether an endpoint or a model that keeps failing may be called |
//! | [`budget`] | whether a key may use more of its limits |
//! | [`call_signatures`] | nothing: the signatures of calls, which some clients do not bring back |
//! | [`cache`] | whether a request uses the answer to an equal one, waits for it, or asks upstream |
//! | [`endpoint`] | which of several endpoints a call goes to |
//! | [`in_flight`] | nothing: the guard of a call, which ends the call when it is dropped |
//! | [`key_guesses`] | whether a key from an address is checked, after wrong ones |
//! | [`lease`] | which request of this process does a piece of work |
//! | [`line_limit`] | how many log lines refused requests may write |
//! | [`lock`] | which of several processes does a piece of work |
//! | [`memory`] | whether there is memory for what a caller sends or is sent |
//! | [`project`] | which project a request names, and which request discovers it |
//! | [`quota`] | whether upstream's answer about an exhausted quota still holds |
//! | [`rate_limit`] | whether a caller's request is let through |
//! | [`retry`] | what follows a failed try |
//! | [`routing`] | whether a request goes to an upstream that has failed |
//! | [`token`] | which access token a request sends, and which request refreshes it |
//! | [`wait_queue`] | which of the waiting requests holds a concurrency permit |
//!
//! A policy imports `time`, `failure`, `caller`, `payload` and other policies, and no other module
//! of the core. Tests may import more.
//!
//! No request waits on another request's future, since a Worker's request cannot be woken by another
//! one. A verdict says that a request has to wait, and the request asks again after its own timer.

pub mod breaker;
pub mod budget;
pub mod cache;
pub mod call_signatures;
pub mod endpoint;
pub mod in_flight;
pub mod key_guesses;
pub mod lease;
pub mod line_limit;
pub mod lock;
pub mod memory;
pub mod project;
pub mod quota;
pub mod rate_limit;
pub mod retry;
pub mod routing;
pub mod token;
pub mod wait_queue;
