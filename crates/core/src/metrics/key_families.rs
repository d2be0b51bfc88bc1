//! The metrics of keys, where there are `[[key]]` tables.

use std::sync::Arc;

use super::exposition::{MetricFamily, MetricKind};
use super::families::{counted, counter, family, sample};
use super::labels::TOKEN_KINDS;
use crate::keys::usage::KeyBudget;
use crate::policy::budget::{Cost, ModelTotal};

/// What keys have used since the start of the process, and how much of their limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeysInput {
    /// Each key with what it has used, by model. The models of a key are bounded, and each is there once.
    pub(crate) used: Vec<(Arc<str>, Vec<ModelTotal>)>,
    /// The limits. Each limit of a key is there once.
    pub(crate) budgets: Vec<KeyBudget>,
}

/// `None` is no tables, and then there are no families.
pub(super) fn of_keys(input: Option<&KeysInput>) -> Vec<MetricFamily> {
    let Some(KeysInput { used, budgets }) = input else { return Vec::new() };
    let mut tokens = Vec::new();
    let mut costs = Vec::new();
    for (key, models) in used {
        let mut sum = Cost(0);
        for ModelTotal { model, charge, .. } in models {
            sum = sum + charge.cost;
            let counts = [
                charge.prompt_tokens,
                charge.output_tokens,
                charge.thought_tokens,
                charge.cached_tokens,
            ];
            for (kind, count) in TOKEN_KINDS.into_iter().zip(counts).filter(|(_, n)| *n > 0) {
                tokens.push(counted(count, &[("key", key), ("model", model), ("kind", kind)]));
            }
        }
        costs.push(sample(sum.units(), &[("key", key)]));
    }
    let remaining = budgets.iter().map(|it| {
        let labels = [("key", &*it.key), ("budget", it.standing.budget.name())];
        sample(it.remaining_ratio(), &labels)
    });
    vec![
        counter(
            "key_tokens",
            "Model tokens that requests of a key have used, by model and kind.",
            tokens,
        ),
        counter("key_cost", "What requests of a key have cost, by the [[price]] tables.", costs),
        family(
            MetricKind::Gauge,
            "budget_remaining_ratio",
            "What is left of a key's limit, from 1 to 0.",
            remaining.collect(),
        ),
    ]
}
