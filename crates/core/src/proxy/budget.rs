//! What the limits of a key leave for a request (`docs/TEAM.md`).
//!
//! A request reserves what it will probably use once no cache has answered it, and before it gets a permit. Its
//! context counts what it has used when it ends.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::Proxy;
use crate::caller::{LIMIT, REMAINING, RESET};
use crate::context::{ChargeRule, RequestContext};
use crate::error::{Error, ExhaustedBudget, RateLimitName};
use crate::keys::{KeyAccount, KeyHolder, moment};
use crate::platform::Platform;
use crate::policy::budget::{
    Budget, Cost, Limits, Moment, ReservationTicket, Reserved, Shortage, judge,
};
use crate::settings::price_of;
use crate::time::Timestamp;

impl Proxy {
    /// Reserves what a request may use, once. It waits while requests in flight have reserved what is left.
    pub(super) async fn reserve<P: Platform>(
        &self,
        rule: ChargeRule,
        prompt_bytes: u64,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        if self.reserves_at_once(rule, prompt_bytes, context) {
            return Ok(());
        }
        // Boxed, since few requests wait.
        Box::pin(self.wait_for_budget(prompt_bytes, context)).await
    }

    /// True if the request needs no reservation, or has got one without asking a store.
    fn reserves_at_once<P: Platform>(
        &self,
        rule: ChargeRule,
        prompt_bytes: u64,
        context: &mut RequestContext<P>,
    ) -> bool {
        if rule == ChargeRule::Nothing {
            return true;
        }
        let Some(holder) = context.holder.clone() else { return true };
        context.charge_by(rule);
        let (limits, account) = (&holder.settings.limits, &holder.account);
        if limits.are_none() || context.has_reservation() {
            return true;
        }
        let at = moment(context.platform());
        if context.platform().has_shared_usage() || !account.is_loaded(at.now) {
            return false;
        }
        let mut place = None;
        let estimate = estimate(&holder, &context.model, prompt_bytes);
        let reserved = account.reserve(limits, estimate, &mut place, at);
        if place.is_some() {
            account.leave(&mut place);
        }
        reserved.map(|reservation| context.keep_reservation(reservation)).is_ok()
    }

    /// Reserves with all that may have to be waited for: the usage of the month from the store, the other processes,
    /// and requests in flight.
    async fn wait_for_budget<P: Platform>(
        &self,
        prompt_bytes: u64,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let Some(holder) = context.holder.clone() else { return Ok(()) };
        let platform = context.platform().clone();
        let (limits, account) = (&holder.settings.limits, &holder.account);
        let began = platform.now();
        while !account.load(&platform).await
            && platform.now().since(began) < LONGEST_LOAD
            && context.time_left(platform.now()).is_none_or(|left| left > LOAD_PAUSE)
        {
            platform.timer(LOAD_PAUSE).await;
        }
        let mut line = PlaceInLine { account, place: None };
        let mut pause = FIRST_PAUSE;
        loop {
            let estimate = estimate(&holder, &context.model, prompt_bytes);
            let asked = self.ask_budget(&holder, estimate, &mut line, &platform).await;
            let at = moment(&platform);
            let shortage = match asked {
                Ok(reservation) => {
                    context.keep_reservation(reservation);
                    context.timings.queue += at.now.since(began);
                    return Ok(());
                }
                Err((shortage, minute_frees_in)) if !shortage.waits() => {
                    context.timings.queue += at.now.since(began);
                    return Err(refusal(&shortage, minute_frees_in, at));
                }
                Err((shortage, _)) => shortage,
            };
            let late = |_| refusal(&shortage, Duration::ZERO, at);
            let (limit, late) = context.wait_limit(self.settings.queue_timeout, late, began);
            let left = limit.saturating_sub(at.now.since(began));
            if left.is_zero() {
                context.timings.queue += at.now.since(began);
                return Err(late);
            }
            // A request that only waits must not keep others from upstream.
            context.release_permit();
            if platform.has_shared_store() && account.has_unflushed_usage() {
                // For the store it is reserved, and may be less than was reserved before.
                self.keys.flush(&platform).await;
            }
            let longest =
                if account.is_first(limits, line.place) { FRONT_PAUSE } else { LAST_PAUSE };
            // Processes that were refused at one moment must not ask again at one moment.
            let part = u32::try_from(platform.random() % 256).unwrap_or(0);
            let wait = pause.min(longest);
            platform.timer((wait + wait * part / 512).min(left)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Asks this process, then the store that several share: a refusal by either holds.
    async fn ask_budget<P: Platform>(
        &self,
        holder: &KeyHolder,
        estimate: Reserved,
        line: &mut PlaceInLine<'_>,
        platform: &P,
    ) -> Result<ReservationTicket, (Shortage, Duration)> {
        let (limits, account) = (&holder.settings.limits, &holder.account);
        let at = moment(platform);
        let reserved = account.reserve(limits, estimate, &mut line.place, at);
        let ticket = reserved.map_err(|shortage| {
            let limit = limits.tokens_per_minute.unwrap_or(u64::MAX);
            (shortage, account.minute_frees_in(limit, at.now))
        })?;
        if !platform.has_shared_usage() {
            return Ok(ticket);
        }
        let mut asking = Asking { account, ticket: Some(ticket) };
        let request = account.shared_reservation((*limits, estimate), self.keys.process, at);
        let standing = platform.reserve(&request).await;
        if let Some(standing) = standing {
            account.note(&standing, at);
            if !standing.is_granted {
                asking.ticket = None;
                let shortage = judge(limits, &standing.counts, &estimate).err();
                let shortage = shortage.unwrap_or(Shortage {
                    budget: Budget::MaxConcurrent,
                    limit: limits.max_concurrent.unwrap_or_default(),
                    used: standing.counts.reserved.calls,
                    may_pass: true,
                });
                line.place = account.put_back(ticket, limits, shortage, at.now);
                return Err((shortage, standing.minute_frees_in));
            }
        }
        asking.ticket = None;
        Ok(ticket)
    }
}

/// What a request may use, with its cost.
fn estimate(holder: &KeyHolder, model: &str, prompt_bytes: u64) -> Reserved {
    let charge = holder.account.estimate(prompt_bytes);
    let cost = match holder.settings.limits.cost_per_month {
        Some(_) => charge.priced(price_of(&holder.prices, model)).cost,
        None => Cost(0),
    };
    Reserved { tokens: charge.tokens(), cost, calls: 1 }
}

/// A request's place in line, which it leaves when its client does.
struct PlaceInLine<'a> {
    account: &'a KeyAccount,
    place: Option<ReservationTicket>,
}

impl Drop for PlaceInLine<'_> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.account.leave(&mut self.place);
        }
    }
}

/// A reservation that the shared store has not granted yet.
struct Asking<'a> {
    account: &'a KeyAccount,
    ticket: Option<ReservationTicket>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.account.release(ticket);
        }
    }
}

/// The error for a request that may not begin.
fn refusal(shortage: &Shortage, minute_frees_in: Duration, at: Moment) -> Error {
    let Shortage { budget, limit, used, may_pass } = *shortage;
    let of_day = || crate::policy::budget::Day::of(at.clock);
    let resets_at = match budget {
        Budget::TokensPerMinute => {
            let limit = RateLimitName::TokensPerMinute;
            let after = if may_pass { RETRY_AFTER } else { minute_frees_in.max(RETRY_AFTER) };
            return Error::RateLimited { limit, after };
        }
        Budget::MaxConcurrent => {
            return Error::QueueTimeout { after: RETRY_AFTER, own_share: true };
        }
        Budget::TokensPerDay => of_day().next().begin(),
        Budget::CostPerMonth | Budget::TokensPerMonth => of_day().next_month().begin(),
    };
    let text = |amount: u64| match budget {
        Budget::CostPerMonth => Cost(amount).to_string(),
        _ => amount.to_string(),
    };
    let until = at.clock.until(resets_at);
    Error::BudgetExhausted(Box::new(ExhaustedBudget {
        budget: budget.name(),
        limit: text(limit),
        used: text(used),
        resets_at,
        after: if may_pass { until.min(RETRY_RESERVED_AFTER) } else { until },
        may_pass,
    }))
}

/// Puts the tightest limit of the key into `x-ratelimit-…`, unless a limit of requests that is there already is
/// tighter.
pub(super) fn put_standing<P: Platform>(headers: &mut HeaderMap, context: &RequestContext<P>) {
    let Some(holder) = &context.holder else { return };
    let limits: &Limits = &holder.settings.limits;
    if limits.are_none() {
        return;
    }
    let at = moment(context.platform());
    let Some((standing, left)) = holder.account.tightest(limits, at) else { return };
    let number = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    if let (Some(other_limit), Some(other_left)) = (number(LIMIT), number(REMAINING))
        && u128::from(other_left) * u128::from(standing.limit)
            <= u128::from(left) * u128::from(other_limit)
    {
        return;
    }
    let reset = seconds(at.clock, standing.resets_at);
    let mut ends = (0, 0);
    // The numbers share one allocation with those of other answers.
    let text = holder.account.text(|text| {
        let mut write = |amount: u64| {
            let _ = match standing.budget {
                Budget::CostPerMonth => write!(text, "{}", Cost(amount)),
                _ => write!(text, "{amount}"),
            };
            text.len()
        };
        ends = (write(standing.limit), write(left));
        let _ = write!(text, "{reset}");
    });
    let pieces = [
        (LIMIT, text.slice(..ends.0)),
        (REMAINING, text.slice(ends.0..ends.1)),
        (RESET, text.slice(ends.1..)),
    ];
    for (name, value) in pieces {
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            headers.insert(name, value);
        }
    }
}

/// The whole seconds until then, rounded up.
fn seconds(now: Timestamp, then: Timestamp) -> u64 {
    now.until(then).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

/// Pauses of a request that waits for others: the first one, the longest, and the longest of the one that is next.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(250);
const FRONT_PAUSE: Duration = Duration::from_millis(20);

/// How long a request waits for another one that loads the month's usage, and how often it looks.
const LONGEST_LOAD: Duration = Duration::from_secs(5);
const LOAD_PAUSE: Duration = Duration::from_millis(5);

/// When a client should try again that was refused for what is in flight, and for what that has reserved.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_RESERVED_AFTER: Duration = Duration::from_secs(5);
