//! The core of `code-assist-proxy`: logic without IO.
//!
//! In scope:
//! - what clients speak (`dialect`) and what upstreams speak (`provider`, `google`);
//! - the policies, plain values that take the time as an argument and return verdicts (`policy`);
//! - one upstream's state (`upstream`) and the life of a request (`proxy`).
//!
//! Out of scope, and provided by a shell through [`Platform`]:
//! - sockets, files, stores, environment variables;
//! - clocks, timers, randomness, tasks.
//!
//! A shell makes [`settings::Settings`], a [`Proxy`] from them, and calls:
//!
//! - [`Proxy::handle`] for each request, whose answer has a [`ProxyBody`];
//! - [`Proxy::run_job`] for each [`BackgroundJob`] that [`Platform::spawn_job`] was given;
//! - [`Proxy::tick`] about once a second;
//! - [`Proxy::flush_usage`] when it stops;
//! - [`Proxy::reload`] when keys or aliases have changed.
//!
//! The modules are private, so that the compiler sees what is not used. See `ARCHITECTURE.md` for the
//! map and the invariants.

#![forbid(unsafe_code)]
#![expect(
    unnameable_types,
    unreachable_pub,
    reason = "the `pub use` list below is what is public; inside a private module `pub` is `pub(crate)`"
)]

mod access;
mod body;
mod caller;
mod collected;
mod context;
mod dialect;
mod error;
mod failure;
mod google;
mod ids;
mod intake;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod job;
mod json;
mod keys;
mod memory;
mod metrics;
mod payload;
mod platform;
mod policy;
mod provider;
mod proxy;
mod record;
mod request_ids;
mod request_line;
mod request_texts;
pub mod settings;
mod shards;
mod signing;
mod sse;
mod sync;
mod time;
mod trace;
mod upstream;
mod wait;

pub use body::ProxyBody;
pub use caller::{Caller, KeyDigest, Rate, RateStanding};
pub use dialect::gemini::error::body as gemini_error_body;
pub use dialect::gemini::models::Model;
pub use error::{
    Awaited, BodyBound, CredentialKind, Error, ErrorSource, ExhaustedBudget, RateLimitName,
};
pub use google::ProviderKind;
pub use google::credentials::adc::google_credential_problem;
pub use google::credentials::credential_problem;
pub use google::error::UpstreamError;
pub use google::usage::TokenUsage;
pub use job::BackgroundJob;
pub use keys::label as key_label;
pub use metrics::{ConnectionCounts, ConnectionEnd, Metrics};
pub use payload::{Payload, PayloadBuf};
pub use platform::{
    AdminPort, BodyError, CredentialFile, OnAdmission, Peer, Platform, ProcessStats,
    RequestBodyError, SendError, StoreError, StoreStats, WebSocketRequest,
};
pub use policy::budget::{
    Charge, Cost, Counts, Day, Limits, Price, ProcessId, Reserved, SharedLedger, SharedReservation,
    SharedStanding, UsageBatch, UsageRow,
};
pub use policy::cache::ANSWER_PREFIX;
pub use policy::lock::{FencingToken, LOCK_TTL, LockRecord, LockResult};
pub use policy::memory::{MemoryBudget, MemoryReservation};
pub use policy::wait_queue::{Ticket, WaitQueue};
pub use proxy::check::{Step, StepResult, UpstreamModels};
pub use proxy::{EarlyHead, Proxy};
pub use record::{RequestRecord, RequestSpans, RequestStep, StepKind, UpstreamTry};
pub use request_ids::RequestIds;
pub use request_line::RequestLine;
pub use shards::{Credits, Replica, Replicas, Sharded};
pub use signing::{RsaKey, SignError};
pub use time::{Monotonic, Timestamp};
pub use trace::{SpanId, TraceId};
pub use upstream::{ListedModel, ROTATED_KEY};
