//! The usage of keys in the scripted store.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::{
    Charge, Counts, Day, Monotonic, ProcessId, Reserved, SharedReservation, SharedStanding,
    UsageBatch, UsageRow, judge,
};

/// Day, key and model.
type RowPlace = (Day, Arc<str>, Arc<str>);

/// What the store keeps of usage and reservations.
#[derive(Debug, Default)]
pub(super) struct UsageStore {
    rows: BTreeMap<RowPlace, (u64, Charge)>,
    /// The number of the last batch of each process.
    last: HashMap<ProcessId, u64>,
    /// What each process has reserved under a key, and when it has said so.
    reserved: HashMap<(Arc<str>, ProcessId), (Reserved, Monotonic)>,
    /// The tokens of the last minute by key.
    minute: HashMap<Arc<str>, VecDeque<(Monotonic, u64)>>,
}

impl UsageStore {
    pub(super) fn add(&mut self, batch: &UsageBatch, now: Monotonic) {
        let last = self.last.entry(batch.process).or_default();
        if batch.number <= *last {
            return;
        }
        *last = batch.number;
        for row in &batch.rows {
            let key = (row.day, Arc::clone(&row.key), Arc::clone(&row.model));
            let (requests, charge) = self.rows.entry(key).or_default();
            *requests = requests.saturating_add(row.requests);
            *charge += row.charge;
            let minute = self.minute.entry(Arc::clone(&row.key)).or_default();
            minute.push_back((now, row.charge.tokens()));
        }
        for (key, reserved) in &batch.reserved {
            self.reserved.insert((Arc::clone(key), batch.process), (*reserved, now));
        }
    }

    pub(super) fn rows(&self, days: &RangeInclusive<Day>, key: Option<&str>) -> Vec<UsageRow> {
        let wanted = self
            .rows
            .iter()
            .filter(|((day, of, _), _)| days.contains(day) && key.is_none_or(|key| **of == *key));
        let row = |((day, key, model), (requests, charge)): (&(Day, Arc<str>, Arc<str>), &_)| {
            let (key, model) = (Arc::clone(key), Arc::clone(model));
            UsageRow { key, model, day: *day, requests: *requests, charge: *charge }
        };
        wanted.map(row).collect()
    }

    pub(super) fn reserve(
        &mut self,
        request: &SharedReservation,
        now: Monotonic,
    ) -> SharedStanding {
        let field = (Arc::clone(&request.key), request.process);
        let mut counts = Counts { reserved: request.own, ..Counts::default() };
        for ((key, process), (reserved, at)) in &self.reserved {
            let is_other = *key == request.key && *process != request.process;
            if is_other && now.since(*at) < PROCESS_IS_DEAD {
                counts.reserved = sum(counts.reserved, *reserved);
            }
        }
        for ((day, key, _), (_, charge)) in &self.rows {
            if *key == request.key && day.month() == request.day.month() {
                counts.month_tokens += charge.tokens();
                counts.month_cost = counts.month_cost + charge.cost;
                if *day == request.day {
                    counts.day_tokens += charge.tokens();
                }
            }
        }
        let minute = self.minute.entry(Arc::clone(&request.key)).or_default();
        minute.retain(|(at, _)| now.since(*at) < MINUTE);
        counts.minute_tokens = minute.iter().map(|(_, tokens)| tokens).sum();
        let minute_frees_in =
            minute.front().map_or(Duration::ZERO, |(at, _)| (*at + MINUTE).since(now));
        let is_granted = judge(&request.limits, &counts, &request.estimate).is_ok();
        let reserved = if is_granted { sum(request.own, request.estimate) } else { request.own };
        self.reserved.insert(field, (reserved, now));
        SharedStanding { is_granted, counts, minute_frees_in }
    }

    pub(super) fn remove(&mut self, before: Day) {
        self.rows.retain(|(day, _, _), _| *day >= before);
    }
}

fn sum(one: Reserved, other: Reserved) -> Reserved {
    Reserved {
        tokens: one.tokens + other.tokens,
        cost: one.cost + other.cost,
        calls: one.calls + other.calls,
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// A process that has said nothing for so long has died.
const PROCESS_IS_DEAD: Duration = Duration::from_secs(10);
