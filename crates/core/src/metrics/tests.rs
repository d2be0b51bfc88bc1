//! Expositions of a report that was fed by hand, and the shape of health.

use super::*;
use crate::dialect::Operation;
use crate::google::usage::TokenUsage;
use crate::platform::ProcessStats;

const NOON: Timestamp = Timestamp(1_705_314_600_000);

fn report() -> Metrics {
    let endpoints = ["https://one.example", "https://user:pass@two.example/base"];
    Metrics::new(&endpoints.map(str::to_owned), NOON, Monotonic(0))
}

fn sight(now: Monotonic) -> HealthInput {
    HealthInput {
        clock: NOON,
        now,
        store_connected: true,
        credentials: CredentialStatus::Ok,
        token: Some(Some(NOON + Duration::from_secs(1800))),
        project: "known",
        most_requests: 100,
        queue_timeout: Duration::from_secs(10),
        process_stats: ProcessStats {
            resident_bytes: Some(12_582_912),
            open_fds: Some(17),
            cpu_seconds: Some(1.25),
        },
    }
}

/// A request that took 300 ms, 200 µs of them the proxy's own.
fn record(operation: Option<Operation>, model: &str, status: u16) -> AccessLogRecord<'_> {
    AccessLogRecord {
        request_id: "req_1",
        operation,
        model,
        stream: false,
        caller: None,
        status,
        error: None,
        token_at_hand: None,
        retries: 0,
        cache: None,
        trace_id: "",
        bytes_in: 100,
        bytes_out: 1000,
        usage: TokenUsage::default(),
        total: Duration::from_millis(300),
        upstream: Duration::from_millis(199),
        overhead: Duration::from_micros(200),
        first_byte: Some(Duration::from_micros(199_800)),
        answered: Some(Duration::from_millis(200)),
        outcome: if status < 400 { RequestOutcome::Ok } else { RequestOutcome::Refused },
    }
}

const GENERATE: Option<Operation> = Some(Operation::Generate);

fn end(report: &Metrics, record: &AccessLogRecord<'_>) {
    report.request_ended(record, Monotonic(300_000));
}

/// One of everything.
fn fed() -> Metrics {
    let report = report();
    let mut answered = record(GENERATE, "gemini-2.5-flash", 200);
    answered.usage = TokenUsage { prompt: 10, output: 20, thoughts: 30, cached: 5 };
    answered.caller = Some("ada");
    answered.cache = Some(CacheResult::Miss);
    end(&report, &answered);
    answered.cache = Some(CacheResult::Hit);
    answered.first_byte = None;
    end(&report, &answered);
    let mut cut = record(Some(Operation::Stream), "gemini-2.5-pro", 200);
    cut.outcome = RequestOutcome::Cut;
    end(&report, &cut);
    let mut limited = record(GENERATE, "", 429);
    (limited.error, limited.first_byte) = (Some("rate_limited"), None);
    end(&report, &limited);
    let mut quota = record(GENERATE, "made-up", 429);
    quota.error = Some("upstream_error");
    end(&report, &quota);
    let mut gone = record(Some(Operation::CountTokens), "gemini-2.5-flash", 0);
    (gone.outcome, gone.answered) = (RequestOutcome::ClientGone, None);
    end(&report, &gone);
    (gone.answered, gone.status) = (Some(Duration::from_micros(1)), 200);
    end(&report, &gone);
    end(&report, &record(None, "", 404));

    report.token_asked(true);
    report.token_asked(true);
    report.token_asked(false);
    report.refreshed();
    report.refresh_failed();
    report.retried(RetryReason::ServerError);
    report.upstream(true);
    report.breaker(1, BreakerState::Open);
    report.breaker(1, BreakerState::Open);
    report.endpoint_in_flight(0, true);
    report.in_flight.fetch_add(3, Relaxed);
    report.set_aside.fetch_add(1, Relaxed);
    report
}

fn written(format: Format) -> String {
    let report = fed();
    let _waiting = report.queued();
    report.metrics(&sight(Monotonic(3_600_000_000)), format)
}

/// The exposition without the version, which changes with each release.
fn without_version(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn prometheus_gets_its_text() {
    let text = written(Format::Prometheus);
    insta::assert_snapshot!("metrics.prom", without_version(&text));
}

#[test]
fn open_metrics_is_the_same_with_its_own_names_and_an_end() {
    let text = written(Format::OpenMetrics);
    insta::assert_snapshot!("metrics.openmetrics", without_version(&text));
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(&text), samples(&written(Format::Prometheus)));
}

#[test]
fn json_tells_the_same_numbers() {
    let value: serde_json::Value = serde_json::from_str(&written(Format::Json)).unwrap();
    let metric = |name: &str| &value["metrics"][format!("code_assist_proxy_{name}")];
    assert_eq!(metric("requests_total")["type"], "counter");
    assert_eq!(
        metric("tokens_total")["samples"][1],
        serde_json::json!({
            "labels": { "model": "gemini-2.5-flash", "kind": "output" }, "value": 20
        })
    );
    let overhead = &metric("overhead_seconds")["samples"][0];
    assert_eq!(
        (&overhead["count"], overhead["buckets"][5]["le"].as_f64()),
        (&8.into(), Some(2e-4))
    );
    assert_eq!(overhead["buckets"][4]["count"], 0);
    assert_eq!(overhead["buckets"][5]["count"], 8);
}

#[test]
fn a_flood_of_made_up_models_clients_and_methods_makes_no_flood_of_series() {
    let report = report();
    for n in 0..2000 {
        let (model, caller) = (format!("model-{n}"), format!("client-{n}"));
        let mut entry = record(GENERATE, &model, 404);
        entry.caller = Some(&caller);
        end(&report, &entry);
        // Even if upstream answered them all.
        entry.status = 200;
        entry.usage.prompt = 1;
        end(&report, &entry);
    }
    let text = report.metrics(&sight(Monotonic(1)), Format::Prometheus);
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert!(series("code_assist_proxy_requests_total{") <= MODELS + 2);
    assert!(series("code_assist_proxy_tokens_total{") <= MODELS + 2);
    assert!(series("code_assist_proxy_client_requests_total{") <= CLIENTS + 2);
    let other =
        r#"code_assist_proxy_requests_total{method="generateContent",model="other",status="4xx"}"#;
    assert!(text.contains(other), "{text}");
}

#[test]
fn a_label_cannot_break_out_of_its_quotes() {
    let report = report();
    let mut entry = record(GENERATE, "", 200);
    entry.caller = Some("a\"b\\c\nd");
    end(&report, &entry);
    let text = report.metrics(&sight(Monotonic(1)), Format::Prometheus);
    assert!(text.contains(r#"client_requests_total{client="a\"b\\c\nd"} 1"#), "{text}");
}

#[test]
fn the_format_is_the_one_asked_for() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (asked, accept, format) in [
        (None, "", Format::Prometheus),
        (None, "*/*", Format::Prometheus),
        (None, "text/html,application/xhtml+xml,*/*;q=0.8", Format::Prometheus),
        (None, prometheus, Format::OpenMetrics),
        (None, "application/openmetrics-text;q=0.2,text/plain", Format::Prometheus),
        (None, "application/openmetrics-text;q=0", Format::Prometheus),
        (None, "application/json", Format::Json),
        (None, "application/json, text/plain, */*", Format::Json),
        (Some("json"), prometheus, Format::Json),
        (Some("prometheus"), "application/json", Format::Prometheus),
        (Some("openmetrics"), "", Format::OpenMetrics),
        (Some("xml"), "application/json", Format::Json),
    ] {
        assert_eq!(Format::choose(asked, accept), format, "{asked:?} {accept}");
    }
}

#[test]
fn health_has_exactly_the_documented_shape() {
    let report = report();
    report.token_asked(true);
    report.token_asked(false);
    report.refreshed();
    report.upstream(true);
    let (ok, body) = report.health(&sight(Monotonic(3_600_000_000)));
    assert!(ok);
    assert_eq!(
        body,
        format!(
            concat!(
                r#"{{"status":"healthy","timestamp":"2024-01-15T10:30:00Z","version":"{}","#,
                r#""metrics":{{"uptime":3600,"requests_processed":0,"cache_hit_rate":0.5,"#,
                r#""avg_response_time_ms":0.0,"token_refreshes":1,"#,
                r#""circuit_breaker_state":"closed"}},"kv_status":"connected","#,
                r#""upstream_status":"healthy"}}"#
            ),
            env!("CARGO_PKG_VERSION")
        )
    );
}

#[test]
fn health_tells_of_store_upstream_and_shutdown() {
    let report = report();
    let health = |report: &Metrics| report.health(&sight(Monotonic(1)));
    assert!(health(&report).1.contains(r#""upstream_status":"unknown""#));
    report.store(false);
    let (ok, body) = health(&report);
    assert!(ok && body.contains(r#""status":"degraded""#));
    assert!(body.contains(r#""kv_status":"disconnected""#));
    report.store(true);
    report.upstream(false);
    assert!(health(&report).1.contains(r#""upstream_status":"degraded""#));
    for _ in 0..5 {
        report.upstream(false);
    }
    assert!(health(&report).1.contains(r#""upstream_status":"unhealthy""#));
    report.upstream(true);
    assert!(health(&report).1.contains(r#""status":"healthy""#));
    report.shut_down();
    let (ok, body) = health(&report);
    assert!(!ok && body.contains(r#""status":"unhealthy""#));
}

#[test]
fn health_shows_the_worst_breaker() {
    let report = report();
    let shown = |state: &str| {
        let body = report.health(&sight(Monotonic(1))).1;
        assert!(body.contains(&format!(r#""circuit_breaker_state":"{state}""#)), "{body}");
        body.contains(r#""status":"degraded""#)
    };
    assert!(!shown("closed"));
    report.breaker(0, BreakerState::HalfOpen);
    assert!(shown("half_open"));
    report.breaker(1, BreakerState::Open);
    assert!(shown("open"));
    report.breaker(1, BreakerState::Closed);
    assert!(shown("half_open"));
    report.breaker(0, BreakerState::Closed);
    assert!(!shown("closed"));
}

#[test]
fn detailed_health_is_health_and_checks_and_latency() {
    let report = fed();
    let sight = sight(Monotonic(1_000_000));
    let (_, plain) = report.health(&sight);
    let (_, detailed) = report.health_detailed(&sight);
    assert!(detailed.starts_with(plain.trim_end_matches('}')), "{detailed}");
    let value: serde_json::Value = serde_json::from_str(&detailed).unwrap();
    assert_eq!(
        value["checks"],
        serde_json::json!({
            "credentials": { "status": "ok" },
            "token": {
                "status": "alive",
                "expires_at": "2024-01-15T11:00:00Z",
                "expires_in_seconds": 1800,
                "refreshes": 1,
                "failed_refreshes": 1,
            },
            "project": { "status": "known" },
            "store": { "status": "connected" },
            "endpoints": [
                { "url": "https://one.example", "breaker": "closed", "in_flight": 1 },
                { "url": "https://two.example/base", "breaker": "open", "in_flight": 0 },
            ],
            "queue": { "in_flight": 2, "limit": 100, "waiting": 0, "timeout_ms": 10000 },
        })
    );
    let latency = &value["latency"];
    assert_eq!((&latency["unit"], &latency["window_seconds"]), (&"ms".into(), &60.into()));
    assert_eq!(latency["overhead"]["count"], 8);
    assert_eq!(latency["upstream_first_byte"]["count"], 6);
    for name in ["overhead", "upstream_first_byte", "total"] {
        let of = |q: &str| latency[name][q].as_f64().unwrap();
        assert!(of("p50") <= of("p90") && of("p90") <= of("p99"), "{latency}");
    }
    assert!(latency["overhead"]["p99"].as_f64().unwrap() <= 0.2, "{latency}");
}

#[test]
fn refused_credentials_are_told_with_their_reason() {
    let refused = CredentialStatus::Failed("credentials_missing", "sign in".to_owned());
    let sight = HealthInput { credentials: refused, token: None, ..sight(Monotonic(1)) };
    let (_, body) = report().health_detailed(&sight);
    assert!(body.contains(r#"{"message":"sign in","status":"credentials_missing"}"#), "{body}");
    assert!(body.contains(r#""expires_at":null"#) && body.contains(r#""status":"degraded""#));
    let text = report().metrics(&sight, Format::Prometheus);
    assert!(text.contains("\ncode_assist_proxy_credentials_ok 0.0\n"), "{text}");
    assert!(!text.contains("\ncode_assist_proxy_token_expiry_timestamp_seconds "), "{text}");
}
