//! The store of a process that keeps nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::time::Timestamp;

use super::{Clock, Entry};

/// Entries in memory.
#[derive(Debug, Clone)]
pub(crate) struct MemoryStore {
    clock: Clock,
    entries: Arc<Mutex<BTreeMap<String, Kept>>>,
    /// The `KV_URL` that could not be opened.
    stands_in_for: Option<Arc<str>>,
}

impl MemoryStore {
    /// An empty store.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, entries: Arc::default(), stands_in_for: None }
    }

    /// An empty store instead of the one at `url`, and counted as disconnected.
    pub(crate) fn standing_in(clock: Clock, url: String) -> Self {
        Self { stands_in_for: Some(url.into()), ..Self::new(clock) }
    }

    pub(super) fn load(&self, key: &str) -> Option<Bytes> {
        let now = self.clock.now();
        self.lock().get(key).filter(|kept| !kept.is_expired(now)).map(|kept| kept.value.clone())
    }

    pub(super) fn save(&self, key: &str, value: Bytes, ttl: Duration) {
        let expires_at = Some(self.clock.now() + ttl);
        self.restore(vec![Entry { key: key.into(), value, expires_at }]);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let now = self.clock.now();
        let entries = self.lock();
        let live = entries.iter().filter(|(_, kept)| !kept.is_expired(now));
        live.map(|(key, kept)| Entry {
            key: key.clone(),
            value: kept.value.clone(),
            expires_at: kept.expires_at,
        })
        .collect()
    }

    pub(super) fn restore(&self, restored: Vec<Entry>) {
        let now = self.clock.now();
        let mut entries = self.lock();
        for Entry { key, value, expires_at } in restored {
            entries.insert(key, Kept { value, expires_at });
        }
        entries.retain(|_, kept| !kept.is_expired(now));
    }

    pub(super) fn clear(&self) -> usize {
        let count = self.entries().len();
        self.lock().clear();
        count
    }

    pub(super) fn describe(&self) -> String {
        match &self.stands_in_for {
            None => "memory (gone when the process ends)".into(),
            Some(url) => format!("memory, standing in for {url}"),
        }
    }

    pub(super) fn connected(&self) -> bool {
        self.stands_in_for.is_none()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Kept>> {
        // No code that can panic runs under this lock, so what a poisoned one guards is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Kept {
    value: Bytes,
    expires_at: Option<Timestamp>,
}

impl Kept {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use code_assist_testkit::contract::store_contract;

    use super::*;
    use crate::store::hand::Hand;
    use crate::store::{Back, Store};

    #[tokio::test]
    async fn memory_keeps_the_contract() {
        let hand = Hand::at(1_700_000_000_000);
        let store = Store::of(Back::Memory(MemoryStore::new(hand.clock())));
        store_contract(
            &store,
            async |how_long| hand.advance(how_long),
            Store::load,
            async |store, key, value, ttl| store.save(key, value, ttl, None).await,
            async |store: &Store| {
                let entries = store.entries().await?;
                Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
            },
            Store::clear,
        )
        .await;
    }

    #[test]
    fn expired_entries_do_not_pile_up() {
        let hand = Hand::at(0);
        let store = MemoryStore::new(hand.clock());
        store.save("a", Bytes::from_static(b"1"), Duration::from_secs(1));
        hand.advance(Duration::from_secs(1));
        store.save("b", Bytes::from_static(b"2"), Duration::from_secs(1));
        assert_eq!(store.lock().len(), 1);
    }

    #[test]
    fn a_stand_in_is_not_connected() {
        let hand = Hand::at(0);
        assert!(MemoryStore::new(hand.clock()).connected());
        let stand_in = MemoryStore::standing_in(hand.clock(), "file:/x/kv.redb".into());
        assert!(!stand_in.connected());
        assert_eq!(stand_in.describe(), "memory, standing in for file:/x/kv.redb");
    }
}
