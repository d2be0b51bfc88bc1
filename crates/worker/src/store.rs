//! The store: Workers KV for facts that may be a minute old and, where it is bound, the lock object for
//! facts on which all isolates must agree.
//!
//! Both bindings are optional. Without KV the proxy keeps its facts in the isolate and reports that in
//! its health. Without the lock object, isolates lock over KV, which is best effort.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{FencingToken, LockResult, StoreError, Timestamp};
use worker::Env;
use worker::kv::{KvError, KvStore};

use crate::lock_object::LockObject;

/// The bindings of one event.
#[derive(Debug)]
pub(crate) struct Store {
    kv: Option<KvStore>,
    lock_object: Option<LockObject>,
}

impl Store {
    /// The bindings of `wrangler.toml`.
    pub(crate) fn bound(env: &Env) -> Self {
        Self { kv: env.kv(KV_BINDING).ok(), lock_object: LockObject::bound(env) }
    }

    /// The entry of the lock object, which is never stale, else that of KV.
    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(lock_object) = &self.lock_object {
            match lock_object.load(key).await {
                Ok(Some(value)) => return Ok(Some(value)),
                Ok(None) => {}
                Err(why) => tracing::warn!(key, "the lock object cannot be read: {why}"),
            }
        }
        let Some(kv) = &self.kv else { return Ok(None) };
        let value = kv.get(key).bytes().await.map_err(|why| failed(&why))?;
        Ok(value.map(Bytes::from))
    }

    /// Writes to both. KV keeps an entry for a minute at least, but each entry carries its own expiry.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        if let (Some(lock_object), Some(fence)) = (&self.lock_object, fence) {
            match lock_object.save(key, &value, ttl, fence).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(why) => tracing::warn!(key, "the lock object cannot be written: {why}"),
            }
        }
        let Some(kv) = &self.kv else { return Ok(()) };
        let seconds = ttl.as_secs().max(SHORTEST_TTL);
        let put = kv.put_bytes(key, &value).map_err(|why| failed(&why))?;
        put.expiration_ttl(seconds).execute().await.map_err(|why| failed(&why))
    }

    /// Takes the lock in the lock object, else in KV. KV is best effort: two isolates may write at the
    /// same time, and one may not see the other's entry for a minute.
    pub(crate) async fn claim(
        &self,
        key: &str,
        how_long: Duration,
        clock: Timestamp,
    ) -> LockResult {
        if let Some(lock_object) = &self.lock_object {
            return lock_object.claim(key, how_long).await.unwrap_or_else(|why| {
                tracing::warn!(key, "the lock object grants no lock: {why}");
                LockResult::NotShared
            });
        }
        let Some(kv) = &self.kv else { return LockResult::NotShared };
        let until = lock_in_kv(kv, key).await;
        let is_released = |until| own_locks().get(key).is_some_and(|own| own.is_released(until));
        if until.is_some_and(|until| clock < until && !is_released(until)) {
            return LockResult::Held;
        }
        let until = clock + how_long;
        put_lock_in_kv(kv, key, until).await;
        let token = FencingToken(until.0);
        own_locks().insert(key.to_owned(), OwnLock { token, until, released: false });
        LockResult::Acquired(token)
    }

    /// Extends a lock in the lock object, else in KV. In KV the lock is lost if a later time is stored
    /// than the one that this isolate has written.
    pub(crate) async fn renew(
        &self,
        key: &str,
        fence: FencingToken,
        how_long: Duration,
        clock: Timestamp,
    ) -> bool {
        if let Some(lock_object) = &self.lock_object {
            return lock_object.renew(key, fence, how_long).await.unwrap_or_else(|why| {
                tracing::warn!(key, "a lock cannot be renewed: {why}");
                false
            });
        }
        let Some(kv) = &self.kv else { return false };
        let stored = lock_in_kv(kv, key).await;
        let until = clock + how_long;
        match own_locks().get_mut(key) {
            Some(own) if own.token == fence && !own.released && stored <= Some(own.until) => {
                own.until = until;
            }
            _ => return false,
        }
        put_lock_in_kv(kv, key, until).await;
        true
    }

    /// Releases the lock in the lock object. KV takes one write a second for a key, so a lock in KV is
    /// left to expire. Only this isolate knows that it is released.
    pub(crate) async fn release(&self, key: &str, fence: FencingToken) {
        match &self.lock_object {
            Some(lock_object) => {
                if let Err(why) = lock_object.release(key, fence).await {
                    tracing::warn!(key, "a lock cannot be released and will expire: {why}");
                }
            }
            None => {
                if let Some(own) = own_locks().get_mut(key).filter(|own| own.token == fence) {
                    own.released = true;
                }
            }
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.kv.is_some()
    }
}

/// When the lock in KV ends.
async fn lock_in_kv(kv: &KvStore, key: &str) -> Option<Timestamp> {
    let until = kv.get(&lock_key(key)).text().await.ok().flatten()?;
    until.parse().ok().map(Timestamp)
}

async fn put_lock_in_kv(kv: &KvStore, key: &str, until: Timestamp) {
    if let Ok(put) = kv.put(&lock_key(key), until.0.to_string()) {
        let _ = put.expiration_ttl(SHORTEST_TTL).execute().await;
    }
}

/// The name stays `turn`, so that isolates of two versions share locks.
fn lock_key(key: &str) -> String {
    format!("{key}:turn")
}

/// A lock in KV that this isolate has taken.
#[derive(Debug)]
struct OwnLock {
    token: FencingToken,
    /// What this isolate has last written to KV.
    until: Timestamp,
    released: bool,
}

impl OwnLock {
    /// True if the lock that ends at this time is this one, and was released.
    fn is_released(&self, until: Timestamp) -> bool {
        self.released && self.until == until
    }
}

/// The locks in KV that this isolate has taken, by the key of their work.
fn own_locks() -> MutexGuard<'static, BTreeMap<String, OwnLock>> {
    static OWN: Mutex<BTreeMap<String, OwnLock>> = Mutex::new(BTreeMap::new());
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: &KvError) -> StoreError {
    StoreError(error.to_string())
}

/// The name in `wrangler.toml`.
const KV_BINDING: &str = "GEMINI_CREDS_KV";

/// In seconds. KV refuses a shorter time to live.
const SHORTEST_TTL: u64 = 60;
