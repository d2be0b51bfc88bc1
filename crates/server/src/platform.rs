//! The core's `Platform` on tokio: clocks, timers, the HTTP client, the store and the credential
//! file.

use std::future::Future;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use code_assist_core::{
    BackgroundJob, Caller, CredentialFile, Day, FencingToken, LockResult, Monotonic, Payload,
    Platform, ProcessStats, Rate, RateStanding, Replica, RequestBodyError, RequestLine,
    RequestRecord, RsaKey, SendError, SharedReservation, SharedStanding, SignError, StoreError,
    StoreStats, Timestamp, TraceId, UsageBatch, UsageRow,
};
use http::{Request, Response};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::audit::AuditLog;
use crate::clock;
use crate::http_client::{self, HttpClient};
use crate::permits::{Permit, Permits};
use crate::signing::Signer;
use crate::store::Store;
use crate::telemetry;
use crate::traces::Traces;

/// The platform on tokio. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct TokioPlatform {
    inner: Replica<PlatformInner>,
}

#[derive(Debug)]
struct PlatformInner {
    http_client: HttpClient,
    store: Store,
    permits: Permits,
    /// For work on large bodies, which leaves half of the cores to the threads that serve.
    heavy_work: Arc<Semaphore>,
    jobs: mpsc::UnboundedSender<BackgroundJob>,
    started: Instant,
    signer: Signer,
    recorders: Recorders,
}

/// What takes the requests that have ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorders {
    pub(crate) audit: Option<AuditLog>,
    pub(crate) traces: Option<Traces>,
}

impl TokioPlatform {
    /// Creates the platform, and the receiver of the background jobs that requests will spawn.
    pub(crate) fn new(
        http_client: HttpClient,
        store: Store,
        permits: Permits,
        recorders: Recorders,
    ) -> (Self, mpsc::UnboundedReceiver<BackgroundJob>) {
        let (jobs, spawned) = mpsc::unbounded_channel();
        let started = clock::now();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let heavy_work = Arc::new(Semaphore::new((cores / 2).max(1)));
        let signer = Signer::default();
        let inner = PlatformInner {
            http_client,
            store,
            permits,
            heavy_work,
            jobs,
            started,
            signer,
            recorders,
        };
        (Self { inner: Arc::new(Arc::new(inner)) }, spawned)
    }

    /// The same platform, with a count of its clones of its own.
    pub(crate) fn replica(&self) -> Self {
        Self { inner: Arc::new(Arc::clone(&self.inner)) }
    }

    pub(crate) fn http_client(&self) -> &HttpClient {
        &self.inner.http_client
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn permits(&self) -> &Permits {
        &self.inner.permits
    }
}

impl Platform for TokioPlatform {
    type Body = http_client::Body;
    type Timer = clock::Timer;
    type Permit = Permit;

    fn now(&self) -> Monotonic {
        let since = clock::now().saturating_duration_since(self.inner.started).as_micros();
        Monotonic(u64::try_from(since).unwrap_or(u64::MAX))
    }

    fn now_anew(&self) -> Monotonic {
        clock::now_anew();
        self.now()
    }

    fn wall_clock(&self) -> Timestamp {
        let since = clock::wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn timer(&self, how_long: Duration) -> Self::Timer {
        clock::Timer::after(how_long)
    }

    async fn acquire_permit(&self, caller: Caller) -> Permit {
        self.inner.permits.acquire(caller).await
    }

    fn is_at_share(&self, caller: &Caller) -> bool {
        self.inner.permits.is_at_share(caller)
    }

    async fn heavy<T: Send + 'static>(
        &self,
        longest: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let permit = Arc::clone(&self.inner.heavy_work).acquire_owned();
        let permit = tokio::time::timeout(longest, permit).await.ok()?;
        let work = move || {
            let result = work();
            // The work goes on when its request has ended, and so does its permit.
            drop(permit);
            result
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => Some(result),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down, and this task with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// No future of its own, which would have space for another copy of the request.
    fn send(
        &self,
        request: Request<Payload>,
        again: impl Fn() -> Option<Request<Payload>>,
    ) -> impl Future<Output = Result<Response<Self::Body>, SendError>> {
        self.inner.http_client.send(request, again)
    }

    async fn send_streamed<B>(
        &self,
        request: Request<()>,
        body: Pin<&mut B>,
    ) -> Result<Response<Self::Body>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error: Into<RequestBodyError>>,
    {
        self.inner.http_client.send_streamed(request, body).await
    }

    fn has_upgrades(&self) -> bool {
        true
    }

    async fn upgrade(&self, request: Request<()>) -> Result<Response<Self::Body>, SendError> {
        self.inner.http_client.upgrade(request).await
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.store.load(key).await
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        self.inner.store.save(key, value, ttl, fence).await
    }

    async fn lock(&self, key: &str, ttl: Duration) -> LockResult {
        self.inner.store.claim(key, ttl).await
    }

    async fn renew(&self, key: &str, token: FencingToken, ttl: Duration) -> bool {
        self.inner.store.renew(key, token, ttl).await
    }

    async fn unlock(&self, key: &str, token: FencingToken) {
        self.inner.store.release(key, token).await;
    }

    fn has_shared_store(&self) -> bool {
        self.inner.store.shares()
    }

    async fn count_request(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        self.inner.store.count(caller, rate).await
    }

    async fn reserve(&self, request: &SharedReservation) -> Option<SharedStanding> {
        self.inner.store.reserve(request).await
    }

    async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        self.inner.store.add_usage(batch).await
    }

    async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        self.inner.store.usage(days, key).await
    }

    async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        self.inner.store.remove_usage(before).await
    }

    fn store_connected(&self) -> bool {
        self.inner.store.connected()
    }

    fn store_stats(&self) -> StoreStats {
        self.inner.store.stats()
    }

    async fn credential_file(&self, path: &str, seen: Option<u64>) -> CredentialFile {
        read_credentials(Path::new(path), seen).await
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    async fn sign_rs256(&self, key: &RsaKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
        // A millisecond or two, once an hour.
        self.inner.signer.sign(key, message)
    }

    fn process_stats(&self) -> ProcessStats {
        let Recorders { audit, traces } = &self.inner.recorders;
        ProcessStats {
            audit_lines_lost: audit.as_ref().map(AuditLog::lost),
            spans_lost: traces.as_ref().map(Traces::lost),
            ..process_stats()
        }
    }

    fn samples(&self, trace: TraceId, client: Option<bool>) -> Option<bool> {
        let traces = self.inner.recorders.traces.as_ref()?;
        Some(traces.samples(trace, client))
    }

    fn is_auditing(&self) -> bool {
        self.inner.recorders.audit.is_some()
    }

    fn record(&self, record: RequestRecord) {
        let Recorders { audit, traces } = &self.inner.recorders;
        let ended = clock::wall_clock();
        let audit = audit.as_ref().filter(|_| record.asks_model);
        match (audit, traces.as_ref().filter(|_| record.spans.is_some())) {
            (Some(audit), Some(traces)) => {
                audit.write(ended, RequestRecord { spans: None, ..record.clone() });
                traces.write(ended, record);
            }
            (Some(audit), None) => audit.write(ended, record),
            (None, Some(traces)) => traces.write(ended, record),
            (None, None) => {}
        }
    }

    fn log_request(&self, line: &RequestLine<'_>) {
        telemetry::log_request(line);
    }

    fn spawn_job(&self, job: BackgroundJob) {
        // The receiver lives as long as the runtime, so that no request waits for a job that is
        // lost.
        let _ = self.inner.jobs.send(job);
    }
}

async fn read_credentials(path: &Path, seen: Option<u64>) -> CredentialFile {
    let meta = match tokio::fs::metadata(path).await {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let encrypted = path.with_file_name(ENCRYPTED_STORE);
            return CredentialFile::Absent {
                path: path.display().to_string(),
                encrypted_store: tokio::fs::try_exists(&encrypted).await.unwrap_or(false),
            };
        }
        Err(error) => return CredentialFile::Unreadable(format!("{}: {error}", path.display())),
    };
    if meta.len() > MAX_CREDENTIAL_FILE {
        return CredentialFile::Unreadable(format!("{}: too large", path.display()));
    }
    let stamp = stamp(&meta);
    if seen == Some(stamp) {
        return CredentialFile::Unchanged;
    }
    match tokio::fs::read(path).await {
        Ok(content) => CredentialFile::Read { stamp, content: Bytes::from(content) },
        Err(error) => CredentialFile::Unreadable(format!("{}: {error}", path.display())),
    }
}

/// A file's modification time and length, folded into one number that is only compared for
/// equality.
fn stamp(meta: &std::fs::Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let nanos = since.unwrap_or_default().as_nanos();
    #[expect(clippy::cast_possible_truncation, reason = "folded on purpose")]
    let folded = (nanos ^ (nanos >> 64)) as u64;
    folded.rotate_left(17) ^ meta.len()
}

/// Reads `/proc` (proc(5)). The fields stay empty on systems without it.
fn process_stats() -> ProcessStats {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    let kibibytes = |status: String| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    // `Max open files            1024                 524288               files`
    let open_files = |limits: String| -> Option<u64> {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    // The fields follow the program's name, which is in brackets and may hold brackets itself.
    let ticks = |stat: String| -> Option<u64> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        Some(next()? + next()?)
    };
    ProcessStats {
        resident_bytes: read("status").and_then(kibibytes).map(|size| size * 1024),
        // Reading the folder opens one descriptor itself.
        open_fds: std::fs::read_dir("/proc/self/fd")
            .ok()
            .map(|fds| (fds.count() as u64).saturating_sub(1)),
        max_fds: read("limits").and_then(open_files),
        audit_lines_lost: None,
        spans_lost: None,
        log_lines_lost: telemetry::lost_lines(),
        cpu_seconds: read("stat").and_then(ticks).map(|ticks| ticks as f64 / TICKS_PER_SECOND),
    }
}

/// `USER_HZ`: 100 on every Linux since 2.4.
const TICKS_PER_SECOND: f64 = 100.0;

/// The file name of the Gemini CLI's encrypted store (`docs/reference/protocol.md` 1.9).
const ENCRYPTED_STORE: &str = "gemini-credentials.json";

/// A bound on what is read into memory. An `oauth_creds.json` has two kilobytes.
const MAX_CREDENTIAL_FILE: u64 = 1 << 20;
