//! Metrics and health with several upstreams, two of which have the same endpoint.

use super::*;
use crate::failure::FailoverReason;
use crate::job::UpstreamId;

const URL: &str = "https://generativelanguage.example";

fn two() -> Metrics {
    let (one, other): (Arc<str>, Arc<str>) = ("mine".into(), "spare".into());
    let urls = [URL.to_owned()];
    Metrics::new([(&one, &urls[..]), (&other, &urls[..])], NOON, Monotonic(0))
}

/// The first upstream is well. The second one cannot serve one model, and has used up the quota of another
/// one.
fn input_of_two(fails_over: bool) -> HealthInput {
    let unable = InabilityStatus {
        reason: "not-found",
        error: "upstream_error",
        model: Some(("gemini-9".to_owned(), "generateContent")),
        lasts: Duration::from_secs(60),
    };
    let exhausted = vec![("gemini-2.5-pro".to_owned(), NOON + Duration::from_secs(3600))];
    let spare = UpstreamInput { unable: vec![unable], exhausted, ..upstream("spare") };
    let upstreams = vec![upstream("mine"), spare];
    HealthInput { upstreams, fails_over, ..health_input(Monotonic(1_000_000)) }
}

fn is_degraded(metrics: &Metrics, input: &HealthInput) -> bool {
    metrics.health(input).1.contains(r#""status":"degraded""#)
}

#[test]
fn each_sample_of_an_upstream_names_it() {
    let metrics = two();
    metrics.breaker(1, BreakerState::Open);
    metrics.endpoint_in_flight(1, true);
    metrics.upstream(1, false);
    metrics.failovers.add(UpstreamId(0), UpstreamId(1), FailoverReason::Quota);
    let mut of_spare = record(GENERATE, "gemini-2.5-pro", 200);
    of_spare.upstream_name = Some("spare");
    of_spare.usage.prompt = 7;
    end(&metrics, &of_spare);
    end(&metrics, &record(GENERATE, "", 401));
    let text = metrics.exposition(&input_of_two(true), ExpositionFormat::Prometheus);
    for line in [
        r#"requests_total{method="generateContent",model="gemini-2.5-pro",status="2xx",upstream="spare"} 1"#,
        r#"requests_total{method="generateContent",model="none",status="4xx",upstream="none"} 1"#,
        r#"tokens_total{model="gemini-2.5-pro",kind="prompt",upstream="spare"} 7"#,
        r#"breaker_state{endpoint="https://generativelanguage.example",state="open",upstream="mine"} 0.0"#,
        r#"breaker_state{endpoint="https://generativelanguage.example",state="open",upstream="spare"} 1.0"#,
        r#"upstream_requests_in_flight{endpoint="https://generativelanguage.example",upstream="spare"} 1.0"#,
        r#"upstream_status{status="unknown",upstream="mine"} 1.0"#,
        r#"upstream_status{status="degraded",upstream="spare"} 1.0"#,
        r#"failovers_total{from="mine",to="spare",reason="quota"} 1"#,
        r#"failovers_total{from="mine",to="spare",reason="account"} 0"#,
        r#"upstream_unable{reason="not-found",scope="model",upstream="spare"} 1.0"#,
        r#"model_quota_reset_timestamp_seconds{model="gemini-2.5-pro",upstream="spare"} 1705318200.0"#,
        r#"credentials_ok{upstream="mine"} 1.0"#,
        r#"token_expiry_timestamp_seconds{upstream="spare"} 1705316400.0"#,
    ] {
        assert!(text.contains(&format!("code_assist_proxy_{line}\n")), "no {line} in\n{text}");
    }
    let mut series: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect();
    let all = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), all, "each series is written once");
}

#[test]
fn without_failover_the_first_upstream_decides_and_with_it_the_worst_one() {
    let metrics = two();
    assert!(!is_degraded(&metrics, &input_of_two(false)));
    assert!(is_degraded(&metrics, &input_of_two(true)), "a quota of the second one is used up");
    let mut well = input_of_two(true);
    well.upstreams[1].exhausted.clear();
    assert!(!is_degraded(&metrics, &well), "a client can ask for a model that does not exist");
    well.upstreams[1].unable[0].model = None;
    assert!(is_degraded(&metrics, &well), "the account of the second one is refused");

    metrics.breaker(1, BreakerState::Open);
    metrics.upstream(0, true);
    metrics.upstream(1, false);
    let body = |fails_over| metrics.health(&input_of_two(fails_over)).1;
    let (alone, both) = (body(false), body(true));
    for expected in [r#""circuit_breaker_state":"closed""#, r#""upstream_status":"healthy""#] {
        assert!(alone.contains(expected), "{alone}");
    }
    for expected in [r#""circuit_breaker_state":"open""#, r#""upstream_status":"degraded""#] {
        assert!(both.contains(expected), "{both}");
    }
}

#[test]
fn detailed_health_lists_every_upstream() {
    let (_, body) = two().health_detailed(&input_of_two(true));
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let upstreams = &body["checks"]["upstreams"];
    assert_eq!(
        upstreams[1],
        serde_json::json!({
            "name": "spare", "provider": "code-assist", "status": "unknown",
            "credentials": { "status": "ok" },
            "token": {
                "status": "alive",
                "expires_at": "2024-01-15T11:00:00Z",
                "expires_in_seconds": 1800,
            },
            "project": { "status": "known", "location": null },
            "endpoints": [{ "url": URL, "breaker": "closed", "in_flight": 0 }],
            "resting_models": [],
            "exhausted_quotas": [{
                "model": "gemini-2.5-pro", "until": "2024-01-15T11:30:00Z", "seconds_left": 3600,
            }],
            "unable": [{
                "reason": "not-found", "error": "upstream_error", "model": "gemini-9",
                "method": "generateContent", "until": "2024-01-15T10:31:00Z", "seconds_left": 60,
            }],
        })
    );
    assert_eq!(upstreams[0]["unable"], serde_json::json!([]));
    assert_eq!(body["checks"]["endpoints"][1]["upstream"], "spare");
    assert_eq!(body["checks"]["exhausted_quotas"][0]["upstream"], "spare");
}
