//! A Redis-compatible server that several processes share (`spec.md` 16).
//!
//! Facts (tokens, the project, models) are kept in this process's memory too, as they were last
//! read or written. While the server is gone, slow, full or read-only, that memory is the store;
//! when it is back, what it lacks is written back. What only several processes together can know
//! (turns, counts, kept answers) is not there for so long, and everybody is alone.

mod link;
mod scripts;
#[cfg(test)]
mod tests;
mod write_back;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::caller::{Caller, Rate, RateStanding};
use code_assist_core::platform::StoreError;
use code_assist_core::policy::cache::ANSWER_PREFIX;
use code_assist_core::policy::lock::{FencingToken, LockResult};
use code_assist_core::settings::RedisUrl;

use self::link::{ADMIN_PATIENCE, Link, PATIENCE};
use self::scripts::{Names, Scripts};
use self::write_back::WriteBackCache;
use super::{Clock, Entry, Notice};

/// Entries in a server that others share. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct RedisStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Link,
    near: Arc<WriteBackCache>,
    names: Arc<Names>,
    scripts: Arc<Scripts>,
    clock: Clock,
    shown: String,
}

impl RedisStore {
    /// Connects, and keeps connected from then on. The notice says that the server is not there
    /// yet.
    ///
    /// # Errors
    ///
    /// There is no way to such a server: unusable certificates.
    pub(crate) async fn open(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        clock: Clock,
    ) -> Result<(Self, Option<Notice>), StoreError> {
        let store = Self::new(url, authorities, clock)?;
        let begun = store.inner.link.begin().await;
        let notice = begun.err().map(|why| {
            Notice(format!("{why}; this process goes on from its memory and tries again"))
        });
        Ok((store, notice))
    }

    /// Connects once, for commands that are about the content.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or may not be written to.
    pub(crate) async fn open_only(
        url: &RedisUrl,
        authorities: Option<Vec<u8>>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let store = Self::new(url, authorities, clock)?;
        store.inner.link.connect_once().await?;
        Ok(store)
    }

    fn new(url: &RedisUrl, authorities: Option<Vec<u8>>, clock: Clock) -> Result<Self, StoreError> {
        let names = Arc::new(Names::new(&url.prefix));
        let scripts = Arc::new(Scripts::new());
        let near = Arc::new(WriteBackCache::new(clock.clone()));
        let ready = link::Ready {
            names: Arc::clone(&names),
            scripts: Arc::clone(&scripts),
            near: Arc::clone(&near),
        };
        let link = Link::new(url, authorities, ready)?;
        let shown = format!("{url}, keys {}*", url.prefix);
        Ok(Self { inner: Arc::new(Inner { link, near, names, scripts, clock, shown }) })
    }

    pub(super) async fn load(&self, key: &str) -> Option<Bytes> {
        let Inner { link, near, names, .. } = &*self.inner;
        let entry = names.entry(key);
        let loaded = link
            .run(PATIENCE, async |mut connection| {
                let mut both = redis::pipe();
                both.cmd("GET").arg(&entry).cmd("PTTL").arg(&entry);
                both.query_async::<(Option<Vec<u8>>, i64)>(&mut connection).await
            })
            .await;
        match loaded {
            Ok((value, _)) if is_passing(key) => value.map(Bytes::from),
            // It has expired between the two questions.
            Ok((Some(_), NO_SUCH_KEY)) | Ok((None, _)) => near.read(key, None),
            Ok((Some(value), left)) => {
                let ttl = u64::try_from(left).ok().map(Duration::from_millis);
                near.read(key, Some((Bytes::from(value), ttl)))
            }
            Err(_) => near.load(key),
        }
    }

    pub(super) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<FencingToken>,
    ) -> Result<(), StoreError> {
        let Inner { link, near, names, scripts, .. } = &*self.inner;
        let (turn, entry) = (names.turn(key), names.entry(key));
        if is_passing(key) && value.len() > LARGEST_ANSWER {
            return Ok(());
        }
        let saved = link
            .run(PATIENCE, async |mut connection| match fence {
                Some(fence) => {
                    scripts.save(&turn, &entry, fence, &value, ttl, &mut connection).await
                }
                None => {
                    scripts::set(&entry, &value, Some(ttl)).exec_async(&mut connection).await?;
                    Ok(true)
                }
            })
            .await;
        match saved {
            _ if is_passing(key) => {}
            Ok(true) => near.seen(key, value, Some(ttl)),
            // Somebody has written since this turn was over: what is here counts no more.
            Ok(false) => near.gone(key),
            Err(_) => near.owed(key, value, ttl, fence),
        }
        Ok(())
    }

    pub(super) async fn claim(&self, key: &str, how_long: Duration) -> LockResult {
        let Inner { link, names, scripts, .. } = &*self.inner;
        let turn = names.turn(key);
        let claimed = link
            .run(PATIENCE, async |mut connection| {
                scripts.claim(&turn, how_long, &mut connection).await
            })
            .await;
        match claimed {
            Ok(Some(fence)) => LockResult::Acquired(fence),
            Ok(None) => LockResult::Held,
            Err(_) => LockResult::NotShared,
        }
    }

    pub(super) async fn release(&self, key: &str, fence: FencingToken) {
        let Inner { link, names, scripts, .. } = &*self.inner;
        let turn = names.turn(key);
        // One that is not released ends by itself.
        let _ = link
            .run(PATIENCE, async |mut connection| {
                scripts.release(&turn, fence, &mut connection).await
            })
            .await;
    }

    pub(super) async fn count(&self, caller: &Caller, rate: Rate) -> Option<RateStanding> {
        let Inner { link, names, scripts, .. } = &*self.inner;
        let (log, total) = names.count(caller);
        link.run(PATIENCE, async |mut connection| {
            scripts.count(&log, &total, rate, &mut connection).await
        })
        .await
        .ok()
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let Inner { link, names, clock, .. } = &*self.inner;
        let keys = self.scan(&names.entry("")).await?;
        let mut entries = Vec::new();
        for chunk in keys.iter().collect::<Vec<_>>().chunks(CHUNK) {
            let mut both = redis::pipe();
            for key in chunk {
                both.cmd("GET").arg(key).cmd("PTTL").arg(key);
            }
            let rows: Vec<redis::Value> = link
                .run(ADMIN_PATIENCE, async |mut connection| both.query_async(&mut connection).await)
                .await?;
            let now = clock.now();
            for (key, row) in chunk.iter().zip(rows.chunks(2)) {
                let [redis::Value::BulkString(value), redis::Value::Int(left)] = row else {
                    continue; // It has expired since.
                };
                let key = String::from_utf8_lossy(&key[names.entry("").len()..]).into_owned();
                if is_passing(&key) || *left == NO_SUCH_KEY {
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
        let Inner { link, names, clock, .. } = &*self.inner;
        let now = clock.now();
        let mut all = redis::pipe();
        all.atomic();
        for Entry { key, value, expires_at } in &entries {
            let ttl = expires_at.map(|at| now.until(at));
            all.add_command(scripts::set(&names.entry(key), value, ttl)).ignore();
        }
        link.run(ADMIN_PATIENCE, async |mut connection| all.exec_async(&mut connection).await).await
    }

    pub(super) async fn clear(&self) -> Result<usize, StoreError> {
        let Inner { link, names, near, .. } = &*self.inner;
        let keys = self.scan(&names.all()).await?;
        let entry = names.entry("");
        let answer = names.entry(ANSWER_PREFIX);
        let count = keys.iter().filter(|key| key.starts_with(&entry) && !key.starts_with(&answer));
        let count = count.count();
        for chunk in keys.iter().collect::<Vec<_>>().chunks(CHUNK) {
            let mut unlink = redis::cmd("UNLINK");
            chunk.iter().for_each(|key| {
                unlink.arg(key);
            });
            link.run(ADMIN_PATIENCE, async |mut connection| {
                unlink.exec_async(&mut connection).await
            })
            .await?;
        }
        near.clear();
        Ok(count)
    }

    pub(super) fn describe(&self) -> String {
        match self.inner.link.trouble() {
            None => format!("Redis {}", self.inner.shown),
            Some(why) => format!("Redis {} (memory stands in: {why})", self.inner.shown),
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.inner.link.trouble().is_none()
    }

    /// Every key that begins like this.
    async fn scan(&self, beginning: &[u8]) -> Result<BTreeSet<Vec<u8>>, StoreError> {
        let mut pattern = Vec::with_capacity(beginning.len() + 1);
        for byte in beginning {
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
                .run(ADMIN_PATIENCE, async |mut connection| scan.query_async(&mut connection).await)
                .await?;
            keys.extend(found);
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }
}

/// Kept answers are many, large and soon gone: they are neither listed nor kept in memory here,
/// where the core keeps its own.
fn is_passing(key: &str) -> bool {
    key.starts_with(ANSWER_PREFIX)
}

/// A larger one would hold up the turns and counts that share its connection.
const LARGEST_ANSWER: usize = 1 << 20;

/// What PTTL says of a key that is gone.
const NO_SUCH_KEY: i64 = -2;

/// Keys in one command.
const CHUNK: usize = 500;
