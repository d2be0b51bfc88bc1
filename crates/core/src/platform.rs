//! The port between core and shell: everything that the core needs from outside.
//!
//! No method requires `Send`, but for the plain data that [`Platform::heavy`] works on. The native shell's futures are `Send` because its types are; the Worker's
//! are not, because JavaScript values are not. Auto traits leak through the concrete platform.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

use crate::caller::{Caller, Rate, RateStanding};
use crate::job::BackgroundJob;
use crate::payload::Payload;
use crate::policy::budget::{Day, SharedReservation, SharedStanding, UsageBatch, UsageRow};
use crate::policy::lock::{FencingToken, LockResult};
use crate::record::RequestRecord;
use crate::request_line::RequestLine;
use crate::signing::{RsaKey, SignError};
use crate::time::{Monotonic, Timestamp};
use crate::trace::TraceId;

/// The services that a shell provides.
///
/// A platform is cheap to clone, since response bodies keep one for their timers.
#[expect(async_fn_in_trait, reason = "the shell decides Send; auto traits leak through the type")]
pub trait Platform: Clone + fmt::Debug + Unpin {
    /// An upstream response body. Dropping it cancels the upstream request.
    type Body: http_body::Body<Data = Bytes, Error = BodyError> + fmt::Debug + Unpin;
    /// A timer, see [`Platform::timer`].
    type Timer: Future<Output = ()> + fmt::Debug + Unpin;

    /// One of `MAX_CONCURRENT_REQUESTS` concurrency permits, which is released when it is dropped.
    type Permit: fmt::Debug + Unpin;

    /// The monotonic clock, for policies and measurements. The zero is arbitrary. A shell may let it stand
    /// still while it polls a future.
    fn now(&self) -> Monotonic;

    /// The monotonic clock after work whose time is measured: where the clock stands still during a poll, it
    /// is read anew.
    fn now_anew(&self) -> Monotonic {
        self.now()
    }

    /// The wall clock, for expiry dates and time stamps.
    fn wall_clock(&self) -> Timestamp;

    /// 64 random bits, good enough for ids and jitter.
    fn random(&self) -> u64;

    /// Makes a timer that ends after `how_long`.
    fn timer(&self, how_long: Duration) -> Self::Timer;

    /// Waits for a concurrency permit for this caller. Dropping the future leaves the queue.
    async fn acquire_permit(&self, caller: Caller) -> Self::Permit;

    /// True when a caller waits for a permit because it holds its share of them, and not because all
    /// permits are held.
    fn is_at_share(&self, caller: &Caller) -> bool {
        let _ = caller;
        false
    }

    /// Runs work on more than `HEAVY` bytes, such as unpacking or scanning a large body, where it does
    /// not keep other requests from being served. Returns `None` if the work could not begin within
    /// `longest`. The future may be dropped before the work has ended: `work` owns what it needs until
    /// then, its memory reservation too.
    ///
    /// By default the work runs here and now.
    async fn heavy<T: Send + 'static>(
        &self,
        longest: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let _ = longest;
        Some(work())
    }

    /// Sends one request upstream and returns when the response head has arrived.
    ///
    /// The shell connects within its connection timeout; every other timeout is the core's.
    /// Redirects are not followed. `again` makes the same request once more, for a shell whose connection
    /// has certainly not processed it.
    async fn send(
        &self,
        request: Request<Payload>,
        again: impl Fn() -> Option<Request<Payload>>,
    ) -> Result<Response<Self::Body>, SendError>;

    /// Sends one request whose body is read while it is sent, and returns when the response head has
    /// arrived.
    ///
    /// The body is polled only when the upstream connection takes more. A body with an exact length is sent
    /// with `content-length`; trailers are dropped. A shell whose bodies do not know their length takes it
    /// from the request's `content-length`, which the others ignore. If the client's body breaks, the request is broken off
    /// upstream, never ended, and the error is [`SendError::Client`]. If the answer comes before the body has
    /// ended, the rest of the body is not read.
    ///
    /// The request is sent once, whatever fails, so the shell uses a connection that is fresh or was found
    /// alive for this request.
    ///
    /// By default there is no such connection.
    async fn send_streamed<B>(
        &self,
        request: Request<()>,
        body: Pin<&mut B>,
    ) -> Result<Response<Self::Body>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        let _ = (request, body);
        Err(SendError::Connect("this runtime cannot stream a request".to_owned()))
    }

    /// True if [`Platform::upgrade`] can succeed.
    fn has_upgrades(&self) -> bool {
        false
    }

    /// Sends one HTTP/1.1 request with `connection: upgrade` over a connection of its own.
    ///
    /// With the status 101, the extensions of the response hold the upgraded connection in a form that only
    /// the shell knows. The core puts them into its own response with the status 101, and the shell joins
    /// the client's connection to this one. The body of the core's response lives until both have ended.
    ///
    /// By default there are no upgrades.
    async fn upgrade(&self, request: Request<()>) -> Result<Response<Self::Body>, SendError> {
        let _ = request;
        Err(SendError::Connect("this runtime has no upgrades of connections".to_owned()))
    }

    /// Reads one entry of the key-value store. Returns `None` for an expired entry.
    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError>;

    /// Writes one entry, which expires after `ttl`.
    ///
    /// With a fencing token the write takes effect only if no later holder of the lock has written
    /// under the key: a holder whose lock has expired must not overwrite what the next one wrote. A
    /// write that came too late is no error.
    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        token: Option<FencingToken>,
    ) -> Result<(), StoreError>;

    /// Tries to take the distributed lock of `key` among all processes that share the store. The lock
    /// expires after `ttl`, so that a holder that dies delays the others for no longer.
    ///
    /// A store that is not shared, or whose lock cannot be reached, returns [`LockResult::NotShared`].
    async fn lock(&self, key: &str, ttl: Duration) -> LockResult {
        let _ = (key, ttl);
        LockResult::NotShared
    }

    /// Extends a lock that the caller holds until `ttl` from now. Its fencing token stays the same.
    ///
    /// False if the lock is lost: another process has taken it since it expired, it was released, or
    /// the store cannot be reached. A lock that has expired and that no other process has taken is the
    /// caller's again.
    async fn renew(&self, key: &str, token: FencingToken, ttl: Duration) -> bool {
        let _ = (key, token, ttl);
        false
    }

    /// Releases a lock before it expires.
    async fn unlock(&self, key: &str, token: FencingToken) {
        let _ = (key, token);
    }

    /// True when other processes share the store, which may then hold their counts and answers.
    fn has_shared_store(&self) -> bool {
        false
    }

    /// Counts a caller's request among all processes that share the store, if it is allowed. Returns
    /// `None` when that is not possible; then the process's own count applies.
    async fn count_request(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        let _ = (caller, rate);
        None
    }

    /// True when other processes share the counts of usage, so that [`Platform::reserve`] is asked.
    fn has_shared_usage(&self) -> bool {
        self.has_shared_store()
    }

    /// Asks whether a request may begin, among all processes that share the store, and reserves its
    /// estimate if so. Returns `None` when that is not possible; then the process's own counts apply.
    async fn reserve(&self, request: &SharedReservation) -> Option<SharedStanding> {
        let _ = request;
        None
    }

    /// Adds to the usage in the store. After an error it is called again with the same batch, which takes
    /// effect once.
    async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let _ = batch;
        Err(StoreError("this store keeps no usage".to_owned()))
    }

    /// The usage in the store of these days, of one key or of all, in the order of day, key and model.
    async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let _ = (days, key);
        Err(StoreError("this store keeps no usage".to_owned()))
    }

    /// Removes the usage of the days before this one.
    async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        let _ = before;
        Ok(())
    }

    /// False when the store in use is not the configured one (memory in place of a file).
    fn store_connected(&self) -> bool;

    /// What is known of the memory of a server that keeps the store. It is asked for at intervals, and
    /// not here.
    fn store_stats(&self) -> StoreStats {
        StoreStats::default()
    }

    /// Reads a credential file, or a file with a token that a credential file names.
    ///
    /// `seen` is the stamp of the version that the core has read; for the same version the answer
    /// is [`CredentialFile::Unchanged`].
    async fn credential_file(&self, path: &str, seen: Option<u64>) -> CredentialFile;

    /// Reads a variable of the environment, for a credential that Google's or AWS' own libraries find by
    /// it. A Worker's variables and secrets count. An empty one is none.
    fn variable(&self, name: &str) -> Option<String> {
        let _ = name;
        None
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256, for a service account.
    async fn sign_rs256(&self, key: &RsaKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let _ = (key, message);
        Err(SignError::Unsupported)
    }

    /// Measures what the process uses of the machine, as far as the shell can.
    fn process_stats(&self) -> ProcessStats {
        ProcessStats::default()
    }

    /// Whether the spans of a request are recorded, which is decided when it comes. `client` says whether
    /// its client records the trace, if it has sent one. `None` when no spans are recorded at all.
    fn samples(&self, trace: TraceId, client: Option<bool>) -> Option<bool> {
        let _ = (trace, client);
        None
    }

    /// True when [`Platform::record`] wants every request that asks a model, and not only those whose spans
    /// are recorded.
    fn is_auditing(&self) -> bool {
        false
    }

    /// Takes what is known of a request that has ended. It must not block.
    fn record(&self, record: RequestRecord) {
        let _ = record;
    }

    /// Logs a request that has ended. It must not block.
    ///
    /// By default its line is an event like all other lines.
    fn log_request(&self, line: &RequestLine<'_>) {
        line.emit();
    }

    /// Runs `proxy.run_job(platform, job)` soon, even if the current request ends before.
    fn spawn_job(&self, job: BackgroundJob);
}

/// The client's end of a request, as the shell knows it. An argument, since an extension of the request
/// takes three allocations; in the extensions is what only few requests have.
#[derive(Clone, Default)]
pub struct Peer {
    /// The address of the connection's client.
    pub address: Option<IpAddr>,
    /// What the shell does when the request is admitted or refused.
    pub admission: Option<Arc<dyn OnAdmission>>,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The request came through `ADMIN_PORT`. The shell puts it into the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdminPort;

/// The client asks for a WebSocket, and its connection can become one. The shell puts it into the
/// request's extensions. Only such a request may be answered with 101.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebSocketRequest;

/// A shell that wants to know of each request, before its body is read, whether it is admitted.
pub trait OnAdmission: Send + Sync {
    /// The request asks upstream, and it was admitted. False refuses it, for lack of memory.
    fn admitted(&self, caller: Caller) -> bool;

    /// The request is refused. What follows is only the rest of its body, and the answer.
    fn refused(&self);
}

/// The result of [`Platform::credential_file`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialFile {
    /// There is no file (`docs/reference/protocol.md` 1.9).
    Absent {
        /// The path at which it was expected, for the error message.
        path: String,
        /// The CLI's encrypted store, `gemini-credentials.json`, exists next to that path.
        encrypted_store: bool,
    },
    /// A version that the core has not read.
    Read {
        /// Changes whenever the file does (modification time and length).
        stamp: u64,
        /// The whole file.
        content: Bytes,
    },
    /// The file is the version that the core has read.
    Unchanged,
    /// The file exists but cannot be read. The text says why.
    Unreadable(String),
    /// This shell has no files.
    Unsupported,
}

/// What a process uses of its machine. A value that the shell cannot measure is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessStats {
    /// Memory that is in use.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// The limit of open file descriptors.
    pub max_fds: Option<u64>,
    /// Log lines that were lost since the start.
    pub log_lines_lost: Option<u64>,
    /// Lines of the audit log that were lost since the start; `None` without an audit log.
    pub audit_lines_lost: Option<u64>,
    /// Spans that did not reach the collector since the start; `None` where no spans are recorded.
    pub spans_lost: Option<u64>,
    /// Processor time since the start, user and system.
    pub cpu_seconds: Option<f64>,
}

/// The memory of a server that keeps the store. A value that is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Entries that the server has dropped for want of memory since it was started.
    pub evicted_keys: Option<u64>,
    /// Bytes in use.
    pub memory_used: Option<u64>,
    /// The most bytes that it may use.
    pub memory_limit: Option<u64>,
}

/// The error for a request without a response head.
///
/// A shell that does not know how far the request came returns [`SendError::Disconnected`]: a request
/// that was carried out must not be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendError {
    /// No connection: refused, no such host, TLS failure, or the connection timeout. Nothing was sent.
    Connect(String),
    /// The connection broke after the request was (at least partly) sent. The peer may have carried the
    /// request out.
    Disconnected(String),
    /// The connection broke, and the peer has certainly not processed the request.
    NotProcessed(String),
    /// This machine has no file handle, memory, buffer or local port left for a connection. Nothing was
    /// sent.
    Resources(String),
    /// The shell's grace time for answers is over.
    ShuttingDown,
    /// The peer has reset the request's stream, and the connection lives. The peer may have carried the
    /// request out.
    StreamReset(String),
    /// The client's body broke while it was sent. The upstream request was broken off.
    Client(RequestBodyError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Disconnected(why) => write!(f, "the connection broke: {why}"),
            Self::NotProcessed(why) => write!(f, "the peer did not process the request: {why}"),
            Self::Resources(why) => write!(f, "this machine has no resources left: {why}"),
            Self::StreamReset(why) => write!(f, "the peer broke the request off: {why}"),
            Self::ShuttingDown => f.write_str("the proxy is shutting down"),
            Self::Client(error) => write!(f, "the client's body broke: {error}"),
        }
    }
}

/// The error of an upstream body that ended before it was complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The connection or the stream broke. The text says how, without secrets.
    #[error("{0}")]
    Disconnected(String),
    /// The shell's grace time for streams is over.
    #[error("the proxy is shutting down")]
    ShuttingDown,
}

/// The error of a client's body that ended before it was complete. A shell's body has this error, or one
/// that converts into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestBodyError {
    /// The connection or the stream ended.
    #[error("the client has left")]
    Disconnected,
    /// What came does not follow HTTP's framing. The client is still there.
    #[error("the framing of the body is broken")]
    Malformed,
    /// The body comes too slowly. Shells do not return it.
    #[error("the body comes too slowly")]
    TooSlow,
}

/// Bodies in memory.
impl From<Infallible> for RequestBodyError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The error of a key-value store that has failed. The text says why, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Bytes on which work is done at once. Scanning a mebibyte takes a third of a millisecond.
pub(crate) const HEAVY: usize = 1 << 20;
