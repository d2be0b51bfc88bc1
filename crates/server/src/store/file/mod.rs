//! The embedded file database: a redb table from key to expiry and value, and tables of usage.
//!
//! Every write is a transaction that is on disk when it returns, so that a killed process loses at
//! most the write in progress. Errors and panics of redb become [`StoreError`]s: the database is
//! closed, and the next operation opens it again.

mod format;
mod location;
mod open;
mod record;
mod safety_copy;
#[cfg(test)]
mod tests;
mod usage;

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use code_assist_core::StoreError;
use redb::{ReadableDatabase, ReadableTable};

use self::open::{OpenDatabase, open, report_copy};
use self::record::{NEVER, Record, TABLE, sweep};
pub(super) use self::safety_copy::is_irreplaceable;
use super::{Clock, Entry, Notice};

/// Entries in a file that only this process may open.
#[derive(Debug, Clone)]
pub(crate) struct FileStore {
    path: Arc<Path>,
    clock: Clock,
    /// `None` after a failure, until the next operation opens it again.
    database: Arc<Mutex<Option<OpenDatabase>>>,
    /// The last operation succeeded.
    works: Arc<AtomicBool>,
}

impl FileStore {
    /// Opens or creates the file at `path`, and its folder. A damaged file is renamed.
    ///
    /// # Errors
    ///
    /// The file is in use by another process, or cannot be read and written.
    pub(crate) fn open(path: &Path, clock: Clock) -> Result<(Self, Option<Notice>), StoreError> {
        let (opened, notice) = open(path, clock.now())?;
        let store = Self {
            path: path.into(),
            clock,
            database: Arc::new(Mutex::new(Some(opened))),
            works: Arc::new(AtomicBool::new(true)),
        };
        Ok((store, notice))
    }

    /// Reads what is kept beside a database that cannot be opened.
    pub(super) fn irreplaceable_entries(path: &Path, clock: &Clock) -> Vec<Entry> {
        safety_copy::read(path, clock.now())
    }

    pub(super) async fn load(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let (key, now) = (key.to_owned(), self.clock.now());
        self.run(move |opened| {
            let table = opened.database.begin_read()?.open_table(TABLE)?;
            let found = table.get(key.as_str())?;
            let record = found.as_ref().and_then(|found| Record::read(found.value()));
            let live = record.filter(|record| !record.is_expired(now));
            Ok(live.map(|record| Bytes::copy_from_slice(record.value)))
        })
        .await
    }

    pub(super) async fn save(
        &self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let expires_at = Some(self.clock.now() + ttl);
        self.restore(vec![Entry { key: key.into(), value, expires_at }]).await
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let now = self.clock.now();
        self.run(move |opened| {
            let table = opened.database.begin_read()?.open_table(TABLE)?;
            let mut entries = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                let record = Record::read(value.value()).filter(|record| !record.is_expired(now));
                if let Some(record) = record {
                    entries.push(record.entry(key.value()));
                }
            }
            Ok(entries)
        })
        .await
    }

    pub(super) async fn restore(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let path = Arc::clone(&self.path);
        self.run(move |opened| {
            // Before the transaction, which may fail: the next opening adds what the copy has.
            let rotated: Vec<_> = entries.iter().filter(|it| is_irreplaceable(&it.key)).collect();
            if !rotated.is_empty() {
                report_copy(&path, safety_copy::add(&path, &rotated, now));
            }
            let writing = opened.database.begin_write()?;
            {
                let mut table = writing.open_table(TABLE)?;
                for entry in &entries {
                    table.insert(entry.key.as_str(), &*Record::of(entry).bytes())?;
                    opened.next_expiry = opened.next_expiry.min(Record::of(entry).expires_at);
                }
                if opened.next_expiry <= now.0 {
                    opened.next_expiry = sweep(&mut table, now)?;
                }
            }
            Ok(writing.commit()?)
        })
        .await
    }

    pub(super) async fn clear(&self) -> Result<usize, StoreError> {
        let count = self.entries().await?.len();
        let path = Arc::clone(&self.path);
        self.run(move |opened| {
            safety_copy::remove(&path)?;
            let writing = opened.database.begin_write()?;
            writing.open_table(TABLE)?.retain(|_, _| false)?;
            opened.next_expiry = NEVER;
            Ok(writing.commit()?)
        })
        .await?;
        Ok(count)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn describe(&self) -> String {
        format!("file {}", self.path.display())
    }

    pub(super) fn connected(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    /// Runs work on the database on a blocking thread.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut OpenDatabase) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.run_blocking(work)).await;
        let interrupted = |_| Err(StoreError("the key-value store was interrupted".into()));
        let result = done.unwrap_or_else(interrupted);
        self.works.store(result.is_ok(), Ordering::Relaxed);
        result
    }

    fn run_blocking<T>(
        &self,
        work: impl FnOnce(&mut OpenDatabase) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        // Panics of redb are caught below, so that the data behind a poisoned lock is valid.
        let mut database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            let (opened, notice) = open(&self.path, self.clock.now())?;
            if let Some(notice) = notice {
                tracing::warn!("{notice}");
            }
            *database = Some(opened);
        }
        let Some(opened) = database.as_mut() else {
            return Err(StoreError("the key-value store is closed".into()));
        };
        let failure = match catch_panic(|| work(opened)) {
            Some(Ok(done)) => return Ok(done),
            Some(Err(failure)) => failure.to_string(),
            None => "the database failed an internal check".into(),
        };
        // redb requires that a database is opened again after an error.
        let broken = database.take();
        let _ = catch_panic(move || drop(broken));
        Err(StoreError(format!("key-value store {}: {failure}", self.path.display())))
    }
}

/// Runs `work` and returns `None` if it panicked. redb panics on some damaged files. The panic's
/// message is suppressed, since the caller reports the damage in plain words.
fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    done.ok()
}
