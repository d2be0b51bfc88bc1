//! Real processes and real sockets for the integration tests of `crates/server`.
//!
//! | Module | What it gives a test |
//! |---|---|
//! | `provider` | [`Provider`]: Google's APIs, for cases that hold at each of them |
//! | `proxy` | [`ProxyBuilder`] and [`Proxy`]: the binary as a child process, or the Worker under workerd |
//! | `generated` | [`assert_generated`]: files of the repository that tests generate |
//! | `test_proxy` | [`TestProxy`]: a proxy that must have leaked nothing at the end |
//! | `client` | [`Connection`] and [`Response`]: an HTTP/1.1 client that shows every byte |
//! | [`http2`] | [`http2::Http2Connection`]: an HTTP/2 client of which the test writes each frame |
//! | `emulator` | [`GoogleEmulator`]: the strict stand-in for Google, with its state and its log |
//! | `upstream` | [`ScriptedUpstream`]: a server whose every byte and every pause the test writes |
//! | [`samples`] | requests and answers that most tests use |
//! | `tls` | [`tls_upstream`]: the same over TLS |
//! | `redis` | [`RedisServer`]: a `redis-server` that a test may pause, kill and restart |
//!
//! ```no_run
//! use code_assist_harness::{GoogleEmulator, ProxyBuilder};
//!
//! let google = GoogleEmulator::start();
//! let proxy = ProxyBuilder::for_emulator(&google).start();
//! assert_eq!(proxy.get("/health").status(), 200);
//! ```
//!
//! Every function here panics when its step fails: a panic is how a test fails. Tests over a scripted
//! platform, without processes and without waiting, stand on `crates/testkit` instead.

#![forbid(unsafe_code)]

mod client;
mod emulator;
mod generated;
pub mod http2;
mod provider;
mod proxy;
mod redis;
pub mod samples;
mod test_proxy;
mod tls;
mod upstream;

pub use client::{
    Connection, Response, ResponseHead, get, parse_events, post, proxy_error_reason, request,
};
pub use emulator::GoogleEmulator;
pub use generated::{assert_generated, workspace};
pub use provider::Provider;
pub use proxy::{Proxy, ProxyBuild, ProxyBuilder, proxy_binary};
pub use redis::{RedisServer, free_port};
pub use test_proxy::TestProxy;
pub use tls::{TlsStream, authority, tls_upstream};
pub use upstream::{ReceivedRequest, ScriptedUpstream, UpstreamConnection};
