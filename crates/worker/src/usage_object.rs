//! The usage object: the one Durable Object that counts what the holders of keys use, for all isolates.
//!
//! It writes usage before it answers, so what an isolate knows to be added is kept. The isolates send what
//! they have counted about once a second, which bounds the writes: a batch is one row of the object's
//! storage, whatever it holds. Reservations are in memory only, since the isolates repeat them.
//!
//! Names and JSON are a contract with what is deployed (`lock_object`).

use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};

use code_assist_core::{
    Charge, Cost, Counts, Day, Limits, ProcessId, Reserved, SharedLedger, SharedReservation,
    SharedStanding, Timestamp, UsageBatch, UsageRow,
};
use serde::{Deserialize, Serialize};
use worker::js_sys::{Array, Object, Reflect};
use worker::{Date, Env, ListOptions, ObjectNamespace, Result, Storage};

use crate::lock_object::{objects, post};

/// The binding to the usage object.
#[derive(Debug)]
pub(crate) struct UsageObject(ObjectNamespace);

impl UsageObject {
    /// `None` where nothing is bound.
    pub(crate) fn bound(env: &Env) -> Option<Self> {
        objects(env).map(Self)
    }

    pub(crate) async fn reserve(&self, request: &SharedReservation) -> Result<SharedStanding> {
        let SharedReservation { process, key, limits, estimate, own, day } = request;
        let request = UsageRequest::Reserve {
            process: process.0,
            key: key.to_string(),
            limits: [
                limits.tokens_per_minute,
                limits.tokens_per_day,
                limits.tokens_per_month,
                limits.cost_per_month.map(|cost| cost.0),
                limits.max_concurrent,
            ],
            estimate: (*estimate).into(),
            own: (*own).into(),
            day: day.to_string(),
        };
        let answer: StandingText = self.call(&request).await?;
        Ok(answer.into())
    }

    pub(crate) async fn add(&self, batch: &UsageBatch) -> Result<()> {
        let reserved = batch.reserved.iter();
        let request = UsageRequest::Add {
            process: batch.process.0,
            number: batch.number,
            rows: batch.rows.iter().map(RowText::from).collect(),
            reserved: reserved.map(|(key, held)| (key.to_string(), (*held).into())).collect(),
        };
        self.call(&request).await
    }

    pub(crate) async fn usage(
        &self,
        days: &RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>> {
        let request = UsageRequest::Usage {
            since: days.start().to_string(),
            until: days.end().to_string(),
            key: key.map(str::to_owned),
        };
        let rows: Vec<RowText> = self.call(&request).await?;
        rows.into_iter().map(RowText::read).collect()
    }

    pub(crate) async fn remove(&self, before: Day) -> Result<()> {
        self.call(&UsageRequest::Remove { before: before.to_string() }).await
    }

    async fn call<A: for<'a> Deserialize<'a>>(&self, request: &UsageRequest) -> Result<A> {
        post(&self.0, OBJECT_NAME, USAGE_URL, request).await
    }
}

/// The object's side: the ledger in memory, and its days in the object's storage.
#[derive(Debug, Default)]
pub(crate) struct UsageRecords(Mutex<SharedLedger>);

impl UsageRecords {
    /// The answer to a request, as JSON.
    pub(crate) async fn answer(&self, storage: &Storage, request: &[u8]) -> Result<String> {
        let clock = Timestamp(Date::now().as_millis());
        let answer = match serde_json::from_slice(request)? {
            UsageRequest::Reserve { process, key, limits, estimate, own, day } => {
                let [minute, of_day, month, cost, max_concurrent] = limits;
                let request = SharedReservation {
                    process: ProcessId(process),
                    key: key.into(),
                    limits: Limits {
                        tokens_per_minute: minute,
                        tokens_per_day: of_day,
                        tokens_per_month: month,
                        cost_per_month: cost.map(Cost),
                        max_concurrent,
                    },
                    estimate: estimate.into(),
                    own: own.into(),
                    day: read_day(&day)?,
                };
                self.restore(storage, clock, [request.day]).await?;
                let standing = self.ledger().reserve(&request, clock);
                serde_json::to_string(&StandingText::from(standing))?
            }
            UsageRequest::Add { process, number, rows, reserved } => {
                let rows: Result<Vec<UsageRow>> = rows.into_iter().map(RowText::read).collect();
                let reserved = reserved.into_iter();
                let batch = UsageBatch {
                    process: ProcessId(process),
                    number,
                    rows: rows?,
                    reserved: reserved.map(|(key, held)| (key.into(), held.into())).collect(),
                };
                self.restore(storage, clock, batch.rows.iter().map(|row| row.day)).await?;
                self.ledger().add(&batch, clock);
                self.write(storage, clock).await?;
                DONE.to_owned()
            }
            UsageRequest::Usage { since, until, key } => {
                let rows = rows(storage, &since, &until, key.as_deref()).await?;
                serde_json::to_string(&rows)?
            }
            UsageRequest::Remove { before } => {
                self.remove(storage, read_day(&before)?).await?;
                DONE.to_owned()
            }
        };
        Ok(answer)
    }

    /// The ledger. It is locked for no longer than a statement, since the storage is waited for.
    fn ledger(&self) -> MutexGuard<'_, SharedLedger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Restores the months of these days, and that of yesterday, whose text may have what concerns no day.
    async fn restore(
        &self,
        storage: &Storage,
        clock: Timestamp,
        days: impl IntoIterator<Item = Day>,
    ) -> Result<()> {
        let today = Day::of(clock);
        for day in [today.before(1), today].into_iter().chain(days) {
            if self.ledger().has_month(day) {
                continue;
            }
            let month = day.month();
            let (first, end) = (name(&month.to_string()), name(&month.next_month().to_string()));
            let stored = stored_days(storage, &first, &end).await?;
            let texts = stored.iter().map(|(day, text)| (*day, text.as_str()));
            if let Err(why) = self.ledger().restore_month(month, texts) {
                tracing::error!("a day of usage cannot be read and counts as unused: {why}");
            }
        }
        Ok(())
    }

    /// Writes what has changed. After an error it is written with the next batch.
    async fn write(&self, storage: &Storage, clock: Timestamp) -> Result<()> {
        let days = self.ledger().unwritten(clock);
        if days.is_empty() {
            return Ok(());
        }
        let values = Object::new();
        for (day, text) in &days {
            Reflect::set(&values, &name(&day.to_string()).into(), &text.into())?;
        }
        storage.put_multiple_raw(values).await?;
        self.ledger().wrote(&days);
        Ok(())
    }

    async fn remove(&self, storage: &Storage, before: Day) -> Result<()> {
        self.ledger().remove(before);
        let end = name(&before.to_string());
        loop {
            let old = stored_days(storage, PREFIX, &end).await?;
            if old.is_empty() {
                return Ok(());
            }
            let names = old.iter().map(|(day, _)| name(&day.to_string())).collect();
            storage.delete_multiple(names).await?;
        }
    }
}

/// The rows of these days from the storage. The answer is in memory as a whole, and one month of texts.
async fn rows(
    storage: &Storage,
    since: &str,
    until: &str,
    key: Option<&str>,
) -> Result<Vec<RowText>> {
    let end = name(&read_day(until)?.next().to_string());
    let mut first = name(since);
    let mut rows = Vec::new();
    loop {
        let stored = stored_days(storage, &first, &end).await?;
        let Some((last, _)) = stored.last() else { return Ok(rows) };
        first = name(&last.next().to_string());
        for (day, text) in stored {
            match SharedLedger::rows_in(day, &text, key) {
                Ok(of_day) => rows.extend(of_day.iter().map(RowText::from)),
                Err(why) => tracing::error!(%day, "a day of usage cannot be read: {why}"),
            }
        }
    }
}

/// The first days, at most those of a month, from `first` to before `end`.
async fn stored_days(storage: &Storage, first: &str, end: &str) -> Result<Vec<(Day, String)>> {
    // The runtime refuses an empty range.
    if first >= end {
        return Ok(Vec::new());
    }
    let options = ListOptions::new().start(first).end(end).limit(MOST_DAYS);
    let entries = storage.list_with_options(options).await?;
    let mut days = Vec::new();
    for entry in entries.entries() {
        let entry = Array::from(&entry?);
        let name = entry.get(0).as_string().unwrap_or_default();
        let day = name.strip_prefix(PREFIX).and_then(|day| day.parse().ok());
        days.extend(day.zip(entry.get(1).as_string()));
    }
    Ok(days)
}

/// The storage key of a day. The order of the keys is that of the days.
fn name(day: &str) -> String {
    format!("{PREFIX}{day}")
}

fn read_day(text: &str) -> Result<Day> {
    text.parse().map_err(|_| "a day is not written as 2026-11-26".into())
}

#[derive(Debug, Serialize, Deserialize)]
enum UsageRequest {
    Reserve {
        process: u64,
        key: String,
        /// Tokens per minute, per day, per month; cost per month; concurrent requests.
        limits: [Option<u64>; 5],
        estimate: ReservedText,
        own: ReservedText,
        day: String,
    },
    Add {
        process: u64,
        number: u64,
        rows: Vec<RowText>,
        reserved: Vec<(String, ReservedText)>,
    },
    Usage {
        since: String,
        until: String,
        key: Option<String>,
    },
    Remove {
        before: String,
    },
}

/// Tokens, cost, calls.
#[derive(Debug, Serialize, Deserialize)]
struct ReservedText(u64, u64, u64);

impl From<Reserved> for ReservedText {
    fn from(reserved: Reserved) -> Self {
        Self(reserved.tokens, reserved.cost.0, reserved.calls)
    }
}

impl From<ReservedText> for Reserved {
    fn from(text: ReservedText) -> Self {
        Self { tokens: text.0, cost: Cost(text.1), calls: text.2 }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StandingText {
    granted: bool,
    /// Tokens of the minute, the day and the month; cost of the month.
    used: [u64; 4],
    reserved: ReservedText,
    /// In milliseconds.
    minute_frees_in: u64,
}

impl From<SharedStanding> for StandingText {
    fn from(standing: SharedStanding) -> Self {
        let counts = standing.counts;
        Self {
            granted: standing.is_granted,
            used: [
                counts.minute_tokens,
                counts.day_tokens,
                counts.month_tokens,
                counts.month_cost.0,
            ],
            reserved: counts.reserved.into(),
            minute_frees_in: u64::try_from(standing.minute_frees_in.as_millis())
                .unwrap_or(u64::MAX),
        }
    }
}

impl From<StandingText> for SharedStanding {
    fn from(text: StandingText) -> Self {
        let [minute_tokens, day_tokens, month_tokens, month_cost] = text.used;
        Self {
            is_granted: text.granted,
            counts: Counts {
                minute_tokens,
                day_tokens,
                month_tokens,
                month_cost: Cost(month_cost),
                reserved: text.reserved.into(),
            },
            minute_frees_in: std::time::Duration::from_millis(text.minute_frees_in),
        }
    }
}

/// Day, key, model; requests, tokens of the prompt, cached ones, of the answer, of thoughts, cost.
#[derive(Debug, Serialize, Deserialize)]
struct RowText(String, String, String, [u64; 6]);

impl From<&UsageRow> for RowText {
    fn from(row: &UsageRow) -> Self {
        let Charge { prompt_tokens, cached_tokens, output_tokens, thought_tokens, cost } =
            row.charge;
        let counts =
            [row.requests, prompt_tokens, cached_tokens, output_tokens, thought_tokens, cost.0];
        Self(row.day.to_string(), row.key.to_string(), row.model.to_string(), counts)
    }
}

impl RowText {
    fn read(self) -> Result<UsageRow> {
        let Self(day, key, model, counts) = self;
        let [requests, prompt_tokens, cached_tokens, output_tokens, thought_tokens, cost] = counts;
        let cost = Cost(cost);
        let charge = Charge { prompt_tokens, cached_tokens, output_tokens, thought_tokens, cost };
        let day = read_day(&day)?;
        Ok(UsageRow { key: key.into(), model: model.into(), day, requests, charge })
    }
}

/// The path of a request about usage.
pub(crate) const USAGE_PATH: &str = "/usage";

const USAGE_URL: &str = "https://usage-object/usage";

/// The name of the object. The names of lock objects are keys of the store, of which none is this.
const OBJECT_NAME: &str = "usage";

/// What the storage keys of days begin with.
const PREFIX: &str = "usage:";

/// The most days that are read or deleted at once, of which the runtime deletes 128 at most.
const MOST_DAYS: usize = 31;

/// The answer to a request without a result.
const DONE: &str = "null";
