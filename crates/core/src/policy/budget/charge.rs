//! What a request has used, and what that costs.

use std::fmt;
use std::ops::{Add, AddAssign};

/// An amount of the operator's currency, in billionths. The currency has no name: prices are the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cost(pub u64);

impl Cost {
    /// The amount in units of the currency, for JSON and metrics.
    #[expect(clippy::cast_precision_loss, reason = "fifteen digits are exact")]
    pub fn units(self) -> f64 {
        self.0 as f64 / BILLION
    }

    /// An amount in units of the currency. `None` for one that is negative, not finite or too large.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    pub fn of_units(units: f64) -> Option<Self> {
        let billionths = (units * BILLION).round();
        (0.0..9e18).contains(&billionths).then_some(Self(billionths as u64))
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// As decimal number without trailing zeros.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let (mut rest, mut places) = (rest, 9);
        while rest % 10 == 0 {
            (rest, places) = (rest / 10, places - 1);
        }
        write!(f, "{whole}.{rest:0places$}")
    }
}

const BILLION: f64 = 1e9;

/// What requests have used, as upstream counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charge {
    /// `promptTokenCount`, cached ones included.
    pub prompt_tokens: u64,
    /// `cachedContentTokenCount`.
    pub cached_tokens: u64,
    /// `candidatesTokenCount`.
    pub output_tokens: u64,
    /// `thoughtsTokenCount`.
    pub thought_tokens: u64,
    /// What they cost, by the price of the model.
    pub cost: Cost,
}

impl Charge {
    /// The tokens that count in a budget.
    pub fn tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.output_tokens).saturating_add(self.thought_tokens)
    }

    /// The same tokens with their cost.
    #[must_use]
    pub fn priced(mut self, price: Option<&Price>) -> Self {
        self.cost = price.map_or(Cost(0), |price| price.of(&self));
        self
    }
}

impl AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.thought_tokens = self.thought_tokens.saturating_add(other.thought_tokens);
        self.cost = self.cost + other.cost;
    }
}

/// The price of a model, in units of the currency for a million tokens, as billionths: 1.25 is
/// 1,250,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// Tokens of the prompt that were not cached.
    pub input: Cost,
    /// Cached tokens of the prompt.
    pub cached: Cost,
    /// Tokens of the answer, thoughts included.
    pub output: Cost,
}

impl Price {
    /// The cost of these tokens, rounded up to a billionth.
    pub fn of(&self, charge: &Charge) -> Cost {
        let fresh = charge.prompt_tokens.saturating_sub(charge.cached_tokens);
        let output = charge.output_tokens.saturating_add(charge.thought_tokens);
        let amount = |tokens: u64, price: Cost| u128::from(tokens) * u128::from(price.0);
        let sum = amount(fresh, self.input)
            + amount(charge.cached_tokens, self.cached)
            + amount(output, self.output);
        Cost(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_written_as_a_decimal_number() {
        for (billionths, text) in
            [(0, "0"), (1, "0.000000001"), (1_250_000_000, "1.25"), (50_000_000_000, "50")]
        {
            assert_eq!(Cost(billionths).to_string(), text);
            assert_eq!(Cost::of_units(text.parse().unwrap()), Some(Cost(billionths)));
        }
        assert_eq!(Cost::of_units(-0.1), None);
        assert_eq!(Cost::of_units(f64::NAN), None);
        assert_eq!(Cost::of_units(1e30), None);
    }

    #[test]
    fn cached_tokens_have_their_own_price_and_thoughts_are_output() {
        let unit = |units| Cost::of_units(units).unwrap();
        let price = Price { input: unit(1.25), cached: unit(0.31), output: unit(10.0) };
        let charge = Charge {
            prompt_tokens: 1_000_000,
            cached_tokens: 400_000,
            output_tokens: 50_000,
            thought_tokens: 50_000,
            cost: Cost(0),
        };
        assert_eq!(charge.priced(Some(&price)).cost, unit(0.75 + 0.124 + 1.0));
        assert_eq!(charge.priced(None).cost, Cost(0));
        assert_eq!(charge.tokens(), 1_100_000);
    }
}
