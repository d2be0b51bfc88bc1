//! The expositions of metrics with one of everything, and the shape of health.

use super::*;
use crate::dialect::{Dialect, Operation};
use crate::google::usage::TokenUsage;
use crate::platform::{ProcessStats, StoreStats};
use crate::policy::token::TokenExpiry;
use crate::trace::TraceContext;

mod keys;
mod several;

const NOON: Timestamp = Timestamp(1_705_314_600_000);

fn new_metrics() -> Metrics {
    let endpoints = ["https://one.example", "https://user:pass@two.example/base"];
    let (name, endpoints) = (Arc::from("code-assist"), endpoints.map(str::to_owned));
    Metrics::new([(&name, &endpoints[..])], NOON, Monotonic(0))
}

fn health_input(now: Monotonic) -> HealthInput {
    HealthInput {
        clock: NOON,
        now,
        store_connected: true,
        store_stats: StoreStats {
            evicted_keys: Some(3),
            memory_used: Some(1 << 20),
            memory_limit: None,
        },
        upstreams: vec![upstream("code-assist")],
        key_logins: Vec::new(),
        needs_operators: true,
        fails_over: false,
        most_requests: 100,
        most_per_caller: 50,
        queue_timeout: Duration::from_secs(10),
        ready: true,
        memory_used: 3 << 20,
        memory_limit: 64 << 20,
        process_stats: ProcessStats {
            resident_bytes: Some(12_582_912),
            open_fds: Some(17),
            max_fds: Some(1024),
            log_lines_lost: Some(3),
            audit_lines_lost: Some(4),
            spans_lost: Some(5),
            cpu_seconds: Some(1.25),
        },
        keys: None,
    }
}

fn upstream(name: &str) -> UpstreamInput {
    UpstreamInput {
        name: name.into(),
        provider: "code-assist",
        credentials: CredentialStatus::Ok,
        token: TokenExpiry::At(NOON + Duration::from_secs(1800)),
        project: "known",
        location: None,
        resting: Vec::new(),
        exhausted: Vec::new(),
        unable: Vec::new(),
    }
}

/// A model that rests, and one whose quota is exhausted.
fn input_with_models(now: Monotonic) -> HealthInput {
    let resting = RestingModelStatus {
        endpoint: 0,
        model: "gemini-2.5-pro".to_owned(),
        method: "generateContent",
        state: BreakerState::Open,
        open_for: Duration::from_millis(41_001),
    };
    let exhausted = ("gemini-2.5-flash".to_owned(), NOON + Duration::from_secs(3600));
    let upstream = UpstreamInput {
        resting: vec![resting],
        exhausted: vec![exhausted],
        ..upstream("code-assist")
    };
    HealthInput { upstreams: vec![upstream], ..health_input(now) }
}

/// A request that took 300 ms, 200 µs of them the proxy's own.
fn record(operation: Option<Operation>, model: &str, status: u16) -> AccessLogRecord<'_> {
    AccessLogRecord {
        dialect: Dialect::Gemini,
        request_id: "req_1",
        operation,
        model,
        stream: false,
        client: None,
        status,
        error: None,
        token_at_hand: None,
        retries: 0,
        cache: None,
        trace: &TraceContext::NONE,
        google_trace_id: "",
        bytes_in: 100,
        bytes_out: 1000,
        usage: TokenUsage::default(),
        withheld_calls: None,
        total: Duration::from_millis(300),
        upstream: Duration::from_millis(199),
        overhead: Duration::from_micros(200),
        first_byte: Some(Duration::from_micros(199_800)),
        answered: Some(Duration::from_millis(200)),
        upstream_name: None,
        failover_from: None,
        outcome: if status < 400 { RequestOutcome::Ok } else { RequestOutcome::Refused },
    }
}

const GENERATE: Option<Operation> = Some(Operation::Generate);

fn end(metrics: &Metrics, record: &AccessLogRecord<'_>) {
    metrics.request_ended(record, Monotonic(300_000));
}

/// Metrics with at least one of everything.
fn filled() -> Metrics {
    let metrics = new_metrics();
    let mut answered = record(GENERATE, "gemini-2.5-flash", 200);
    answered.usage = TokenUsage { prompt: 10, output: 20, thoughts: 30, cached: 5 };
    answered.client = Some("ada");
    answered.cache = Some(CacheResult::Miss);
    end(&metrics, &answered);
    answered.cache = Some(CacheResult::Hit);
    answered.first_byte = None;
    end(&metrics, &answered);
    let mut cut = record(Some(Operation::Stream), "gemini-2.5-pro", 200);
    cut.outcome = RequestOutcome::Cut;
    end(&metrics, &cut);
    let mut limited = record(GENERATE, "", 429);
    (limited.error, limited.first_byte) = (Some("rate_limited"), None);
    end(&metrics, &limited);
    let mut quota = record(GENERATE, "made-up", 429);
    quota.error = Some("upstream_error");
    end(&metrics, &quota);
    let mut gone = record(Some(Operation::CountTokens), "gemini-2.5-flash", 0);
    (gone.outcome, gone.answered) = (RequestOutcome::ClientGone, None);
    end(&metrics, &gone);
    (gone.answered, gone.status) = (Some(Duration::from_micros(1)), 200);
    end(&metrics, &gone);
    end(&metrics, &record(None, "", 404));

    metrics.token_asked(true);
    metrics.token_asked(true);
    metrics.token_asked(false);
    metrics.refreshed();
    metrics.refresh_failed();
    metrics.retried(RetryReason::ServerError);
    metrics.upstream(0, true);
    metrics.breaker(1, BreakerState::Open);
    metrics.breaker(1, BreakerState::Open);
    metrics.endpoint_in_flight(0, true);
    metrics.counts.own().in_flight.fetch_add(3, Relaxed);
    metrics.counts.own().set_aside.fetch_add(1, Relaxed);
    metrics
}

fn written(format: ExpositionFormat) -> String {
    let metrics = filled();
    let _waiting = metrics.queued();
    metrics.exposition(&input_with_models(Monotonic(3_600_000_000)), format)
}

/// The exposition without the version, which changes with each release.
fn without_version(text: &str) -> String {
    text.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn the_prometheus_format_is_as_its_snapshot() {
    let text = written(ExpositionFormat::Prometheus);
    assert!(
        text.ends_with("\n") && !text.ends_with("\n\n"),
        "a snapshot does not show the last line end"
    );
    insta::assert_snapshot!("metrics.prom", without_version(&text));
}

#[test]
fn the_openmetrics_format_has_the_samples_of_prometheus_and_an_end_mark() {
    let text = written(ExpositionFormat::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    insta::assert_snapshot!("metrics.openmetrics", without_version(&text));
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(&text), samples(&written(ExpositionFormat::Prometheus)));
}

#[test]
fn the_json_format_has_the_same_numbers() {
    let value: serde_json::Value = serde_json::from_str(&written(ExpositionFormat::Json)).unwrap();
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
fn made_up_models_and_clients_make_a_bounded_number_of_series() {
    let metrics = new_metrics();
    for n in 0..2000 {
        let (model, client) = (format!("model-{n}"), format!("client-{n}"));
        let mut entry = record(GENERATE, &model, 404);
        entry.client = Some(&client);
        end(&metrics, &entry);
        // Even if upstream answered them all.
        entry.status = 200;
        entry.usage.prompt = 1;
        end(&metrics, &entry);
    }
    let text = metrics.exposition(&health_input(Monotonic(1)), ExpositionFormat::Prometheus);
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert!(series("code_assist_proxy_requests_total{") <= MODELS + 2);
    assert!(series("code_assist_proxy_tokens_total{") <= MODELS + 2);
    assert!(series("code_assist_proxy_client_requests_total{") <= CLIENTS + 2);
    let other =
        r#"code_assist_proxy_requests_total{method="generateContent",model="other",status="4xx"}"#;
    assert!(text.contains(other), "{text}");
}

#[test]
fn what_several_threads_have_counted_is_read_as_if_one_had() {
    type Work<'a> = &'a (dyn Fn(&Metrics) + Sync);
    let written = |count: &dyn Fn(Work<'_>, &Metrics)| {
        let metrics = new_metrics();
        let begin = |metrics: &Metrics| {
            metrics.request_began(true);
            metrics.permit_acquired();
            metrics.endpoint_in_flight(0, true);
            metrics.token_asked(true);
        };
        let finish = |metrics: &Metrics| {
            let mut ended = record(GENERATE, "gemini-2.5-flash", 200);
            ended.usage.prompt = 10;
            end(metrics, &ended);
            metrics.endpoint_in_flight(0, false);
            metrics.permit_released();
            metrics.request_over(true);
        };
        count(&begin, &metrics);
        count(&finish, &metrics);
        assert_eq!(metrics.in_flight(), 0, "each ended on another thread than it began");
        count(&begin, &metrics);
        let health = metrics.health_detailed(&health_input(Monotonic(1)));
        let text = metrics.exposition(&health_input(Monotonic(1)), ExpositionFormat::Prometheus);
        (health, text)
    };
    let by_one = written(&|work, metrics| (0..16).for_each(|_| work(metrics)));
    let by_many = written(&|work, metrics| {
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| work(metrics));
            }
        });
    });
    assert_eq!(by_one, by_many);
}

#[test]
fn label_values_are_escaped() {
    let metrics = new_metrics();
    let mut entry = record(GENERATE, "", 200);
    entry.client = Some("a\"b\\c\nd");
    end(&metrics, &entry);
    let text = metrics.exposition(&health_input(Monotonic(1)), ExpositionFormat::Prometheus);
    assert!(text.contains(r#"client_requests_total{client="a\"b\\c\nd"} 1"#), "{text}");
}

#[test]
fn the_query_chooses_the_format_and_then_the_accept_header() {
    let prometheus =
        "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    for (query, accept, format) in [
        (None, "", ExpositionFormat::Prometheus),
        (None, "*/*", ExpositionFormat::Prometheus),
        (None, "text/html,application/xhtml+xml,*/*;q=0.8", ExpositionFormat::Prometheus),
        (None, prometheus, ExpositionFormat::OpenMetrics),
        (None, "application/openmetrics-text;q=0.2,text/plain", ExpositionFormat::Prometheus),
        (None, "application/openmetrics-text;q=0", ExpositionFormat::Prometheus),
        (None, "application/json", ExpositionFormat::Json),
        (None, "application/json, text/plain, */*", ExpositionFormat::Json),
        (Some("json"), prometheus, ExpositionFormat::Json),
        (Some("prometheus"), "application/json", ExpositionFormat::Prometheus),
        (Some("openmetrics"), "", ExpositionFormat::OpenMetrics),
        (Some("xml"), "application/json", ExpositionFormat::Json),
    ] {
        assert_eq!(ExpositionFormat::choose(query, accept), format, "{query:?} {accept}");
    }
}

#[test]
fn health_has_exactly_the_documented_shape() {
    let metrics = new_metrics();
    metrics.token_asked(true);
    metrics.token_asked(false);
    metrics.refreshed();
    metrics.upstream(0, true);
    let (ok, body) = metrics.health(&health_input(Monotonic(3_600_000_000)));
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
fn health_reflects_store_upstream_and_shutdown() {
    let metrics = new_metrics();
    let health = |metrics: &Metrics| metrics.health(&health_input(Monotonic(1)));
    assert!(health(&metrics).1.contains(r#""upstream_status":"unknown""#));
    metrics.store(false);
    let (ok, body) = health(&metrics);
    assert!(ok && body.contains(r#""status":"degraded""#));
    assert!(body.contains(r#""kv_status":"disconnected""#));
    metrics.store(true);
    metrics.upstream(0, false);
    assert!(health(&metrics).1.contains(r#""upstream_status":"degraded""#));
    for _ in 0..5 {
        metrics.upstream(0, false);
    }
    assert!(health(&metrics).1.contains(r#""upstream_status":"unhealthy""#));
    metrics.upstream(0, true);
    assert!(health(&metrics).1.contains(r#""status":"healthy""#));
    metrics.shut_down();
    let (ok, body) = health(&metrics);
    assert!(!ok && body.contains(r#""status":"unhealthy""#));
}

#[test]
fn health_shows_the_worst_breaker() {
    let metrics = new_metrics();
    let shown = |state: &str| {
        let body = metrics.health(&health_input(Monotonic(1))).1;
        assert!(body.contains(&format!(r#""circuit_breaker_state":"{state}""#)), "{body}");
        body.contains(r#""status":"degraded""#)
    };
    assert!(!shown("closed"));
    metrics.breaker(0, BreakerState::HalfOpen);
    assert!(shown("half_open"));
    metrics.breaker(1, BreakerState::Open);
    assert!(shown("open"));
    metrics.breaker(1, BreakerState::Closed);
    assert!(shown("half_open"));
    metrics.breaker(0, BreakerState::Closed);
    assert!(!shown("closed"));
}

#[test]
fn a_resting_model_and_an_exhausted_quota_degrade_the_health() {
    let metrics = new_metrics();
    let now = Monotonic(1_000_000);
    let (ok, body) = metrics.health(&input_with_models(now));
    assert!(ok && body.contains(r#""status":"degraded""#), "{body}");
    assert!(body.contains(r#""circuit_breaker_state":"open""#), "{body}");
    let mut only_quota = input_with_models(now);
    only_quota.upstreams[0].resting.clear();
    let (_, body) = metrics.health(&only_quota);
    assert!(body.contains(r#""status":"degraded""#), "{body}");
    assert!(body.contains(r#""circuit_breaker_state":"closed""#), "{body}");
    assert!(metrics.health(&health_input(now)).1.contains(r#""status":"healthy""#));
}

#[test]
fn detailed_health_is_health_with_checks_and_latency() {
    let metrics = filled();
    let input = input_with_models(Monotonic(1_000_000));
    metrics.settings_reloaded(true, input.clock);
    let (_, plain) = metrics.health(&input);
    let (_, detailed) = metrics.health_detailed(&input);
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
            "memory": { "used_bytes": 3_145_728, "limit_bytes": 67_108_864 },
            "audit_log": { "lines_lost": 4 },
            "project": { "status": "known" },
            "reload": { "succeeded_at": "2024-01-15T10:30:00Z", "failed_at": null },
            "store": { "status": "connected" },
            "endpoints": [
                { "url": "https://one.example", "breaker": "closed", "in_flight": 1 },
                { "url": "https://two.example/base", "breaker": "open", "in_flight": 0 },
            ],
            "resting_models": [{
                "model": "gemini-2.5-pro",
                "method": "generateContent",
                "endpoint": "https://one.example",
                "breaker": "open",
                "until": "2024-01-15T10:30:41Z",
                "seconds_left": 42,
            }],
            "exhausted_quotas": [{
                "model": "gemini-2.5-flash",
                "until": "2024-01-15T11:30:00Z",
                "seconds_left": 3600,
            }],
            "queue": { "in_flight": 2, "in_use": 0,
                "limit": 100, "per_caller": 50,
                "waiting": 0, "timeout_ms": 10000 },
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
fn failed_credentials_are_shown_with_their_reason() {
    let refused = CredentialStatus::Failed("credentials_missing", "sign in".to_owned());
    let mut input = health_input(Monotonic(1));
    (input.upstreams[0].credentials, input.upstreams[0].token) = (refused, TokenExpiry::NoToken);
    let (_, body) = new_metrics().health_detailed(&input);
    assert!(body.contains(r#"{"message":"sign in","status":"credentials_missing"}"#), "{body}");
    assert!(body.contains(r#""expires_at":null"#) && body.contains(r#""status":"degraded""#));
    let text = new_metrics().exposition(&input, ExpositionFormat::Prometheus);
    assert!(text.contains("\ncode_assist_proxy_credentials_ok 0.0\n"), "{text}");
    assert!(!text.contains("\ncode_assist_proxy_token_expiry_timestamp_seconds "), "{text}");
}
