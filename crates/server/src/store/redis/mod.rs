//! A Redis-compatible server that several processes share (`docs/SCALING.md`).
//!
//! Entries (tokens, the project, models) are also cached in memory as they were last read or
//! written. While the server is gone, slow, full or read-only, the cache is the store; when the
//! server is back, the cache is written back. Locks, request counts, usage and cached answers are not
//! available meanwhile, so that each process works alone.

mod budget_scripts;
#[cfg(test)]
mod budget_tests;
mod link;
mod scripts;
mod stats;
#[cfg(test)]
mod tests;
mod usage;
#[cfg(test)]
mod usage_tests;
mod write_back;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::settings::RedisUrl;
use code_assist_core::{
    ANSWER_PREFIX, Caller, FencingToken, LockResult, Rate, RateStanding, StoreError, StoreStats,
};

use self::budget_scripts::BudgetScripts;
use self::link::{ADMIN_TIMEOUT, COMMAND_TIMEOUT, Link};
use self::scripts::{KeyNames, Scripts};
use self::write_back::WriteBackCache;
use super::{Clock, Entry, Notice};

/// Entries in a server that several processes share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RedisStore {
    inner: Arc<RedisInner>,
}

#[derive(Debug)]
struct RedisInner {
    link: Link,
    cache: Arc<WriteBackCache>,
    names: Arc<KeyNames>,
    scripts: Arc<Scripts>,
    budget_scripts: BudgetScripts,
    clock: Clock,
    /// The server and the prefix, for `describe`.
    shown: String,
    /// What cached answers may take of the server.
    answer_bytes: u64,
}

impl RedisStore {
    /// Connects, and reconnects from then on. The notice says that the server cannot be reached
    /// yet.
    ///
    /// # Errors
    ///
    /// The certificates are unusable.
    pub(crate) async fn open(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        clock: Clock,
        answer_bytes: u64,
    ) -> Result<(Self, Option<Notice>), StoreError> {
        let store = Self::new(url, authorities, clock, answer_bytes)?;
        let connected = store.inner.link.keep_connected().await;
        let notice = connected.err().map(|error| {
            Notice(format!("{error}; this process goes on from its memory and tries again"))
        });
        Ok((store, notice))
    }

    /// Connects once, for commands about the content.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses writes.
    pub(crate) async fn open_only(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let store = Self::new(url, authorities, clock, 0)?;
        store.inner.link.connect_once().await?;
        Ok(store)
    }

    fn new(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        clock: Clock,
        answer_bytes: u64,
    ) -> Result<Self, StoreError> {
        let names = Arc::new(KeyNames::new(&url.prefix));
        let scripts = Arc::new(Scripts::new());
        let cache = Arc::new(WriteBackCache::new(clock.clone()));
        let setup = link::Setup {
            names: Arc::clone(&names),
            scripts: Arc::clone(&scripts),
            cache: Arc::clone(&cache),
        };
        let link = Link::new(url, authorities, setup)?;
        let shown = format!("{url}, keys {}*", url.prefix);
        let budget_scripts = BudgetScripts::new();
        let inner =
            RedisInner { link, cache, names, scripts, budget_scripts, clock, shown, answer_bytes };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(super) async fn load(&self, key: &str) -> Option<Bytes> {
        let RedisInner { link, cache, names, .. } = &*self.inner;
        let entry = names.entry(key);
        let loaded = link
            .run(COMMAND_TIMEOUT, async |mut connection| {
                let mut both = redis::pipe();
                both.cmd("GET").arg(&entry).cmd("PTTL").arg(&entry);
                both.query_async::<(Option<Vec<u8>>, i64)>(&mut connection).await
            })
            .await;
        match loaded {
            Ok((value, _)) if is_answer(key) => value.map(Bytes::from),
            // The entry expired between GET and PTTL.
            Ok((Some(_), NO_SUCH_KEY)) | Ok((None, _)) => cache.apply_read(key, None),
            Ok((Some(value), left)) => {
                let ttl = u64::try_from(left).ok().map(Duration::from_millis);
                cache.apply_read(key, Some((Bytes::from(value), ttl)))
            }
            Err(_) => cache.load(key),
        }
    }

    pub(super) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        let RedisInner { link, cache, names, scripts, .. } = &*self.inner;
        let (lock, entry) = (names.lock(key), names.entry(key));
        if is_answer(key) {
            self.save_answer(&entry, &value, ttl).await;
            return Ok(());
        }
        let saved = link
            .run(COMMAND_TIMEOUT, async |mut connection| match fence {
                Some(fence) => {
                    scripts.save(&lock, &entry, fence, &value, ttl, &mut connection).await
                }
                None => {
                    scripts::set(&entry, &value, Some(ttl)).exec_async(&mut connection).await?;
                    Ok(true)
                }
            })
            .await;
        match saved {
            Ok(true) => cache.insert(key, value, Some(ttl)),
            // Another process has written since this lock expired, so that the cached entry is old.
            Ok(false) => cache.remove(key),
            Err(_) => cache.insert_dirty(key, value, ttl, fence),
        }
        Ok(())
    }

    /// Keeps an answer within the budget of all answers. An answer that is lost costs one call.
    async fn save_answer(&self, entry: &[u8], value: &[u8], ttl: Duration) {
        let RedisInner { link, names, scripts, answer_bytes, .. } = &*self.inner;
        let budget = link.stats().answer_budget(*answer_bytes);
        let size = value.len() as u64 + PER_ANSWER + 3 * entry.len() as u64;
        if value.len() > MAX_ANSWER || size > budget / 8 || ttl.is_zero() {
            return;
        }
        let _ = link
            .run(COMMAND_TIMEOUT, async |mut connection| {
                let answer = scripts::Answer { entry, value, size, ttl };
                scripts.save_answer(&answer, names, budget, &mut connection).await
            })
            .await;
    }

    pub(super) async fn claim(&self, key: &str, how_long: Duration) -> LockResult {
        let RedisInner { link, names, scripts, .. } = &*self.inner;
        let lock = names.lock(key);
        let claimed = link
            .run(COMMAND_TIMEOUT, async |mut connection| {
                scripts.claim(&lock, how_long, &mut connection).await
            })
            .await;
        match claimed {
            Ok(Some(fence)) => LockResult::Acquired(fence),
            Ok(None) => LockResult::Held,
            Err(_) => LockResult::NotShared,
        }
    }

    pub(super) async fn renew(&self, key: &str, fence: FencingToken, how_long: Duration) -> bool {
        let RedisInner { link, names, scripts, .. } = &*self.inner;
        let lock = names.lock(key);
        link.run(COMMAND_TIMEOUT, async |mut connection| {
            scripts.renew(&lock, fence, how_long, &mut connection).await
        })
        .await
        .unwrap_or(false)
    }

    pub(super) async fn release(&self, key: &str, fence: FencingToken) {
        let RedisInner { link, names, scripts, .. } = &*self.inner;
        let lock = names.lock(key);
        // A lock that is not released expires.
        let _ = link
            .run(COMMAND_TIMEOUT, async |mut connection| {
                scripts.release(&lock, fence, &mut connection).await
            })
            .await;
    }

    pub(super) async fn count(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        let RedisInner { link, names, scripts, .. } = &*self.inner;
        let (log, total) = names.count(caller);
        link.run(COMMAND_TIMEOUT, async |mut connection| {
            scripts.count(&log, &total, rate, &mut connection).await
        })
        .await
        .ok()
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let RedisInner { link, names, clock, .. } = &*self.inner;
        let keys = self.scan(&names.entry("")).await?;
        let mut entries = Vec::new();
        for chunk in keys.iter().collect::<Vec<_>>().chunks(CHUNK) {
            let mut both = redis::pipe();
            for key in chunk {
                both.cmd("GET").arg(key).cmd("PTTL").arg(key);
            }
            let rows: Vec<redis::Value> = link
                .run(ADMIN_TIMEOUT, async |mut connection| both.query_async(&mut connection).await)
                .await?;
            let now = clock.now();
            for (key, row) in chunk.iter().zip(rows.chunks(2)) {
                let [redis::Value::BulkString(value), redis::Value::Int(left)] = row else {
                    continue; // The entry has expired since the scan.
                };
                let key = String::from_utf8_lossy(&key[names.entry("").len()..]).into_owned();
                if is_answer(&key) || *left == NO_SUCH_KEY {
                    continue;
                }
                let left = u64::try_from(*left).ok();
                let expires_at = left.map(|left| now + Duration::from_millis(left));
                entries.push(Entry { key, value: Bytes::from(value.clone()), expires_at });
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    pub(super) async fn restore(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let RedisInner { link, names, clock, .. } = &*self.inner;
        let now = clock.now();
        let mut all = redis::pipe();
        all.atomic();
        for Entry { key, value, expires_at } in &entries {
            let ttl = expires_at.map(|at| now.until(at));
            all.add_command(scripts::set(&names.entry(key), value, ttl)).ignore();
        }
        link.run(ADMIN_TIMEOUT, async |mut connection| all.exec_async(&mut connection).await).await
    }

    pub(super) async fn clear(&self) -> Result<usize, StoreError> {
        let RedisInner { names, cache, .. } = &*self.inner;
        let mut keys = self.scan(&names.all()).await?;
        keys.retain(|key| !names.is_usage(key));
        let entry = names.entry("");
        let answer = names.entry(ANSWER_PREFIX);
        let count = keys.iter().filter(|key| key.starts_with(&entry) && !key.starts_with(&answer));
        let count = count.count();
        self.unlink(keys.into_iter().collect()).await?;
        cache.clear();
        Ok(count)
    }

    /// Removes keys of the server.
    async fn unlink(&self, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
        for chunk in keys.chunks(CHUNK) {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(chunk);
            self.inner
                .link
                .run(ADMIN_TIMEOUT, async |mut connection| unlink.exec_async(&mut connection).await)
                .await?;
        }
        Ok(())
    }

    /// True if the server logs each write to its disk. False too if it does not say, since an ACL may
    /// forbid the question.
    pub(super) async fn is_durable(&self) -> bool {
        let mut question = redis::cmd("INFO");
        question.arg("persistence");
        let answer: Result<String, StoreError> = self
            .inner
            .link
            .run(COMMAND_TIMEOUT, async |mut connection| {
                // A refusal says nothing about the connection, which `run` would give up.
                Ok(question.query_async(&mut connection).await.unwrap_or_default())
            })
            .await;
        answer.is_ok_and(|text| text.lines().any(|line| line == "aof_enabled:1"))
    }

    pub(super) fn describe(&self) -> String {
        match self.inner.link.error() {
            None => format!("Redis {}", self.inner.shown),
            Some(error) => format!("Redis {} (memory stands in: {error})", self.inner.shown),
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.inner.link.error().is_none()
    }

    /// The state of the server's memory, as it was asked for last.
    pub(super) fn stats(&self) -> StoreStats {
        self.inner.link.stats().get()
    }

    /// Asks for the state of the server's memory now.
    #[cfg(test)]
    async fn refresh_stats(&self) {
        self.inner.link.refresh_stats().await;
    }

    /// Finds all keys with this prefix.
    async fn scan(&self, prefix: &[u8]) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        let mut pattern = Vec::with_capacity(prefix.len() + 1);
        for byte in prefix {
            if b"*?[]\\^".contains(byte) {
                pattern.push(b'\\');
            }
            pattern.push(*byte);
        }
        pattern.push(b'*');
        let (mut keys, mut cursor) = (BTreeSet::new(), 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(CHUNK);
            let (next, found): (u64, Vec<Vec<u8>>) = self
                .inner
                .link
                .run(ADMIN_TIMEOUT, async |mut connection| scan.query_async(&mut connection).await)
                .await?;
            keys.extend(found);
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

/// True for a cached answer. Answers are many, large and short-lived, and the core caches its own,
/// so that this store neither lists nor caches them.
fn is_answer(key: &str) -> bool {
    key.starts_with(ANSWER_PREFIX)
}

/// A larger answer would delay the locks and counts on the same connection.
const MAX_ANSWER: usize = 1 << 20;

/// What an answer takes of the server besides its value and its name: the entry, and its place among
/// the answers.
const PER_ANSWER: u64 = 300;

/// What PTTL returns for a key that does not exist.
const NO_SUCH_KEY: i64 = -2;

/// Keys per command.
const CHUNK: usize = 500;
