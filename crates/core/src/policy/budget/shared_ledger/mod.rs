//! The usage of all keys, kept by one place for all processes that share it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::charge::{Charge, Cost};
use super::day::Day;
use super::judge::{Counts, Reserved, judge};
use super::shared::{ProcessId, SharedReservation, SharedStanding, UsageBatch, UsageRow};
use crate::time::Timestamp;

/// What a store keeps that decides for all processes by itself: usage, the last minute, and what each
/// process has reserved. The store takes the time from its own clock.
///
/// Usage is in memory by the month. The store restores a month before it asks for it, and writes the days
/// that have changed. Reservations are in memory only: the processes repeat them.
#[derive(Debug, Default)]
pub struct SharedLedger {
    /// The days of the months that are restored.
    days: BTreeMap<Day, DayUsage>,
    /// The months that are restored, by their first days.
    months: Vec<Day>,
    /// The days that are not written yet.
    changed: Vec<Day>,
    /// The tokens of the last minute of each key, in buckets of a second.
    minutes: HashMap<Arc<str>, VecDeque<(u64, u64)>>,
    /// The number of the last batch of each process, and when it came.
    batches: HashMap<ProcessId, (u64, u64)>,
    /// What each process has reserved for each key, and when it said so.
    reserved: HashMap<Arc<str>, Vec<(ProcessId, Reserved, Timestamp)>>,
    /// The latest time at which batches and minutes were written.
    written: u64,
}

#[derive(Debug, Default)]
struct DayUsage {
    rows: BTreeMap<(Arc<str>, Arc<str>), (u64, Charge)>,
    /// Tokens and cost of each key.
    sums: HashMap<Arc<str>, (u64, Cost)>,
}

impl DayUsage {
    fn add(&mut self, row: &UsageRow) {
        let sum = self.sums.entry(Arc::clone(&row.key)).or_default();
        *sum = (sum.0.saturating_add(row.charge.tokens()), sum.1 + row.charge.cost);
        let mut name = (Arc::clone(&row.key), Arc::clone(&row.model));
        if self.rows.len() >= MOST_ROWS && !self.rows.contains_key(&name) {
            name.1 = OTHER_MODELS.into();
        }
        let (requests, charge) = self.rows.entry(name).or_default();
        *requests = requests.saturating_add(row.requests);
        *charge += row.charge;
    }
}

impl SharedLedger {
    /// Whether the days of this day's month are in memory.
    pub fn has_month(&self, day: Day) -> bool {
        self.months.contains(&day.month())
    }

    /// Restores a month: its days in the form of `SharedLedger::text_of`. What cannot be read is left out, and
    /// the error says why.
    pub fn restore_month<'a>(
        &mut self,
        month: Day,
        days: impl IntoIterator<Item = (Day, &'a str)>,
    ) -> Result<(), serde_json::Error> {
        let month = month.month();
        if self.has_month(month) {
            return Ok(());
        }
        self.months.push(month);
        self.months.sort_unstable();
        let mut result = Ok(());
        for (day, text) in days {
            match serde_json::from_str::<StoredDay>(text) {
                Ok(stored) => self.restore_day(day, stored),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn restore_day(&mut self, day: Day, stored: StoredDay) {
        let usage = self.days.entry(day).or_default();
        for row in stored.rows {
            usage.add(&row.into_usage(day));
        }
        if stored.at < self.written {
            return;
        }
        self.written = stored.at;
        let batches = stored.batches.into_iter();
        self.batches =
            batches.map(|(process, number, at)| (ProcessId(process), (number, at))).collect();
        let minutes = stored.minutes.into_iter();
        self.minutes =
            minutes.map(|(key, buckets)| (key.into(), buckets.into_iter().collect())).collect();
    }

    /// Decides whether a request may begin, as [`judge`] does, and reserves its estimate if so. The month
    /// of its day is restored.
    pub fn reserve(&mut self, request: &SharedReservation, clock: Timestamp) -> SharedStanding {
        let key = &request.key;
        self.set_reserved(key, request.process, request.own, clock);
        let reserved = self.reserved_of(key, clock);
        let (minute_tokens, minute_frees_in) = self.minute_of(key, clock);
        let (month_tokens, month_cost) = self.month_of(key, request.day);
        let day_sum = self.days.get(&request.day).and_then(|day| day.sums.get(key));
        let day_tokens = day_sum.map_or(0, |sum| sum.0);
        let counts = Counts { minute_tokens, day_tokens, month_tokens, month_cost, reserved };
        let is_granted = judge(&request.limits, &counts, &request.estimate).is_ok();
        if is_granted {
            self.set_reserved(key, request.process, request.own + request.estimate, clock);
        }
        SharedStanding { is_granted, counts, minute_frees_in }
    }

    /// Adds usage, unless the batch was added before. The months of its days are restored.
    pub fn add(&mut self, batch: &UsageBatch, clock: Timestamp) {
        let (last, at) = self.batches.entry(batch.process).or_default();
        if batch.number <= *last {
            return;
        }
        (*last, *at) = (batch.number, clock.0);
        for (key, reserved) in &batch.reserved {
            self.set_reserved(key, batch.process, *reserved, clock);
        }
        self.forget_batches(clock);
        for row in &batch.rows {
            self.days.entry(row.day).or_default().add(row);
            self.set_changed(row.day);
            self.count_minute(&row.key, row.charge.tokens(), clock);
        }
    }

    /// The days that have to be written, with their texts. One of them is the clock's, since what concerns
    /// no day is in its text. They stay in the list until [`SharedLedger::wrote`].
    pub fn unwritten(&mut self, clock: Timestamp) -> Vec<(Day, String)> {
        if self.changed.is_empty() {
            return Vec::new();
        }
        self.set_changed(Day::of(clock));
        self.written = clock.0;
        let days = self.changed.clone();
        days.into_iter().map(|day| (day, self.text_of(day, clock))).collect()
    }

    /// These days are written.
    pub fn wrote(&mut self, days: &[(Day, String)]) {
        self.changed.retain(|changed| days.iter().all(|(day, _)| day != changed));
        // A store may run for years.
        while self.changed.is_empty() && self.months.len() > MOST_MONTHS {
            let oldest = self.months.remove(0);
            self.days.retain(|day, _| day.month() != oldest);
        }
    }

    /// The rows of the restored days, in the order of day, key and model.
    pub fn rows<'a>(
        &'a self,
        days: RangeInclusive<Day>,
        key: Option<&'a str>,
    ) -> impl Iterator<Item = UsageRow> + 'a {
        self.days.range(days).flat_map(move |(day, usage)| {
            let of_key =
                usage.rows.iter().filter(move |row| key.is_none_or(|key| *row.0.0 == *key));
            of_key.map(|((key, model), (requests, charge))| UsageRow {
                key: Arc::clone(key),
                model: Arc::clone(model),
                day: *day,
                requests: *requests,
                charge: *charge,
            })
        })
    }

    /// Reads the rows of a day that is not restored.
    pub fn rows_in(
        day: Day,
        text: &str,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, serde_json::Error> {
        let stored: StoredDay = serde_json::from_str(text)?;
        let rows = stored.rows.into_iter().filter(|row| key.is_none_or(|key| row.0 == key));
        Ok(rows.map(|row| row.into_usage(day)).collect())
    }

    /// Forgets the days before this one.
    pub fn remove(&mut self, before: Day) {
        self.days.retain(|day, _| *day >= before);
        self.changed.retain(|day| *day >= before);
    }

    fn text_of(&self, day: Day, clock: Timestamp) -> String {
        let rows = self.rows(day..=day, None).map(StoredRow::from).collect();
        let mut stored = StoredDay { rows, ..StoredDay::default() };
        if day == Day::of(clock) {
            stored.at = clock.0;
            let batches = self.batches.iter();
            stored.batches = batches.map(|(process, last)| (process.0, last.0, last.1)).collect();
            let is_counted = |(at, _): &&(u64, u64)| clock.0 < at.saturating_add(MINUTE);
            let minutes = self.minutes.iter().map(|(key, buckets)| {
                (key.to_string(), buckets.iter().filter(is_counted).copied().collect::<Vec<_>>())
            });
            stored.minutes = minutes.filter(|(_, buckets)| !buckets.is_empty()).collect();
        }
        // Plain data has no key that JSON cannot write.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    fn set_changed(&mut self, day: Day) {
        if !self.changed.contains(&day) {
            self.changed.push(day);
        }
    }

    fn set_reserved(
        &mut self,
        key: &Arc<str>,
        process: ProcessId,
        reserved: Reserved,
        clock: Timestamp,
    ) {
        let all = self.reserved.entry(Arc::clone(key)).or_default();
        all.retain(|(of, _, at)| *of != process && at.until(clock) < SILENT);
        if reserved != Reserved::default() {
            all.push((process, reserved, clock));
        } else if all.is_empty() {
            self.reserved.remove(key);
        }
    }

    fn reserved_of(&self, key: &Arc<str>, clock: Timestamp) -> Reserved {
        let all = self.reserved.get(key).into_iter().flatten();
        let alive = all.filter(|(_, _, at)| at.until(clock) < SILENT);
        alive.fold(Reserved::default(), |all, (_, reserved, _)| all + *reserved)
    }

    fn count_minute(&mut self, key: &Arc<str>, tokens: u64, clock: Timestamp) {
        let buckets = self.minutes.entry(Arc::clone(key)).or_default();
        while buckets.front().is_some_and(|(at, _)| at.saturating_add(MINUTE) <= clock.0) {
            buckets.pop_front();
        }
        // Rounded up: a token counts for a minute at least.
        let second = clock.0.next_multiple_of(1000);
        match buckets.back_mut().filter(|(at, _)| *at >= second) {
            Some((_, sum)) => *sum = sum.saturating_add(tokens),
            None => buckets.push_back((second, tokens)),
        }
    }

    /// The tokens of the last minute, and when the oldest of them do not count any more.
    fn minute_of(&self, key: &Arc<str>, clock: Timestamp) -> (u64, Duration) {
        let buckets = self.minutes.get(key).into_iter().flatten();
        let mut counted = buckets.filter(|(at, _)| clock.0 < at.saturating_add(MINUTE)).peekable();
        let oldest = counted.peek().map_or(clock.0, |(at, _)| at.saturating_add(MINUTE));
        let frees_in = clock.until(Timestamp(oldest));
        (counted.fold(0, |sum: u64, (_, tokens)| sum.saturating_add(*tokens)), frees_in)
    }

    fn month_of(&self, key: &Arc<str>, day: Day) -> (u64, Cost) {
        let days = self.days.range(day.month()..day.next_month());
        let sums = days.filter_map(|(_, day)| day.sums.get(key));
        sums.fold((0, Cost(0)), |sum, day| (u64::saturating_add(sum.0, day.0), sum.1 + day.1))
    }

    /// A process that was silent for a day repeats no batch.
    fn forget_batches(&mut self, clock: Timestamp) {
        if self.batches.len() <= MOST_PROCESSES {
            return;
        }
        self.batches.retain(|_, (_, at)| clock.0 < at.saturating_add(DAY));
        while self.batches.len() > MOST_PROCESSES {
            let oldest = self.batches.iter().min_by_key(|(_, (_, at))| *at);
            let Some(oldest) = oldest.map(|(process, _)| *process) else { return };
            self.batches.remove(&oldest);
        }
    }
}

/// One day in the store. The text is a contract between versions.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredDay {
    rows: Vec<StoredRow>,
    /// When the rest was written. The day with the latest time has what counts.
    #[serde(default)]
    at: u64,
    /// Process, number, time.
    #[serde(default)]
    batches: Vec<(u64, u64, u64)>,
    /// By key: second, tokens.
    #[serde(default)]
    minutes: Vec<(String, Vec<(u64, u64)>)>,
}

/// Key, model, requests, tokens of the prompt, cached ones, of the answer, of thoughts, cost.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRow(String, String, u64, u64, u64, u64, u64, u64);

impl StoredRow {
    fn into_usage(self, day: Day) -> UsageRow {
        let Self(key, model, requests, prompt_tokens, cached_tokens, output, thoughts, cost) = self;
        UsageRow {
            key: key.into(),
            model: model.into(),
            day,
            requests,
            charge: Charge {
                prompt_tokens,
                cached_tokens,
                output_tokens: output,
                thought_tokens: thoughts,
                cost: Cost(cost),
            },
        }
    }
}

impl From<UsageRow> for StoredRow {
    fn from(row: UsageRow) -> Self {
        let Charge { prompt_tokens, cached_tokens, output_tokens, thought_tokens, cost } =
            row.charge;
        let (key, model) = (row.key.to_string(), row.model.to_string());
        Self(
            key,
            model,
            row.requests,
            prompt_tokens,
            cached_tokens,
            output_tokens,
            thought_tokens,
            cost.0,
        )
    }
}

/// In milliseconds.
const MINUTE: u64 = 60_000;

/// In milliseconds.
const DAY: u64 = 24 * 60 * MINUTE;

/// A process that has said nothing for this time has died, and its reservations do not count.
const SILENT: Duration = Duration::from_secs(10);

/// The most rows of a day: about 100 KB of text. A Durable Object's value has 2 MB at most.
const MOST_ROWS: usize = 1000;

/// Stands for the models of a key beyond [`MOST_ROWS`].
const OTHER_MODELS: &str = "other";

/// The months in memory: this one, and the last one for what comes late.
const MOST_MONTHS: usize = 2;

/// The processes whose last batch is known: about 50 KB of text.
const MOST_PROCESSES: usize = 1000;

#[cfg(test)]
mod tests;
