//! The store in memory, which ends with the process.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{Day, Timestamp, UsageBatch, UsageRow};

use super::usage::UsageTable;
use super::{Clock, Entry};

#[derive(Debug, Clone)]
pub(crate) struct MemoryStore {
    clock: Clock,
    entries: Arc<Mutex<BTreeMap<String, StoredValue>>>,
    usage: Arc<Mutex<UsageTable>>,
    /// The `KV_URL` that could not be opened and that this store replaces.
    stands_in_for: Option<Arc<str>>,
}

impl MemoryStore {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, entries: Arc::default(), usage: Arc::default(), stands_in_for: None }
    }

    /// Creates a replacement for the store at `url`, which counts as disconnected.
    pub(crate) fn standing_in(clock: Clock, url: String) -> Self {
        Self { stands_in_for: Some(url.into()), ..Self::new(clock) }
    }

    pub(super) fn load(&self, key: &str) -> Option<Bytes> {
        let now = self.clock.now();
        self.lock()
            .get(key)
            .filter(|stored| !stored.is_expired(now))
            .map(|stored| stored.value.clone())
    }

    pub(super) fn save(&self, key: &str, value: Bytes, ttl: Duration) {
        let expires_at = Some(self.clock.now() + ttl);
        self.restore(vec![Entry { key: key.into(), value, expires_at }]);
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let now = self.clock.now();
        let entries = self.lock();
        let live = entries.iter().filter(|(_, stored)| !stored.is_expired(now));
        live.map(|(key, stored)| Entry {
            key: key.clone(),
            value: stored.value.clone(),
            expires_at: stored.expires_at,
        })
        .collect()
    }

    pub(super) fn restore(&self, restored: Vec<Entry>) {
        let now = self.clock.now();
        let mut entries = self.lock();
        for Entry { key, value, expires_at } in restored {
            entries.insert(key, StoredValue { value, expires_at });
        }
        entries.retain(|_, stored| !stored.is_expired(now));
    }

    pub(super) fn clear(&self) -> usize {
        let count = self.entries().len();
        self.lock().clear();
        count
    }

    pub(super) fn add_usage(&self, batch: &UsageBatch) {
        self.usage_table().add(batch);
    }

    pub(super) fn usage(&self, days: &RangeInclusive<Day>, key: Option<&str>) -> Vec<UsageRow> {
        self.usage_table().list(days, key)
    }

    pub(super) fn remove_usage(&self, before: Day) {
        self.usage_table().remove(before);
    }

    pub(super) fn clear_usage(&self) -> usize {
        self.usage_table().clear()
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, StoredValue>> {
        // No code under this lock can panic, so that its data is valid.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usage_table(&self) -> MutexGuard<'_, UsageTable> {
        // As above.
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct StoredValue {
    value: Bytes,
    expires_at: Option<Timestamp>,
}

impl StoredValue {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use code_assist_testkit::contract::{store_contract, usage_contract};

    use super::*;
    use crate::store::manual_clock::ManualClock;
    use crate::store::{Backend, Store};

    #[tokio::test]
    async fn the_memory_store_fulfils_the_contract() {
        let clock = ManualClock::at(1_700_000_000_000);
        let store = Store::of(Backend::Memory(MemoryStore::new(clock.clock())));
        store_contract(
            &store,
            async |how_long| clock.advance(how_long),
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

    #[tokio::test]
    async fn the_memory_store_fulfils_the_contract_of_usage() {
        let clock = ManualClock::at(1_700_000_000_000);
        let store = Store::of(Backend::Memory(MemoryStore::new(clock.clock())));
        usage_contract(&store, Store::add_usage, Store::usage, Store::remove_usage).await;
    }

    #[test]
    fn expired_entries_do_not_accumulate() {
        let clock = ManualClock::at(0);
        let store = MemoryStore::new(clock.clock());
        store.save("a", Bytes::from_static(b"1"), Duration::from_secs(1));
        clock.advance(Duration::from_secs(1));
        store.save("b", Bytes::from_static(b"2"), Duration::from_secs(1));
        assert_eq!(store.lock().len(), 1);
    }

    #[test]
    fn a_replacement_is_not_connected() {
        let clock = ManualClock::at(0);
        assert!(MemoryStore::new(clock.clock()).connected());
        let stand_in = MemoryStore::standing_in(clock.clock(), "file:/x/kv.redb".into());
        assert!(!stand_in.connected());
        assert_eq!(stand_in.describe(), "memory, standing in for file:/x/kv.redb");
    }
}
