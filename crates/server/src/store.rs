//! The key-value store: what outlives a request, and with a file the process.
//!
//! It holds cached facts (tokens, the project), so losing it costs a refresh and a discovery, and
//! whatever is wrong with it keeps nothing from starting: [`Store::open`] falls back to memory.

mod file;
mod memory;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use code_assist_core::platform::{Millis, StoreError};
use code_assist_core::settings::KvUrl;

pub(crate) use file::FileStore;
pub(crate) use memory::MemoryStore;

/// One of the back ends, chosen by `KV_URL`.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// An embedded file database.
    File(FileStore),
    /// Gone with the process.
    Memory(MemoryStore),
}

impl Store {
    /// Opens the store, or memory in its stead. The notice is for the operator: a damaged file was
    /// set aside, or memory stands in.
    ///
    /// Blocks on the disk: for the start of a process.
    pub(crate) fn open(url: &KvUrl) -> (Self, Option<Notice>) {
        Self::open_only(url).unwrap_or_else(|why| {
            let notice = format!("{why}; tokens are kept in memory only until this is mended");
            let stand_in = MemoryStore::standing_in(Clock::system(), url.to_string());
            (Self::Memory(stand_in), Some(Notice(notice)))
        })
    }

    /// Opens the store and nothing else, for commands that are about its content.
    ///
    /// # Errors
    ///
    /// The file is in use by another process, or cannot be read and written.
    pub(crate) fn open_only(url: &KvUrl) -> Result<(Self, Option<Notice>), StoreError> {
        match url {
            KvUrl::File(path) => {
                let (store, notice) = FileStore::open(Path::new(path), Clock::system())?;
                Ok((Self::File(store), notice))
            }
            KvUrl::Memory => Ok((Self::Memory(MemoryStore::new(Clock::system())), None)),
        }
    }

    /// The value of `key`, unless it has expired.
    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        match self {
            Self::File(store) => store.load(key).await,
            Self::Memory(store) => Ok(store.load(key)),
        }
    }

    /// Writes one entry, gone after `ttl`. It is on disk when this returns.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.save(key, value, ttl).await,
            Self::Memory(store) => {
                store.save(key, value, ttl);
                Ok(())
            }
        }
    }

    /// Everything that has not expired, in the order of the keys' bytes.
    pub(crate) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        match self {
            Self::File(store) => store.entries().await,
            Self::Memory(store) => Ok(store.entries()),
        }
    }

    /// Writes entries as they are, all of them or none.
    pub(crate) async fn restore(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        match self {
            Self::File(store) => store.restore(entries).await,
            Self::Memory(store) => {
                store.restore(entries);
                Ok(())
            }
        }
    }

    /// Removes everything and says how many entries that were.
    pub(crate) async fn clear(&self) -> Result<usize, StoreError> {
        match self {
            Self::File(store) => store.clear().await,
            Self::Memory(store) => Ok(store.clear()),
        }
    }

    /// The store in words, for the start-up lines and `check`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::File(store) => store.describe(),
            Self::Memory(store) => store.describe(),
        }
    }

    /// Whether the store that was asked for is in use and its last operation worked.
    pub(crate) fn connected(&self) -> bool {
        match self {
            Self::File(store) => store.connected(),
            Self::Memory(store) => store.connected(),
        }
    }
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
