//! The committed costs of requests in the whole binary, how far a count may differ from them, and the
//! goals that hold once they are reached.

use std::fmt;

use super::calls::Profile;
use super::load::Load;
use crate::report::Failure;

/// The content of `binary.txt`.
#[derive(Debug, Default, PartialEq)]
pub(in crate::costs) struct Budgets {
    pub(in crate::costs) rows: Vec<Row>,
    pub(in crate::costs) sites: Vec<Site>,
}

/// What one request of a load costs.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::costs) struct Row {
    pub(in crate::costs) load: String,
    pub(in crate::costs) clock_reads: f64,
    pub(in crate::costs) allocations: f64,
    /// Calls of `memcpy` and `memmove`. Shown and not judged: which copies are calls depends on the compiler.
    pub(in crate::costs) copies: f64,
    /// Instructions of the program and the C library. Shown and not judged: they depend on the
    /// processor.
    pub(in crate::costs) instructions: f64,
}

/// A place that allocates more than 1 KiB.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::costs) struct Site {
    pub(in crate::costs) name: String,
    pub(in crate::costs) bytes: u64,
    /// `FILE:LINE`, for people. A budget has none: lines change.
    pub(in crate::costs) place: String,
}

impl Site {
    /// Whether both have the same name and about the same size. One function may have several places.
    fn is_like(&self, other: &Self) -> bool {
        let difference = self.bytes.abs_diff(other.bytes) as f64;
        self.name == other.name && difference <= other.bytes as f64 * TOLERANCE
    }
}

impl Row {
    pub(super) fn new(load: &Load, profile: &Profile) -> Result<Self, Failure> {
        let a_request = |count: u64| (count as f64 * 100.0 / load.requests as f64).round() / 100.0;
        let Profile { instructions, allocations, clock_reads, copies } = *profile;
        if allocations == 0 || clock_reads == 0 {
            let load = load.name;
            return Err(Failure::new(format!(
                "callgrind saw no allocation or no clock read in `{load}`: are there no symbols?"
            )));
        }
        Ok(Self {
            load: load.name.to_owned(),
            clock_reads: a_request(clock_reads),
            allocations: a_request(allocations),
            copies: a_request(copies),
            instructions: (instructions as f64 / load.requests as f64).round(),
        })
    }

    fn judged(&self) -> [Judged; 2] {
        let Self { clock_reads, allocations, .. } = *self;
        [
            Judged {
                what: "clock reads",
                count: clock_reads,
                goal: CLOCK_READS_GOAL,
                tolerance: self.is_alone().then_some(CLOCK_READS_TOLERANCE),
            },
            Judged {
                what: "allocations",
                count: allocations,
                goal: ALLOCATIONS_GOAL,
                tolerance: Some(TOLERANCE),
            },
        ]
    }

    /// Whether its requests are sent one at a time.
    fn is_alone(&self) -> bool {
        Load::ALL.iter().any(|load| load.name == self.load && load.connections == 1)
    }
}

/// A count that is compared with its budget.
struct Judged {
    what: &'static str,
    count: f64,
    goal: f64,
    /// How far the count may differ from its budget, as a part of it. None: it is held to a goal only.
    tolerance: Option<f64>,
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, clock_reads, allocations, copies, instructions } = self;
        write!(
            out,
            "load {load:<12} {clock_reads:>11.2} {allocations:>11.2} {copies:>8.2} {instructions:>12}"
        )
    }
}

impl fmt::Display for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "site {} {}", self.name, self.bytes)
    }
}

impl Budgets {
    fn of(&self, load: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.load == load)
    }

    /// The goals that the budget of the load reaches and `row` does not.
    pub(super) fn missed_goals(&self, row: &Row) -> Vec<String> {
        let mut missed = Vec::new();
        let budget = self.of(&row.load).map(Row::judged);
        for (now, then) in row.judged().iter().zip(budget.iter().flatten()) {
            let (load, Judged { what, count, goal, .. }) = (&row.load, now);
            if then.count <= *goal && count > goal {
                missed.push(format!("{load}: {count:.2} {what} a request; {goal} are allowed"));
            }
        }
        missed
    }

    pub(in crate::costs) fn parse(text: &str) -> Result<Self, Failure> {
        let mut budgets = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let bad = || Failure::new(format!("crates/costs/binary.txt: `{line}`"));
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["load", load, ref numbers @ ..] => {
                    let numbers: Result<Vec<f64>, _> =
                        numbers.iter().map(|number| number.parse()).collect();
                    let Ok([clock_reads, allocations, copies, instructions]) = numbers.as_deref()
                    else {
                        return Err(bad());
                    };
                    budgets.rows.push(Row {
                        load: load.to_owned(),
                        clock_reads: *clock_reads,
                        allocations: *allocations,
                        copies: *copies,
                        instructions: *instructions,
                    });
                }
                ["site", name, bytes] => {
                    let bytes = bytes.parse().map_err(|_| bad())?;
                    let site = Site { name: name.to_owned(), bytes, place: String::new() };
                    budgets.sites.push(site);
                }
                _ => return Err(bad()),
            }
        }
        Ok(budgets)
    }
}

impl fmt::Display for Budgets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "# load            clock reads allocations   copies instructions")?;
        for row in &self.rows {
            writeln!(out, "{row}")?;
        }
        writeln!(out, "# site, bytes of an allocation")?;
        for site in &self.sites {
            writeln!(out, "{site}")?;
        }
        Ok(())
    }
}

/// The counts that differ too much from their budgets, for better or worse, and what is large and was
/// not.
pub(in crate::costs) fn differences(budgets: &Budgets, measured: &Budgets) -> Vec<String> {
    let mut wrong = regressions(budgets, measured);
    for row in &measured.rows {
        let Some(budget) = budgets.of(&row.load) else {
            wrong.push(format!("{} has no budget", row.load));
            continue;
        };
        for (now, then) in row.judged().iter().zip(budget.judged()) {
            let Some(tolerance) = then.tolerance else { continue };
            if (now.count - then.count).abs() > then.count * tolerance {
                let (load, Judged { what, count, .. }) = (&row.load, now);
                let then = then.count;
                wrong.push(format!("{load}: {count:.2} {what} a request, not {then:.2}"));
            }
        }
    }
    for site in &measured.sites {
        if !budgets.sites.iter().any(|budget| site.is_like(budget)) {
            let Site { name, bytes, place } = site;
            wrong.push(format!("{bytes} bytes are allocated for a request at {place} ({name})"));
        }
    }
    for budget in &budgets.sites {
        if !measured.sites.iter().any(|site| site.is_like(budget)) {
            let Site { name, bytes, .. } = budget;
            wrong.push(format!("{name} has a budget of {bytes} bytes and does not allocate them"));
        }
    }
    for Row { load, .. } in &budgets.rows {
        if measured.of(load).is_none() {
            wrong.push(format!("{load} has a budget but is not a load"));
        }
    }
    wrong
}

/// The goals that the budgets reach and the counts do not. No new budget undoes a goal.
pub(in crate::costs) fn regressions(budgets: &Budgets, measured: &Budgets) -> Vec<String> {
    measured.rows.iter().flat_map(|row| budgets.missed_goals(row)).collect()
}

/// Clock reads a request may have, once a load has no more.
pub(in crate::costs) const CLOCK_READS_GOAL: f64 = 6.0;

/// Allocations a request may have, once a load has no more.
pub(in crate::costs) const ALLOCATIONS_GOAL: f64 = 25.0;

const TOLERANCE: f64 = 0.03;

/// For the clock reads of one request at a time: each of its steps wakes the runtime. With 64 at a time
/// the machine decides how many steps share a wake-up, so that only the goal is judged.
const CLOCK_READS_TOLERANCE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(clock_reads: f64, allocations: f64) -> Row {
        Row {
            load: "unary_alone".to_owned(),
            clock_reads,
            allocations,
            copies: 9.0,
            instructions: 1e5,
        }
    }

    fn budgets(row: Row, sites: &[(&str, u64)]) -> Budgets {
        let sites = sites.iter().map(|(name, bytes)| Site {
            name: (*name).to_owned(),
            bytes: *bytes,
            place: String::new(),
        });
        Budgets { rows: vec![row], sites: sites.collect() }
    }

    #[test]
    fn a_tolerance_either_way_is_allowed_and_more_is_not() {
        let then = budgets(row(20.0, 50.0), &[("a", 2000)]);
        for (now, wrong) in [
            (budgets(row(21.9, 48.6), &[("a", 2060)]), 0),
            (budgets(row(22.1, 50.0), &[("a", 2000)]), 1),
            (budgets(row(17.9, 48.4), &[("a", 2000)]), 2),
            (budgets(row(20.0, 50.0), &[("a", 2061)]), 2),
            (budgets(row(20.0, 50.0), &[("a", 2000), ("a", 7000)]), 1),
            (budgets(row(20.0, 50.0), &[("a", 2000), ("b", 1025)]), 1),
            (budgets(row(20.0, 50.0), &[]), 1),
            (Budgets::default(), 2),
        ] {
            assert_eq!(differences(&then, &now).len(), wrong, "{now}");
        }
    }

    #[test]
    fn a_goal_that_is_reached_is_held_within_the_tolerance_and_by_new_budgets() {
        let reached = budgets(row(6.0, 25.0), &[]);
        assert!(differences(&reached, &reached).is_empty());
        let above = budgets(row(6.1, 25.1), &[]);
        assert_eq!(regressions(&reached, &above).len(), 2);
        assert_eq!(differences(&reached, &above).len(), 2);
        let far = budgets(row(20.0, 50.0), &[]);
        assert!(regressions(&far, &budgets(row(21.0, 55.0), &[])).is_empty());
    }

    #[test]
    fn the_clock_reads_of_several_requests_at_a_time_are_held_to_the_goal_only() {
        let several =
            |clock_reads| budgets(Row { load: "unary".to_owned(), ..row(clock_reads, 25.0) }, &[]);
        assert!(differences(&several(8.0), &several(20.0)).is_empty());
        assert!(differences(&several(4.0), &several(6.0)).is_empty());
        assert_eq!(regressions(&several(4.0), &several(6.1)).len(), 1);
        assert!(regressions(&several(8.0), &several(9.0)).is_empty());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let written = budgets(row(19.83, 50.02), &[("respond<-poll", 7136)]);
        assert_eq!(Budgets::parse(&written.to_string()).unwrap(), written);
        for line in ["load unary 1 2 3", "site x", "unary 1 2 3 4"] {
            assert!(Budgets::parse(line).is_err(), "{line}");
        }
    }
}
