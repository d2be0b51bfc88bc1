//! The tables of `docs/BENCHMARKS.md`, in Markdown.

use std::fmt::Write as _;

use super::Results;
use super::goals::{GoalResult, GoalStatus, reason};
use super::samples::{Summaries, Summary};
use crate::rounds::RATES;
use crate::testbed::Contender;

/// All tables of a run, each below its heading.
pub(crate) fn tables(results: &Results) -> String {
    let sections = [
        run(results),
        goals(&results.goals),
        missed(&results.goals),
        costs(results),
        problems(&results.problems),
    ];
    let written: Vec<String> = sections.into_iter().filter(|text| !text.is_empty()).collect();
    written.join("\n")
}

fn run(results: &Results) -> String {
    let super::RunInfo { machine, rounds, quick, minutes } = &results.run;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "Run of {}, commit {}: {rounds} round{} in {minutes:.0} minutes{}, on {} with {} core{}, \
         {:.0} GiB of memory, Linux {}. Programs: {}.",
        machine.date,
        machine.commit,
        plural(*rounds),
        if *quick { " (`--quick`: a smoke test, its values mean nothing)" } else { "" },
        machine.processor,
        machine.cores,
        plural(machine.cores),
        machine.memory_gib,
        machine.kernel,
        machine.programs.join("; "),
    );
    if let Some(busy) = machine.busy.filter(|busy| *busy > BUSY) {
        let _ = writeln!(
            out,
            "\n> **These values are noise**: before or after the run, other processes used {:.0} % \
             of the machine.",
            busy * 100.0
        );
    }
    out
}

fn goals(goals: &[GoalResult]) -> String {
    let mut out = "### Goals\n\n\
                   | | goal | limit | `cargo build --release` | as installed |\n"
        .to_owned();
    out += &separator(4);
    for goal in goals {
        let found = |found: Option<Summary>| {
            let Some(found) = found else { return nothing() };
            let value = ranged(found);
            match goal.status(found) {
                GoalStatus::Met => value,
                GoalStatus::Near => format!("{value}, near"),
                GoalStatus::Missed => format!("{value}, **missed**"),
            }
        };
        let what = &goal.what;
        let (wanted, limit) = (goal.goal_text(), goal.limit_text());
        let (release, pgo) = (found(goal.found), found(goal.found_pgo));
        let _ = writeln!(out, "| {what} | {wanted} | {limit} | {release} | {pgo} |");
    }
    out
}

/// The reasons of missed goals, each once with all its goals.
fn missed(goals: &[GoalResult]) -> String {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for goal in goals.iter().filter(|goal| goal.is_missed()) {
        let Some(why) = reason(goal) else { continue };
        let name = format!("*{}{}*", goal.what, goal.compared_with());
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    if reasons.is_empty() {
        return String::new();
    }
    let mut out = "Why goals are missed:\n\n".to_owned();
    for (why, names) in reasons {
        let _ = writeln!(out, "- {}: {why}", names.join(", "));
    }
    out
}

/// One line for each contender that was measured: the medians.
fn costs(results: &Results) -> String {
    let mut out =
        "### Beside other programs\n\n| | requests/s of a core | CPU µs a request |".to_owned();
    for rate in RATES {
        let _ = write!(out, " added at {rate}/s: p50 | p99 |");
    }
    out += " first byte added: p50 | event added: p50 | p99 | idle MiB | KiB a stream at 1,000 | MiB after | 20 MB body, ms |\n";
    out += &separator(RATES.len() * 2 + 9);
    for contender in Contender::ALL {
        let own = |measure: &str| cell(&results.measured, contender, measure);
        // Nothing is added to a direct client: the table shows its whole latency.
        let added = |measure: &str| match contender.is_direct() {
            true => own(measure),
            false => cell(&results.added_to_direct, contender, measure),
        };
        let rate = if contender.is_direct() { "rps" } else { "rps_core" };
        let mut cells = vec![own(rate), own("cpu_us")];
        for rate in RATES {
            cells.extend(["p50", "p99"].map(|at| added(&format!("open_{rate}_{at}"))));
        }
        cells.extend(["first_p50", "event_p50", "event_p99"].map(added));
        cells.extend(["idle_mib", "open_1000_kib", "after_mib", "large_body_ms"].map(own));
        row(&mut out, contender.title(), &cells);
    }
    out
}

/// The release build against the build beside it, for the terminal.
pub(crate) fn beside(results: &Results) -> String {
    let Some(ratios) = results.beside_ratio.get(Contender::Proxy.key()) else {
        return String::new();
    };
    let mut out = "The build as a multiple of the one beside it:\n\n".to_owned();
    for (measure, ratio) in ratios {
        let _ = writeln!(out, "{measure:<20} {}", ranged(*ratio));
    }
    out
}

fn problems(problems: &[String]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut out = "### Problems of this run\n\n".to_owned();
    for problem in problems {
        let _ = writeln!(out, "- {problem}");
    }
    out
}

fn cell(summaries: &Summaries, contender: Contender, measure: &str) -> Option<Summary> {
    summaries.get(contender.key())?.get(measure).copied()
}

/// A line of medians; none without a value.
fn row(out: &mut String, title: &str, cells: &[Option<Summary>]) {
    if cells.iter().all(Option::is_none) {
        return;
    }
    let _ = write!(out, "| {title} |");
    for cell in cells {
        let _ = write!(out, " {} |", cell.map_or_else(nothing, |found| short(found.median)));
    }
    out.push('\n');
}

/// The line below a header with this many columns besides the first.
fn separator(columns: usize) -> String {
    format!("|---{}|\n", "|---".repeat(columns))
}

fn nothing() -> String {
    "-".to_owned()
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn ranged(summary: Summary) -> String {
    let [median, min, max] = [summary.median, summary.min, summary.max].map(short);
    if min == max { median } else { format!("{median} ({min} to {max})") }
}

/// A number in three digits.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e6 => (value / 1e6, " M"),
        size if size >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{unit}")
}

/// The share of the cores that a quiet system uses.
const BUSY: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::super::samples::Samples;
    use super::*;
    use crate::machine::Machine;
    use crate::rounds::Scale;
    use crate::rounds::growth::Growth;

    fn machine() -> Machine {
        Machine {
            processor: String::new(),
            cores: 2,
            memory_gib: 4.0,
            kernel: String::new(),
            date: String::new(),
            commit: String::new(),
            busy: None,
            programs: Vec::new(),
        }
    }

    #[test]
    fn numbers_have_three_digits() {
        let pairs = [(0.0, "0"), (0.25, "0.25"), (12.34, "12.3"), (104.9, "105")];
        let large = [(9999.0, "9999"), (45_300.0, "45.3 k"), (20e6, "20 M"), (100.0, "100")];
        for (value, expected) in pairs.into_iter().chain(large) {
            assert_eq!(short(value), expected);
        }
    }

    fn goal(what: &str, unit: &str, median: f64) -> GoalResult {
        let found = serde_json::json!({ "median": median, "min": median, "max": median });
        let goal = serde_json::json!({
            "what": what, "unit": unit, "direction": "at_most", "goal": 1.0, "limit": 1.5,
            "found": found, "found_pgo": null,
        });
        serde_json::from_value(goal).unwrap()
    }

    #[test]
    fn a_goal_has_its_status_and_each_reason_is_given_once() {
        let [near, lost, met] = [
            goal("added p50 at 200 a second", "× HAProxy", 1.2),
            goal("added p99 at 200 a second", "× HAProxy", 1.6),
            goal("added p50 at 2000 a second", "× HAProxy", 0.9),
        ];
        let table = goals(&[near.clone(), lost.clone(), met.clone()]);
        assert!(table.contains("| ≤ 1× HAProxy | ≤ 1.5 | 1.2, near | - |"), "{table}");
        assert!(
            table.contains("| 1.6, **missed** | - |") && table.contains("| 0.9 | - |"),
            "{table}"
        );
        let reasons = missed(&[near, lost, met.clone()]);
        let heads =
            "*added p50 at 200 a second × HAProxy*, *added p99 at 200 a second × HAProxy*: ";
        assert_eq!(reasons.matches("\n- ").count(), 1);
        assert!(reasons.contains(heads), "{reasons}");
        assert_eq!(missed(&[met]), "");
    }

    #[test]
    fn two_builds_are_compared_pass_by_pass() {
        let mut samples = Samples::default();
        for (pass, (own, beside)) in [(20.0, 25.0), (30.0, 30.0), (18.0, 20.0)].iter().enumerate() {
            samples.put(pass, "proxy", "cpu_us", *own);
            samples.put(pass, "proxy-beside", "cpu_us", *beside);
            samples.put(pass, "nginx", "cpu_us", *own);
        }
        let results = |samples: &Samples| {
            Results::new(machine(), Scale::quick(1), 1.0, samples, &Growth::default(), Vec::new())
        };
        let text = beside(&results(&samples));
        assert!(text.ends_with("cpu_us               0.9 (0.8 to 1)\n"), "{text}");
        assert_eq!(text.matches("cpu_us").count(), 1);
        assert_eq!(beside(&results(&Samples::default())), "");
    }

    #[test]
    fn a_contender_that_was_not_measured_has_no_line() {
        let mut out = String::new();
        row(&mut out, "Envoy", &[None, None]);
        assert_eq!(out, "");
        let found = Summary { median: 27.26, min: 20.0, max: 30.0 };
        row(&mut out, "Envoy", &[None, Some(found)]);
        assert_eq!(out, "| Envoy | - | 27.3 |\n");
    }

    #[test]
    fn a_range_is_shown_where_values_differ() {
        let summary = |median, min, max| ranged(Summary { median, min, max });
        assert_eq!(summary(2.0, 2.0, 2.0), "2");
        assert_eq!(summary(2.0, 1.5, 3000.0), "2 (1.5 to 3000)");
    }
}
