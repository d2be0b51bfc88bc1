//! Whether a key's limits let one more request begin.

use std::ops::Add;

use super::charge::Cost;

/// The limits of a key that concern what its requests use. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// `tokens_per_minute`.
    pub tokens_per_minute: Option<u64>,
    /// `tokens_per_day`.
    pub tokens_per_day: Option<u64>,
    /// `tokens_per_month`.
    pub tokens_per_month: Option<u64>,
    /// `cost_per_month`.
    pub cost_per_month: Option<Cost>,
    /// `max_concurrent`.
    pub max_concurrent: Option<u64>,
}

impl Limits {
    /// True if nothing is limited.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What can be used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    /// `tokens_per_minute`, of the last sixty seconds.
    TokensPerMinute,
    /// `tokens_per_day`.
    TokensPerDay,
    /// `tokens_per_month`.
    TokensPerMonth,
    /// `cost_per_month`, in billionths.
    CostPerMonth,
    /// `max_concurrent`.
    MaxConcurrent,
}

impl Budget {
    /// The key of a `[[key]]` table that sets the limit.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokensPerMinute => "tokens_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::TokensPerMonth => "tokens_per_month",
            Self::CostPerMonth => "cost_per_month",
            Self::MaxConcurrent => "max_concurrent",
        }
    }
}

/// What requests in flight have reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reserved {
    /// Tokens.
    pub tokens: u64,
    /// What the tokens cost.
    pub cost: Cost,
    /// How many requests they are.
    pub calls: u64,
}

impl Add for Reserved {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost: self.cost + other.cost,
            calls: self.calls.saturating_add(other.calls),
        }
    }
}

/// What a key has used, and what it has reserved, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tokens of the last sixty seconds.
    pub minute_tokens: u64,
    /// Tokens of the day.
    pub day_tokens: u64,
    /// Tokens of the month.
    pub month_tokens: u64,
    /// What the month has cost.
    pub month_cost: Cost,
    /// What requests in flight have reserved.
    pub reserved: Reserved,
}

/// Why one more request may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// What there is too little of.
    pub budget: Budget,
    /// The limit, of costs in billionths.
    pub limit: u64,
    /// What was used of it. For [`Budget::MaxConcurrent`] it is how many requests are in flight.
    pub used: u64,
    /// True if the limit is not used up: requests in flight have reserved the rest, and may need less.
    pub may_pass: bool,
}

/// Decides whether a request with this estimate may begin: what was used, what is reserved and the
/// estimate must fit. A request whose estimate alone does not fit begins when nothing else is in flight, as
/// long as the limit is not used up. Of several shortages the one that lasts longest is returned.
///
/// The script of the Redis store decides the same.
pub fn judge(limits: &Limits, counts: &Counts, estimate: &Reserved) -> Result<(), Shortage> {
    let reserved = &counts.reserved;
    let tokens = (reserved.tokens, estimate.tokens);
    let mut passing = None;
    let mut check = |budget, limit: Option<u64>, used, (reserved_of_it, estimate)| {
        let Some(limit) = limit else { return Ok(()) };
        if used >= limit {
            return Err(Shortage { budget, limit, used, may_pass: false });
        }
        let wanted = u64::saturating_add(used, reserved_of_it).saturating_add(estimate);
        let is_alone = reserved.calls == 0 && reserved_of_it == 0;
        if wanted > limit && !is_alone && passing.is_none() {
            passing = Some(Shortage { budget, limit, used, may_pass: true });
        }
        Ok(())
    };
    let cost_limit = limits.cost_per_month.map(|cost| cost.0);
    let cost = (reserved.cost.0, estimate.cost.0);
    check(Budget::CostPerMonth, cost_limit, counts.month_cost.0, cost)?;
    check(Budget::TokensPerMonth, limits.tokens_per_month, counts.month_tokens, tokens)?;
    check(Budget::TokensPerDay, limits.tokens_per_day, counts.day_tokens, tokens)?;
    check(Budget::TokensPerMinute, limits.tokens_per_minute, counts.minute_tokens, tokens)?;
    if let Some(limit) = limits.max_concurrent
        && reserved.calls >= limit
        && passing.is_none()
    {
        let (budget, used) = (Budget::MaxConcurrent, reserved.calls);
        passing = Some(Shortage { budget, limit, used, may_pass: true });
    }
    passing.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_begins_while_used_reserved_and_estimate_fit() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let estimate = Reserved { tokens: 10, cost: Cost(0), calls: 1 };
        let mut counts = Counts { day_tokens: 60, ..Counts::default() };
        counts.reserved = Reserved { tokens: 30, cost: Cost(0), calls: 3 };
        assert_eq!(judge(&limits, &counts, &estimate), Ok(()));
        counts.reserved.tokens = 31;
        let shortage =
            Shortage { budget: Budget::TokensPerDay, limit: 100, used: 60, may_pass: true };
        assert_eq!(judge(&limits, &counts, &estimate), Err(shortage));
        counts.day_tokens = 100;
        let used_up = Shortage { used: 100, may_pass: false, ..shortage };
        assert_eq!(judge(&limits, &counts, &estimate), Err(used_up));
    }

    #[test]
    fn a_request_that_is_larger_than_the_rest_begins_alone() {
        let limits = Limits { tokens_per_month: Some(100), ..Limits::default() };
        let estimate = Reserved { tokens: 1000, cost: Cost(0), calls: 1 };
        let mut counts = Counts { month_tokens: 99, ..Counts::default() };
        assert_eq!(judge(&limits, &counts, &estimate), Ok(()));
        counts.reserved.calls = 1;
        assert!(judge(&limits, &counts, &estimate).is_err_and(|it| it.may_pass));
        // What a process has used and not stored yet counts as reserved, although no request is in flight.
        counts.reserved = Reserved { tokens: 1, ..Reserved::default() };
        assert!(judge(&limits, &counts, &estimate).is_err_and(|it| it.may_pass));
    }

    #[test]
    fn what_is_used_up_for_longest_is_the_reason() {
        let limits = Limits {
            tokens_per_minute: Some(1),
            tokens_per_day: Some(1),
            cost_per_month: Some(Cost(1)),
            max_concurrent: Some(1),
            ..Limits::default()
        };
        let mut counts = Counts { minute_tokens: 1, day_tokens: 1, ..Counts::default() };
        counts.reserved.calls = 1;
        let reason = |counts: &Counts| judge(&limits, counts, &Reserved::default()).unwrap_err();
        assert_eq!(reason(&counts).budget, Budget::TokensPerDay);
        counts.month_cost = Cost(1);
        assert_eq!(reason(&counts).budget, Budget::CostPerMonth);
        let one = Counts { reserved: counts.reserved, ..Counts::default() };
        assert_eq!(reason(&one).budget, Budget::MaxConcurrent);
    }
}
