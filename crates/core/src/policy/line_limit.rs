//! How many log lines refused requests may write (`docs/LOGGING.md`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::time::Monotonic;

/// Lets ten lines a second of each reason through, and counts the others.
///
/// Each reason has lines of its own, so that a flood of one kind hides no line of another. Reasons are
/// constants of the program, so their number is bounded.
#[derive(Debug, Default)]
pub struct LineLimit {
    reasons: BTreeMap<&'static str, Lines>,
}

/// The lines of one reason.
#[derive(Debug, Default)]
struct Lines {
    /// When the lines of the last second were written, oldest first.
    written: VecDeque<Monotonic>,
    left_out: u64,
    /// When the first of those that were left out came.
    since: Monotonic,
}

/// The lines of one reason that were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnwrittenLines {
    /// The reason.
    pub reason: &'static str,
    /// The number of lines.
    pub count: u64,
}

impl LineLimit {
    /// True if a line with this reason may be written; otherwise it is counted.
    pub fn ask(&mut self, reason: &'static str, now: Monotonic) -> bool {
        let lines = self.reasons.entry(reason).or_default();
        while lines.written.front().is_some_and(|at| now.since(*at) >= SECOND) {
            lines.written.pop_front();
        }
        if lines.written.len() < MOST_LINES {
            lines.written.push_back(now);
            return true;
        }
        if lines.left_out == 0 {
            lines.since = now;
        }
        lines.left_out += 1;
        false
    }

    /// Takes the count of one reason, at most once a second.
    pub fn take_of(&mut self, reason: &'static str, now: Monotonic) -> Option<UnwrittenLines> {
        self.reasons.get_mut(reason)?.take(reason, |since| now.since(since) >= SECOND)
    }

    /// Takes the counts of all reasons that are due, or with `all` of every reason.
    pub fn take(&mut self, all: bool, now: Monotonic) -> Vec<UnwrittenLines> {
        let is_due = |since| all || now.since(since) >= SECOND;
        let reasons = self.reasons.iter_mut();
        reasons.filter_map(|(reason, lines)| lines.take(reason, is_due)).collect()
    }
}

impl Lines {
    fn take(
        &mut self,
        reason: &'static str,
        is_due: impl Fn(Monotonic) -> bool,
    ) -> Option<UnwrittenLines> {
        if self.left_out == 0 || !is_due(self.since) {
            return None;
        }
        Some(UnwrittenLines { reason, count: std::mem::take(&mut self.left_out) })
    }
}

/// Lines of one reason in any [`SECOND`].
const MOST_LINES: usize = 10;

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_second_has_at_most_ten_lines_and_one_count_of_a_reason() {
        let mut limit = LineLimit::default();
        let (mut written, mut counted, mut reports) = (Vec::new(), 0, Vec::new());
        for millis in 0..10_000 {
            let now = Monotonic(millis * 1000);
            if limit.ask("api_key_missing", now) {
                written.push(millis);
            }
            if let Some(left_out) = limit.take_of("api_key_missing", now) {
                counted += left_out.count;
                reports.push(millis);
            }
        }
        counted += limit.take(true, Monotonic(10_000_000)).iter().map(|it| it.count).sum::<u64>();
        assert_eq!(written.len(), 100);
        assert_eq!(written.len() as u64 + counted, 10_000);
        assert!(written.windows(11).all(|ten| ten[10] - ten[0] >= 1000));
        assert!(reports.windows(2).all(|two| two[1] - two[0] >= 1000), "{reports:?}");
        assert!(reports.len() >= 9, "{reports:?}");
    }

    #[test]
    fn a_flood_of_one_reason_leaves_no_line_of_another_out() {
        let mut limit = LineLimit::default();
        let now = Monotonic(1);
        for _ in 0..1000 {
            limit.ask("not_found", now);
        }
        assert!(limit.ask("api_key_invalid", now));
        assert_eq!(limit.take(false, now), []);
        let later = now + SECOND;
        assert_eq!(limit.take(false, later), [UnwrittenLines { reason: "not_found", count: 990 }]);
        assert_eq!(limit.take(true, later), []);
    }
}
