//! Usage in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use code_assist_core::{Charge, Day, ProcessId, UsageBatch, UsageRow};

/// Rows by day, key and model. [`UsageTable::remove`] bounds them.
#[derive(Debug, Default)]
pub(super) struct UsageTable {
    rows: BTreeMap<(Day, Arc<str>, Arc<str>), (u64, Charge)>,
    /// The number of the last batch of each process.
    carried_out: HashMap<ProcessId, u64>,
}

impl UsageTable {
    pub(super) fn add(&mut self, batch: &UsageBatch) {
        let last = self.carried_out.entry(batch.process).or_default();
        if batch.number <= *last {
            return;
        }
        *last = batch.number;
        for row in &batch.rows {
            let name = (row.day, Arc::clone(&row.key), Arc::clone(&row.model));
            let (requests, charge) = self.rows.entry(name).or_default();
            *requests = requests.saturating_add(row.requests);
            *charge += row.charge;
        }
    }

    pub(super) fn list(&self, days: &RangeInclusive<Day>, key: Option<&str>) -> Vec<UsageRow> {
        if days.is_empty() {
            return Vec::new();
        }
        let first = (*days.start(), Arc::from(""), Arc::from(""));
        let rows = self.rows.range(first..).take_while(|((day, ..), _)| day <= days.end());
        let rows = rows.filter(|((_, id, _), _)| key.is_none_or(|key| **id == *key));
        rows.map(|((day, key, model), (requests, charge))| UsageRow {
            key: Arc::clone(key),
            model: Arc::clone(model),
            day: *day,
            requests: *requests,
            charge: *charge,
        })
        .collect()
    }

    pub(super) fn remove(&mut self, before: Day) {
        self.rows = self.rows.split_off(&(before, Arc::from(""), Arc::from("")));
    }

    pub(super) fn clear(&mut self) -> usize {
        let count = self.rows.len();
        self.rows.clear();
        count
    }
}
