//! `GET /usage`: what keys have used.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Proxy;
use super::local::NO_STORE;
use super::respond::{Answer, AnswerBody, JSON};
use crate::context::RequestContext;
use crate::error::Error;
use crate::keys::usage::{
    KeyBudget, UsageFormat, UsageQuery, UsageQueryError, UsageReport, tightest,
};
use crate::keys::{Flushed, moment};
use crate::metrics::KeysInput;
use crate::platform::Platform;
use crate::policy::budget::{Day, UsageRow};

impl Proxy {
    /// Answers with the usage of the client's own key, or of all keys if it is an admin's: what the store
    /// has, and what is not in it yet.
    pub(super) async fn usage<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        context.set_aside();
        let Some(holder) = context.holder.clone() else { return Err(Error::UsageNotCounted) };
        let problem = |error: UsageQueryError| Error::UsageParameter { problem: error.to_string() };
        let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let parameters = parts.uri.query().unwrap_or_default();
        let format =
            UsageFormat::choose(parameters, accept.unwrap_or_default()).map_err(problem)?;
        let today = Day::of(context.platform().wall_clock());
        let query = UsageQuery::read(parameters, today).map_err(problem)?;
        let asked = asked_id(parameters);
        let id = match holder.settings.admin {
            true => asked.as_deref(),
            false if asked.as_ref().is_some_and(|asked| **asked != **holder.id()) => {
                return Err(Error::AdminOnly { what: "the usage of another key" });
            }
            false => Some(&**holder.id()),
        };
        let rows = self.usage_rows(context.platform(), query.days(), id).await?;
        self.learn_usage_of_others(context.platform(), id).await;
        let budgets = self.budgets(context.platform(), id);
        let report = UsageReport::new(query, rows, budgets).map_err(problem)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            match format {
                UsageFormat::Csv => HeaderValue::from_static("text/csv; charset=utf-8"),
                UsageFormat::Json => JSON,
            },
        );
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        let body = AnswerBody::Whole(Bytes::from(report.write(format)));
        Ok(Answer { status: StatusCode::OK, headers, body })
    }

    /// Loads what keys have used before the process began, which the regular work does otherwise.
    pub async fn load_usage<P: Platform>(&self, platform: &P) {
        for account in self.keys.accounts() {
            account.load(platform).await;
        }
    }

    /// What was used until now: the store's rows, once all that this process has counted is there. If the store
    /// takes nothing, what it has not taken is added.
    async fn usage_rows<P: Platform>(
        &self,
        platform: &P,
        days: RangeInclusive<Day>,
        key: Option<&str>,
    ) -> Result<Vec<UsageRow>, Error> {
        let mut tries = 0;
        let is_stored = loop {
            tries += 1;
            match self.keys.flush(platform).await {
                Flushed::Nothing | Flushed::Sent => break true,
                Flushed::Busy if tries < FLUSH_TRIES => platform.timer(FLUSH_PAUSE).await,
                Flushed::Busy | Flushed::Failed => break false,
            }
        };
        let unstored = if is_stored { Vec::new() } else { self.keys.unstored_rows(key) };
        let mut rows = platform
            .usage(days, key)
            .await
            .map_err(|error| Error::UsageUnreadable { why: error.0 })?;
        rows.extend(unstored);
        Ok(rows)
    }

    /// Learns what other processes have counted of one `id`, or of all.
    async fn learn_usage_of_others<P: Platform>(&self, platform: &P, key: Option<&str>) {
        if !platform.has_shared_usage() {
            return;
        }
        for account in self.keys.accounts() {
            if key.is_none_or(|key| *account.id == *key) {
                account.load_again(platform).await;
            }
        }
    }

    /// How much of their limits keys have used: one `id`, or all.
    fn budgets<P: Platform>(&self, platform: &P, key: Option<&str>) -> Vec<KeyBudget> {
        let at = moment(platform);
        let reloadable = self.reloadable();
        let asked = reloadable.holders.iter().filter(|it| key.is_none_or(|key| **it.id() == *key));
        let budgets = asked.flat_map(|holder| {
            let standings = holder.account.standings(&holder.settings.limits, at);
            standings
                .into_iter()
                .map(|standing| KeyBudget { key: Arc::clone(holder.id()), standing })
        });
        tightest(budgets.collect())
    }

    /// What the metrics show of keys; `None` without `[[key]]` tables.
    pub(super) fn keys_input<P: Platform>(&self, platform: &P) -> Option<KeysInput> {
        if self.reloadable().holders.is_empty() {
            return None;
        }
        let accounts = self.keys.accounts();
        let used = accounts.iter().map(|it| (Arc::clone(&it.id), it.totals())).collect();
        Some(KeysInput { used, budgets: self.budgets(platform, None) })
    }
}

/// The `id` in a URL's parameters, which names one key. The parameter `key` is a client's key itself.
fn asked_id(parameters: &str) -> Option<Cow<'_, str>> {
    let mut pairs = form_urlencoded::parse(parameters.as_bytes());
    pairs.find(|(name, value)| name == "id" && !value.is_empty()).map(|(_, value)| value)
}

/// How often another call's batch is waited for, and the pause between.
const FLUSH_TRIES: u32 = 25;
const FLUSH_PAUSE: Duration = Duration::from_millis(20);
