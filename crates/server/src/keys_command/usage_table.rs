//! Usage as a table for people.

use serde_json::Value;

/// The table of an answer of `/usage`. `None` if it is none.
pub(super) fn of(report: &Value) -> Option<String> {
    let (since, until) = (report["since"].as_str()?, report["until"].as_str()?);
    let rows = report["rows"].as_array()?;
    let by = report["by"].as_str();
    let names: Vec<&str> =
        NAMES.iter().copied().filter(|name| by.is_none_or(|by| by == *name)).collect();
    let mut out = format!("Usage from {since} to {until} (days in UTC)\n\n");
    if rows.is_empty() {
        out.push_str("There is none.\n");
    } else {
        let mut lines = vec![titles(&names, &COUNTS.map(|(_, title)| title))];
        let mut sums = [0_u128; COUNTS.len()];
        let mut table: Vec<(Vec<String>, [u128; COUNTS.len()])> = Vec::new();
        for row in rows {
            let texts = names.iter().map(|name| printable(row[*name].as_str().unwrap_or_default()));
            let counts = COUNTS.map(|(name, _)| amount(name, &row[name]));
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.saturating_add(count);
            }
            table.push((texts.collect(), counts));
        }
        let mut total = vec![String::new(); names.len()];
        if let Some(first) = total.first_mut() {
            *first = "TOTAL".to_owned();
        }
        table.push((total, sums));
        let digits = table.iter().map(|(_, counts)| fraction_digits(counts[COST])).max();
        for (texts, counts) in table {
            let mut cells = texts;
            for (at, count) in counts.into_iter().enumerate() {
                cells.push(match at {
                    COST => cost(count, digits.unwrap_or(0)),
                    _ => whole(count),
                });
            }
            lines.push(cells);
        }
        out.push_str(&aligned(&lines, names.len()));
    }
    if let Some(budgets) = report["budgets"].as_array().filter(|budgets| !budgets.is_empty()) {
        out.push('\n');
        out.push_str(&of_budgets(budgets)?);
    }
    Some(out)
}

fn of_budgets(budgets: &[Value]) -> Option<String> {
    let mut lines = vec![titles(&["key", "budget", "resets at"], &["USED", "LIMIT", "LEFT"])];
    for budget in budgets {
        let name = budget["budget"].as_str()?;
        let (used, limit) = (amount(name, &budget["used"]), amount(name, &budget["limit"]));
        let digits = fraction_digits(used).max(fraction_digits(limit));
        let shown = |count| match name {
            MONEY => cost(count, digits),
            _ => whole(count),
        };
        let left = limit.saturating_sub(used).saturating_mul(100).checked_div(limit).unwrap_or(0);
        lines.push(vec![
            printable(budget["key"].as_str()?),
            name.to_owned(),
            budget["resets_at"].as_str()?.to_owned(),
            shown(used),
            shown(limit),
            format!("{left} %"),
        ]);
    }
    Some(aligned(&lines, 3))
}

fn titles(names: &[&str], counts: &[&str]) -> Vec<String> {
    let names = names.iter().map(|name| name.to_uppercase());
    names.chain(counts.iter().map(|title| (*title).to_owned())).collect()
}

/// Lines whose first `texts` cells are aligned to the left, and the others to the right.
fn aligned(lines: &[Vec<String>], texts: usize) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(at, (cell, &width))| {
            if at < texts { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// A count, or a cost in billionths.
fn amount(name: &str, value: &Value) -> u128 {
    match name {
        "cost" | MONEY => billionths(value),
        _ => value.as_u64().unwrap_or(0).into(),
    }
}

/// JSON numbers of costs have at most nine digits after the point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and a cost that is no number is 0"
)]
fn billionths(value: &Value) -> u128 {
    value.as_f64().map_or(0, |units| (units * 1e9).round() as u128)
}

/// With a separator between thousands.
fn whole(count: u128) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// With so many digits after the point.
fn cost(billionths: u128, digits: usize) -> String {
    let fraction = format!("{:09}", billionths % BILLION);
    let fraction = fraction.get(..digits).unwrap_or(&fraction);
    format!("{}.{fraction}", whole(billionths / BILLION))
}

/// How many digits after the point a cost needs, from 2 to 9.
fn fraction_digits(billionths: u128) -> usize {
    format!("{:09}", billionths % BILLION).trim_end_matches('0').len().max(2)
}

/// Without control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

const NAMES: [&str; 3] = ["key", "model", "day"];
const COUNTS: [(&str, &str); 6] = [
    ("requests", "REQUESTS"),
    ("prompt_tokens", "PROMPT"),
    ("cached_tokens", "CACHED"),
    ("output_tokens", "OUTPUT"),
    ("thought_tokens", "THOUGHTS"),
    ("cost", "COST"),
];
/// The place of the cost in `COUNTS`.
const COST: usize = 5;
/// The budget that is no count of tokens.
const MONEY: &str = "cost_per_month";
const BILLION: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_aligned_summed_and_separated() {
        let report = json!({
            "since": "2026-11-01", "until": "2026-11-26", "by": null,
            "rows": [
                {"key": "ada", "model": "gemini-2.5-pro", "day": "2026-11-02", "requests": 1200,
                 "prompt_tokens": 1_234_567, "cached_tokens": 0, "output_tokens": 12,
                 "thought_tokens": 7, "cost": 1234.5},
                {"key": "bo\u{1b}b", "model": "x", "day": "2026-11-03", "requests": 1,
                 "prompt_tokens": 3, "cached_tokens": 1, "output_tokens": 2,
                 "thought_tokens": 0, "cost": 0.000_31},
            ],
            "budgets": [
                {"key": "ada", "budget": "tokens_per_day", "limit": 2_000_000, "used": 500_000,
                 "resets_at": "2026-11-27T00:00:00Z"},
                {"key": "ada", "budget": "cost_per_month", "limit": 50, "used": 0.4,
                 "resets_at": "2026-12-01T00:00:00Z"},
                {"key": "ada", "budget": "tokens_per_minute", "limit": 10, "used": 20,
                 "resets_at": "2026-11-26T12:00:07Z"},
            ],
        });
        insta::assert_snapshot!(of(&report).unwrap(), @r"
        Usage from 2026-11-01 to 2026-11-26 (days in UTC)

        KEY    MODEL           DAY         REQUESTS     PROMPT  CACHED  OUTPUT  THOUGHTS         COST
        ada    gemini-2.5-pro  2026-11-02     1,200  1,234,567       0      12         7  1,234.50000
        bo?b   x               2026-11-03         1          3       1       2         0      0.00031
        TOTAL                                 1,201  1,234,570       1      14         7  1,234.50031

        KEY  BUDGET             RESETS AT                USED      LIMIT  LEFT
        ada  tokens_per_day     2026-11-27T00:00:00Z  500,000  2,000,000  75 %
        ada  cost_per_month     2026-12-01T00:00:00Z     0.40      50.00  99 %
        ada  tokens_per_minute  2026-11-26T12:00:07Z       20         10   0 %
        ");
    }

    #[test]
    fn sums_have_only_the_column_that_they_are_by_and_no_usage_is_said() {
        let row = json!({"model": "x", "requests": 1, "prompt_tokens": 3, "cached_tokens": 1,
                         "output_tokens": 2, "thought_tokens": 0, "cost": 0});
        let report = json!({"since": "2026-11-01", "until": "2026-11-26", "by": "model",
                            "rows": [row], "budgets": []});
        insta::assert_snapshot!(of(&report).unwrap(), @r"
        Usage from 2026-11-01 to 2026-11-26 (days in UTC)

        MODEL  REQUESTS  PROMPT  CACHED  OUTPUT  THOUGHTS  COST
        x             1       3       1       2         0  0.00
        TOTAL         1       3       1       2         0  0.00
        ");
        let none = json!({"since": "2026-11-01", "until": "2026-11-26", "by": null, "rows": [],
                          "budgets": []});
        assert!(of(&none).unwrap().ends_with("There is none.\n"));
        assert_eq!(of(&json!({"error": {}})), None);
    }

    #[test]
    fn costs_keep_every_digit_that_counts() {
        for (units, text) in
            [(0.0, "0.00"), (1.25, "1.25"), (0.000_000_001, "0.000000001"), (1e6, "1,000,000.00")]
        {
            let amount = billionths(&json!(units));
            assert_eq!(cost(amount, fraction_digits(amount)), text);
        }
    }
}
