//! Usage that several processes count together, and the budgets that they share.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use code_assist_core::{
    Charge, Cost, Counts, Day, Reserved, SharedReservation, SharedStanding, StoreError, UsageBatch,
    UsageRow,
};

use super::link::COMMAND_TIMEOUT;
use super::{RedisInner, RedisStore};

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
        let wanted: Vec<(Day, Arc<str>)> = match key {
            Some(key) => {
                let key: Arc<str> = key.into();
                wanted.into_iter().map(|day| (day, Arc::clone(&key))).collect()
            }
            None => self.keys_of_usage(&wanted).await?,
        };
        let mut rows: BTreeMap<(Day, Arc<str>, Arc<str>), (u64, Charge)> = BTreeMap::new();
        for chunk in wanted.chunks(HASHES_AT_ONCE) {
            let mut ask = redis::pipe();
            for (day, key) in chunk {
                ask.cmd("HGETALL").arg(names.usage(*day, key));
            }
            let hashes: Vec<Vec<(String, u64)>> = link
                .run(COMMAND_TIMEOUT, async |mut connection| ask.query_async(&mut connection).await)
                .await?;
            for ((day, key), fields) in chunk.iter().zip(hashes) {
                for (field, amount) in fields {
                    let Some((counter, model)) = read_field(&field) else { continue };
                    let row = rows.entry((*day, Arc::clone(key), model.into())).or_default();
                    counter.set(row, amount);
                }
            }
        }
        let rows = rows.into_iter().map(|((day, key, model), (requests, charge))| UsageRow {
            key,
            model,
            day,
            requests,
            charge,
        });
        Ok(rows.collect())
    }

    pub(crate) async fn remove_usage(&self, before: Day) -> Result<(), StoreError> {
        let mut old = self.days_of_usage().await?;
        old.retain(|day| *day < before);
        self.remove_days(&old).await
    }

    /// Removes all usage and what is counted for budgets, and returns the number of rows. The batches that
    /// were carried out stay known.
    pub(crate) async fn clear_usage(&self) -> Result<usize, StoreError> {
        let days = self.days_of_usage().await?;
        let count = match (days.first(), days.last()) {
            (Some(first), Some(last)) => self.usage(*first..=*last, None).await?.len(),
            _ => 0,
        };
        self.remove_days(&days).await?;
        let budgets = self.scan(&self.inner.names.budgets()).await?;
        self.unlink(budgets.into_iter().collect()).await?;
        Ok(count)
    }

    /// Removes the usage of these days. A day is known until all of it is gone.
    async fn remove_days(&self, days: &[Day]) -> Result<(), StoreError> {
        let RedisInner { link, names, .. } = &*self.inner;
        for day in days {
            let keys = self.keys_of_usage(&[*day]).await?;
            let mut removed: Vec<_> =
                keys.iter().map(|(day, key)| names.usage(*day, key)).collect();
            removed.push(names.usage_keys(*day));
            self.unlink(removed).await?;
            let mut forget = redis::cmd("SREM");
            forget.arg(names.usage_days()).arg(day.to_string());
            link.run(COMMAND_TIMEOUT, async |mut connection| {
                forget.exec_async(&mut connection).await
            })
            .await?;
        }
        Ok(())
    }

    /// The keys that have usage, day by day.
    async fn keys_of_usage(&self, days: &[Day]) -> Result<Vec<(Day, Arc<str>)>, StoreError> {
        let RedisInner { link, names, .. } = &*self.inner;
        let mut found = Vec::new();
        for chunk in days.chunks(HASHES_AT_ONCE) {
            let mut ask = redis::pipe();
            for day in chunk {
                ask.cmd("SMEMBERS").arg(names.usage_keys(*day));
            }
            let sets: Vec<Vec<String>> = link
                .run(COMMAND_TIMEOUT, async |mut connection| ask.query_async(&mut connection).await)
                .await?;
            for (day, keys) in chunk.iter().zip(sets) {
                found.extend(keys.into_iter().map(|key| (*day, key.into())));
            }
        }
        Ok(found)
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

/// What is counted of a row. Each is a field of the hash of its day and key.
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

/// A field's name is the letter of its counter, and the model.
fn read_field(field: &str) -> Option<(Counter, &str)> {
    let letter = field.chars().next()?;
    let (counter, _) = Counter::ALL.into_iter().find(|(_, known)| *known == letter)?;
    Some((counter, &field[letter.len_utf8()..]))
}

/// Hashes for which one pipeline asks, so that the server serves others meanwhile.
const HASHES_AT_ONCE: usize = 100;
