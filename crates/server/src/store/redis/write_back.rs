//! A write-back cache of the server's entries, which serves while the server is gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{FencingToken, Timestamp};

use crate::store::Clock;

/// Entries as they were last read or written. Bounded, since only the core names keys.
#[derive(Debug)]
pub(super) struct WriteBackCache {
    clock: Clock,
    entries: Mutex<BTreeMap<String, CachedEntry>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CachedEntry {
    pub(super) value: Bytes,
    /// None for an entry that does not expire.
    pub(super) expires_at: Option<Timestamp>,
    /// Set if the entry was written while the server was gone: the time of the write as a fencing
    /// token. The server's tokens are times too, so that the newest write of all processes wins.
    pub(super) dirty_since: Option<FencingToken>,
}

impl WriteBackCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, entries: Mutex::default() }
    }

    pub(super) fn load(&self, key: &str) -> Option<Bytes> {
        let now = self.clock.now();
        self.lock().get(key).filter(|entry| entry.is_live(now)).map(|entry| entry.value.clone())
    }

    /// Caches a value that the server has confirmed.
    pub(super) fn insert(&self, key: &str, value: Bytes, ttl: Option<Duration>) {
        let expires_at = ttl.map(|ttl| self.clock.now() + ttl);
        self.put(key, CachedEntry { value, expires_at, dirty_since: None });
    }

    /// Applies what the server answered to a read, unless a newer local write has not been flushed.
    /// Returns the value that counts.
    pub(super) fn apply_read(
        &self,
        key: &str,
        found: Option<(Bytes, Option<Duration>)>,
    ) -> Option<Bytes> {
        let now = self.clock.now();
        let is_dirty = |entry: &&CachedEntry| entry.is_live(now) && entry.dirty_since.is_some();
        let dirty = self.lock().get(key).filter(is_dirty).cloned();
        if let Some(dirty) = dirty {
            return Some(dirty.value);
        }
        match found {
            Some((value, ttl)) => {
                self.insert(key, value.clone(), ttl);
                Some(value)
            }
            None => {
                self.remove(key);
                None
            }
        }
    }

    /// Caches a write that has not reached the server. Without a lock, the time of the write is its
    /// fencing token.
    pub(super) fn insert_dirty(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) {
        let now = self.clock.now();
        let fence = fence.unwrap_or_else(|| FencingToken(now.0.saturating_mul(1000)));
        self.put(key, CachedEntry { value, expires_at: Some(now + ttl), dirty_since: Some(fence) });
    }

    pub(super) fn remove(&self, key: &str) {
        self.lock().remove(key);
    }

    /// Returns all live entries, any of which the server may lack.
    pub(super) fn entries(&self) -> Vec<(String, CachedEntry)> {
        let now = self.clock.now();
        let mut entries = self.lock();
        entries.retain(|_, entry| entry.is_live(now));
        entries.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// Marks an entry as flushed, unless it has changed since `flushed` was read.
    pub(super) fn mark_flushed(&self, key: &str, flushed: &CachedEntry) {
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key).filter(|entry| *entry == flushed) {
            entry.dirty_since = None;
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn put(&self, key: &str, entry: CachedEntry) {
        let now = self.clock.now();
        let mut entries = self.lock();
        entries.retain(|_, entry| entry.is_live(now));
        entries.insert(key.to_owned(), entry);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CachedEntry>> {
        // No code under this lock can panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedEntry {
    fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}
