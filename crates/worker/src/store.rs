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
        let lock_key = format!("{key}:turn");
        let until = kv.get(&lock_key).text().await.ok().flatten();
        let until = until.and_then(|until| until.parse().ok()).map(Timestamp);
        if until.is_some_and(|until| clock < until && !is_released(key, until)) {
            return LockResult::Held;
        }
        let until = clock + how_long;
        if let Ok(put) = kv.put(&lock_key, until.0.to_string()) {
            let _ = put.expiration_ttl(SHORTEST_TTL).execute().await;
        }
        LockResult::Acquired(FencingToken(until.0))
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
                released().insert(key.to_owned(), Timestamp(fence.0));
            }
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.kv.is_some()
    }
}

/// The locks in KV that this isolate has released, with the time of their expiry.
fn released() -> MutexGuard<'static, BTreeMap<String, Timestamp>> {
    static RELEASED: Mutex<BTreeMap<String, Timestamp>> = Mutex::new(BTreeMap::new());
    RELEASED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_released(key: &str, until: Timestamp) -> bool {
    released().get(key) == Some(&until)
}

fn failed(error: &KvError) -> StoreError {
    StoreError(error.to_string())
}

/// The name in `wrangler.toml`.
const KV_BINDING: &str = "GEMINI_CREDS_KV";

/// In seconds. KV refuses a shorter time to live.
const SHORTEST_TTL: u64 = 60;
