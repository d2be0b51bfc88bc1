//! What one account has used and reserved, in this process.

mod by_model;

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::budget::charge::{Charge, Cost};
use crate::policy::budget::day::Day;
use crate::policy::budget::estimate::Estimator;
use crate::policy::budget::judge::{Budget, Counts, Limits, Reserved, Shortage, judge};
use crate::policy::budget::minute::MinuteTokens;
use crate::policy::budget::shared::{SharedStanding, UsageRow};
use crate::time::{Monotonic, Timestamp};

pub use by_model::ModelTotal;
use by_model::UsageByModel;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For what passes: minutes and waits.
    pub now: Monotonic,
    /// For days and months.
    pub clock: Timestamp,
}

/// How much of one budget is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetStanding {
    /// Which one.
    pub budget: Budget,
    /// The limit, of costs in billionths.
    pub limit: u64,
    /// What is used of it, without what requests in flight have reserved.
    pub used: u64,
    /// When it begins anew. For a minute: when nothing of it is used any more, if no request follows.
    pub resets_at: Timestamp,
}

/// A reservation, or a place in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use = "a reservation is kept until it is released"]
pub struct ReservationTicket(NonZeroU64);

/// What was taken for a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenUsage {
    /// What has been used since the batch before.
    pub rows: Vec<UsageRow>,
    /// What is reserved, if it was anything since the batch before.
    pub reserved: Option<Reserved>,
}

/// The right to put in what the store had at the start of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadMark(u64);

/// The counts of one account in this process. Its size is bounded: by the models of a day, by the days for which the
/// store has failed, and by the requests in flight.
#[derive(Debug)]
pub struct Ledger {
    id: Arc<str>,
    day: Day,
    begins: Timestamp,
    ends: Timestamp,
    month_ends: Timestamp,
    /// What this process knows: what it has loaded, and what it has counted since.
    own: Used,
    /// What the shared store has said last, and what this process has counted since.
    seen: Used,
    minute: MinuteTokens,
    reservations: Vec<Reservation>,
    reserved: Reserved,
    line: VecDeque<Waiting>,
    next_ticket: NonZeroU64,
    estimator: Estimator,
    usage: UsageByModel,
    /// What is in the rows of `usage`.
    fresh: Reserved,
    /// What is in the batch that is being sent.
    sent: Option<Reserved>,
    /// How many batches had rows of this account.
    batches: u64,
    had_reservations: bool,
}

/// What is used of the current day and month.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    day: u64,
    month: u64,
    cost: Cost,
}

impl Used {
    fn add(&mut self, charge: &Charge) {
        let tokens = charge.tokens();
        self.day = self.day.saturating_add(tokens);
        self.month = self.month.saturating_add(tokens);
        self.cost = self.cost + charge.cost;
    }
}

#[derive(Debug)]
struct Reservation {
    ticket: ReservationTicket,
    estimate: Reserved,
    since: Monotonic,
}

/// A request that waits in line.
#[derive(Debug)]
struct Waiting {
    ticket: ReservationTicket,
    limits: Limits,
    shortage: Shortage,
    since: Monotonic,
}

impl Ledger {
    /// The counts of an account that has used nothing.
    pub fn new(id: &Arc<str>) -> Self {
        let day = Day::of(Timestamp(0));
        Self {
            id: Arc::clone(id),
            day,
            begins: day.begin(),
            ends: day.next().begin(),
            month_ends: day.next_month().begin(),
            own: Used::default(),
            seen: Used::default(),
            minute: MinuteTokens::default(),
            reservations: Vec::new(),
            reserved: Reserved::default(),
            line: VecDeque::new(),
            next_ticket: NonZeroU64::MIN,
            estimator: Estimator::default(),
            usage: UsageByModel::default(),
            fresh: Reserved::default(),
            sent: None,
            batches: 0,
            had_reservations: false,
        }
    }

    /// Begins a new day, and a new month, when the clock has reached it. A clock that is set back by less than an
    /// hour does not begin the day before again: its budget would be there twice.
    fn advance(&mut self, clock: Timestamp) {
        if clock < self.ends && clock + LONGEST_STEP_BACK >= self.begins {
            return;
        }
        let day = Day::of(clock);
        let is_new_month = day.month() != self.day.month();
        (self.day, self.begins, self.ends) = (day, day.begin(), day.next().begin());
        self.month_ends = day.next_month().begin();
        for used in [&mut self.own, &mut self.seen] {
            used.day = 0;
            if is_new_month {
                (used.month, used.cost) = (0, Cost(0));
            }
        }
    }

    /// The day of a moment, as usage is counted.
    pub fn day(&mut self, at: Moment) -> Day {
        self.advance(at.clock);
        self.day
    }

    /// What is used and reserved.
    pub fn counts(&mut self, at: Moment) -> Counts {
        self.advance(at.clock);
        Counts {
            minute_tokens: self.minute.total(at.now),
            day_tokens: self.own.day.max(self.seen.day),
            month_tokens: self.own.month.max(self.seen.month),
            month_cost: Cost(self.own.cost.0.max(self.seen.cost.0)),
            reserved: self.reserved,
        }
    }

    /// What a request may use whose body has so many bytes.
    pub fn estimate(&self, prompt_bytes: u64) -> Charge {
        self.estimator.estimate(prompt_bytes)
    }

    /// Learns from an answer that upstream has counted.
    pub fn learn(&mut self, prompt_bytes: u64, charge: &Charge) {
        self.estimator.learn(prompt_bytes, charge);
    }

    /// Reserves an estimate, or joins the line if requests in flight may leave enough. `place` is the request's
    /// place in line. A request overtakes none that waits with the same limits.
    pub fn reserve(
        &mut self,
        limits: &Limits,
        estimate: Reserved,
        place: &mut Option<ReservationTicket>,
        at: Moment,
    ) -> Result<ReservationTicket, Shortage> {
        let verdict = judge(limits, &self.counts(at), &estimate);
        let ahead = self.ahead(limits, *place);
        let shortage = match (verdict, ahead) {
            (Ok(()), None) => {
                let ticket = self.leave(place).unwrap_or_else(|| self.ticket());
                self.keep(ticket, estimate, at.now);
                return Ok(ticket);
            }
            (Ok(()), Some(ahead)) => ahead,
            (Err(shortage), _) => shortage,
        };
        if shortage.waits() {
            self.join(*limits, shortage, place, at.now);
        } else {
            self.leave(place);
        }
        Err(shortage)
    }

    /// Reserves an estimate, unless there is too little or other requests wait.
    pub fn reserve_at_once(
        &mut self,
        limits: &Limits,
        estimate: Reserved,
        at: Moment,
    ) -> Option<ReservationTicket> {
        if judge(limits, &self.counts(at), &estimate).is_err() || !self.is_first(limits, None) {
            return None;
        }
        let ticket = self.ticket();
        self.keep(ticket, estimate, at.now);
        Some(ticket)
    }

    fn join(
        &mut self,
        limits: Limits,
        shortage: Shortage,
        place: &mut Option<ReservationTicket>,
        now: Monotonic,
    ) {
        if place.is_some() {
            return;
        }
        let ticket = self.ticket();
        self.line.push_back(Waiting { ticket, limits, shortage, since: now });
        *place = Some(ticket);
    }

    /// Gives back a reservation that another process does not allow. The request gets the place in line that it had.
    pub fn put_back(
        &mut self,
        ticket: ReservationTicket,
        limits: &Limits,
        shortage: Shortage,
        now: Monotonic,
    ) -> Option<ReservationTicket> {
        self.release(ticket);
        if !shortage.waits() {
            return None;
        }
        let at = self.line.partition_point(|waiting| waiting.ticket < ticket);
        self.line.insert(at, Waiting { ticket, limits: *limits, shortage, since: now });
        Some(ticket)
    }

    /// Leaves the line.
    pub fn leave(&mut self, place: &mut Option<ReservationTicket>) -> Option<ReservationTicket> {
        let ticket = place.take()?;
        self.line.retain(|waiting| waiting.ticket != ticket);
        Some(ticket)
    }

    /// True if no request with the same limits waits before this one.
    pub fn is_first(&self, limits: &Limits, place: Option<ReservationTicket>) -> bool {
        self.ahead(limits, place).is_none()
    }

    fn ahead(&self, limits: &Limits, place: Option<ReservationTicket>) -> Option<Shortage> {
        let mut ahead = self.line.iter().take_while(|it| place.is_none_or(|own| it.ticket < own));
        ahead.find(|it| it.limits == *limits).map(|it| it.shortage)
    }

    fn ticket(&mut self) -> ReservationTicket {
        let ticket = ReservationTicket(self.next_ticket);
        self.next_ticket = self.next_ticket.saturating_add(1);
        ticket
    }

    fn keep(&mut self, ticket: ReservationTicket, estimate: Reserved, since: Monotonic) {
        self.reservations.push(Reservation { ticket, estimate, since });
        self.reserved.tokens = self.reserved.tokens.saturating_add(estimate.tokens);
        self.reserved.cost = self.reserved.cost + estimate.cost;
        self.reserved.calls += estimate.calls;
        self.had_reservations = true;
    }

    /// Gives back what a request has reserved.
    pub fn release(&mut self, ticket: ReservationTicket) {
        let Some(at) = self.reservations.iter().position(|it| it.ticket == ticket) else { return };
        let estimate = self.reservations.swap_remove(at).estimate;
        self.subtract_reserved(estimate);
    }

    fn subtract_reserved(&mut self, estimate: Reserved) {
        self.reserved.tokens = self.reserved.tokens.saturating_sub(estimate.tokens);
        self.reserved.cost = Cost(self.reserved.cost.0.saturating_sub(estimate.cost.0));
        self.reserved.calls = self.reserved.calls.saturating_sub(estimate.calls);
    }

    /// Gives back what was reserved an hour ago. A Worker's runtime discards work without running its destructors.
    /// A request that still lives is charged at its end all the same.
    pub fn release_lost(&mut self, now: Monotonic) {
        let is_lost = |since: Monotonic| now.since(since) >= LOST_AFTER;
        while let Some(at) = self.reservations.iter().position(|it| is_lost(it.since)) {
            let estimate = self.reservations.swap_remove(at).estimate;
            self.subtract_reserved(estimate);
        }
        self.line.retain(|waiting| !is_lost(waiting.since));
    }

    /// Counts what a request has used. `requests` is 1 for a request that was answered.
    pub fn charge(&mut self, model: &Arc<str>, requests: u64, charge: Charge, at: Moment) {
        self.advance(at.clock);
        self.own.add(&charge);
        self.seen.add(&charge);
        let tokens = charge.tokens();
        self.minute.add(tokens, at.now);
        self.fresh.tokens = self.fresh.tokens.saturating_add(tokens);
        self.fresh.cost = self.fresh.cost + charge.cost;
        self.usage.add((&self.id, model, self.day), requests, charge);
    }

    /// What this process has reserved, with what was used and is not in the store yet.
    pub fn outside_the_store(&self) -> Reserved {
        let sent = self.sent.unwrap_or_default();
        let Reserved { tokens, cost, calls } = self.reserved;
        let used = self.fresh.tokens.saturating_add(sent.tokens);
        Reserved {
            tokens: tokens.saturating_add(used),
            cost: cost + self.fresh.cost + sent.cost,
            calls,
        }
    }

    /// Notes what all processes together have used, which holds on when the store cannot be reached.
    pub fn note(&mut self, standing: &SharedStanding, at: Moment) {
        self.advance(at.clock);
        let counts = &standing.counts;
        let outside = |own: Reserved| (own.tokens, own.cost);
        let (fresh, sent) = (outside(self.fresh), outside(self.sent.unwrap_or_default()));
        let tokens = fresh.0.saturating_add(sent.0);
        self.seen = Used {
            day: counts.day_tokens.saturating_add(tokens),
            month: counts.month_tokens.saturating_add(tokens),
            cost: counts.month_cost + fresh.1 + sent.1,
        };
    }

    /// How long until there is something left of a minute's limit; zero if there is now.
    pub fn minute_frees_in(&mut self, limit: u64, now: Monotonic) -> Duration {
        self.minute.frees_in(limit, now)
    }

    /// Takes what has been used since the batch before. [`Ledger::flushed`] says that the store has it.
    pub fn take_usage(&mut self) -> TakenUsage {
        let rows = self.usage.take_rows();
        if !rows.is_empty() {
            self.batches += 1;
            let mut sent = self.sent.unwrap_or_default();
            sent.tokens = sent.tokens.saturating_add(self.fresh.tokens);
            sent.cost = sent.cost + self.fresh.cost;
            self.sent = Some(sent);
            self.fresh = Reserved::default();
        }
        let had_reservations = self.had_reservations;
        self.had_reservations = self.reserved.calls > 0;
        TakenUsage { rows, reserved: had_reservations.then_some(self.reserved) }
    }

    /// The store has what was taken.
    pub fn flushed(&mut self) {
        self.sent = None;
    }

    /// What has been used since the batch before.
    pub fn unflushed_rows(&self) -> &[UsageRow] {
        self.usage.rows()
    }

    /// Permits to load the month's usage from the store. `None` while a batch with usage of this account is being
    /// sent: the store may have it or not.
    pub fn begin_load(&self) -> Option<LoadMark> {
        self.sent.is_none().then_some(LoadMark(self.batches))
    }

    /// Puts in what the store had of the month. False if a batch was sent meanwhile, or the month is over: what
    /// was loaded is not exact then.
    pub fn loaded(&mut self, mark: LoadMark, rows: &[UsageRow], month: Day, at: Moment) -> bool {
        self.advance(at.clock);
        if mark.0 != self.batches || self.day.month() != month {
            return false;
        }
        let mut used = Used::default();
        for row in rows.iter().chain(self.usage.rows()).filter(|row| row.key == self.id) {
            if row.day.month() != month {
                continue;
            }
            used.month = used.month.saturating_add(row.charge.tokens());
            used.cost = used.cost + row.charge.cost;
            if row.day == self.day {
                used.day = used.day.saturating_add(row.charge.tokens());
            }
        }
        self.own = used;
        true
    }

    /// What is used of each budget that has a limit.
    pub fn standings(&mut self, limits: &Limits, at: Moment) -> Vec<BudgetStanding> {
        let mut standings = Vec::new();
        self.each_standing(limits, at, |standing| standings.push(standing));
        standings
    }

    /// Passes what is used of each budget that has a limit, from the longest period to the shortest.
    fn each_standing(
        &mut self,
        limits: &Limits,
        at: Moment,
        mut visit: impl FnMut(BudgetStanding),
    ) {
        let counts = self.counts(at);
        let mut pass = |budget, limit: Option<u64>, used, resets_at| {
            if let Some(limit) = limit {
                visit(BudgetStanding { budget, limit, used, resets_at });
            }
        };
        let (ends, month_ends) = (self.ends, self.month_ends);
        let cost_limit = limits.cost_per_month.map(|cost| cost.0);
        pass(Budget::CostPerMonth, cost_limit, counts.month_cost.0, month_ends);
        pass(Budget::TokensPerMonth, limits.tokens_per_month, counts.month_tokens, month_ends);
        pass(Budget::TokensPerDay, limits.tokens_per_day, counts.day_tokens, ends);
        if limits.tokens_per_minute.is_some() {
            let ends = at.clock + self.minute.empty_in(at.now);
            pass(Budget::TokensPerMinute, limits.tokens_per_minute, counts.minute_tokens, ends);
        }
    }

    /// The budget of which the smallest share is left, with what is left of it: requests in flight may use what
    /// they have reserved.
    pub fn tightest(&mut self, limits: &Limits, at: Moment) -> Option<(BudgetStanding, u64)> {
        let reserved = self.reserved;
        let mut tightest: Option<(BudgetStanding, u64)> = None;
        self.each_standing(limits, at, |row| {
            let reserved = match row.budget {
                Budget::CostPerMonth => reserved.cost.0,
                _ => reserved.tokens,
            };
            let left = row.limit.saturating_sub(row.used).saturating_sub(reserved);
            let has_less = |(other, other_left): &(BudgetStanding, u64)| {
                u128::from(left) * u128::from(other.limit)
                    < u128::from(*other_left) * u128::from(row.limit)
            };
            if tightest.as_ref().is_none_or(has_less) {
                tightest = Some((row, left));
            }
        });
        tightest
    }

    /// What has been used since the start, by model.
    pub fn totals(&self) -> &[ModelTotal] {
        self.usage.totals()
    }
}

impl Shortage {
    /// True if the request waits for those in flight. A minute passes by itself.
    pub fn waits(&self) -> bool {
        self.may_pass && self.budget != Budget::TokensPerMinute
    }
}

/// By how much a clock may be set back within one day of counting.
const LONGEST_STEP_BACK: Duration = Duration::from_secs(3600);

/// How long a request may keep what it has reserved.
const LOST_AFTER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
