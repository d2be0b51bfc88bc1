//! The metrics of keys.

use super::*;
use crate::keys::usage::KeyBudget;
use crate::policy::budget::{Budget, BudgetStanding, Charge, Cost, ModelTotal};

fn input() -> HealthInput {
    let charge = Charge {
        prompt_tokens: 10,
        cached_tokens: 4,
        output_tokens: 20,
        thought_tokens: 0,
        cost: Cost(300_000_000),
    };
    let standing = |budget, used| KeyBudget {
        key: Arc::from("ada"),
        standing: BudgetStanding { budget, limit: 1000, used, resets_at: NOON },
    };
    let total = |model: &str| ModelTotal { model: model.into(), requests: 1, charge };
    let used = vec![
        ("ada".into(), vec![total("gemini-2.5-flash"), total("other")]),
        ("bob".into(), Vec::new()),
    ];
    let budgets = vec![standing(Budget::TokensPerDay, 750), standing(Budget::CostPerMonth, 2000)];
    HealthInput { keys: Some(KeysInput { used, budgets }), ..health_input(Monotonic(1)) }
}

#[test]
fn tokens_cost_and_budgets_are_shown_by_key() {
    let text = new_metrics().exposition(&input(), ExpositionFormat::OpenMetrics);
    let is_of_keys = |line: &&str| line.contains("proxy_key_") || line.contains("proxy_budget_");
    let lines: Vec<&str> = text.lines().filter(is_of_keys).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    # HELP code_assist_proxy_key_tokens Model tokens that requests of a key have used, by model and kind.
    # TYPE code_assist_proxy_key_tokens counter
    code_assist_proxy_key_tokens_total{key="ada",model="gemini-2.5-flash",kind="prompt"} 10
    code_assist_proxy_key_tokens_total{key="ada",model="gemini-2.5-flash",kind="output"} 20
    code_assist_proxy_key_tokens_total{key="ada",model="gemini-2.5-flash",kind="cached"} 4
    code_assist_proxy_key_tokens_total{key="ada",model="other",kind="prompt"} 10
    code_assist_proxy_key_tokens_total{key="ada",model="other",kind="output"} 20
    code_assist_proxy_key_tokens_total{key="ada",model="other",kind="cached"} 4
    # HELP code_assist_proxy_key_cost What requests of a key have cost, by the [[price]] tables.
    # TYPE code_assist_proxy_key_cost counter
    code_assist_proxy_key_cost_total{key="ada"} 0.6
    code_assist_proxy_key_cost_total{key="bob"} 0.0
    # HELP code_assist_proxy_budget_remaining_ratio What is left of a key's limit, from 1 to 0.
    # TYPE code_assist_proxy_budget_remaining_ratio gauge
    code_assist_proxy_budget_remaining_ratio{key="ada",budget="tokens_per_day"} 0.25
    code_assist_proxy_budget_remaining_ratio{key="ada",budget="cost_per_month"} 0.0
    "#);
}

#[test]
fn json_has_the_metrics_of_keys_too() {
    let text = new_metrics().exposition(&input(), ExpositionFormat::Json);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let samples = |name: &str| &value["metrics"][format!("code_assist_proxy_{name}")]["samples"];
    assert_eq!(samples("key_cost_total")[0]["labels"]["key"], "ada");
    assert_eq!(samples("key_tokens_total")[0]["value"], 10);
    assert_eq!(samples("budget_remaining_ratio")[0]["value"], 0.25);
}

#[test]
fn without_tables_there_are_no_metrics_of_keys() {
    let text = new_metrics().exposition(&health_input(Monotonic(1)), ExpositionFormat::Prometheus);
    assert!(!text.contains("key_tokens") && !text.contains("budget_remaining"), "{text}");
}
