//! What the hot paths cost, counted: `crates/costs` under callgrind, held to `budgets.txt`.
//!
//! Counted are the instructions of our own program. Those of the C library (`memcpy`, `malloc`) are
//! left out, since it chooses its code by the processor and differs from one system to the next; what
//! they would show, copies and allocations, is counted as such.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{Need, cargo, ensure, host};
use crate::process::{captured, run as shown};
use crate::report::{Failure, Report};

pub(crate) fn run(report: &mut Report) {
    if report.step("costs: valgrind", || ensure(&[Need::Valgrind])).is_none() {
        return;
    }
    let built = report.step("costs: the program", || {
        shown(cargo("build").args(["--locked", "--profile", PROGRAM_PROFILE, "-p", PROGRAM]))
    });
    if built.is_none() {
        return;
    }
    let mut notes = Vec::new();
    report.step("costs: within 3 % of crates/costs/budgets.txt", || judge(&mut notes));
    for note in notes {
        report.note(note);
    }
}

fn judge(notes: &mut Vec<String>) -> Result<(), Failure> {
    let listed = captured(&mut Command::new(program()))?;
    let place = Place::here()?;
    let measured = measure(&listed)?;
    if std::env::var_os(WRITE).is_some_and(|value| value == "1") {
        let budgets = Budgets { place, rows: measured };
        write(&budgets_file(), &budgets.to_text())?;
        return write(&document_file(), &document(&budgets, &listed));
    }
    let budgets = Budgets::parse(&read(&budgets_file())?)?;
    let same_place = budgets.place == place;
    if !same_place {
        notes.push(format!(
            "the budgets are for {}; here is {place}: instructions were not judged",
            budgets.place
        ));
    }
    let mut wrong = differences(&budgets.rows, &measured, same_place);
    if read(&document_file())? != document(&budgets, &listed) {
        wrong.push("docs/COSTS.md does not say what the budgets say".to_owned());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.push(format!("meant to be so? {WRITE}=1 cargo xtask costs writes the new budgets"));
    Err(Failure::new(wrong.join("\n")))
}

/// Runs every case of the program's list, and takes over the sizes it tells.
fn measure(listed: &str) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        let row = match (words.next(), words.next()) {
            (Some("case"), Some(name)) => count(name)?,
            (Some("size"), Some(name)) => {
                let bytes = words.next().and_then(|word| word.parse().ok());
                let bytes = bytes.ok_or_else(|| Failure::new(format!("no size in `{line}`")))?;
                Row { name: name.to_owned(), cost: Cost { bytes, ..Cost::default() } }
            }
            _ => return Err(Failure::new(format!("the program listed `{line}`"))),
        };
        println!("    {row}");
        rows.push(row);
    }
    Ok(rows)
}

fn count(case: &str) -> Result<Row, Failure> {
    let profile = crate::target().join("costs").join(format!("callgrind.{case}"));
    let said = captured(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*costs*measured*"])
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(program())
            .arg(case),
    )?;
    let mut numbers = said.split_whitespace().filter_map(|word| word.parse().ok());
    let (Some(allocations), Some(bytes)) = (numbers.next(), numbers.next()) else {
        return Err(Failure::new(format!("`{case}` did not tell its allocations: {said}")));
    };
    let instructions = own_instructions(&read(&profile)?);
    if instructions == 0 {
        return Err(Failure::new(format!("callgrind counted nothing in `{case}`")));
    }
    let cost = Cost { instructions, allocations, bytes };
    Ok(Row { name: case.to_owned(), cost })
}

/// The instructions of our program in a profile, in the format of
/// <https://valgrind.org/docs/manual/cl-format.html>: `ob=(1) FILE` names an object the first time
/// and `ob=(1)` later; a line of costs belongs to the last of them; `calls=` is followed by one with
/// the costs of the callee, which are counted where it stands itself.
fn own_instructions(profile: &str) -> u64 {
    let mut objects = BTreeMap::new();
    let (mut is_own, mut is_inclusive, mut sum) = (false, false, 0);
    for line in profile.lines() {
        if let Some(object) = line.strip_prefix("ob=").or_else(|| line.strip_prefix("cob=")) {
            let (number, name) = object.split_once(' ').unwrap_or((object, ""));
            if !name.is_empty() {
                objects.insert(number, name.ends_with(PROGRAM));
            }
            if line.starts_with("ob=") {
                is_own = objects.get(number).copied().unwrap_or(false);
            }
        } else if line.starts_with("calls=") {
            is_inclusive = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if is_own && !is_inclusive {
                sum += cost.unwrap_or(0);
            }
            is_inclusive = false;
        }
    }
    sum
}

/// What has left its budget, for better or worse.
fn differences(budgets: &[Row], measured: &[Row], with_instructions: bool) -> Vec<String> {
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
        ] {
            if judged && now.abs_diff(then) * 100 > then * TOLERANCE_PERCENT {
                let sign = if now > then { "+" } else { "-" };
                let part = now.abs_diff(then) as f64 * 100.0 / then.max(1) as f64;
                wrong.push(format!("{}: {now} {what}, not {then} ({sign}{part:.1} %)", row.name));
            }
        }
    }
    for budget in budgets.iter().filter(|it| !measured.iter().any(|row| row.name == it.name)) {
        wrong.push(format!("{} has a budget and is no case", budget.name));
    }
    wrong
}

/// One case's name and what it costs.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    name: String,
    cost: Cost,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Cost {
    instructions: u64,
    allocations: u64,
    /// Allocated; of a size, the size.
    bytes: u64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { instructions, allocations, bytes } = self.cost;
        write!(out, "{:<18} {instructions:>12} {allocations:>11} {bytes:>10}", self.name)
    }
}

/// What instruction counts depend on beside the program: compiler, target, and whether the
/// processor has AVX2, for which `memchr` has code of its own.
#[derive(Debug, PartialEq)]
struct Place(String);

impl Place {
    fn here() -> Result<Self, Failure> {
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

/// The committed counts.
#[derive(Debug, PartialEq)]
struct Budgets {
    place: Place,
    rows: Vec<Row>,
}

impl Budgets {
    fn parse(text: &str) -> Result<Self, Failure> {
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
            let Ok([instructions, allocations, bytes]) = numbers.as_deref() else {
                return Err(bad(line));
            };
            let (instructions, allocations, bytes) = (*instructions, *allocations, *bytes);
            let cost = Cost { instructions, allocations, bytes };
            budgets.rows.push(Row { name: (*name).to_owned(), cost });
        }
        Ok(budgets)
    }

    fn to_text(&self) -> String {
        let mut text = format!(
            "# Written by `{WRITE}=1 cargo xtask costs`, which without it allows 3 % either way.\n\
             {PLACE}{}\n# case             instructions allocations      bytes\n",
            self.place
        );
        for row in &self.rows {
            let _ = writeln!(text, "{row}");
        }
        text
    }
}

/// `docs/COSTS.md`.
fn document(budgets: &Budgets, listed: &str) -> String {
    let mut text = format!("{HEAD}\nCounted with {}.\n", budgets.place);
    for (kind, head) in [("case", CASES_HEAD), ("size", SIZES_HEAD)] {
        text.push_str(head);
        for line in listed.lines().filter(|line| line.starts_with(kind)) {
            let skipped = if kind == "case" { 2 } else { 3 };
            let words: Vec<&str> = line.split_whitespace().collect();
            let what = words.get(skipped..).unwrap_or_default().join(" ");
            let Some(row) = budgets.rows.iter().find(|row| words.get(1) == Some(&&*row.name))
            else {
                continue;
            };
            let Row { name, cost: Cost { instructions, allocations, bytes } } = row;
            let _ = match kind {
                "case" => writeln!(
                    text,
                    "| `{name}` | {what} | {} | {} | {} |",
                    grouped(*instructions),
                    grouped(*allocations),
                    grouped(*bytes)
                ),
                _ => writeln!(text, "| {what} | {} |", grouped(*bytes)),
            };
        }
    }
    text
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn program() -> PathBuf {
    crate::target().join(PROGRAM_PROFILE).join(PROGRAM)
}

fn budgets_file() -> PathBuf {
    crate::root().join("crates/costs/budgets.txt")
}

fn document_file() -> PathBuf {
    crate::root().join("docs/COSTS.md")
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|why| Failure::new(format!("cannot read {}: {why}", file.display())))
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    println!("    writing {}", file.display());
    std::fs::write(file, text)
        .map_err(|why| Failure::new(format!("cannot write {}: {why}", file.display())))
}

const PROGRAM: &str = "code-assist-costs";
const PROGRAM_PROFILE: &str = "costs";
const TOLERANCE_PERCENT: u64 = 3;
const WRITE: &str = "COSTS_WRITE";
const PLACE: &str = "# For ";

const HEAD: &str = "\
# What the hot paths cost

Written by `COSTS_WRITE=1 cargo xtask costs`; `cargo xtask costs` (part of `cargo xtask ci`) counts
again and fails when a number has moved by more than 3 %, for better or worse.

Instructions are those of our own program under callgrind, built at opt-level 3 with thin LTO and
the allocator of the system, for one run of the case with all that is done once already done.
The C library's (`memcpy`, `malloc`) are left out, since they differ between systems: what they
would show is in the other two columns, the number of allocations and their bytes. Input, clock and
random bits are fixed; nothing is read or written; upstream and the client are values in memory.
What still varies is the compiler, and `memchr`'s choice of code by the processor: where those are
others than the ones below, only allocations and bytes are judged.
";

const CASES_HEAD: &str = "
| Case | What it is | Instructions | Allocations | Bytes allocated |
|---|---|---:|---:|---:|
";

const SIZES_HEAD: &str = "
How large the values are that live as long as a request does, on a platform whose own types are as
small as can be:

| Value | Bytes |
|---|---:|
";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, instructions: u64, allocations: u64, bytes: u64) -> Row {
        Row { name: name.to_owned(), cost: Cost { instructions, allocations, bytes } }
    }

    #[test]
    fn only_our_own_instructions_are_summed_and_callees_once() {
        let profile = "events: Ir\nob=(1) /t/costs/code-assist-costs\nfl=(1) a.rs\nfn=(1) measured\n\
                       10 5\n+1 7\ncob=(2) /lib/libc.so.6\ncfn=(2) malloc\ncalls=3 20\n* 900\n-2 1\n\
                       ob=(2)\nfn=(2)\n20 900\nob=(1)\nfn=(3) x\n4 100\ntotals: 1013\n";
        assert_eq!(own_instructions(profile), 113);
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
    }

    #[test]
    fn what_is_written_can_be_read() {
        let place = Place("rustc 1.95.0, x, AVX2".to_owned());
        let budgets = Budgets { place, rows: vec![row("a", 1, 2, 3), row("b", 4_000_000, 5, 6)] };
        assert_eq!(Budgets::parse(&budgets.to_text()).unwrap(), budgets);
        assert!(Budgets::parse("a 1 2\n").is_err());
        assert_eq!(grouped(4_000_000), "4,000,000");
    }
}
