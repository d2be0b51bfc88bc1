//! The committed costs, and how far a count may differ from them.

use std::fmt::Write as _;
use std::process::Command;

use super::WRITE;
use crate::process::captured;
use crate::report::Failure;
use crate::workspace::host;

/// The counts that differ too much from their budgets, for better or worse.
pub(super) fn differences(
    budgets: &[Row],
    measured: &[Row],
    with_instructions: bool,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in measured {
        let Some(budget) = budgets.iter().find(|budget| budget.name == row.name) else {
            wrong.push(format!("{} has no budget", row.name));
            continue;
        };
        let (now, then) = (row.cost, budget.cost);
        for (what, now, then, judged) in [
            ("instructions", now.instructions, then.instructions, with_instructions),
            ("allocations", now.allocations, then.allocations, true),
            ("bytes", now.bytes, then.bytes, true),
            ("clock reads", now.clock_reads, then.clock_reads, true),
        ] {
            if judged && now.abs_diff(then) * 100 > then * TOLERANCE_PERCENT {
                let sign = if now > then { "+" } else { "-" };
                let part = now.abs_diff(then) as f64 * 100.0 / then.max(1) as f64;
                wrong.push(format!("{}: {now} {what}, not {then} ({sign}{part:.1} %)", row.name));
            }
        }
    }
    for budget in budgets.iter().filter(|it| !measured.iter().any(|row| row.name == it.name)) {
        wrong.push(format!("{} has a budget but is not a case", budget.name));
    }
    wrong
}

/// A case and its costs.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) cost: Cost,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) instructions: u64,
    pub(super) allocations: u64,
    /// The bytes allocated; for a type, its size.
    pub(super) bytes: u64,
    /// How often the platform was asked for the time.
    pub(super) clock_reads: u64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { instructions, allocations, bytes, clock_reads } = self.cost;
        let name = &self.name;
        write!(out, "{name:<18} {instructions:>12} {allocations:>11} {bytes:>10} {clock_reads:>11}")
    }
}

/// The things beside the program that instruction counts depend on: compiler, target, and whether
/// the processor has AVX2, for which `memchr` has code of its own.
#[derive(Debug, PartialEq)]
pub(super) struct Place(String);

impl Place {
    pub(super) fn here() -> Result<Self, Failure> {
        let version = captured(Command::new("rustc").arg("--version"))?;
        let version = version.split_whitespace().nth(1).unwrap_or("unknown");
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let avx2 = if processor.contains(" avx2") { "AVX2" } else { "no AVX2" };
        Ok(Self(format!("rustc {version}, {}, {avx2}", host()?)))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

/// The content of `budgets.txt`.
#[derive(Debug, PartialEq)]
pub(super) struct Budgets {
    pub(super) place: Place,
    pub(super) rows: Vec<Row>,
}

impl Budgets {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |line: &str| Failure::new(format!("crates/costs/budgets.txt: `{line}`"));
        let mut budgets = Self { place: Place(String::new()), rows: Vec::new() };
        for line in text.lines() {
            if let Some(place) = line.strip_prefix(PLACE) {
                budgets.place = Place(place.to_owned());
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, numbers @ ..] = &words[..] else { return Err(bad(line)) };
            let numbers: Result<Vec<u64>, _> = numbers.iter().map(|word| word.parse()).collect();
            let Ok(&[instructions, allocations, bytes, clock_reads]) = numbers.as_deref() else {
                return Err(bad(line));
            };
            let cost = Cost { instructions, allocations, bytes, clock_reads };
            budgets.rows.push(Row { name: (*name).to_owned(), cost });
        }
        Ok(budgets)
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by `{WRITE}=1 cargo xtask costs`, which without it allows 3 % either way.\n\
             {PLACE}{}\n# case             instructions allocations      bytes clock reads\n",
            self.place
        );
        for row in &self.rows {
            let _ = writeln!(text, "{row}");
        }
        text
    }
}

const TOLERANCE_PERCENT: u64 = 3;

const PLACE: &str = "# For ";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, instructions: u64, allocations: u64, bytes: u64) -> Row {
        let cost = Cost { instructions, allocations, bytes, clock_reads: 4 };
        Row { name: name.to_owned(), cost }
    }

    #[test]
    fn three_percent_either_way_is_allowed_and_more_is_not() {
        let budgets = [row("a", 1000, 10, 100)];
        assert!(differences(&budgets, &[row("a", 1030, 10, 103)], true).is_empty());
        assert!(differences(&budgets, &[row("a", 970, 10, 97)], true).is_empty());
        for moved in [row("a", 1031, 10, 100), row("a", 969, 10, 100), row("a", 1000, 9, 100)] {
            assert_eq!(differences(&budgets, &[moved], true).len(), 1);
        }
        assert!(differences(&budgets, &[row("a", 5, 10, 100)], false).is_empty());
        assert_eq!(differences(&budgets, &[row("b", 1, 1, 1)], true).len(), 2);
        assert_eq!(differences(&[row("none", 9, 0, 0)], &[row("none", 9, 1, 8)], true).len(), 2);
        let mut one_read_more = row("a", 1000, 10, 100);
        one_read_more.cost.clock_reads += 1;
        assert_eq!(differences(&budgets, &[one_read_more], true).len(), 1);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let place = Place("rustc 1.95.0, x, AVX2".to_owned());
        let budgets = Budgets { place, rows: vec![row("a", 1, 2, 3), row("b", 4_000_000, 5, 6)] };
        assert_eq!(Budgets::parse(&budgets.to_text()).unwrap(), budgets);
        assert!(Budgets::parse("a 1 2 3\n").is_err());
    }
}
