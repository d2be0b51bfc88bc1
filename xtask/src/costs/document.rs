//! `docs/COSTS.md`, made from the budgets and from the program's list of cases.

use std::fmt::Write as _;

use super::binary;
use super::budgets::{Budgets, Cost, Row};

/// The text of `docs/COSTS.md`.
pub(super) fn document(budgets: &Budgets, listed: &str, of_binary: &binary::Budgets) -> String {
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
            let Row { name, cost: Cost { instructions, allocations, bytes, clock_reads } } = row;
            let _ = match kind {
                "case" => writeln!(
                    text,
                    "| `{name}` | {what} | {} | {} | {} | {clock_reads} |",
                    grouped(*instructions),
                    grouped(*allocations),
                    grouped(*bytes)
                ),
                _ => writeln!(text, "| {what} | {} |", grouped(*bytes)),
            };
        }
    }
    text.push_str(&binary_part(of_binary));
    text
}

/// The part about the whole binary.
fn binary_part(budgets: &binary::Budgets) -> String {
    let mut text = BINARY_HEAD.to_owned();
    for row in &budgets.rows {
        let binary::Row { load, clock_reads, allocations, copies, instructions } = row;
        let _ = writeln!(
            text,
            "| `{load}` | {} | {clock_reads:.1} | {allocations:.1} | {copies:.0} | {} |",
            binary::what(load),
            grouped(*instructions as u64)
        );
    }
    let _ = writeln!(
        text,
        "\nThe goals are at most {} clock reads and {} allocations a request. A load that has reached a goal is\n\
         held to it. Otherwise allocations may differ from their budget by 3 %, and the clock reads of one\n\
         request at a time by 10 %. Those of 64 at a time have no budget, since the machine decides how many\n\
         requests one wake-up finds.",
        binary::CLOCK_READS_GOAL,
        binary::ALLOCATIONS_GOAL
    );
    if budgets.sites.is_empty() {
        text.push_str(
            "Nothing larger than 1 KiB is allocated for a request, but for what holds a body.\n",
        );
        return text;
    }
    text.push_str(SITES_HEAD);
    for binary::Site { name, bytes, .. } in &budgets.sites {
        let path = name.replace("<-", "`, called by `");
        let _ = writeln!(text, "| `{path}` | {} |", grouped(*bytes));
    }
    text
}

/// Groups digits: `1,234,567`.
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

const HEAD: &str = "\
# What the hot paths cost

Written by `COSTS_WRITE=1 cargo xtask costs`; `cargo xtask costs` (part of `cargo xtask ci`) counts
again and fails when a number has moved by more than 3 %, for better or worse.

Instructions are those of our own program under callgrind, built at opt-level 3 with thin LTO and
the allocator of the system, for one run of the case with all that is done once already done.
The C library's (`memcpy`, `malloc`) are left out, since they differ between systems: what they
would show is in other columns, the number of allocations and their bytes. A clock read is a question
of the core to its platform for the time. Input, clock and
random bits are fixed; nothing is read or written; upstream and the client are values in memory.
What still varies is the compiler, and `memchr`'s choice of code by the processor: where those are
others than the ones below, instructions are not judged.
";

const CASES_HEAD: &str = "
| Case | What it is | Instructions | Allocations | Bytes allocated | Clock reads |
|---|---|---:|---:|---:|---:|
";

const SIZES_HEAD: &str = "
How large the values are that live as long as a request does, on a platform whose own types are as
small as can be:

| Value | Bytes |
|---|---:|
";

const BINARY_HEAD: &str = "
## The whole binary

What a request costs the release binary as an operator runs it, with one worker thread: under callgrind,
with the bench's stand-in for Google behind it over HTTP/2 and TLS. Each number is for one request; what
is done once in a process or for a connection is left out. With several requests at a time the runtime
wakes up once for all that has come, so that they share its readings of the clock. Copies are the calls
of `memcpy` and `memmove`, instructions those of the program and of the C library; both are shown and
not judged.

| Load | What it is | Clock reads | Allocations | Copies | Instructions |
|---|---|---:|---:|---:|---:|
";

const SITES_HEAD: &str = "
What allocates more than 1 KiB at a time for at least one of ten requests, but for what holds a body:

| Function | Bytes |
|---|---:|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(4_000_000), "4,000,000");
        assert_eq!(grouped(999), "999");
    }
}
