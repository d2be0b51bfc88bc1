//! The platform on tokio: clocks, timers, upstream, store, the credential file.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use code_assist_core::caller::{Caller, Rate, RateStanding};
use code_assist_core::job::BackgroundJob;
use code_assist_core::payload::Payload;
use code_assist_core::platform::{CredentialFile, Platform, ProcessStats, SendError, StoreError};
use code_assist_core::policy::lock::{FencingToken, LockResult};
use code_assist_core::time::{Monotonic, Timestamp};
use http::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;

use crate::http_client::{self, Upstream};
use crate::store::Store;

/// Hands on tokio. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Native {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    upstream: Upstream,
    store: Store,
    credential_file: Option<PathBuf>,
    /// Fair: whoever has waited longest is next.
    places: Arc<Semaphore>,
    chores: mpsc::UnboundedSender<BackgroundJob>,
    started: Instant,
}

impl Native {
    /// A platform, and the chores that requests will leave behind.
    pub(crate) fn new(
        upstream: Upstream,
        store: Store,
        credential_file: Option<PathBuf>,
        places: usize,
    ) -> (Self, mpsc::UnboundedReceiver<BackgroundJob>) {
        let (chores, left_behind) = mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let parts =
            Parts { upstream, store, credential_file, places, chores, started: Instant::now() };
        (Self { parts: Arc::new(parts) }, left_behind)
    }

    /// Upstream, to be got ready.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.parts.upstream
    }

    /// The store, for the start-up lines.
    pub(crate) fn store(&self) -> &Store {
        &self.parts.store
    }
}

impl Platform for Native {
    type Body = http_client::Body;
    type Timer = Pin<Box<Sleep>>;
    type Place = OwnedSemaphorePermit;

    fn now(&self) -> Monotonic {
        let since = self.parts.started.elapsed().as_micros();
        Monotonic(u64::try_from(since).unwrap_or(u64::MAX))
    }

    fn wall_clock(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn random(&self) -> u64 {
        fastrand::u64(..)
    }

    fn timer(&self, how_long: Duration) -> Self::Timer {
        Box::pin(tokio::time::sleep(how_long))
    }

    async fn place(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.parts.places);
        places.acquire_owned().await.expect("nobody closes the semaphore")
    }

    async fn send(&self, request: Request<Payload>) -> Result<Response<Self::Body>, SendError> {
        self.parts.upstream.send(request).await
    }

    async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.parts.store.load(key).await
    }

    async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        self.parts.store.save(key, value, ttl, fence).await
    }

    async fn claim(&self, key: &str, how_long: Duration) -> LockResult {
        self.parts.store.claim(key, how_long).await
    }

    async fn release(&self, key: &str, fence: FencingToken) {
        self.parts.store.release(key, fence).await;
    }

    fn shares(&self) -> bool {
        self.parts.store.shares()
    }

    async fn count(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        self.parts.store.count(caller, rate).await
    }

    fn store_connected(&self) -> bool {
        self.parts.store.connected()
    }

    async fn credential_file(&self, seen: Option<u64>) -> CredentialFile {
        match &self.parts.credential_file {
            Some(path) => read_login(path, seen).await,
            None => CredentialFile::Absent {
                path: "~/.gemini/oauth_creds.json (there is no home folder)".to_owned(),
                encrypted_store: false,
            },
        }
    }

    fn process_stats(&self) -> ProcessStats {
        process_stats()
    }

    fn spawn_job(&self, chore: BackgroundJob) {
        // The receiver lives as long as the server: a chore that is not taken any more has nobody
        // who waits for it.
        let _ = self.parts.chores.send(chore);
    }
}

async fn read_login(path: &Path, seen: Option<u64>) -> CredentialFile {
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
    if meta.len() > LARGEST_LOGIN {
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

/// Modification time and length, folded: only "the same or not" is asked of it.
fn stamp(meta: &std::fs::Metadata) -> u64 {
    let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let nanos = since.unwrap_or_default().as_nanos();
    #[expect(clippy::cast_possible_truncation, reason = "folded on purpose")]
    let folded = (nanos ^ (nanos >> 64)) as u64;
    folded.rotate_left(17) ^ meta.len()
}

/// From Linux's `/proc` (proc(5)); nothing where there is none.
fn process_stats() -> ProcessStats {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).ok();
    let kibibytes = |status: String| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    // The program's name, in brackets, may hold spaces and brackets of its own.
    let ticks = |stat: String| -> Option<u64> {
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut next = || fields.next()?.parse::<u64>().ok();
        Some(next()? + next()?)
    };
    ProcessStats {
        resident_bytes: read("status").and_then(kibibytes).map(|size| size * 1024),
        // The folder is open itself while it is read.
        open_fds: std::fs::read_dir("/proc/self/fd")
            .ok()
            .map(|fds| (fds.count() as u64).saturating_sub(1)),
        cpu_seconds: read("stat").and_then(ticks).map(|ticks| ticks as f64 / TICKS_A_SECOND),
    }
}

/// `USER_HZ`, which is 100 on every Linux since 2.4.
const TICKS_A_SECOND: f64 = 100.0;

/// The CLI's encrypted store (`protocol.md` 1.9).
const ENCRYPTED_STORE: &str = "gemini-credentials.json";

/// An `oauth_creds.json` has two kilobytes.
const LARGEST_LOGIN: u64 = 1 << 20;
