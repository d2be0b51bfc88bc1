//! What this process knows of the facts in the server, for when the server is gone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::policy::lock::FencingToken;
use code_assist_core::time::Timestamp;

use crate::store::Clock;

/// Facts as they were last read or written. There are few of them: their keys are the core's.
#[derive(Debug)]
pub(super) struct WriteBackCache {
    clock: Clock,
    facts: Mutex<BTreeMap<String, CachedEntry>>,
}

/// One of them, on its way back into the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CachedEntry {
    pub(super) value: Bytes,
    /// Some entries stay for ever.
    pub(super) expires_at: Option<Timestamp>,
    /// When it was written without the server, as a fence: those that the server gives are times
    /// too, so the newest of all processes' writes wins.
    pub(super) owed: Option<FencingToken>,
}

impl WriteBackCache {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, facts: Mutex::default() }
    }

    pub(super) fn load(&self, key: &str) -> Option<Bytes> {
        let now = self.clock.now();
        self.lock().get(key).filter(|fact| fact.lives(now)).map(|fact| fact.value.clone())
    }

    /// The server has it so.
    pub(super) fn seen(&self, key: &str, value: Bytes, ttl: Option<Duration>) {
        let expires_at = ttl.map(|ttl| self.clock.now() + ttl);
        self.put(key, CachedEntry { value, expires_at, owed: None });
    }

    /// The server has this, or nothing, by what it has just said: what it is still owed is newer.
    pub(super) fn read(
        &self,
        key: &str,
        found: Option<(Bytes, Option<Duration>)>,
    ) -> Option<Bytes> {
        let now = self.clock.now();
        let owed =
            self.lock().get(key).filter(|fact| fact.lives(now) && fact.owed.is_some()).cloned();
        if let Some(owed) = owed {
            return Some(owed.value);
        }
        match found {
            Some((value, ttl)) => {
                self.seen(key, value.clone(), ttl);
                Some(value)
            }
            None => {
                self.gone(key);
                None
            }
        }
    }

    /// The server could not be told. Without a turn the time of the write is its fence.
    pub(super) fn owed(&self, key: &str, value: Bytes, ttl: Duration, fence: Option<FencingToken>) {
        let now = self.clock.now();
        let fence = fence.unwrap_or_else(|| FencingToken(now.0.saturating_mul(1000)));
        self.put(key, CachedEntry { value, expires_at: Some(now + ttl), owed: Some(fence) });
    }

    /// The server has it no more.
    pub(super) fn gone(&self, key: &str) {
        self.lock().remove(key);
    }

    /// What the server may lack.
    pub(super) fn facts(&self) -> Vec<(String, CachedEntry)> {
        let now = self.clock.now();
        let mut facts = self.lock();
        facts.retain(|_, fact| fact.lives(now));
        facts.iter().map(|(key, fact)| (key.clone(), fact.clone())).collect()
    }

    /// The server has been told this, unless it has changed since.
    pub(super) fn paid(&self, key: &str, told: &CachedEntry) {
        let mut facts = self.lock();
        if let Some(fact) = facts.get_mut(key).filter(|fact| *fact == told) {
            fact.owed = None;
        }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn put(&self, key: &str, fact: CachedEntry) {
        let now = self.clock.now();
        let mut facts = self.lock();
        facts.retain(|_, fact| fact.lives(now));
        facts.insert(key.to_owned(), fact);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CachedEntry>> {
        // No code that can panic runs under this lock.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedEntry {
    fn lives(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}
