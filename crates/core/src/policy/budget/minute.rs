//! The tokens of the last minute.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Monotonic;

/// The tokens of the last sixty seconds, by the second. What was used within a second counts until sixty seconds
/// have passed since its end, so that no minute has more.
#[derive(Debug, Default)]
pub(super) struct MinuteTokens {
    /// Seconds with their tokens, oldest first.
    seconds: VecDeque<(u64, u64)>,
    total: u64,
}

impl MinuteTokens {
    pub(super) fn add(&mut self, tokens: u64, now: Monotonic) {
        if tokens == 0 {
            return;
        }
        self.expire(now);
        self.total = self.total.saturating_add(tokens);
        // The clock is read before the account is locked.
        let second = self.seconds.back().map_or(0, |newest| newest.0).max(second(now));
        match self.seconds.back_mut() {
            Some((newest, sum)) if *newest == second => *sum = sum.saturating_add(tokens),
            _ => self.seconds.push_back((second, tokens)),
        }
    }

    pub(super) fn total(&mut self, now: Monotonic) -> u64 {
        self.expire(now);
        self.total
    }

    /// How long until less than `limit` is counted.
    pub(super) fn frees_in(&mut self, limit: u64, now: Monotonic) -> Duration {
        self.expire(now);
        let mut left = self.total;
        let mut last = None;
        for (second, tokens) in &self.seconds {
            if left < limit {
                break;
            }
            left = left.saturating_sub(*tokens);
            last = Some(*second);
        }
        last.map_or(Duration::ZERO, |second| leaves(second).since(now))
    }

    /// How long until nothing is counted.
    pub(super) fn empty_in(&mut self, now: Monotonic) -> Duration {
        self.expire(now);
        self.seconds.back().map_or(Duration::ZERO, |newest| leaves(newest.0).since(now))
    }

    fn expire(&mut self, now: Monotonic) {
        while let Some((_, tokens)) =
            self.seconds.front().filter(|(second, _)| leaves(*second) <= now)
        {
            self.total = self.total.saturating_sub(*tokens);
            self.seconds.pop_front();
        }
    }
}

fn second(now: Monotonic) -> u64 {
    now.0 / 1_000_000
}

/// When the tokens of a second do not count any more.
fn leaves(second: u64) -> Monotonic {
    Monotonic((second + 61).saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Monotonic {
        Monotonic(millis * 1000)
    }

    #[test]
    fn tokens_count_for_a_minute_after_their_second() {
        let mut minute = MinuteTokens::default();
        minute.add(10, at(500));
        minute.add(5, at(900));
        minute.add(7, at(30_000));
        assert_eq!(minute.total(at(60_999)), 22);
        assert_eq!(minute.frees_in(22, at(60_500)), Duration::from_millis(500));
        assert_eq!(minute.frees_in(7, at(60_500)), Duration::from_millis(30_500));
        assert_eq!(minute.frees_in(23, at(60_500)), Duration::ZERO);
        assert_eq!(minute.total(at(61_000)), 7);
        assert_eq!(minute.empty_in(at(61_000)), Duration::from_secs(30));
        assert_eq!((minute.total(at(91_000)), minute.seconds.len()), (0, 0));
    }

    #[test]
    fn a_late_reader_of_the_clock_counts_in_the_newest_second() {
        let mut minute = MinuteTokens::default();
        minute.add(1, at(5_000));
        minute.add(1, at(4_900));
        assert_eq!(minute.seconds, [(5, 2)]);
    }
}
