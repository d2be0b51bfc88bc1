//! The usage of keys in the scripted store.

use std::ops::RangeInclusive;

use code_assist_core::{
    Day, SharedLedger, SharedReservation, SharedStanding, Timestamp, UsageBatch, UsageRow,
};

/// What the store keeps of usage and reservations. Its months begin empty.
#[derive(Debug, Default)]
pub(super) struct UsageStore(SharedLedger);

impl UsageStore {
    pub(super) fn add(&mut self, batch: &UsageBatch, clock: Timestamp) {
        for row in &batch.rows {
            self.begin_month(row.day);
        }
        self.0.add(batch, clock);
    }

    pub(super) fn rows(&self, days: RangeInclusive<Day>, key: Option<&str>) -> Vec<UsageRow> {
        self.0.rows(days, key).collect()
    }

    pub(super) fn reserve(
        &mut self,
        request: &SharedReservation,
        clock: Timestamp,
    ) -> SharedStanding {
        self.begin_month(request.day);
        self.0.reserve(request, clock)
    }

    pub(super) fn remove(&mut self, before: Day) {
        self.0.remove(before);
    }

    fn begin_month(&mut self, day: Day) {
        self.0.restore_month(day, []).expect("no day is read");
    }
}
