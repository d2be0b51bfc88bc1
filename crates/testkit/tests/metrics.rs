//! Metrics, health and the status page, after whole requests over a scripted platform.

use std::collections::BTreeSet;
use std::time::Duration;

use code_assist_core::Proxy;
use code_assist_testkit::client::{Answer, ask, get, post};
use code_assist_testkit::google::{event, google, google_but, last_event, sse};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;
use http::Request;
use serde_json::{Value, json};

fn signed_in(script: &ScriptedPlatform, more: &[(&str, &str)]) -> Proxy {
    script.write_login(
        r#"{"access_token":"ya29.secret-access","refresh_token":"1//secret-refresh","expiry_date":1750003600000}"#,
    );
    proxy_with(script, more)
}

fn run(
    script: &ScriptedPlatform,
    proxy: &Proxy,
    request: Request<code_assist_core::Payload>,
) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

fn with(path: &str, name: &str, value: &str) -> Request<code_assist_core::Payload> {
    let mut request = get(path);
    let name: http::HeaderName = name.parse().expect("a test names a valid header");
    request.headers_mut().insert(name, value.parse().expect("a test has a valid value"));
    request
}

/// A proxy after one request of each kind.
fn after_traffic() -> (ScriptedPlatform, Proxy) {
    let script = ScriptedPlatform::new(google_but(|request| match () {
        () if request.body.contains("quota") => Some(Reply::status(429, "{}")),
        () if request.is(":generateContent") => {
            Some(google()(request).after(Duration::from_millis(300)))
        }
        () => None,
    }));
    let proxy = signed_in(&script, &[]);
    for (path, body) in [
        (GENERATE, HELLO),
        (STREAM, HELLO),
        (COUNT, HELLO),
        (GENERATE, r#"{"contents":[{"parts":[{"text":"quota"}]}]}"#),
        (GENERATE, "{"),
        ("/v1beta/models/gemini-2.5-pro:embedContent", HELLO),
    ] {
        run(&script, &proxy, post(path, body));
    }
    (script, proxy)
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;

#[test]
fn requests_are_counted_by_method_model_and_status() {
    let (script, proxy) = after_traffic();
    let answer = run(&script, &proxy, get("/metrics"));
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    for line in [
        r#"requests_total{method="generateContent",model="gemini-2.5-flash",status="2xx"} 1"#,
        r#"requests_total{method="streamGenerateContent",model="gemini-2.5-flash",status="2xx"} 1"#,
        r#"requests_total{method="countTokens",model="gemini-2.5-flash",status="2xx"} 1"#,
        r#"requests_total{method="generateContent",model="gemini-2.5-flash",status="4xx"} 2"#,
        r#"refused_requests_total{reason="not_offered"} 1"#,
        r#"refusals_total{reason="upstream_429"} 1"#,
        r#"refusals_total{reason="malformed_json"} 1"#,
        r#"refusals_total{reason="not_offered"} 1"#,
        r#"request_duration_seconds_count 5"#,
        r#"upstream_first_byte_seconds_count 4"#,
        r#"upstream_first_byte_seconds_bucket{le="0.25"} 3"#,
        r#"overhead_seconds_bucket{le="0.000025"} 5"#,
        r#"token_requests_total{result="at_hand"} 3"#,
        r#"token_requests_total{result="waited"} 1"#,
        r#"breaker_state{endpoint="http://127.0.0.1:1",state="closed"} 1.0"#,
        "requests_in_flight 0.0",
        r#"upstream_requests_in_flight{endpoint="http://127.0.0.1:1"} 0.0"#,
        "store_connected 1.0",
    ] {
        let line = format!("\ncode_assist_proxy_{line}\n");
        assert!(format!("\n{text}").contains(&line), "{line} in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn requests_for_metrics_and_health_are_not_counted() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[]);
    for path in ["/metrics", "/health", "/health/detailed", "/live", "/ready", "/"] {
        let expected = if path == "/ready" { 503 } else { 200 };
        assert_eq!(run(&script, &proxy, get(path)).status, expected, "{path}");
    }
    let text = run(&script, &proxy, get("/metrics")).text();
    assert!(text.contains("\ncode_assist_proxy_request_duration_seconds_count 0\n"), "{text}");
    assert!(text.contains("\ncode_assist_proxy_requests_in_flight 0.0\n"), "{text}");
    assert_eq!(script.saves(), 0);
}

#[test]
fn refused_strangers_have_a_count_of_their_own_and_are_in_no_ratio_and_no_latency() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[("PROXY_API_KEYS", "ada:sesame-sesame-sesame")]);
    let keyed = |path: &str| with(path, "x-goog-api-key", "sesame-sesame-sesame");
    let mut hello = post(GENERATE, HELLO);
    hello.headers_mut().extend(keyed("/").headers().clone());
    assert_eq!(run(&script, &proxy, hello).status, 200);
    let counts = || {
        let text = run(&script, &proxy, keyed("/metrics")).text();
        let health: Value =
            serde_json::from_str(&run(&script, &proxy, keyed("/health/detailed")).text()).unwrap();
        let shown = [
            "code_assist_proxy_requests_total",
            "code_assist_proxy_client_requests_total",
            "code_assist_proxy_request_duration_seconds",
            "code_assist_proxy_overhead_seconds",
            "code_assist_proxy_upstream_first_byte_seconds",
            "code_assist_proxy_client_disconnects_total",
            "code_assist_proxy_request_bytes_total",
            "code_assist_proxy_response_bytes_total",
            "code_assist_proxy_token_requests_total",
        ];
        let lines = text.lines().filter(|line| shown.iter().any(|name| line.starts_with(name)));
        let health = format!("{} {} {}", health["metrics"], health["latency"], health["status"]);
        (lines.map(str::to_owned).collect::<Vec<_>>(), health, text)
    };
    let (lines, health, _) = counts();
    assert!(lines.iter().any(|line| line.ends_with(" 1")), "{lines:?}");
    for _ in 0..50 {
        assert_eq!(run(&script, &proxy, get("/metrics")).reason(), "API_KEY_MISSING");
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).reason(), "API_KEY_MISSING");
        run(&script, &proxy, with("/metrics", "x-goog-api-key", "guess"));
        assert_eq!(run(&script, &proxy, keyed("/nothing")).reason(), "NOT_FOUND");
    }
    let (lines_after, health_after, text) = counts();
    assert_eq!(lines_after, lines);
    assert_eq!(health_after, health);
    for (reason, count) in [
        ("api_key_missing", 100),
        ("api_key_invalid", 10),
        ("too_many_attempts", 40),
        ("not_found", 50),
    ] {
        for name in ["refused_requests", "refusals"] {
            let line = format!("\ncode_assist_proxy_{name}_total{{reason=\"{reason}\"}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}

#[test]
fn the_reasons_that_alerts_ask_for_have_a_series_before_their_first_event() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[]);
    let text = run(&script, &proxy, get("/metrics")).text();
    for reason in ["internal", "too_many_attempts", "queue_timeout", "upstream_429"] {
        let line = format!("\ncode_assist_proxy_refusals_total{{reason=\"{reason}\"}} 0\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn an_open_stream_is_in_flight_until_its_client_is_gone() {
    let script = ScriptedPlatform::new(google_but(|request| {
        let (first, last) = (event("a"), last_event("b"));
        request.is("alt=sse").then(|| sse(&[&first, &last]))
    }));
    let proxy = signed_in(&script, &[]);
    let response = script.run(&proxy, proxy.handle(&script, post(STREAM, HELLO)));
    let metrics = || run(&script, &proxy, get("/metrics")).text();
    let open = metrics();
    assert!(open.contains("\ncode_assist_proxy_requests_in_flight 1.0\n"), "{open}");
    let endpoint =
        r#"code_assist_proxy_upstream_requests_in_flight{endpoint="http://127.0.0.1:1"}"#;
    assert!(open.contains(&format!("\n{endpoint} 1.0\n")), "{open}");
    drop(response);
    let gone = metrics();
    assert!(gone.contains("\ncode_assist_proxy_requests_in_flight 0.0\n"), "{gone}");
    assert!(gone.contains(&format!("\n{endpoint} 0.0\n")), "{gone}");
    let line = r#"code_assist_proxy_client_disconnects_total{phase="during_answer"} 1"#;
    assert!(gone.contains(line), "{gone}");
}

#[test]
fn a_failed_refresh_is_counted_and_the_retry_that_never_began_is_not() {
    let mut refused = false;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if request.is("/token") {
            return Some(Reply::status(500, "{}"));
        }
        let first = request.is(":generateContent") && !std::mem::replace(&mut refused, true);
        first.then(|| Reply::status(401, "{}"))
    }));
    let proxy = signed_in(&script, &[]);
    run(&script, &proxy, post(GENERATE, HELLO));
    let text = run(&script, &proxy, get("/metrics")).text();
    for line in [
        r#"retries_total{reason="unauthorized"} 0"#,
        r#"token_refreshes_total{result="failed"} 1"#,
        r#"token_refreshes_total{result="ok"} 0"#,
    ] {
        assert!(text.contains(&format!("\ncode_assist_proxy_{line}\n")), "{line} in {text}");
    }
}

#[test]
fn metrics_and_details_need_a_key_where_keys_are_set_and_health_does_not() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[("PROXY_API_KEYS", "ada:sesame")]);
    for path in ["/metrics", "/metrics?format=json", "/health/detailed"] {
        assert_eq!(run(&script, &proxy, get(path)).reason(), "API_KEY_MISSING", "{path}");
        let keyed = run(&script, &proxy, with(path, "x-goog-api-key", "sesame"));
        assert_eq!(keyed.status, 200, "{path}");
        assert!(!keyed.text().contains("sesame"));
    }
    assert_eq!(run(&script, &proxy, get("/health")).status, 200);
    let page = run(&script, &proxy, with("/", "accept", "text/html"));
    assert_eq!(page.status, 200);
}

#[test]
fn metrics_have_the_format_that_the_reader_asks_for() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[]);
    let json = run(&script, &proxy, get("/metrics?format=json"));
    assert_eq!(json.header("content-type"), "application/json; charset=UTF-8");
    let value: Value = serde_json::from_str(&json.text()).unwrap();
    assert!(value["metrics"]["code_assist_proxy_uptime_seconds"].is_object());
    let open = run(&script, &proxy, with("/metrics", "accept", "application/openmetrics-text"));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.header("content-type"), kind);
    assert!(open.text().ends_with("\n# EOF\n"));
}

#[test]
fn a_browser_gets_the_status_page_and_programs_get_json() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[]);
    let page =
        run(&script, &proxy, with("/", "accept", "text/html,application/xml;q=0.9,*/*;q=0.8"));
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert!(page.text().starts_with("<!doctype html>"));
    let plain = run(&script, &proxy, get("/"));
    assert_eq!(plain.header("content-type"), "application/json; charset=UTF-8");
    assert!(plain.text().contains(r#""GET /metrics""#));
}

#[test]
fn detailed_health_shows_the_sign_in_without_a_secret() {
    let (script, proxy) = after_traffic();
    let answer = run(&script, &proxy, get("/health/detailed"));
    let value: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(value["checks"]["credentials"]["status"], "ok");
    assert_eq!(value["checks"]["token"]["expires_at"], "2025-06-15T16:06:40Z");
    assert_eq!(value["checks"]["project"]["status"], "known");
    assert_eq!(value["latency"]["total"]["count"], 5);
    for secret in ["secret", "found-project"] {
        assert!(!answer.text().contains(secret), "{}", answer.text());
    }

    let signed_out = ScriptedPlatform::new(google());
    let proxy = proxy_with(&signed_out, &[]);
    run(&signed_out, &proxy, post(GENERATE, HELLO));
    let value: Value =
        serde_json::from_str(&run(&signed_out, &proxy, get("/health/detailed")).text()).unwrap();
    assert_eq!(value["status"], "degraded");
    assert_eq!(value["checks"]["credentials"]["status"], "credentials_missing");
    assert_eq!(value["checks"]["token"]["status"], "none");
}

#[test]
fn alert_rules_dashboard_and_document_name_metrics_that_exist() {
    let (script, proxy) = after_traffic();
    // As of a shell with connections of its own.
    proxy.metrics().connections().set_limit(512);
    let several = [("UPSTREAMS", "code-assist,gemini-api"), ("GEMINI_API_KEY", "AIza-key")];
    let several = proxy_with(&script, &several);
    let of_several = run(&script, &several, get("/metrics")).text();
    let key = json!({
        "id": "ada", "key": "cap_secret-of-the-key-of-ada", "admin": true, "tokens_per_day": 9,
        "credentials": r#"{"refresh_token":"1//of-ada"}"#,
    });
    let keys = &*json!({ "key": [key] }).to_string();
    let keyed = proxy_with(&script, &[("PROXY_KEYS_JSON", keys)]);
    let as_ada = with("/metrics", "x-goog-api-key", "cap_secret-of-the-key-of-ada");
    let of_keys = run(&script, &keyed, as_ada).text();
    let exposition = run(&script, &proxy, get("/metrics")).text() + &of_several + &of_keys;
    let mut exists: BTreeSet<String> = BTreeSet::new();
    for line in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        exists.insert(name.to_owned());
        if kind == "histogram" {
            exists.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
    }
    let named = |text: &str| -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let words = text.split(|c: char| !is_name(c));
        let is_metric =
            |word: &&str| word.starts_with("code_assist_proxy_") || word.starts_with("process_");
        words.filter(is_metric).map(str::to_owned).collect()
    };
    for (file, text) in [
        ("alerts.yml", include_str!("../../../monitoring/alerts.yml")),
        ("dashboard.json", include_str!("../../../monitoring/dashboard.json")),
        ("METRICS.md", include_str!("../../../docs/METRICS.md")),
    ] {
        let named = named(text);
        assert!(named.len() >= 10, "{file}: {named:?}");
        let unknown: Vec<&String> = named.difference(&exists).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
        if file == "METRICS.md" {
            let missing = exists.iter().filter(|name| !named.contains(*name));
            let missing: Vec<&String> =
                missing.filter(|name| exposition.contains(&format!(" {name} "))).collect();
            assert!(missing.is_empty(), "not in {file}: {missing:?}");
        }
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let rules = include_str!("../../../monitoring/alerts.yml");
    let tests = include_str!("../../../monitoring/alerts_test.yml");
    let names: Vec<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let fires_by_name = tests.contains(&format!("'{{alertname=\"{name}\"}}'"));
        let with_text = format!("alertname: {name}\n        exp_alerts:\n");
        assert!(fires_by_name || tests.contains(&with_text), "{name}");
    }
}
