//! What the limits of a key leave for a request (`docs/TEAM.md`).
//!
//! A request reserves what it will probably use once no cache has answered it, and before it gets a permit. Its
//! context counts what it has used when it ends.

use std::pin::Pin;
use std::time::Duration;

use http::HeaderMap;

use super::Proxy;
use crate::caller::{LIMIT, REMAINING, RESET};
use crate::context::{ChargeRule, RequestContext};
use crate::error::{Error, ExhaustedBudget, RateLimitName};
use crate::keys::{KeyAccount, KeyHolder, moment};
use crate::platform::Platform;
use crate::policy::budget::{
    Budget, Charge, Cost, Day, Limits, Moment, ReservationTicket, Reserved, Shortage, judge,
};
use crate::settings::price_of;
use crate::time::Monotonic;

impl Proxy {
    /// Reserves what a request may use, once. If it has to wait, a future is returned that waits: for the usage of the
    /// month from the store, for the other processes, or while requests in flight have reserved what is left. Such a
    /// future is boxed, since few requests wait.
    #[must_use]
    pub(super) fn reserve<'a, P: Platform>(
        &'a self,
        rule: ChargeRule,
        prompt_bytes: u64,
        context: &'a mut RequestContext<P>,
    ) -> Option<Pin<Box<impl Future<Output = Result<(), Error>> + use<'a, P>>>> {
        if context.holder.is_none() || reserves_at_once(rule, prompt_bytes, context) {
            return None;
        }
        Some(Box::pin(self.wait_for_budget(prompt_bytes, context)))
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
            let cost = |charge| cost(&holder, &context.model, charge);
            let estimate = account.reservation(prompt_bytes, cost);
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
                let shortage = shortage.unwrap_or_else(|| Shortage {
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

/// True if the request needs no reservation, or has got one without asking a store.
fn reserves_at_once<P: Platform>(
    rule: ChargeRule,
    prompt_bytes: u64,
    context: &mut RequestContext<P>,
) -> bool {
    if rule == ChargeRule::Nothing {
        return true;
    }
    context.charge_by(rule);
    let Some(holder) = context.holder.as_deref() else { return true };
    let limits = &holder.settings.limits;
    if limits.are_none() || context.has_reservation() {
        return true;
    }
    if context.platform().has_shared_usage() {
        return false;
    }
    let cost = |charge| cost(holder, &context.model, charge);
    let at = moment(context.platform());
    let reserved = holder.account.reserve_at_once(limits, prompt_bytes, cost, at);
    reserved.map(|reservation| context.keep_reservation(reservation)).is_some()
}

/// What an estimate costs, for a key whose costs are limited.
fn cost(holder: &KeyHolder, model: &str, estimate: Charge) -> Cost {
    match holder.settings.limits.cost_per_month {
        Some(_) => estimate.priced(price_of(&holder.prices, model)).cost,
        None => Cost(0),
    }
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
    let of_day = || Day::of(at.clock);
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
/// tighter. `limits_all` says that the requests of all callers are limited.
pub(super) fn put_standing<P: Platform>(
    headers: &mut HeaderMap,
    context: &RequestContext<P>,
    limits_all: bool,
    now: Monotonic,
) {
    let Some(holder) = &context.holder else { return };
    let limits: &Limits = &holder.settings.limits;
    if limits.are_none() {
        return;
    }
    let number = |name| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let may_be_limited = limits_all || holder.settings.requests_per_minute.is_some();
    let is_tightest = |limit: u64, left: u64| {
        let there = if may_be_limited { number(LIMIT).zip(number(REMAINING)) } else { None };
        there.is_none_or(|(other_limit, other_left)| {
            u128::from(left) * u128::from(other_limit) < u128::from(other_left) * u128::from(limit)
        })
    };
    let at = Moment { now, clock: context.platform().wall_clock() };
    if let Some([limit, left, reset]) = holder.account.standing_headers(limits, at, is_tightest) {
        headers.insert(LIMIT, limit);
        headers.insert(REMAINING, left);
        headers.insert(RESET, reset);
    }
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
