//! `docs/COSTS.md`, made from the budgets and from the program's list of cases.

use std::fmt::Write as _;

use super::budgets::{Budgets, Cost, Row};

/// The text of `docs/COSTS.md`.
pub(super) fn document(budgets: &Budgets, listed: &str) -> String {
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

    #[test]
    fn digits_are_grouped_by_three() {
        assert_eq!(grouped(4_000_000), "4,000,000");
        assert_eq!(grouped(999), "999");
    }
}
