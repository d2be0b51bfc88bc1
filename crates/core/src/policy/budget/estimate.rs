//! What a request will probably use.

use super::charge::{Charge, Cost};

/// The estimate of an account, learned from its answers: each answer counts for an eighth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimator {
    /// Tokens of a prompt for a mebibyte of its body.
    tokens_per_mebibyte: u64,
    /// Tokens of an answer, in parts of 256.
    output: u64,
}

impl Default for Estimator {
    /// Four bytes are a token, and an answer has 256.
    fn default() -> Self {
        Self { tokens_per_mebibyte: MEBIBYTE / 4, output: 256 * PARTS }
    }
}

impl Estimator {
    /// The estimate for a body of so many bytes. It is never zero.
    pub(super) fn estimate(&self, prompt_bytes: u64) -> Charge {
        let prompt = u128::from(prompt_bytes) * u128::from(self.tokens_per_mebibyte);
        let prompt = u64::try_from(prompt / u128::from(MEBIBYTE)).unwrap_or(LONGEST_PROMPT);
        Charge {
            prompt_tokens: prompt.clamp(1, LONGEST_PROMPT),
            cached_tokens: 0,
            output_tokens: (self.output / PARTS).max(1),
            thought_tokens: 0,
            cost: Cost(0),
        }
    }

    /// Learns from an answer. A short body says little, since instructions and tools may come from elsewhere.
    pub(super) fn learn(&mut self, prompt_bytes: u64, charge: &Charge) {
        let average = |old: u64, new: u64| (old * 7 + new + 4) / 8;
        if prompt_bytes >= LEAST_PROMPT && charge.prompt_tokens > 0 {
            let tokens = charge.prompt_tokens.min(LONGEST_PROMPT);
            let sample = (tokens * MEBIBYTE / prompt_bytes).min(MEBIBYTE);
            self.tokens_per_mebibyte = average(self.tokens_per_mebibyte, sample);
        }
        let output = charge.output_tokens.saturating_add(charge.thought_tokens);
        self.output = average(self.output, output.min(LONGEST_PROMPT) * PARTS);
    }
}

const MEBIBYTE: u64 = 1 << 20;

/// The precision of the average answer.
const PARTS: u64 = 256;

/// Bytes of a body from which the tokens of a byte are learned.
const LEAST_PROMPT: u64 = 256;

/// The longest prompt that a model takes, in tokens.
const LONGEST_PROMPT: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_begins_with_four_bytes_a_token_and_learns_its_own() {
        let mut estimator = Estimator::default();
        let first = estimator.estimate(4000);
        assert_eq!((first.prompt_tokens, first.output_tokens), (1000, 256));
        let image = Charge {
            prompt_tokens: 300,
            output_tokens: 1000,
            thought_tokens: 1000,
            ..Charge::default()
        };
        for _ in 0..100 {
            estimator.learn(1 << 20, &image);
        }
        let learned = estimator.estimate(1 << 20);
        assert!((297..=310).contains(&learned.prompt_tokens), "{learned:?}");
        assert!((1990..=2000).contains(&learned.output_tokens), "{learned:?}");
    }

    #[test]
    fn an_estimate_is_never_zero_and_never_longer_than_a_model_takes() {
        let mut estimator = Estimator::default();
        for _ in 0..100 {
            estimator.learn(1000, &Charge::default());
        }
        assert_eq!(estimator.estimate(0).prompt_tokens, 1);
        assert!(estimator.estimate(0).output_tokens >= 1);
        assert_eq!(estimator.estimate(u64::MAX).prompt_tokens, LONGEST_PROMPT);
    }
}
