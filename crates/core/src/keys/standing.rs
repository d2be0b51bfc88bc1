//! The values of the `x-ratelimit-…` headers that tell how much of a budget is left.

use std::fmt::Write as _;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderValue;

use crate::policy::budget::{Budget, BudgetStanding, Cost};
use crate::time::Timestamp;

/// What an account needs to write the values without an allocation for each answer.
#[derive(Debug, Default)]
pub(super) struct StandingHeaders {
    /// Numbers are written here: an allocation serves many answers.
    text: BytesMut,
    limit: Written,
    reset: Written,
}

/// A number as it was written last. It is the same in many answers.
#[derive(Debug, Default)]
struct Written(Option<(Number, HeaderValue)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Cost(u64),
    Whole(u64),
}

impl StandingHeaders {
    /// The limit of a budget, what is left of it, and the seconds until it begins anew.
    pub(super) fn values(
        &mut self,
        standing: &BudgetStanding,
        left: u64,
        clock: Timestamp,
    ) -> [HeaderValue; 3] {
        let amount = match standing.budget {
            Budget::CostPerMonth => Number::Cost,
            _ => Number::Whole,
        };
        let seconds = clock.until(standing.resets_at).as_millis().div_ceil(1000);
        let reset = Number::Whole(seconds.try_into().unwrap_or(u64::MAX));
        [
            self.limit.value(amount(standing.limit), &mut self.text),
            amount(left).value(&mut self.text),
            self.reset.value(reset, &mut self.text),
        ]
    }
}

impl Written {
    fn value(&mut self, number: Number, text: &mut BytesMut) -> HeaderValue {
        match &self.0 {
            Some((written, value)) if *written == number => value.clone(),
            _ => self.0.insert((number, number.value(text))).1.clone(),
        }
    }
}

impl Number {
    fn value(self, text: &mut BytesMut) -> HeaderValue {
        if text.capacity() < LONGEST_NUMBER {
            text.reserve(BUFFER);
        }
        match self {
            Self::Cost(amount) => {
                let _ = write!(text, "{}", Cost(amount));
            }
            Self::Whole(number) => push_digits(text, number),
        }
        header(text.split().freeze())
    }
}

fn header(number: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(number).expect("digits and a point are visible ASCII")
}

/// Writes a number without the formatter, which would take a tenth of the whole cost of a budget.
fn push_digits(text: &mut BytesMut, mut number: u64) {
    let mut digits = [0; LONGEST_NUMBER];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.put_slice(&digits[at..]);
}

/// The bytes of a buffer, and of the longest number, which may have a point.
const BUFFER: usize = 2048;
const LONGEST_NUMBER: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(budget: Budget, limit: u64) -> BudgetStanding {
        BudgetStanding { budget, limit, used: 0, resets_at: Timestamp(5_500) }
    }

    #[test]
    fn numbers_are_decimal_and_seconds_are_rounded_up() {
        let mut headers = StandingHeaders::default();
        let day = standing(Budget::TokensPerDay, u64::MAX);
        let values = headers.values(&day, 0, Timestamp(1_000));
        assert_eq!(values, ["18446744073709551615", "0", "5"]);
        let values = headers.values(&day, 1_234_567_890, Timestamp(1_500));
        assert_eq!(values, ["18446744073709551615", "1234567890", "4"]);
        let cost = standing(Budget::CostPerMonth, u64::MAX);
        let values = headers.values(&cost, 1_250_000_000, Timestamp(9_000));
        assert_eq!(values, ["18446744073.709551615", "1.25", "0"], "a cost is no whole number");
    }

    #[test]
    fn many_answers_share_an_allocation() {
        let mut headers = StandingHeaders::default();
        let day = standing(Budget::TokensPerDay, 100);
        for left in 0..1000 {
            let [_, value, _] = headers.values(&day, left, Timestamp(0));
            assert_eq!(value, left.to_string());
            assert!(headers.text.capacity() < BUFFER + LONGEST_NUMBER);
        }
    }
}
