//! Usage as JSON and as CSV.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::json;

use super::query::{UsageBy, UsageQuery, UsageQueryError};
use crate::policy::budget::{Budget, BudgetStanding, Charge, Cost, Day, UsageRow};

/// How much of a limit a key has used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyBudget {
    /// The `id` of the key.
    pub(crate) key: Arc<str>,
    /// The limit.
    pub(crate) standing: BudgetStanding,
}

impl KeyBudget {
    /// What is left of the limit, from 1 to 0.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more digits")]
    pub(crate) fn remaining_ratio(&self) -> f64 {
        let BudgetStanding { limit, used, .. } = self.standing;
        if limit == 0 { 0.0 } else { limit.saturating_sub(used) as f64 / limit as f64 }
    }
}

/// Each limit of each key once, in order. Of two tables with one `id` the one counts that has less left.
pub(crate) fn tightest(mut budgets: Vec<KeyBudget>) -> Vec<KeyBudget> {
    budgets.sort_by(|a, b| {
        let names = (&a.key, a.standing.budget).cmp(&(&b.key, b.standing.budget));
        names.then_with(|| a.remaining_ratio().total_cmp(&b.remaining_ratio()))
    });
    budgets.dedup_by(|next, kept| {
        next.key == kept.key && next.standing.budget == kept.standing.budget
    });
    budgets
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsageFormat {
    /// Comma-separated values (RFC 4180).
    Csv,
    /// JSON.
    Json,
}

impl UsageFormat {
    /// The format that `?format=` names, else the one that `Accept` prefers, else JSON.
    pub(crate) fn choose(query: &str, accept: &str) -> Result<Self, UsageQueryError> {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        match pairs.find(|(name, _)| name == "format").as_ref().map(|(_, value)| &**value) {
            Some("csv") => return Ok(Self::Csv),
            Some("json") => return Ok(Self::Json),
            Some(_) => return Err(UsageQueryError::Format),
            None => {}
        }
        let (mut best, mut weight) = (Self::Json, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let offered = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
                "text/csv" => Self::Csv,
                "application/json" | "application/*" | "*/*" => Self::Json,
                _ => continue,
            };
            let q = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse);
            let q: f32 = q.unwrap_or(0.0);
            // Of equal weights the first one wins.
            if q > weight {
                (best, weight) = (offered, q);
            }
        }
        Ok(best)
    }
}

/// The usage of some days, summed and sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsageReport {
    query: UsageQuery,
    rows: BTreeMap<RowName, (u64, Charge)>,
    budgets: Vec<KeyBudget>,
}

/// What a row is about. The fields that `by` leaves out are `None` in all rows. Rows are in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RowName {
    day: Option<Day>,
    key: Option<Arc<str>>,
    model: Option<Arc<str>>,
}

impl UsageReport {
    /// Sums the rows. Those of the same key, model and day are added, and those of other days are left
    /// out.
    pub(crate) fn new(
        query: UsageQuery,
        rows: impl IntoIterator<Item = UsageRow>,
        budgets: Vec<KeyBudget>,
    ) -> Result<Self, UsageQueryError> {
        let has = |by| query.by.is_none() || query.by == Some(by);
        let days = query.days();
        let mut summed: BTreeMap<RowName, (u64, Charge)> = BTreeMap::new();
        for row in rows.into_iter().filter(|row| days.contains(&row.day)) {
            let name = RowName {
                day: has(UsageBy::Day).then_some(row.day),
                key: has(UsageBy::Key).then_some(row.key),
                model: has(UsageBy::Model).then_some(row.model),
            };
            let (requests, charge) = summed.entry(name).or_default();
            *requests = requests.saturating_add(row.requests);
            *charge += row.charge;
            if summed.len() > MOST_ROWS {
                return Err(UsageQueryError::TooManyRows { most: MOST_ROWS });
            }
        }
        Ok(Self { query, rows: summed, budgets: tightest(budgets) })
    }

    /// In the given form.
    pub(crate) fn write(&self, format: UsageFormat) -> String {
        match format {
            UsageFormat::Csv => self.csv(),
            UsageFormat::Json => self.json(),
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> String {
        let UsageQuery { since, until, by } = &self.query;
        let by = json!(by.map(UsageBy::name));
        let mut out = String::with_capacity(256 * (1 + self.rows.len()));
        // Writing to a string cannot fail.
        let _ = write!(out, r#"{{"since":"{since}","until":"{until}","by":{by},"rows":["#);
        let mut separator = "";
        for (name, (requests, charge)) in &self.rows {
            let _ = write!(out, "{separator}{{");
            separator = ",";
            for (field, text) in name.fields() {
                let _ = write!(out, r#""{field}":{},"#, json!(text));
            }
            let _ = write!(
                out,
                r#""requests":{requests},"prompt_tokens":{},"cached_tokens":{},"output_tokens":{},"thought_tokens":{},"cost":{}}}"#,
                charge.prompt_tokens,
                charge.cached_tokens,
                charge.output_tokens,
                charge.thought_tokens,
                charge.cost,
            );
        }
        out.push_str(r#"],"budgets":["#);
        let mut separator = "";
        for KeyBudget { key, standing } in &self.budgets {
            let BudgetStanding { budget, limit, used, resets_at } = standing;
            let _ = write!(
                out,
                r#"{separator}{{"key":{},"budget":"{}","limit":{},"used":{},"resets_at":"{}"}}"#,
                json!(&**key),
                budget.name(),
                Amount(*budget, *limit),
                Amount(*budget, *used),
                resets_at.rfc3339(),
            );
            separator = ",";
        }
        out.push_str("]}");
        out
    }

    /// The rows as CSV (RFC 4180), with a line of names.
    pub(crate) fn csv(&self) -> String {
        let mut out = String::with_capacity(96 * (1 + self.rows.len()));
        let has = |by| self.query.by.is_none() || self.query.by == Some(by);
        for by in [UsageBy::Key, UsageBy::Model, UsageBy::Day].into_iter().filter(|by| has(*by)) {
            out.push_str(by.name());
            out.push(',');
        }
        out.push_str("requests,prompt_tokens,cached_tokens,output_tokens,thought_tokens,cost\r\n");
        for (name, (requests, charge)) in &self.rows {
            for (_, text) in name.fields() {
                let _ = write!(out, "{},", Cell(&text));
            }
            let _ = write!(
                out,
                "{requests},{},{},{},{},{}\r\n",
                charge.prompt_tokens,
                charge.cached_tokens,
                charge.output_tokens,
                charge.thought_tokens,
                charge.cost,
            );
        }
        out
    }
}

impl RowName {
    /// The fields that there are, with their names, in the order of columns.
    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let text = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
        let all = [
            ("key", text(&self.key)),
            ("model", text(&self.model)),
            ("day", self.day.map(|day| day.to_string())),
        ];
        all.into_iter().filter_map(|(name, text)| Some((name, text?)))
    }
}

/// An amount in the unit of its budget.
struct Amount(Budget, u64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Budget::CostPerMonth => Cost(self.1).fmt(f),
            _ => self.1.fmt(f),
        }
    }
}

/// A text as a cell. A spreadsheet would take one that begins with `=` or the like for a formula, and gets an
/// apostrophe before it.
struct Cell<'a>(&'a str);

impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text) = self;
        let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
        if !is_formula && !text.contains([',', '"', '\r', '\n']) {
            return f.write_str(text);
        }
        let apostrophe = if is_formula { "'" } else { "" };
        write!(f, "\"{apostrophe}{}\"", text.replace('"', "\"\""))
    }
}

/// How many rows one answer has at most: about two megabytes of JSON.
const MOST_ROWS: usize = 10_000;
