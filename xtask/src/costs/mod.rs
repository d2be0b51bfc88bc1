//! The costs of the hot paths, counted: `crates/costs` under callgrind, compared with `budgets.txt`,
//! and the whole release binary, compared with `binary.txt`.
//!
//! Of the hot paths, only the instructions of our own program are counted. Those of the C library
//! (`memcpy`, `malloc`) are left out, since its code depends on the processor and on the system; copies
//! and allocations are counted as such instead.

mod binary;
mod budgets;
mod document;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::budgets::{Budgets, Cost, Place, Row, differences};
use self::document::document;
use crate::process::{captured, run as shown};
use crate::report::{Failure, Report};
use crate::setup::Need;
use crate::workspace::{cargo, make_folder, read, root, target, write};
use crate::{smoke, test};

/// What the system has to have for [`check`].
pub(crate) const NEEDS: &[Need] = &[Need::Valgrind];

pub(crate) fn run(report: &mut Report) {
    if smoke::build(report).is_some() && build(report).is_some() {
        check(report);
    }
}

/// Builds the program with the cases, and the stand-in for Google. The stand-in is not counted, so that a
/// build without optimisation will do. It shares its dependencies with the tests.
pub(crate) fn build(report: &mut Report) -> Option<()> {
    report.step("costs: the programs", || {
        shown(cargo("build").args(["--locked", "--release", "-p", PROGRAM]))?;
        shown(cargo("build").args(["--locked", "--bin", BENCH]).args(test::RUST_PACKAGES))
    })
}

/// Counts and compares. The release binary of `smoke` is counted too.
pub(crate) fn check(report: &mut Report) {
    let mut notes = Vec::new();
    report.step("costs: within 3 % of crates/costs/budgets.txt", || judge(&mut notes));
    for note in notes {
        report.note(note);
    }
    report.step("costs: the whole binary within 3 % of crates/costs/binary.txt", judge_binary);
    report.step("costs: docs/COSTS.md", judge_document);
}

fn judge(notes: &mut Vec<String>) -> Result<(), Failure> {
    let place = Place::here()?;
    let measured = measure(&listed()?)?;
    if is_writing() {
        return written(&budgets_file(), &Budgets { place, rows: measured }.to_text());
    }
    let budgets = Budgets::parse(&read(&budgets_file())?)?;
    let is_same_place = budgets.place == place;
    if !is_same_place {
        notes.push(format!(
            "the budgets are for {}; here is {place}: instructions were not judged",
            budgets.place
        ));
    }
    verdict(differences(&budgets.rows, &measured, is_same_place))
}

fn judge_binary() -> Result<(), Failure> {
    let budgets = match read(&binary_file()) {
        Err(_) if is_writing() => binary::Budgets::default(),
        text => binary::Budgets::parse(&text?)?,
    };
    let measured =
        binary::measure(&released(SERVER), &target().join("debug").join(BENCH), &budgets)?;
    if is_writing() {
        let lost = binary::regressions(&budgets, &measured);
        if !lost.is_empty() {
            return Err(Failure::new(lost.join("\n")));
        }
        return written(&binary_file(), &measured.to_string());
    }
    verdict(binary::differences(&budgets, &measured))
}

fn judge_document() -> Result<(), Failure> {
    let budgets = Budgets::parse(&read(&budgets_file())?)?;
    let of_binary = binary::Budgets::parse(&read(&binary_file())?)?;
    let document = document(&budgets, &listed()?, &of_binary);
    if is_writing() {
        return written(&document_file(), &document);
    }
    let differs = read(&document_file())? != document;
    verdict(
        differs.then(|| "docs/COSTS.md differs from the budgets".to_owned()).into_iter().collect(),
    )
}

fn verdict(mut wrong: Vec<String>) -> Result<(), Failure> {
    if wrong.is_empty() {
        return Ok(());
    }
    wrong.push(format!("if this is intended: {WRITE}=1 cargo xtask costs writes new budgets"));
    Err(Failure::new(wrong.join("\n")))
}

fn is_writing() -> bool {
    std::env::var_os(WRITE).is_some_and(|value| value == "1")
}

fn written(file: &Path, text: &str) -> Result<(), Failure> {
    println!("    writing {}", file.display());
    write(file, text)
}

/// The cases that the program lists.
fn listed() -> Result<String, Failure> {
    captured(&mut Command::new(released(PROGRAM)))
}

/// Counts every case that the program lists. The sizes are in its list already.
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
    let folder = target().join("costs");
    make_folder(&folder)?;
    let profile = folder.join(format!("callgrind.{case}"));
    let printed = captured(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*costs*measured*"])
            .arg(format!("--callgrind-out-file={}", profile.display()))
            .arg(released(PROGRAM))
            .arg(case),
    )?;
    let mut numbers = printed.split_whitespace().filter_map(|word| word.parse().ok());
    let (Some(allocations), Some(bytes), Some(clock_reads)) =
        (numbers.next(), numbers.next(), numbers.next())
    else {
        return Err(Failure::new(format!("`{case}` printed no counts: {printed}")));
    };
    let instructions = own_instructions(&read(&profile)?);
    if instructions == 0 {
        return Err(Failure::new(format!("callgrind counted nothing in `{case}`")));
    }
    let cost = Cost { instructions, allocations, bytes, clock_reads };
    Ok(Row { name: case.to_owned(), cost })
}

/// Adds up the instructions of our program in a profile, in the format of
/// <https://valgrind.org/docs/manual/cl-format.html>. `ob=(1) FILE` names an object the first time and
/// `ob=(1)` later. A line of costs belongs to the last object named. The line after `calls=` has the
/// costs of the callee, which are skipped here: the callee has lines of its own.
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

fn released(program: &str) -> PathBuf {
    target().join("release").join(program)
}

fn budgets_file() -> PathBuf {
    root().join("crates/costs/budgets.txt")
}

fn binary_file() -> PathBuf {
    root().join("crates/costs/binary.txt")
}

fn document_file() -> PathBuf {
    root().join("docs/COSTS.md")
}

/// The program with the cases.
const PROGRAM: &str = "code-assist-costs";

const SERVER: &str = "code-assist-proxy";

const BENCH: &str = "code-assist-bench";

/// The variable that has the budgets written anew.
const WRITE: &str = "COSTS_WRITE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_instructions_are_summed_and_callees_once() {
        let profile = "events: Ir\nob=(1) /t/costs/code-assist-costs\nfl=(1) a.rs\nfn=(1) measured\n\
                       10 5\n+1 7\ncob=(2) /lib/libc.so.6\ncfn=(2) malloc\ncalls=3 20\n* 900\n-2 1\n\
                       ob=(2)\nfn=(2)\n20 900\nob=(1)\nfn=(3) x\n4 100\ntotals: 1013\n";
        assert_eq!(own_instructions(profile), 113);
    }
}
