//! The key-value store: a file, a Redis server or memory.
//!
//! It caches tokens, the project and similar data, so that its loss costs a refresh and a discovery. Only
//! a rotated refresh token cannot be found out again (`file/safety_copy.rs`).
//! A broken store never prevents a start: [`Store::open`] falls back to memory.

mod file;
mod memory;
#[cfg(not(feature = "redis"))]
mod no_redis;
#[cfg(feature = "redis")]
mod redis;
mod seal;
mod usage;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use code_assist_core::settings::{KvUrl, Settings};
use code_assist_core::{
    Caller, Day, FencingToken, LockResult, Rate, RateStanding, SharedReservation, SharedStanding,
    StoreError, StoreStats, Timestamp, UsageBatch, UsageRow,
};

use self::file::{FileStore, is_irreplaceable};
use self::memory::MemoryStore;
#[cfg(not(feature = "redis"))]
use self::no_redis as redis;
use self::redis::RedisStore;
use self::seal::Seal;

/// The back end that `KV_URL` chooses. Values are encrypted if a key is set.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    backend: Backend,
    seal: Seal,
}

#[derive(Debug, Clone)]
enum Backend {
    File(FileStore),
    Memory(MemoryStore),
    Redis(RedisStore),
}

impl Store {
    /// Opens the store, or memory if that fails. The notice tells the operator that memory is used, or
    /// that a damaged file was set aside.
    ///
    /// Blocks on the disk, so call it only when the process starts.
    pub(crate) async fn open(settings: &Settings) -> (Self, Option<Notice>) {
        // As much as one process may keep, for the answers of all.
        let answer_bytes = settings.response_cache_max_bytes as u64;
        let opened = match &settings.kv_url {
            KvUrl::Redis(url) => match authorities(settings) {
                Ok(pem) => RedisStore::open(url, pem, Clock::system(), answer_bytes)
                    .await
                    .map(|(store, notice)| (Backend::Redis(store), notice)),
                Err(why) => Err(why),
            },
            url => open_local(url),
        };
        let (backend, notice) = opened.unwrap_or_else(|why| {
            let notice = format!(
                "{why}; tokens and the usage of keys are kept in memory only until this is fixed"
            );
            let url = settings.kv_url.to_string();
            let stand_in = MemoryStore::standing_in(Clock::system(), url);
            if let KvUrl::File(path) = &settings.kv_url {
                let kept = FileStore::irreplaceable_entries(Path::new(path), &Clock::system());
                stand_in.restore(kept);
            }
            (Backend::Memory(stand_in), Some(Notice(notice)))
        });
        (Self { backend, seal: Seal::new(settings.kv_encryption_key.as_ref()) }, notice)
    }

    /// Opens the store without a fallback, for commands about its content.
    ///
    /// # Errors
    ///
    /// The file is in use by another process, or cannot be read and written; the server cannot be
    /// reached.
    pub(crate) async fn open_only(
        settings: &Settings,
    ) -> Result<(Self, Option<Notice>), StoreError> {
        let (backend, notice) = match &settings.kv_url {
            KvUrl::Redis(url) => {
                let pem = authorities(settings)?;
                (Backend::Redis(RedisStore::open_only(url, pem, Clock::system()).await?), None)
            }
            url => open_local(url)?,
        };
        Ok((Self { backend, seal: Seal::new(settings.kv_encryption_key.as_ref()) }, notice))
    }

    /// Returns the value of `key`, unless it has expired or is encrypted with another key.
    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let stored = match &self.backend {
            Backend::File(store) => store.load(key).await?,
            Backend::Memory(store) => store.load(key),
            Backend::Redis(store) => store.load(key).await,
        };
        Ok(stored.and_then(|stored| self.seal.open_if_ours(key, stored)))
    }

    /// Writes one entry that expires after `ttl`. When this returns, the entry is on disk or at the
    /// server, or in memory until the server is back. With a `fence`, a shared store ignores the write
    /// if a holder of a newer lock has written.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        let value = self.seal.seal(key, value);
        match &self.backend {
            Backend::File(store) => store.save(key, value, ttl).await?,
            Backend::Memory(store) => store.save(key, value, ttl),
            Backend::Redis(store) => store.save(key, value, ttl, fence).await?,
        }
        if is_irreplaceable(key) {
            self.warn_if_volatile().await;
        }
        Ok(())
    }

    /// Logs a warning if a restart may lose the rotated refresh token that was just saved.
    async fn warn_if_volatile(&self) {
        match &self.backend {
            Backend::File(_) => {}
            Backend::Memory(_) => tracing::warn!(
                "Google has replaced the refresh token, and the new one is in this process's memory \
                 only: after a restart you have to sign in again. To keep it, set KV_URL to a file \
                 that can be written, or to a Redis"
            ),
            Backend::Redis(store) if store.is_durable().await => {}
            Backend::Redis(_) => tracing::warn!(
                "Google has replaced the refresh token, and the new one is in Redis, which does not \
                 say that it writes each change to its disk (appendonly yes). If it restarts empty \
                 while no proxy runs, you have to sign in again"
            ),
        }
    }

    /// True if other processes may share the store.
    pub(crate) fn shares(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Tries to take the distributed lock of `key`.
    pub(crate) async fn claim(&self, key: &str, how_long: Duration) -> LockResult {
        match &self.backend {
            Backend::File(_) | Backend::Memory(_) => LockResult::NotShared,
            Backend::Redis(store) => store.claim(key, how_long).await,
        }
    }

    /// Extends a lock, unless another process has taken it.
    pub(crate) async fn renew(&self, key: &str, fence: FencingToken, how_long: Duration) -> bool {
        match &self.backend {
            Backend::File(_) | Backend::Memory(_) => false,
            Backend::Redis(store) => store.renew(key, fence, how_long).await,
        }
    }

    /// Releases a lock before it expires.
    pub(crate) async fn release(&self, key: &str, fence: FencingToken) {
        match &self.backend {
            Backend::File(_) | Backend::Memory(_) => {}
            Backend::Redis(store) => store.release(key, fence).await,
        }
    }

    /// Counts a caller's request across all processes that share the store.
    pub(crate) async fn count(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        match &self.backend {
            Backend::File(_) | Backend::Memory(_) => None,
            Backend::Redis(store) => store.count(caller, rate).await,
        }
    }

    /// Asks whether a request may begin, among all processes that share the store.
    pub(crate) async fn reserve(&self, request: &SharedReservation) -> Option<SharedStanding> {
        match &self.backend {
            Backend::File(_) | Backend::Memory(_) => None,
            Backend::Redis(store) => store.reserve(request).await,
        }
    }

    /// Adds to the usage, once for each number of a process. When this returns, the usage is on disk, at
    /// the server, or in memory where that is the store.
    pub(crate) async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        match &self.backend {
            Backend::File(store) => store.add_usage(batch).await,
            Backend::Memory(store) => {
                store.add_usage(batch);
                Ok(())
            }
            Backend::Redis(store) => store.add_usage(batch).await,
        }
    }

    /// Returns the usage of these days, of one key or of all, in the order of day, key and model.
    pub(crate) async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        match &self.backend {
            Backend::File(store) => store.usage(days, key).await,
            Backend::Memory(store) => Ok(store.usage(&days, key)),
            Backend::Redis(store) => store.usage(days, key).await,
        }
    }

    /// Removes the usage of the days before this one.
    pub(crate) async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        match &self.backend {
            Backend::File(store) => store.remove_usage(before).await,
            Backend::Memory(store) => {
                store.remove_usage(before);
                Ok(())
            }
            Backend::Redis(store) => store.remove_usage(before).await,
        }
    }

    /// Removes all usage, and returns the number of rows.
    pub(crate) async fn clear_usage(&self) -> Result<usize, StoreError> {
        match &self.backend {
            Backend::File(store) => store.clear_usage().await,
            Backend::Memory(store) => Ok(store.clear_usage()),
            Backend::Redis(store) => store.clear_usage().await,
        }
    }

    /// Returns all entries that have not expired, in the byte order of their keys, as they are stored:
    /// encrypted values stay so.
    pub(crate) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        match &self.backend {
            Backend::File(store) => store.entries().await,
            Backend::Memory(store) => Ok(store.entries()),
            Backend::Redis(store) => store.entries().await,
        }
    }

    /// Writes all entries or none. If a key is set, plain values are encrypted, and encrypted ones are
    /// encrypted anew.
    ///
    /// # Errors
    ///
    /// An entry is encrypted with another key; or the store does not work.
    pub(crate) async fn restore(&self, mut entries: Vec<Entry>) -> Result<(), StoreError> {
        for entry in &mut entries {
            let value = self.seal.reseal(&entry.key, entry.value.clone());
            entry.value =
                value.map_err(|error| StoreError(format!("entry {:?}: {error}", entry.key)))?;
        }
        match &self.backend {
            Backend::File(store) => store.restore(entries).await,
            Backend::Memory(store) => {
                store.restore(entries);
                Ok(())
            }
            Backend::Redis(store) => store.restore(entries).await,
        }
    }

    /// Removes all entries and returns their number. Usage stays.
    pub(crate) async fn clear(&self) -> Result<usize, StoreError> {
        match &self.backend {
            Backend::File(store) => store.clear().await,
            Backend::Memory(store) => Ok(store.clear()),
            Backend::Redis(store) => store.clear().await,
        }
    }

    /// The file that only this process may open, if the store is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.backend {
            Backend::File(store) => Some(store.path()),
            Backend::Memory(_) | Backend::Redis(_) => None,
        }
    }

    /// Describes the store for the start-up lines and `check`.
    pub(crate) fn describe(&self) -> String {
        match &self.backend {
            Backend::File(store) => store.describe(),
            Backend::Memory(store) => store.describe(),
            Backend::Redis(store) => store.describe(),
        }
    }

    /// True if the store of `KV_URL` is in use and its last operation succeeded.
    pub(crate) fn connected(&self) -> bool {
        match &self.backend {
            Backend::File(store) => store.connected(),
            Backend::Memory(store) => store.connected(),
            Backend::Redis(store) => store.connected(),
        }
    }

    /// What is known of the memory of a server.
    pub(crate) fn stats(&self) -> StoreStats {
        match &self.backend {
            Backend::File(_) | Backend::Memory(_) => StoreStats::default(),
            Backend::Redis(store) => store.stats(),
        }
    }

    /// Wraps a back end without a key.
    #[cfg(test)]
    fn of(backend: Backend) -> Self {
        Self { backend, seal: Seal::new(None) }
    }
}

fn open_local(url: &KvUrl) -> Result<(Backend, Option<Notice>), StoreError> {
    match url {
        KvUrl::File(path) => {
            let (store, notice) = FileStore::open(Path::new(path), Clock::system())?;
            Ok((Backend::File(store), notice))
        }
        KvUrl::Memory => Ok((Backend::Memory(MemoryStore::new(Clock::system())), None)),
        KvUrl::Redis(url) => Err(StoreError(format!("{url} is not on this machine"))),
    }
}

/// Reads `SSL_CERT_FILE`, for a server that is reached over TLS.
fn authorities(settings: &Settings) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(path) = &settings.ssl_cert_file else { return Ok(None) };
    let pem = std::fs::read(path);
    pem.map(Some)
        .map_err(|error| StoreError(format!("SSL_CERT_FILE={path} cannot be read: {error}")))
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Often a secret, so that `Debug` shows only its length.
    pub(crate) value: Bytes,
    /// None for an imported entry that does not expire.
    pub(crate) expires_at: Option<Timestamp>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("bytes", &self.value.len())
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// One sentence about the store for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice(pub(crate) String);

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The clock of a store.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Timestamp(u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Reads settings with only `KV_URL` set.
#[cfg(test)]
fn settings(kv_url: &str) -> Settings {
    use code_assist_core::settings::{Layer, Source};
    let lookup = |name: &str| (name == "KV_URL").then(|| kv_url.to_owned());
    Settings::read(&[Layer { source: Source::Env, lookup: &lookup }]).expect("good settings").0
}

/// A clock that tests advance.
#[cfg(test)]
pub(crate) mod manual_clock {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Arc, Clock, Duration, Timestamp};

    #[derive(Debug, Clone)]
    pub(crate) struct ManualClock(Arc<AtomicU64>);

    impl ManualClock {
        pub(crate) fn at(now: u64) -> Self {
            Self(Arc::new(AtomicU64::new(now)))
        }

        pub(crate) fn clock(&self) -> Clock {
            let now = Arc::clone(&self.0);
            Clock::new(move || Timestamp(now.load(Ordering::SeqCst)))
        }

        pub(crate) fn advance(&self, how_long: Duration) {
            let millis = u64::try_from(how_long.as_millis()).unwrap();
            self.0.fetch_add(millis, Ordering::SeqCst);
        }
    }
}
