//! Usage that several processes count together, and the budgets that they share.

use std::collections::{BTreeMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::{
    Charge, Cost, Counts, Day, Reserved, SharedReservation, SharedStanding, StoreError, UsageBatch,
    UsageRow,
};

use super::link::{ADMIN_TIMEOUT, COMMAND_TIMEOUT};
use super::{CHUNK, RedisInner, RedisStore, escaped};

impl RedisStore {
    pub(crate) async fn reserve(&self, request: &SharedReservation) -> Option<SharedStanding> {
        let RedisInner { link, names, budget_scripts, .. } = &*self.inner;
        let answer: Vec<String> = link
            .run(COMMAND_TIMEOUT, async |mut connection| {
                budget_scripts.reserve(request, names).invoke_async(&mut connection).await
            })
            .await
            .ok()?;
        // The server's numbers may be a little greater than what fits.
        let mut numbers = answer.iter().map(|text| {
            text.parse::<u128>().ok().map(|number| u64::try_from(number).unwrap_or(u64::MAX))
        });
        let mut next = || numbers.next()?;
        Some(SharedStanding {
            is_granted: next()? == 1,
            counts: Counts {
                minute_tokens: next()?,
                day_tokens: next()?,
                month_tokens: next()?,
                month_cost: Cost(next()?),
                reserved: Reserved { tokens: next()?, cost: Cost(next()?), calls: next()? },
            },
            minute_frees_in: Duration::from_millis(next()?),
        })
    }

    pub(crate) async fn add_usage(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let RedisInner { link, names, budget_scripts, .. } = &*self.inner;
        link.run(COMMAND_TIMEOUT, async |mut connection| {
            budget_scripts.add(batch, names).invoke_async(&mut connection).await
        })
        .await
    }

    pub(crate) async fn usage(
        &self,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, StoreError> {
        let RedisInner { link, names, .. } = &*self.inner;
        let mut wanted = self.days_of_usage().await?;
        wanted.retain(|day| days.contains(day));
        let pattern = key.map(|key| {
            // Any counter of this key.
            [b"?", &*escaped(field_prefix(key).as_bytes()), b"*"].concat()
        });
        let mut rows: BTreeMap<(Day, Arc<str>, Arc<str>), (u64, Charge)> = BTreeMap::new();
        let mut left: Vec<(Day, u64)> = wanted.into_iter().map(|day| (day, 0)).collect();
        while !left.is_empty() {
            let chunk = left.split_off(left.len().saturating_sub(DAYS_AT_ONCE));
            let mut scans = redis::pipe();
            for (day, cursor) in &chunk {
                let scan = scans.cmd("HSCAN").arg(names.usage(*day)).arg(*cursor);
                if let Some(pattern) = &pattern {
                    scan.arg("MATCH").arg(pattern);
                }
                scan.arg("COUNT").arg(FIELDS_AT_ONCE);
            }
            let pages: Vec<(u64, Vec<(String, u64)>)> = link
                .run(COMMAND_TIMEOUT, async |mut connection| {
                    scans.query_async(&mut connection).await
                })
                .await?;
            for ((day, _), (next, fields)) in chunk.into_iter().zip(pages) {
                for (field, amount) in fields {
                    let Some((counter, key, model)) = read_field(&field) else { continue };
                    let row = rows.entry((day, key.into(), model.into())).or_default();
                    counter.set(row, amount);
                }
                if next != 0 {
                    left.push((day, next));
                }
            }
        }
        let rows = rows.into_iter();
        Ok(rows
            .map(|((day, key, model), (requests, charge))| UsageRow {
                key,
                model,
                day,
                requests,
                charge,
            })
            .collect())
    }

    pub(crate) async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        let RedisInner { link, names, .. } = &*self.inner;
        let mut old = self.days_of_usage().await?;
        old.retain(|day| *day < before);
        for chunk in old.chunks(CHUNK) {
            let mut removals = redis::pipe();
            for day in chunk {
                removals.cmd("UNLINK").arg(names.usage(*day)).ignore();
                removals.cmd("SREM").arg(names.usage_days()).arg(day.to_string()).ignore();
            }
            link.run(COMMAND_TIMEOUT, async |mut connection| {
                removals.exec_async(&mut connection).await
            })
            .await?;
        }
        Ok(())
    }

    /// Removes all usage and what is counted for budgets, and returns the number of rows. The batches that
    /// were carried out stay known.
    pub(crate) async fn clear_usage(&self) -> Result<usize, StoreError> {
        let RedisInner { link, names, .. } = &*self.inner;
        let days = self.days_of_usage().await?;
        let count = match (days.first(), days.last()) {
            (Some(first), Some(last)) => self.usage(*first..=*last, None).await?.len(),
            _ => 0,
        };
        let mut keys: HashSet<Vec<u8>> = HashSet::from([names.usage_days()]);
        keys.extend(days.into_iter().map(|day| names.usage(day)));
        keys.extend(self.scan(&names.budgets()).await?);
        for chunk in keys.into_iter().collect::<Vec<_>>().chunks(CHUNK) {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(chunk);
            link.run(ADMIN_TIMEOUT, async |mut connection| {
                unlink.exec_async(&mut connection).await
            })
            .await?;
        }
        Ok(count)
    }

    /// The days that have usage, in order.
    async fn days_of_usage(&self) -> Result<Vec<Day>, StoreError> {
        let RedisInner { link, names, .. } = &*self.inner;
        let mut ask = redis::cmd("SMEMBERS");
        ask.arg(names.usage_days());
        let days: Vec<String> = link
            .run(COMMAND_TIMEOUT, async |mut connection| ask.query_async(&mut connection).await)
            .await?;
        let mut days: Vec<Day> = days.iter().filter_map(|day| day.parse().ok()).collect();
        days.sort_unstable();
        Ok(days)
    }
}

/// What is counted of a row. Each is a field of the day's hash.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    Requests,
    PromptTokens,
    CachedTokens,
    OutputTokens,
    ThoughtTokens,
    Cost,
}

impl Counter {
    /// The counters, each with the first byte of its field's name.
    pub(super) const ALL: [(Self, char); 6] = [
        (Self::Requests, 'r'),
        (Self::PromptTokens, 'p'),
        (Self::CachedTokens, 'c'),
        (Self::OutputTokens, 'o'),
        (Self::ThoughtTokens, 't'),
        (Self::Cost, '$'),
    ];

    pub(super) fn of(self, row: &UsageRow) -> u64 {
        match self {
            Self::Requests => row.requests,
            Self::PromptTokens => row.charge.prompt_tokens,
            Self::CachedTokens => row.charge.cached_tokens,
            Self::OutputTokens => row.charge.output_tokens,
            Self::ThoughtTokens => row.charge.thought_tokens,
            Self::Cost => row.charge.cost.0,
        }
    }

    fn set(self, (requests, charge): &mut (u64, Charge), amount: u64) {
        match self {
            Self::Requests => *requests = amount,
            Self::PromptTokens => charge.prompt_tokens = amount,
            Self::CachedTokens => charge.cached_tokens = amount,
            Self::OutputTokens => charge.output_tokens = amount,
            Self::ThoughtTokens => charge.thought_tokens = amount,
            Self::Cost => charge.cost = Cost(amount),
        }
    }
}

/// What follows the counter in the fields of a key. The length shows where the key ends and the model
/// begins, whatever both hold.
fn field_prefix(key: &str) -> String {
    format!("{}:{key}", key.len())
}

/// The name of a row's fields, without the counter.
pub(super) fn field(row: &UsageRow) -> String {
    field_prefix(&row.key) + &row.model
}

fn read_field(field: &str) -> Option<(Counter, &str, &str)> {
    let letter = field.chars().next()?;
    let (counter, _) = Counter::ALL.into_iter().find(|(_, known)| *known == letter)?;
    let (length, names) = field.get(letter.len_utf8()..)?.split_once(':')?;
    let (key, model) = names.split_at_checked(length.parse().ok()?)?;
    Some((counter, key, model))
}

/// Days for which one pipeline asks.
const DAYS_AT_ONCE: usize = 8;

/// Fields that one HSCAN looks at, so that the server serves others meanwhile.
const FIELDS_AT_ONCE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_tells_key_and_model_whatever_they_hold() {
        for (key, model) in [("ada", "gemini-2.5-pro"), ("1:a", "2:b"), ("", ""), ("é*", "\0:")] {
            let row = UsageRow {
                key: key.into(),
                model: model.into(),
                day: "2026-11-26".parse().unwrap(),
                requests: 1,
                charge: Charge::default(),
            };
            let name = format!("p{}", field(&row));
            let (counter, found, of) = read_field(&name).unwrap();
            assert!(matches!(counter, Counter::PromptTokens));
            assert_eq!((found, of), (key, model));
        }
        for foreign in ["", "p", "x3:ada", "p9:ada", "p1:é", "pada"] {
            assert!(read_field(foreign).is_none(), "{foreign}");
        }
    }
}
