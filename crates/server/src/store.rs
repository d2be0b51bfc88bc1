//! The key-value store: what outlives a request, and with a file the process.
//!
//! It holds cached facts (tokens, the project), so losing it costs a refresh and a discovery, and
//! whatever is wrong with it keeps nothing from starting: [`Store::open`] falls back to memory.

mod file;
mod memory;
#[cfg(not(feature = "redis"))]
mod no_redis;
#[cfg(feature = "redis")]
mod redis;
mod seal;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use code_assist_core::platform::{Claim, Fence, Millis, StoreError};
use code_assist_core::policy::limit::{Caller, Rate, Standing};
use code_assist_core::settings::{KvUrl, Settings};

use self::file::FileStore;
use self::memory::MemoryStore;
#[cfg(not(feature = "redis"))]
use self::no_redis as redis;
use self::redis::RedisStore;
use self::seal::Seal;

/// One of the back ends, chosen by `KV_URL`, with its values sealed if there is a key.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    back: Back,
    seal: Seal,
}

#[derive(Debug, Clone)]
enum Back {
    /// An embedded file database.
    File(FileStore),
    /// Gone with the process.
    Memory(MemoryStore),
    /// Shared with other processes.
    Redis(RedisStore),
}

impl Store {
    /// Opens the store, or memory in its stead. The notice is for the operator: a damaged file was
    /// set aside, or memory stands in.
    ///
    /// Blocks on the disk: for the start of a process.
    pub(crate) async fn open(settings: &Settings) -> (Self, Option<Notice>) {
        let opened = match &settings.kv_url {
            KvUrl::Redis(url) => match authorities(settings) {
                Ok(pem) => RedisStore::open(url, pem, Clock::system())
                    .await
                    .map(|(store, notice)| (Back::Redis(store), notice)),
                Err(why) => Err(why),
            },
            url => open_local(url),
        };
        let (back, notice) = opened.unwrap_or_else(|why| {
            let notice = format!("{why}; tokens are kept in memory only until this is mended");
            let url = settings.kv_url.to_string();
            let stand_in = MemoryStore::standing_in(Clock::system(), url);
            (Back::Memory(stand_in), Some(Notice(notice)))
        });
        (Self { back, seal: Seal::new(settings.kv_encryption_key.as_ref()) }, notice)
    }

    /// Opens the store and nothing else, for commands that are about its content.
    ///
    /// # Errors
    ///
    /// The file is in use by another process, or cannot be read and written; the server cannot be
    /// reached.
    pub(crate) async fn open_only(
        settings: &Settings,
    ) -> Result<(Self, Option<Notice>), StoreError> {
        let (back, notice) = match &settings.kv_url {
            KvUrl::Redis(url) => {
                let pem = authorities(settings)?;
                (Back::Redis(RedisStore::open_only(url, pem, Clock::system()).await?), None)
            }
            url => open_local(url)?,
        };
        Ok((Self { back, seal: Seal::new(settings.kv_encryption_key.as_ref()) }, notice))
    }

    /// The value of `key`, unless it has expired or is sealed with another key.
    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let stored = match &self.back {
            Back::File(store) => store.load(key).await?,
            Back::Memory(store) => store.load(key),
            Back::Redis(store) => store.load(key).await,
        };
        Ok(stored.and_then(|stored| self.seal.open_if_ours(key, stored)))
    }

    /// Writes one entry, gone after `ttl`. It is on disk when this returns, or at the server; or in
    /// memory, until the server is back. With a `fence` it counts only if no younger one has
    /// written; without others there are no turns.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
        fence: Option<Fence>,
    ) -> Result<(), StoreError> {
        let value = self.seal.seal(key, value);
        match &self.back {
            Back::File(store) => store.save(key, value, ttl).await,
            Back::Memory(store) => {
                store.save(key, value, ttl);
                Ok(())
            }
            Back::Redis(store) => store.save(key, value, ttl, fence).await,
        }
    }

    /// Whether other processes share it.
    pub(crate) fn shares(&self) -> bool {
        matches!(self.back, Back::Redis(_))
    }

    /// Asks for the turn to find out what belongs under `key`.
    pub(crate) async fn claim(&self, key: &str, how_long: Duration) -> Claim {
        match &self.back {
            Back::File(_) | Back::Memory(_) => Claim::Alone,
            Back::Redis(store) => store.claim(key, how_long).await,
        }
    }

    /// Ends a turn before its time.
    pub(crate) async fn release(&self, key: &str, fence: Fence) {
        match &self.back {
            Back::File(_) | Back::Memory(_) => {}
            Back::Redis(store) => store.release(key, fence).await,
        }
    }

    /// Counts a caller's request among all who share the store.
    pub(crate) async fn count(&self, caller: &Caller, rate: Rate) -> Option<Standing> {
        match &self.back {
            Back::File(_) | Back::Memory(_) => None,
            Back::Redis(store) => store.count(caller, rate).await,
        }
    }

    /// Everything that has not expired, in the order of the keys' bytes, as it is stored: sealed if
    /// it is.
    pub(crate) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        match &self.back {
            Back::File(store) => store.entries().await,
            Back::Memory(store) => Ok(store.entries()),
            Back::Redis(store) => store.entries().await,
        }
    }

    /// Writes entries, all of them or none. Those in the clear are sealed, and sealed ones sealed
    /// anew, if there is a key.
    ///
    /// # Errors
    ///
    /// One is sealed with another key; or the store does not work.
    pub(crate) async fn restore(&self, mut entries: Vec<Entry>) -> Result<(), StoreError> {
        for entry in &mut entries {
            let value = self.seal.anew(&entry.key, entry.value.clone());
            entry.value =
                value.map_err(|why| StoreError(format!("entry {:?}: {why}", entry.key)))?;
        }
        match &self.back {
            Back::File(store) => store.restore(entries).await,
            Back::Memory(store) => {
                store.restore(entries);
                Ok(())
            }
            Back::Redis(store) => store.restore(entries).await,
        }
    }

    /// Removes everything and says how many entries that were.
    pub(crate) async fn clear(&self) -> Result<usize, StoreError> {
        match &self.back {
            Back::File(store) => store.clear().await,
            Back::Memory(store) => Ok(store.clear()),
            Back::Redis(store) => store.clear().await,
        }
    }

    /// The store in words, for the start-up lines and `check`.
    pub(crate) fn describe(&self) -> String {
        match &self.back {
            Back::File(store) => store.describe(),
            Back::Memory(store) => store.describe(),
            Back::Redis(store) => store.describe(),
        }
    }

    /// Whether the store that was asked for is in use and its last operation worked.
    pub(crate) fn connected(&self) -> bool {
        match &self.back {
            Back::File(store) => store.connected(),
            Back::Memory(store) => store.connected(),
            Back::Redis(store) => store.connected(),
        }
    }

    /// A back end of the tests' own making, without a key.
    #[cfg(test)]
    fn of(back: Back) -> Self {
        Self { back, seal: Seal::new(None) }
    }
}

fn open_local(url: &KvUrl) -> Result<(Back, Option<Notice>), StoreError> {
    match url {
        KvUrl::File(path) => {
            let (store, notice) = FileStore::open(Path::new(path), Clock::system())?;
            Ok((Back::File(store), notice))
        }
        KvUrl::Memory => Ok((Back::Memory(MemoryStore::new(Clock::system())), None)),
        KvUrl::Redis(url) => Err(StoreError(format!("{url} is not on this machine"))),
    }
}

/// `SSL_CERT_FILE`, for a server that is reached over TLS.
fn authorities(settings: &Settings) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(path) = &settings.ssl_cert_file else { return Ok(None) };
    let pem = std::fs::read(path);
    pem.map(Some).map_err(|why| StoreError(format!("SSL_CERT_FILE={path} cannot be read: {why}")))
}

/// One entry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) key: String,
    /// Its content, often a secret.
    pub(crate) value: Bytes,
    /// When it is gone; an imported entry may stay for ever.
    pub(crate) expires_at: Option<Millis>,
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

/// What the operator should know about the store, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice(pub(crate) String);

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a store takes the time from.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl Clock {
    /// Any source of time; tests turn it by hand.
    pub(crate) fn new(now: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The wall clock.
    pub(crate) fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Millis(u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// The time.
    pub(crate) fn now(&self) -> Millis {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// Settings of which only `KV_URL` matters.
#[cfg(test)]
fn settings(kv_url: &str) -> Settings {
    use code_assist_core::settings::{Layer, Source};
    let lookup = |name: &str| (name == "KV_URL").then(|| kv_url.to_owned());
    Settings::read(&[Layer { source: Source::Env, lookup: &lookup }]).expect("good settings").0
}

/// A clock that is turned by hand.
#[cfg(test)]
pub(crate) mod hand {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Arc, Clock, Duration, Millis};

    #[derive(Debug, Clone)]
    pub(crate) struct Hand(Arc<AtomicU64>);

    impl Hand {
        pub(crate) fn at(now: u64) -> Self {
            Self(Arc::new(AtomicU64::new(now)))
        }

        pub(crate) fn clock(&self) -> Clock {
            let hand = Arc::clone(&self.0);
            Clock::new(move || Millis(hand.load(Ordering::SeqCst)))
        }

        pub(crate) fn advance(&self, how_long: Duration) {
            let millis = u64::try_from(how_long.as_millis()).unwrap();
            self.0.fetch_add(millis, Ordering::SeqCst);
        }
    }
}
