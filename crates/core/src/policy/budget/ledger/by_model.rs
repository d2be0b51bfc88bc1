//! What an account has used of each model.

use std::sync::Arc;

use crate::policy::budget::charge::Charge;
use crate::policy::budget::day::Day;
use crate::policy::budget::shared::UsageRow;

/// What has been used of one model since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelTotal {
    /// The model, or `other`.
    pub model: Arc<str>,
    /// Requests that were answered.
    pub requests: u64,
    /// What they have used.
    pub charge: Charge,
}

/// The usage of an account: what has been used since the batch before, by day and model, and all since the start, by
/// model.
#[derive(Debug, Default)]
pub(super) struct UsageByModel {
    rows: Vec<UsageRow>,
    totals: Vec<ModelTotal>,
}

impl UsageByModel {
    /// Adds what a key has used of a model on a day.
    pub(super) fn add(
        &mut self,
        (key, model, day): (&Arc<str>, &Arc<str>, Day),
        requests: u64,
        charge: Charge,
    ) {
        let total = self.total(model);
        total.requests += requests;
        total.charge += charge;
        let row = self.row(key, model, day);
        row.requests += requests;
        row.charge += charge;
    }

    /// Takes the rows.
    pub(super) fn take_rows(&mut self) -> Vec<UsageRow> {
        std::mem::take(&mut self.rows)
    }

    pub(super) fn rows(&self) -> &[UsageRow] {
        &self.rows
    }

    pub(super) fn totals(&self) -> &[ModelTotal] {
        &self.totals
    }

    fn total(&mut self, model: &Arc<str>) -> &mut ModelTotal {
        let totals = &mut self.totals;
        let find = |totals: &[ModelTotal], model: &str| {
            totals.iter().position(|total| *total.model == *model)
        };
        let at = find(totals, model).unwrap_or_else(|| {
            let mut model = Arc::clone(model);
            if totals.len() + 1 >= MOST_MODELS {
                model = OTHER.into();
                if let Some(at) = find(totals, &model) {
                    return at;
                }
            }
            totals.push(ModelTotal { model, requests: 0, charge: Charge::default() });
            totals.len() - 1
        });
        &mut totals[at]
    }

    fn row(&mut self, key: &Arc<str>, model: &Arc<str>, day: Day) -> &mut UsageRow {
        let rows = &mut self.rows;
        let find = |rows: &[UsageRow], model: &str| {
            rows.iter().position(|row| row.day == day && *row.model == *model)
        };
        let at = find(rows, model).unwrap_or_else(|| {
            let mut model = Arc::clone(model);
            if rows.iter().filter(|row| row.day == day).count() + 1 >= MOST_MODELS {
                model = OTHER.into();
                if let Some(at) = find(rows, &model) {
                    return at;
                }
            }
            let (key, charge) = (Arc::clone(key), Charge::default());
            rows.push(UsageRow { key, model, day, requests: 0, charge });
            rows.len() - 1
        });
        &mut rows[at]
    }
}

/// The most models of an account and a day that are counted apart.
const MOST_MODELS: usize = 64;

/// Stands for the models that are not counted apart.
const OTHER: &str = "other";
