//! The store: Workers KV for facts that may be a minute old, and, where it is bound, the register
//! for those that must be agreed on.
//!
//! Both bindings are optional. Without KV the proxy keeps what it knows in its isolate, and says so
//! in its health; without the register, isolates take turns over KV as well as that can be done.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{FencingToken, LockResult, StoreError, Timestamp};
use worker::Env;
use worker::kv::{KvError, KvStore};

use crate::register::Register;

/// The bindings of one event.
#[derive(Debug)]
pub(crate) struct Store {
    kv: Option<KvStore>,
    register: Option<Register>,
}

impl Store {
    /// What `wrangler.toml` has bound.
    pub(crate) fn bound(env: &Env) -> Self {
        Self { kv: env.kv(KV_BINDING).ok(), register: Register::bound(env) }
    }

    /// The register's entry, which is never old, else KV's.
    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        if let Some(register) = &self.register {
            match register.load(key).await {
                Ok(Some(value)) => return Ok(Some(value)),
                Ok(None) => {}
                Err(why) => tracing::warn!(key, "the register cannot be read: {why}"),
            }
        }
        let Some(kv) = &self.kv else { return Ok(None) };
        let value = kv.get(key).bytes().await.map_err(|why| failed(&why))?;
        Ok(value.map(Bytes::from))
    }

    /// Writes to both. KV keeps nothing for less than a minute: what it keeps for too long has its
    /// own expiry inside.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        if let (Some(register), Some(fence)) = (&self.register, fence) {
            match register.save(key, &value, ttl, fence).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(why) => tracing::warn!(key, "the register cannot be written: {why}"),
            }
        }
        let Some(kv) = &self.kv else { return Ok(()) };
        let seconds = ttl.as_secs().max(SHORTEST_TTL);
        let put = kv.put_bytes(key, &value).map_err(|why| failed(&why))?;
        put.expiration_ttl(seconds).execute().await.map_err(|why| failed(&why))
    }

    /// The register's word, else KV's: best effort, since two isolates may write at the same time,
    /// and one may not see the other's entry for a minute.
    pub(crate) async fn claim(
        &self,
        key: &str,
        how_long: Duration,
        clock: Timestamp,
    ) -> LockResult {
        if let Some(register) = &self.register {
            return register.claim(key, how_long).await.unwrap_or_else(|why| {
                tracing::warn!(key, "the register gives no turns: {why}");
                LockResult::NotShared
            });
        }
        let Some(kv) = &self.kv else { return LockResult::NotShared };
        let turn = format!("{key}:turn");
        let until = kv.get(&turn).text().await.ok().flatten();
        let until = until.and_then(|until| until.parse().ok()).map(Timestamp);
        if until.is_some_and(|until| clock < until && !is_over(key, until)) {
            return LockResult::Held;
        }
        let until = clock + how_long;
        if let Ok(put) = kv.put(&turn, until.0.to_string()) {
            let _ = put.expiration_ttl(SHORTEST_TTL).execute().await;
        }
        LockResult::Acquired(FencingToken(until.0))
    }

    /// KV takes one write a second for a key, so a turn over KV is not taken back: only this isolate
    /// knows that its own is over, and need not wait for it.
    pub(crate) async fn release(&self, key: &str, fence: FencingToken) {
        match &self.register {
            Some(register) => {
                if let Err(why) = register.release(key, fence).await {
                    tracing::warn!(key, "a turn ends later than it could: {why}");
                }
            }
            None => {
                over().insert(key.to_owned(), Timestamp(fence.0));
            }
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.kv.is_some()
    }
}

/// Until when this isolate's last turns over KV would have lasted.
fn over() -> MutexGuard<'static, BTreeMap<String, Timestamp>> {
    static OVER: Mutex<BTreeMap<String, Timestamp>> = Mutex::new(BTreeMap::new());
    OVER.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_over(key: &str, until: Timestamp) -> bool {
    over().get(key) == Some(&until)
}

fn failed(error: &KvError) -> StoreError {
    StoreError(error.to_string())
}

/// The seed's name for it.
const KV_BINDING: &str = "GEMINI_CREDS_KV";

/// In seconds; KV refuses less.
const SHORTEST_TTL: u64 = 60;
