//! The exhausted quotas of the account, shared with the other processes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::account::AccountData;
use super::store;
use crate::failure::FailureClass;
use crate::google::error::{self, UpstreamError};
use crate::job::{BackgroundJob, Job};
use crate::metrics::Metrics;
use crate::platform::Platform;
use crate::policy::quota::{Exhausted, LONGEST, QuotaMemory, QuotaVerdict};
use crate::time::Timestamp;

/// Remembers which quotas of the account are exhausted.
#[derive(Debug)]
pub(crate) struct Quotas {
    metrics: Arc<Metrics>,
    account: Arc<AccountData>,
}

impl Quotas {
    pub(super) fn new(metrics: &Arc<Metrics>, account: &Arc<AccountData>) -> Self {
        Self { metrics: Arc::clone(metrics), account: Arc::clone(account) }
    }

    /// Fails with upstream's error for this model if its quota is known to be exhausted. The error has
    /// upstream's bytes and what remains of the delay. A client that wants upstream to be asked, as
    /// `anew` tells, is let through, and so is a probe; then the result is true.
    pub(crate) fn check(
        &self,
        model: &str,
        anew: impl FnOnce() -> bool,
        clock: Timestamp,
    ) -> Result<bool, Box<UpstreamError>> {
        if self.account.quotas.is_empty() {
            return Ok(false);
        }
        let anew = anew();
        let verdict = self.account.quotas.with(|quotas| match quotas.ask(ACCOUNT, anew, clock) {
            QuotaVerdict::Ask => quotas.ask(model, anew, clock),
            known => known,
        });
        match verdict {
            QuotaVerdict::Ask => Ok(false),
            QuotaVerdict::Probe => Ok(true),
            QuotaVerdict::Exhausted(mut error, left) => {
                error.retry_delay = Some(left);
                Err(Box::new(error))
            }
        }
    }

    /// Records that upstream has served a model whose quota seemed exhausted.
    pub(super) fn recovered<P: Platform>(&self, platform: &P, model: &str) {
        let clock = platform.wall_clock();
        let known = self
            .account
            .quotas
            .with(|quotas| quotas.recovered(model, clock) | quotas.recovered(ACCOUNT, clock));
        if known {
            tracing::info!(model, "the model's quota is available again");
            if platform.has_shared_store() {
                platform.spawn_job(BackgroundJob::new(Job::PublishQuotas(self.account.id)));
            }
        }
    }

    /// Forgets everything, so that upstream is asked again.
    pub(crate) fn clear(&self, clock: Timestamp) {
        self.account.quotas.with(|quotas| quotas.clear(clock));
    }

    /// The models whose quotas are exhausted, and when each quota is reset.
    pub(crate) fn exhausted(&self, clock: Timestamp) -> Vec<(String, Timestamp)> {
        self.account.quotas.with(|quotas| {
            quotas.entries(clock).map(|(model, it)| (model.to_owned(), it.reset)).collect()
        })
    }

    /// Remembers an error that says that a quota is exhausted.
    pub(super) fn note<P: Platform>(&self, platform: &P, model: &str, error: &UpstreamError) {
        let (model, delay) = match error.class() {
            FailureClass::Quota => (model, error.quota_delay()),
            // Nothing more can be charged to the account, whatever the model.
            FailureClass::Billing => (ACCOUNT, Some(UNPAID)),
            _ => return,
        };
        let clock = platform.wall_clock();
        let noted =
            self.account.quotas.with(|quotas| quotas.note(model, error.clone(), delay, clock));
        if noted {
            tracing::warn!(
                model,
                "the model's quota is exhausted: its requests get Google's answer from memory"
            );
        }
        if noted && platform.has_shared_store() {
            platform.spawn_job(BackgroundJob::new(Job::PublishQuotas(self.account.id)));
        }
    }

    /// Reads which quotas the other processes have found exhausted. `tick` calls this once a second.
    pub(super) async fn learn_from_others<P: Platform>(&self, platform: &P, account: &str) {
        if let Some(stored) =
            store::recall(platform, &self.metrics, &self.account.store_key(KEY)).await
        {
            let clock = platform.wall_clock();
            self.account.quotas.with(|quotas| {
                for (model, known) in from_stored(&stored, account) {
                    match known {
                        Known::Exhausted(exhausted) => quotas.learn(model, *exhausted, clock),
                        Known::Recovered(at) => quotas.learn_recovery(&model, at, clock),
                    }
                }
            });
        }
    }

    /// Writes the exhausted quotas to the store for the other processes. When two processes write at
    /// the same time, one write may be lost; then other processes find the quota exhausted by a call of
    /// their own.
    pub(crate) async fn publish<P: Platform>(&self, platform: &P, account: &str) {
        self.learn_from_others(platform, account).await;
        let clock = platform.wall_clock();
        let stored = self.account.quotas.with(|quotas| to_stored(quotas, account, clock));
        if let Some((stored, ttl)) = stored {
            let key = self.account.store_key(KEY);
            store::remember(platform, &self.metrics, &key, stored, ttl, None).await;
        }
    }
}

/// What the store knows of a model.
enum Known {
    Exhausted(Box<Exhausted<UpstreamError>>),
    /// The model was served again at this time.
    Recovered(Timestamp),
}

/// One model as it is stored. A model that was served again has no body, and its times are equal, so
/// that earlier versions ignore the row.
#[derive(Serialize, Deserialize)]
struct StoredQuota {
    model: String,
    status: u16,
    body: String,
    since: u64,
    reset: u64,
    until: u64,
}

/// Returns the stored form, and how long any of it is valid. `None` when no quota is exhausted.
fn to_stored(
    quotas: &QuotaMemory<UpstreamError>,
    account: &str,
    clock: Timestamp,
) -> Option<(Bytes, Duration)> {
    let row = |(model, exhausted): (&str, &Exhausted<UpstreamError>)| {
        Some(StoredQuota {
            model: model.to_owned(),
            status: exhausted.answer.http.as_u16(),
            body: String::from_utf8(exhausted.answer.body.to_vec()).ok()?,
            since: exhausted.since.0,
            reset: exhausted.reset.0,
            until: exhausted.until.0,
        })
    };
    let recovered = |(model, at): (&str, Timestamp)| StoredQuota {
        model: model.to_owned(),
        status: StatusCode::OK.as_u16(),
        body: String::new(),
        since: at.0,
        reset: at.0,
        until: at.0,
    };
    let exhausted = quotas.entries(clock).filter_map(row);
    let rows: Vec<StoredQuota> = exhausted.chain(quotas.recoveries().map(recovered)).collect();
    let kept = |row: &StoredQuota| match row.body.is_empty() {
        true => clock.until(Timestamp(row.since) + LONGEST),
        false => clock.until(Timestamp(row.until)),
    };
    let ttl = rows.iter().map(kept).max().filter(|ttl| !ttl.is_zero())?;
    let text = serde_json::to_vec(&(account, rows)).ok()?;
    Some((Bytes::from(text), ttl))
}

/// Reads the stored form. It is empty if the entry belongs to another account or is damaged.
fn from_stored(stored: &Bytes, account: &str) -> Vec<(String, Known)> {
    let read: Option<(String, Vec<StoredQuota>)> = serde_json::from_slice(stored).ok();
    let rows = read.filter(|(owner, _)| owner == account).map(|(_, rows)| rows);
    let entry = |row: StoredQuota| {
        let since = Timestamp(row.since);
        if row.body.is_empty() {
            return Some((row.model, Known::Recovered(since)));
        }
        let status = StatusCode::from_u16(row.status).ok()?;
        let answer = error::read(status, &HeaderMap::new(), &Bytes::from(row.body));
        let exhausted = Exhausted::new(answer, since, Timestamp(row.reset), Timestamp(row.until));
        Some((row.model, Known::Exhausted(Box::new(exhausted))))
    };
    rows.into_iter().flatten().filter_map(entry).collect()
}

/// The name under which what concerns every model is remembered. It is no model's.
const ACCOUNT: &str = "*";

/// How long an account is taken for unable to pay.
const UNPAID: Duration = Duration::from_secs(600);

/// The store's key. Its name is kept for entries that earlier versions have written.
const KEY: &str = "spent_quotas";

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_750_000_000_000);

    fn exhausted() -> UpstreamError {
        let body = r#"{"error":{"code":429,"message":"Resets in 100s.","status":"RESOURCE_EXHAUSTED", "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED"}]}}"#;
        error::read(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), &Bytes::from(body))
    }

    #[test]
    fn the_stored_form_is_read_back_by_the_same_account_only() {
        let error = exhausted();
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", error.clone(), error.retry_delay, NOW);
        let clock = NOW + Duration::from_secs(10);
        let (stored, ttl) = to_stored(&quotas, "ada", clock).unwrap();
        assert_eq!(ttl, Duration::from_secs(90));
        let [(model, Known::Exhausted(entry))] = &from_stored(&stored, "ada")[..] else {
            panic!("one entry")
        };
        assert_eq!((&**model, &entry.answer), ("pro", &error));
        assert!(from_stored(&stored, "bob").is_empty());
        assert!(to_stored(&quotas, "ada", NOW + Duration::from_secs(100)).is_none());
    }

    #[test]
    fn a_model_that_works_again_is_stored_for_the_processes_that_still_know_of_the_error() {
        let mut quotas = QuotaMemory::default();
        quotas.note("pro", exhausted(), None, NOW);
        let clock = NOW + Duration::from_secs(10);
        assert!(quotas.recovered("pro", clock));
        let (stored, ttl) = to_stored(&quotas, "ada", clock).unwrap();
        assert_eq!(ttl, LONGEST);
        let [(model, Known::Recovered(at))] = &from_stored(&stored, "ada")[..] else {
            panic!("one entry")
        };
        assert_eq!((&**model, *at), ("pro", clock));
    }

    #[test]
    fn a_damaged_entry_is_read_as_empty() {
        for bad in ["", "{}", "[]", r#"["ada",[{"model":"pro"}]]"#] {
            assert!(from_stored(&Bytes::from(bad), "ada").is_empty(), "{bad}");
        }
    }
}
