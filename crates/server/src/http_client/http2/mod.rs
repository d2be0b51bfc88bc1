//! One HTTP/2 connection: many streams, one task that drives it, and a PING after silence.
//!
//! Built on `h2` and not on hyper's client: hyper hides the peer's stream limit, which the pool fills
//! connections by, and needs a task and a channel for each request.

mod connection;
mod shared;
mod silence;
mod stream;
mod unflushed;

pub(super) use connection::{ConnectionState, start};
pub(super) use shared::SharedConnection;
pub(super) use stream::{Incoming, StreamPermit};
