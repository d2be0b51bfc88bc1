//! Keys with tables of their own: budgets, usage, what a key may do.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Proxy, ProxyBuilder, Response, ScriptedUpstream, get, post};
use serde_json::{Value, json};

use crate::{COUNT, GENERATE, STREAM};

#[test]
fn a_budget_for_ten_lets_ten_of_thirty_concurrent_requests_begin() {
    let upstream = upstream(Duration::from_millis(500));
    let proxy = with_keys(&upstream, &[("ada", json!({"tokens_per_day": 2900}))]).start();
    let statuses: Vec<(u16, String)> = thread::scope(|scope| {
        let proxy = &proxy;
        let requests: Vec<_> = (0..30)
            .map(|n| {
                scope.spawn(move || {
                    let answer = ask(proxy, "ada", GENERATE, &format!("number {n}"));
                    match answer.status() {
                        200 => (200, String::new()),
                        _ => answer.status_and_reason(),
                    }
                })
            })
            .collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    let answered = statuses.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(answered, 10, "{statuses:?}");
    let refused = (429, "BUDGET_EXHAUSTED".to_owned());
    assert_eq!(statuses.iter().filter(|status| **status == refused).count(), 20, "{statuses:?}");
    assert_eq!(upstream.received().len(), 10);
}

#[test]
fn usage_is_the_sum_of_what_upstream_has_counted() {
    let upstream = upstream(Duration::ZERO);
    let keys = [("ada", json!({"tokens_per_day": 100_000})), ("boss", json!({"admin": true}))];
    let proxy = with_keys(&upstream, &keys).start();
    for (n, path) in [GENERATE, STREAM, GENERATE].into_iter().enumerate() {
        let answer = ask(&proxy, "ada", path, &format!("number {n}"));
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    // What is no use of a model is no row.
    ask(&proxy, "ada", COUNT, "free");
    let rows = json!([{
        "key": "ada", "requests": 3, "prompt_tokens": 300, "cached_tokens": 120,
        "output_tokens": 450, "thought_tokens": 150, "cost": 1.5,
    }]);
    await_usage(&proxy, "boss", &rows);
    await_usage(&proxy, "ada", &rows);
}

#[test]
fn usage_outlives_a_restart_and_fills_the_budget() {
    let upstream = upstream(Duration::ZERO);
    let keys = [("ada", json!({"tokens_per_month": 500}))];
    let builder = with_keys(&upstream, &keys);
    let builder = builder.same_home_with_env("KV_URL", "");
    let proxy = builder.start();
    assert_eq!(ask(&proxy, "ada", GENERATE, "one").status(), 200);
    assert_eq!(ask(&proxy, "ada", GENERATE, "two").status(), 200);
    await_requests(&proxy, "ada", 2);
    proxy.into_output();
    let proxy = builder.start();
    let answer = ask(&proxy, "ada", GENERATE, "three");
    assert_eq!(answer.status_and_reason(), (429, "BUDGET_EXHAUSTED".to_owned()));
    let metadata = &answer.error()["details"][0]["metadata"];
    assert_eq!(metadata["budget"], "tokens_per_month");
    assert_eq!((&metadata["limit"], &metadata["used"]), (&json!("500"), &json!("600")));
    assert!(answer.head.find("retry-after").is_some());
    assert_eq!(upstream.received().len(), 2);
}

#[test]
fn an_expired_key_is_a_401_and_a_model_that_it_may_not_use_a_403() {
    let upstream = upstream(Duration::ZERO);
    let keys = [
        ("ada", json!({"models": ["gemini-2.5-pro"]})),
        ("bob", json!({"expires": "2020-01-01T00:00:00Z"})),
    ];
    let proxy = with_keys(&upstream, &keys).start();
    let expired = ask(&proxy, "bob", GENERATE, "Hello");
    assert_eq!(expired.status_and_reason(), (401, "API_KEY_EXPIRED".to_owned()));
    let not_allowed = ask(&proxy, "ada", GENERATE, "Hello");
    assert_eq!(not_allowed.status_and_reason(), (403, "MODEL_NOT_ALLOWED".to_owned()));
    let allowed = GENERATE.replace("flash", "pro");
    assert_eq!(ask(&proxy, "ada", &allowed, "Hello").status(), 200);
    assert_eq!(upstream.received().len(), 1);
}

/// An upstream that counts 300 tokens for each request.
fn upstream(delay: Duration) -> ScriptedUpstream {
    ScriptedUpstream::new(move |request, connection| {
        thread::sleep(delay);
        let answer = json!({"response": {
            "candidates": [{
                "content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP",
            }],
            "usageMetadata": {
                "promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 150,
                "thoughtsTokenCount": 50, "totalTokenCount": 300,
            },
        }});
        let (kind, body) = match request.head.contains("alt=sse") {
            true => ("text/event-stream", format!("data: {answer}\r\n\r\n")),
            false if request.head.contains("countTokens") => {
                ("application/json", json!({"totalTokens": 3}).to_string())
            }
            false => ("application/json", answer.to_string()),
        };
        let length = body.len();
        connection.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    })
}

/// The price is 0.5 for what [`upstream`] counts.
fn with_keys(upstream: &ScriptedUpstream, keys: &[(&str, Value)]) -> ProxyBuilder {
    let tables = keys.iter().map(|(id, more)| {
        let mut table = more.clone();
        table["id"] = json!(id);
        table["key"] = json!(key_of(id));
        table
    });
    let tables: Vec<Value> = tables.collect();
    let price = json!([{"model": "*", "input": 1000, "cached": 1000, "output": 2000}]);
    ProxyBuilder::for_upstream(upstream)
        .env("PROXY_KEYS_JSON", json!({"key": tables, "price": price}).to_string())
}

fn key_of(id: &str) -> String {
    format!("cap_{id}_0123456789abcdef")
}

fn ask(proxy: &Proxy, id: &str, path: &str, prompt: &str) -> Response {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]}).to_string();
    proxy.send(post(path, &[&format!("x-goog-api-key: {}", key_of(id))], body))
}

fn usage(proxy: &Proxy, id: &str) -> Value {
    let key = format!("x-goog-api-key: {}", key_of(id));
    proxy.send(get("/usage?by=key", &[&key])).json()["rows"].clone()
}

/// Usage is in the store a second later.
fn await_usage(proxy: &Proxy, id: &str, rows: &Value) {
    let end = Instant::now() + Duration::from_secs(10);
    while usage(proxy, id) != *rows {
        assert!(Instant::now() < end, "{}", usage(proxy, id));
        thread::sleep(Duration::from_millis(50));
    }
}

fn await_requests(proxy: &Proxy, id: &str, count: u64) {
    let end = Instant::now() + Duration::from_secs(10);
    while usage(proxy, id)[0]["requests"] != count {
        assert!(Instant::now() < end, "{}", usage(proxy, id));
        thread::sleep(Duration::from_millis(50));
    }
}
