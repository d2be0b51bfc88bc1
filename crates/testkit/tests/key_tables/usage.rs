//! `GET /usage`, and the metrics of keys.

use std::time::Duration;

use code_assist_core::KeyDigest;
use code_assist_testkit::client::{Answer, get, post, with};
use code_assist_testkit::script::Reply;
use serde_json::{Value, json};

use crate::{Fixture, HELLO, status_and_reason, table};

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const PRO: &str = "/v1beta/models/gemini-2.5-pro:generateContent";

fn team() -> Fixture {
    let price = json!({"model": "*", "input": 1.25, "output": 10.0});
    let tables = vec![
        table("ada", json!({"admin": true})),
        table("bob", json!({"tokens_per_day": 1_000_000, "cost_per_month": 50})),
    ];
    Fixture::with_prices(&[("UPSTREAMS", "code-assist")], &tables, &[price], |request| {
        request.is(":generateContent").then(|| Reply::ok(COUNTED))
    })
}

/// Upstream's answer, with its count.
const COUNTED: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":11,"cachedContentTokenCount":3,"candidatesTokenCount":20,"thoughtsTokenCount":5,"totalTokenCount":36}}}"#;

impl Fixture {
    fn usage(&self, id: &str, parameters: &str) -> Value {
        let answer = self.ask(id, get(&format!("/usage{parameters}")));
        assert_eq!(answer.status, 200, "{}", answer.text());
        json_of(&answer)
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(&answer.text()).expect("the answer is JSON")
}

fn row<'a>(usage: &'a Value, key: &str, model: &str) -> &'a Value {
    let mut rows = usage["rows"].as_array().expect("a list of rows").iter();
    let found = rows.find(|row| row["key"] == key && row["model"] == model);
    found.unwrap_or_else(|| panic!("no row of {key} and {model}: {usage}"))
}

#[test]
fn an_admin_sees_all_keys_and_every_other_key_itself() {
    let team = team();
    team.ask("bob", post(GENERATE, HELLO));
    team.ask("bob", post(PRO, HELLO));
    team.ask("ada", post(GENERATE, HELLO));
    team.ask("plain", post(GENERATE, HELLO));
    // What was counted a moment ago is there without waiting for the next regular work.
    let all = team.usage("ada", "");
    assert_eq!(all["rows"].as_array().unwrap().len(), 4, "{all}");
    let of_bob = row(&all, "bob", "gemini-2.5-flash");
    let counts = ["requests", "prompt_tokens", "cached_tokens", "output_tokens", "thought_tokens"];
    assert_eq!(counts.map(|count| of_bob[count].as_u64()), [1, 11, 3, 20, 5].map(Some), "{of_bob}");
    // Eleven tokens of the prompt, cached ones at the same price, and 25 of the answer.
    assert_eq!(of_bob["cost"].as_f64(), Some(0.000_263_75));
    row(&all, "plain", "gemini-2.5-flash");
    for id in ["bob", "plain"] {
        let own = team.usage(id, "?by=key");
        let keys: Vec<_> = own["rows"].as_array().unwrap().iter().map(|it| &it["key"]).collect();
        assert_eq!(keys, [id], "{own}");
    }
    let by_model = team.usage("bob", "?by=model");
    assert_eq!(by_model["rows"].as_array().unwrap().len(), 2, "{by_model}");
    assert_eq!(by_model["rows"][0].get("key"), None);
}

#[test]
fn budgets_say_what_is_used_of_a_limit_now() {
    let team = team();
    team.ask("bob", post(GENERATE, HELLO));
    let own = team.usage("bob", "?since=2020-01-01&until=2020-01-31");
    assert_eq!(own["rows"], json!([]), "the days that are asked for");
    let budgets = own["budgets"].as_array().unwrap();
    assert_eq!(budgets.len(), 2, "{own}");
    assert_eq!(
        (&budgets[0]["budget"], &budgets[0]["limit"]),
        (&json!("tokens_per_day"), &json!(1_000_000))
    );
    assert!(budgets[0]["used"].as_u64().unwrap() > 0, "{own}");
    assert_eq!(
        (&budgets[1]["budget"], &budgets[1]["limit"]),
        (&json!("cost_per_month"), &json!(50))
    );
    assert!(budgets[1]["resets_at"].as_str().unwrap().ends_with("-01T00:00:00Z"), "{own}");
    assert_eq!(team.usage("ada", "")["budgets"], own["budgets"], "ada has no limits");
    assert_eq!(team.usage("plain", "")["budgets"], json!([]));
}

#[test]
fn what_the_store_has_not_taken_is_there_too_and_counts_once() {
    let team = team();
    team.script.lose_usage_answers(true);
    team.ask("bob", post(GENERATE, HELLO));
    let once = team.usage("bob", "");
    team.script.lose_usage_answers(false);
    let again = team.usage("bob", "");
    assert_eq!(row(&again, "bob", "gemini-2.5-flash")["requests"], 1, "{again}");
    row(&once, "bob", "gemini-2.5-flash");
    team.script.refuse_usage(true);
    team.ask("bob", post(GENERATE, HELLO));
    let both = team.usage("bob", "");
    assert_eq!(row(&both, "bob", "gemini-2.5-flash")["requests"], 2, "{both}");
    team.script.refuse_usage(false);
    let stored = team.usage("bob", "");
    assert_eq!(row(&stored, "bob", "gemini-2.5-flash")["requests"], 2, "{stored}");
}

#[test]
fn a_store_that_cannot_be_read_is_a_503_and_no_empty_list() {
    let team = team();
    team.ask("bob", post(GENERATE, HELLO));
    team.script.break_store(true);
    let answer = team.ask("bob", get("/usage"));
    assert_eq!(status_and_reason(&answer), (503, "USAGE_UNREADABLE".to_owned()));
    team.script.break_store(false);
    team.script.advance(Duration::from_secs(2));
    assert_eq!(row(&team.usage("bob", ""), "bob", "gemini-2.5-flash")["requests"], 1);
}

#[test]
fn the_answer_is_csv_if_it_is_asked_for() {
    let team = team();
    team.ask("bob", post(GENERATE, HELLO));
    for (path, accept) in [("/usage?by=key", "text/csv"), ("/usage?by=key&format=csv", "*/*")] {
        let answer = team.ask("bob", with(get(path), "accept", accept));
        assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let text = answer.text();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines[0].starts_with("key,requests,") && lines[1].starts_with("bob,1,"), "{text}");
    }
}

#[test]
fn a_bad_parameter_is_a_400_that_says_what_to_write() {
    let team = team();
    for (parameters, said) in [
        ("?since=yesterday", "2026-11-26"),
        ("?by=person", "key, model or day"),
        ("?format=xml", "json or csv"),
        ("?since=2020-02-02&until=2020-02-01", "earlier day"),
    ] {
        let answer = team.ask("ada", get(&format!("/usage{parameters}")));
        assert_eq!(status_and_reason(&answer), (400, "BAD_PARAMETER".to_owned()), "{parameters}");
        assert!(answer.text().contains(said), "{}", answer.text());
    }
}

#[test]
fn without_tables_usage_is_a_404_that_says_how_to_get_it() {
    let none = Fixture::new("code-assist", &[]);
    let answer = none.ask("plain", get("/usage"));
    assert_eq!(status_and_reason(&answer), (404, "USAGE_NOT_COUNTED".to_owned()));
    assert!(answer.text().contains("keys new ID --append"), "{}", answer.text());
    let metrics = none.ask("plain", get("/metrics")).text();
    assert!(!metrics.contains("key_tokens") && !metrics.contains("budget_remaining"), "{metrics}");
}

#[test]
fn the_operators_key_reads_the_usage_of_all_and_nothing_else() {
    let with_operator = |mut fixture: Fixture| {
        fixture.proxy = fixture.proxy.with_operator_key(KeyDigest::of("key-of-operator"));
        fixture
    };
    let team = with_operator(team());
    team.ask("bob", post(GENERATE, HELLO));
    row(&team.usage("operator", ""), "bob", "gemini-2.5-flash");
    for request in [get("/metrics"), get("/health/detailed"), post(GENERATE, HELLO)] {
        let answer = team.ask("operator", request);
        assert_eq!(status_and_reason(&answer), (401, "API_KEY_INVALID".to_owned()));
    }
    let none = with_operator(Fixture::new("code-assist", &[]));
    assert_eq!(none.ask("operator", get("/usage")).status, 401, "no usage is counted");
}

#[test]
fn the_metrics_have_tokens_cost_and_budgets_by_key() {
    let team = team();
    team.ask("bob", post(GENERATE, HELLO));
    let metrics = team.ask("ada", get("/metrics")).text();
    for line in [
        r#"key_tokens_total{key="bob",model="gemini-2.5-flash",kind="prompt"} 11"#,
        r#"key_tokens_total{key="bob",model="gemini-2.5-flash",kind="thoughts"} 5"#,
        r#"key_cost_total{key="bob"} 0.00026375"#,
        r#"key_cost_total{key="ada"} 0.0"#,
        r#"budget_remaining_ratio{key="bob",budget="tokens_per_day"} 0.999964"#,
    ] {
        assert!(metrics.contains(&format!("\ncode_assist_proxy_{line}\n")), "{line} in {metrics}");
    }
}
