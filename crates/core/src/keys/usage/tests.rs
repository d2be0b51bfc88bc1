use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::policy::budget::{Budget, BudgetStanding, Charge, Cost, Day, UsageRow};

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn row(key: &str, model: &str, on: &str, n: u64) -> UsageRow {
    let charge = Charge {
        prompt_tokens: 100 * n,
        cached_tokens: 40 * n,
        output_tokens: 10 * n,
        thought_tokens: 5 * n,
        cost: Cost(100_000_000 * n),
    };
    UsageRow { key: key.into(), model: model.into(), day: day(on), requests: n, charge }
}

fn rows() -> Vec<UsageRow> {
    vec![
        row("bob", "gemini-2.5-pro", "2026-11-02", 3),
        row("ada", "gemini-2.5-pro", "2026-11-02", 1),
        row("ada", "gemini-2.5-flash", "2026-11-01", 2),
        // What is not in the store yet.
        row("ada", "gemini-2.5-flash", "2026-11-01", 1),
        row("ada", "gemini-2.5-flash", "2026-10-31", 99),
    ]
}

fn budget(budget: Budget, limit: u64, used: u64) -> KeyBudget {
    let resets_at = day("2026-12-01").begin();
    KeyBudget { key: Arc::from("ada"), standing: BudgetStanding { budget, limit, used, resets_at } }
}

fn budgets() -> Vec<KeyBudget> {
    vec![
        budget(Budget::CostPerMonth, 50_000_000_000, 400_000_000),
        budget(Budget::TokensPerDay, 2_000_000, 460),
    ]
}

fn report(parameters: &str) -> UsageReport {
    let query = UsageQuery::read(parameters, day("2026-11-26")).unwrap();
    UsageReport::new(query, rows(), budgets()).unwrap()
}

#[test]
fn without_by_there_is_a_row_for_each_day_key_and_model_since_the_first_of_the_month() {
    let json = report("").json();
    insta::assert_snapshot!(json, @r#"{"since":"2026-11-01","until":"2026-11-26","by":null,"rows":[{"key":"ada","model":"gemini-2.5-flash","day":"2026-11-01","requests":3,"prompt_tokens":300,"cached_tokens":120,"output_tokens":30,"thought_tokens":15,"cost":0.3},{"key":"ada","model":"gemini-2.5-pro","day":"2026-11-02","requests":1,"prompt_tokens":100,"cached_tokens":40,"output_tokens":10,"thought_tokens":5,"cost":0.1},{"key":"bob","model":"gemini-2.5-pro","day":"2026-11-02","requests":3,"prompt_tokens":300,"cached_tokens":120,"output_tokens":30,"thought_tokens":15,"cost":0.3}],"budgets":[{"key":"ada","budget":"tokens_per_day","limit":2000000,"used":460,"resets_at":"2026-12-01T00:00:00Z"},{"key":"ada","budget":"cost_per_month","limit":50,"used":0.4,"resets_at":"2026-12-01T00:00:00Z"}]}"#);
    let parsed: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["rows"][0]["cost"], 0.3, "a tenth thrice is no 0.30000000000000004");
    assert_eq!(parsed["by"], Value::Null);
    insta::assert_snapshot!(report("").csv().replace("\r\n", "|\n"), @r"
    key,model,day,requests,prompt_tokens,cached_tokens,output_tokens,thought_tokens,cost|
    ada,gemini-2.5-flash,2026-11-01,3,300,120,30,15,0.3|
    ada,gemini-2.5-pro,2026-11-02,1,100,40,10,5,0.1|
    bob,gemini-2.5-pro,2026-11-02,3,300,120,30,15,0.3|
    ");
}

#[test]
fn by_sums_and_leaves_one_field() {
    for (by, first) in [
        ("key", r#"{"key":"ada","requests":4,"#),
        ("model", r#"{"model":"gemini-2.5-flash","requests":3,"#),
        ("day", r#"{"day":"2026-11-01","requests":3,"#),
    ] {
        let report = report(&format!("by={by}"));
        let json = report.json();
        assert!(json.contains(&format!(r#""by":"{by}","rows":[{first}"#)), "{json}");
        let parsed: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["rows"].as_array().unwrap().len(), 2);
        assert!(report.csv().starts_with(&format!("{by},requests,prompt_tokens,")));
        assert_eq!(report.csv().lines().count(), 3);
    }
}

#[test]
fn days_and_times_are_taken_and_their_days_count() {
    let today = day("2026-11-26");
    let read = |query: &str| UsageQuery::read(query, today).map(|it| (it.since, it.until));
    assert_eq!(read(""), Ok((day("2026-11-01"), today)));
    assert_eq!(read("since=&until="), read(""));
    assert_eq!(read("since=2026-10-30"), Ok((day("2026-10-30"), today)));
    assert_eq!(read("until=2026-09-15"), Ok((day("2026-09-01"), day("2026-09-15"))));
    assert_eq!(read("since=2026-11-05T23:30:00Z&key=abc"), Ok((day("2026-11-05"), today)));
    // Half past eleven in New York is the next day in UTC.
    assert_eq!(read("since=2026-11-05T23:30:00-05:00"), Ok((day("2026-11-06"), today)));
    assert_eq!(read("since=2026-11-05T00:30:00+02:00"), Ok((day("2026-11-04"), today)));
    assert_eq!(read("since=2026-11-05T00:30:00%2B02:00"), Ok((day("2026-11-04"), today)));
}

#[test]
fn a_bad_parameter_is_an_error_that_says_what_to_write() {
    let today = day("2026-11-26");
    for (query, said) in [
        ("since=yesterday", "`since` takes a day in UTC such as 2026-11-26"),
        ("until=2026-13-01", "`until` takes a day"),
        ("by=person", "`by` takes key, model or day"),
        ("since=2026-11-27", "`since` (2026-11-27) is after `until` (2026-11-26)"),
        ("since=2016-01-01", "more than 3660 days"),
    ] {
        let error = UsageQuery::read(query, today).unwrap_err().to_string();
        assert!(error.contains(said), "{query}: {error}");
    }
    assert!(UsageQuery::read("since=2016-11-19", today).is_ok());
    assert_eq!(UsageFormat::choose("format=xml", ""), Err(UsageQueryError::Format));
}

#[test]
fn the_format_is_named_or_preferred() {
    use UsageFormat::{Csv, Json};
    for (query, accept, format) in [
        ("", "", Json),
        ("", "*/*", Json),
        ("", "text/csv", Csv),
        ("", "text/html, Text/CSV;q=0.9, */*;q=0.1", Csv),
        ("", "application/json, text/csv", Json),
        ("", "text/csv;q=0", Json),
        ("by=key&format=csv", "application/json", Csv),
        ("format=json", "text/csv", Json),
    ] {
        assert_eq!(UsageFormat::choose(query, accept), Ok(format), "{query} {accept}");
    }
}

#[test]
fn an_answer_has_ten_thousand_rows_at_most() {
    let today = day("2026-11-26");
    let many = |n: u64| (0..n).map(|n| row(&format!("key-{n}"), "m", "2026-11-02", 1));
    let all = UsageQuery::read("", today).unwrap();
    assert!(UsageReport::new(all, many(10_000), Vec::new()).is_ok());
    let error = UsageReport::new(all, many(10_001), Vec::new()).unwrap_err().to_string();
    assert!(error.contains("`since`") && error.contains("`by`"), "{error}");
    let by = UsageQuery { by: Some(UsageBy::Model), ..all };
    assert!(UsageReport::new(by, many(10_001), Vec::new()).is_ok());
}

#[test]
fn a_cell_is_no_formula_and_ends_where_it_ends() {
    let odd = ["=1+1", "+1", "-1", "@x", "a,b", "say \"x\"", "#2", "two\nlines"];
    let rows = odd.map(|key| row(key, "m", "2026-11-02", 1));
    let query =
        UsageQuery { by: Some(UsageBy::Key), ..UsageQuery::read("", day("2026-11-26")).unwrap() };
    let report = UsageReport::new(query, rows, Vec::new()).unwrap();
    let csv = report.csv();
    for cell in [
        "\"'=1+1\",",
        "\"'+1\",",
        "\"'-1\",",
        "\"'@x\",",
        "\"a,b\",",
        "\"say \"\"x\"\"\",",
        "\n#2,",
    ] {
        assert!(csv.contains(cell), "{cell} in {csv}");
    }
    assert!(csv.contains("\"two\nlines\","));
    let json: Value = serde_json::from_str(&report.json()).unwrap();
    assert!(json["rows"].as_array().unwrap().iter().any(|row| row["key"] == "say \"x\""));
}

#[test]
fn what_is_left_of_a_budget_is_a_ratio() {
    let ratio = |limit, used| budget(Budget::TokensPerDay, limit, used).remaining_ratio();
    assert!((ratio(200, 50) - 0.75).abs() < 1e-9);
    assert!(ratio(200, 300).abs() < 1e-9);
    assert!(ratio(0, 0).abs() < 1e-9);
}

#[test]
fn of_two_tables_with_one_id_the_limit_counts_that_has_less_left() {
    let of = |limit| budget(Budget::TokensPerDay, limit, 80);
    let month = budget(Budget::TokensPerMonth, 10, 0);
    let once = tightest(vec![month.clone(), of(1000), of(100), of(500)]);
    assert_eq!(once, vec![of(100), month]);
}
