//! `GET /usage`: what keys have used is what upstream has counted.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, Response, get, post};
use serde_json::{Value, json};

use crate::{GENERATE, HELLO, STREAM};

const TABLES: &str = r#"{"key":[
    {"id":"ada","key":"key-of-ada-0123456789","admin":true},
    {"id":"bob","key":"key-of-bob-0123456789","tokens_per_day":1000000}],
    "price":[{"model":"*","input":1.25,"output":10}]}"#;
const ADA: &str = "x-goog-api-key: key-of-ada-0123456789";
const BOB: &str = "x-goog-api-key: key-of-bob-0123456789";

/// The usage once it has so many requests: a request is counted when its answer has ended, which a client may see
/// a moment before the proxy does.
fn usage(proxy: &Proxy, key: &str, parameters: &str, requests: u64) -> Value {
    let started = Instant::now();
    loop {
        let answer = proxy.send(get(&format!("/usage{parameters}"), &[key]));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let usage = answer.json();
        let rows = usage["rows"].as_array().expect("the test's own data is good").iter();
        let counted: u64 =
            rows.map(|row| row["requests"].as_u64().expect("the test's own data is good")).sum();
        if counted >= requests {
            return usage;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{usage}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What upstream has counted in the last event, or in the whole answer.
fn counted(answer: &Response) -> [u64; 2] {
    let usage = match answer.header("content-type") {
        "text/event-stream" => {
            answer.events().pop().expect("the test's own data is good")["usageMetadata"].clone()
        }
        _ => answer.json()["usageMetadata"].clone(),
    };
    ["promptTokenCount", "candidatesTokenCount"]
        .map(|name| usage[name].as_u64().expect("the test's own data is good"))
}

#[test]
fn the_usage_of_a_key_is_the_sum_of_what_upstream_has_counted() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).env("PROXY_KEYS_JSON", TABLES).start();
    let mut sums = [0; 2];
    for path in [GENERATE, STREAM, STREAM] {
        let answer = proxy.send(post(path, &[BOB], HELLO));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        for (sum, count) in sums.iter_mut().zip(counted(&answer)) {
            *sum += count;
        }
    }
    assert_eq!(proxy.send(post(GENERATE, &[ADA], HELLO)).status(), 200);

    let own = usage(&proxy, BOB, "?by=key", 3);
    let [row] = &own["rows"].as_array().unwrap()[..] else { panic!("{own}") };
    assert_eq!((&row["key"], &row["requests"]), (&json!("bob"), &json!(3)), "{own}");
    assert_eq!([&row["prompt_tokens"], &row["output_tokens"]], [&json!(sums[0]), &json!(sums[1])]);
    assert!(row["cost"].as_f64().unwrap() > 0.0, "{own}");
    let budget = &own["budgets"][0];
    assert_eq!(
        (&budget["budget"], &budget["limit"]),
        (&json!("tokens_per_day"), &json!(1_000_000))
    );
    assert!(budget["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{own}");

    let all = usage(&proxy, ADA, "?by=key", 4);
    let keys: Vec<&Value> = all["rows"].as_array().unwrap().iter().map(|row| &row["key"]).collect();
    assert_eq!(keys, ["ada", "bob"]);
    let rows = usage(&proxy, ADA, "", 4);
    assert_eq!(rows["by"], Value::Null);
    assert_eq!(rows["rows"][0]["model"], "gemini-2.5-flash");
    assert_eq!(rows["rows"][0]["day"], rows["until"], "{rows}");
}

#[test]
fn usage_is_csv_on_request_and_a_bad_parameter_or_key_is_refused() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).env("PROXY_KEYS_JSON", TABLES).start();
    assert_eq!(proxy.send(post(GENERATE, &[BOB], HELLO)).status(), 200);
    usage(&proxy, BOB, "", 1);
    let csv = proxy.send(get("/usage?by=model", &[BOB, "accept: text/csv"]));
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
    assert!(csv.text().starts_with("model,requests,"), "{}", csv.text());
    assert!(csv.text().contains("\r\ngemini-2.5-flash,1,"), "{}", csv.text());
    for parameters in ["?since=yesterday", "?by=person", "?format=xml"] {
        let answer = proxy.send(get(&format!("/usage{parameters}"), &[BOB]));
        assert_eq!(answer.status_and_reason(), (400, "BAD_PARAMETER".into()), "{parameters}");
    }
    assert_eq!(proxy.get("/usage").status_and_reason(), (401, "API_KEY_MISSING".into()));
    assert_eq!(proxy.send(post("/usage", &[BOB], "{}")).status(), 405);
}

#[test]
fn without_tables_no_usage_is_counted() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let answer = proxy.get("/usage");
    assert_eq!(answer.status_and_reason(), (404, "USAGE_NOT_COUNTED".into()));
    assert!(answer.text().contains("[[key]]"), "{}", answer.text());
}
