//! Usage on its way to the store: in batches, each of which the store carries out once.

use std::sync::Arc;
use std::time::Duration;

use super::Keys;
use crate::platform::Platform;
use crate::policy::budget::{UsageBatch, UsageRow};
use crate::policy::lease::{Lease, Leases};
use crate::sync::lock;
use crate::time::Monotonic;

/// The batch that is being sent.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    leases: Leases,
    /// The number of the last batch.
    number: u64,
    /// The store may have it or not.
    batch: Option<Arc<UsageBatch>>,
    /// The last batch has failed.
    fails: bool,
}

/// The result of [`Keys::flush`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// Another call sends a batch.
    Busy,
    /// The store has failed.
    Failed,
    /// There was nothing to send.
    Nothing,
    /// The store has one more batch.
    Sent,
}

impl Keys {
    /// Sends what has been used since the batch before to the store. After a failure the same batch is sent again,
    /// and what was used meanwhile is in the next one.
    pub async fn flush<P: Platform>(&self, platform: &P) -> Flushed {
        let now = platform.now();
        let (guard, batch) = {
            let mut flushing = lock(&self.flushing);
            let Some(lease) = flushing.leases.take(now, LONGEST_FLUSH) else {
                return Flushed::Busy;
            };
            let guard = FlushGuard { keys: self, lease };
            if flushing.batch.is_none() {
                flushing.batch =
                    self.next_batch(flushing.number + 1, platform.has_shared_usage(), now);
                flushing.number += u64::from(flushing.batch.is_some());
            }
            let batch = flushing.batch.clone();
            drop(flushing);
            (guard, batch)
        };
        let Some(batch) = batch else { return Flushed::Nothing };
        let sent = platform.add_usage(&batch).await;
        let mut flushing = lock(&self.flushing);
        let flushed = match sent {
            Ok(()) => {
                if flushing.batch.take_if(|it| it.number == batch.number).is_some() {
                    self.note_flushed(&batch);
                }
                if std::mem::take(&mut flushing.fails) {
                    tracing::info!("the usage of keys is stored again");
                }
                Flushed::Sent
            }
            Err(error) => {
                if !std::mem::replace(&mut flushing.fails, true) {
                    tracing::warn!(
                        %error,
                        "the usage of keys cannot be stored: it is kept in memory until it can"
                    );
                }
                Flushed::Failed
            }
        };
        drop(flushing);
        drop(guard);
        flushed
    }

    /// What has been used and may not be in the store: that of one key, or of all.
    pub fn unstored_rows(&self, key: Option<&str>) -> Vec<UsageRow> {
        let is_asked = |id: &str| key.is_none_or(|key| key == id);
        let batch = lock(&self.flushing).batch.clone();
        let of_batch = batch.iter().flat_map(|batch| batch.rows.iter().cloned());
        let mut rows: Vec<_> = of_batch.filter(|row| is_asked(&row.key)).collect();
        for account in self.accounts().into_iter().filter(|account| is_asked(&account.id)) {
            rows.extend(account.unflushed_rows());
        }
        rows
    }

    /// True if the store has all that was used.
    pub fn is_all_sent(&self) -> bool {
        lock(&self.flushing).batch.is_none()
            && lock(&self.accounts).values().all(|account| account.unflushed_rows().is_empty())
    }

    /// Sends all that has been used: the process stops.
    pub async fn flush_all<P: Platform>(&self, platform: &P) {
        let mut failures = 0;
        loop {
            match self.flush(platform).await {
                Flushed::Nothing => return,
                Flushed::Sent => continue,
                Flushed::Busy | Flushed::Failed => failures += 1,
            }
            if failures == FLUSHES_AT_END {
                tracing::error!("the usage of keys since the last second could not be stored");
                return;
            }
            platform.timer(FLUSH_PAUSE).await;
        }
    }

    /// Loads usage that has not been loaded, of a few accounts at a time. An isolate of a Worker loads it with the
    /// first request instead: most isolates that run regular work answer none.
    pub async fn load<P: Platform>(&self, platform: &P) {
        if platform.has_shared_usage() && !platform.has_shared_store() {
            return;
        }
        let now = platform.now();
        let accounts = self.accounts();
        let due = accounts.iter().filter(|account| !account.is_loaded(now));
        for account in due.take(LOADS_AT_ONCE) {
            account.load(platform).await;
        }
    }

    fn next_batch(&self, number: u64, is_shared: bool, now: Monotonic) -> Option<Arc<UsageBatch>> {
        let (mut rows, mut reserved) = (Vec::new(), Vec::new());
        for account in lock(&self.accounts).values() {
            let taken = account.take_usage(now);
            rows.extend(taken.rows);
            reserved.extend(taken.reserved.map(|it| (Arc::clone(&account.id), it)));
        }
        if rows.is_empty() && (reserved.is_empty() || !is_shared) {
            return None;
        }
        rows.sort_by(|a, b| (a.day, &a.key, &a.model).cmp(&(b.day, &b.key, &b.model)));
        reserved.sort_by(|a, b| a.0.cmp(&b.0));
        Some(Arc::new(UsageBatch { process: self.process, number, rows, reserved }))
    }

    fn note_flushed(&self, batch: &UsageBatch) {
        let accounts = lock(&self.accounts);
        let mut last = None;
        for row in &batch.rows {
            if last.replace(&row.key) != Some(&row.key)
                && let Some(account) = accounts.get(&row.key)
            {
                account.flushed();
            }
        }
    }
}

/// Lets the next call send the batch if this one is dropped.
struct FlushGuard<'a> {
    keys: &'a Keys,
    lease: Lease,
}

impl Drop for FlushGuard<'_> {
    fn drop(&mut self) {
        lock(&self.keys.flushing).leases.settle(self.lease);
    }
}

/// How long a call that sends a batch is believed to live. A Worker's runtime discards work without running its
/// destructors.
const LONGEST_FLUSH: Duration = Duration::from_secs(30);

/// How often the last batch is sent when the process stops, and the pause between.
const FLUSHES_AT_END: u32 = 4;
const FLUSH_PAUSE: Duration = Duration::from_millis(250);

/// How many accounts are loaded in one go, so that other regular work is not late.
const LOADS_AT_ONCE: usize = 16;
