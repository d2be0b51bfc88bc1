//! The memory of exhausted quotas.

use code_assist_core::Platform as _;
use code_assist_testkit::client::{get, post, with};

use crate::fixture::{
    Fixture, GENERATE, HELLO, PRO, STREAM, error, error_body, hello, in_turn, ms, page, reason,
    retry_info,
};

#[test]
fn a_used_up_quota_costs_one_call_and_is_answered_locally_until_its_reset() {
    let details = format!("{},{}", reason("QUOTA_EXHAUSTED"), retry_info("7200s"));
    let body = error_body(429, &details);
    let fixture = Fixture::new(&[], in_turn([error(429, &details)]));
    let first = fixture.ask(post(GENERATE, HELLO));
    assert_eq!((first.status.as_u16(), first.header("retry-after")), (429, "7200"));
    fixture.script.advance(ms(599_500));
    for path in [GENERATE, STREAM] {
        let local = fixture.ask(post(path, HELLO));
        assert_eq!(local.status, 429);
        assert_eq!(local.text(), body, "upstream's own bytes");
        assert_eq!(local.header("retry-after"), "6601", "the time left, rounded up");
    }
    assert_eq!(fixture.calls().len(), 1);
    assert_eq!(fixture.ask(post(PRO, HELLO)).status, 200, "another model has its own quota");
    fixture.script.advance(ms(6_600_500));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200, "after the reset upstream is asked");
    assert_eq!(fixture.metric(r#"retries_total{reason="rate_limited"}"#), 0.0);
}

/// Upstream says that the quota of a model is exhausted for 166 hours, in each of the first `count`
/// answers.
fn exhausted_at_first(count: usize) -> Fixture {
    let details = format!("{},{}", reason("QUOTA_EXHAUSTED"), retry_info("598149s"));
    Fixture::new(&[], in_turn((0..count).map(|_| error(429, &details))))
}

#[test]
fn a_request_with_no_cache_asks_upstream_whether_the_quota_is_back() {
    for (name, value) in [("cache-control", "no-cache"), ("pragma", "no-cache")] {
        for path in [GENERATE, STREAM] {
            let fixture = exhausted_at_first(2);
            assert_eq!(fixture.ask(post(path, HELLO)).status, 429);
            assert_eq!(fixture.ask(post(path, HELLO)).status, 429);
            assert_eq!(fixture.ask(with(post(path, HELLO), name, value)).status, 429);
            assert_eq!(fixture.calls().len(), 2, "the one without the header was not sent");
            assert_eq!(fixture.ask(with(post(path, HELLO), name, value)).status, 200);
            assert_eq!(fixture.ask(post(path, HELLO)).status, 200, "the memory has ended");
            assert_eq!(fixture.calls().len(), 4);
        }
    }
}

#[test]
fn one_probe_in_ten_minutes_asks_upstream_whether_the_quota_is_back() {
    let fixture = exhausted_at_first(2);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    fixture.script.advance(ms(600_000));
    for _ in 0..3 {
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    }
    assert_eq!(fixture.calls().len(), 2, "one probe");
    fixture.script.advance(ms(599_000));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    fixture.script.advance(ms(1000));
    for _ in 0..3 {
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    }
}

#[test]
fn a_passed_on_request_that_is_served_ends_the_memory_of_an_exhausted_quota() {
    let fixture = exhausted_at_first(1);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    let body = format!(r#"{{"model":"gemini-2.5-flash","project":"p","request":{HELLO}}}"#);
    assert_eq!(fixture.ask(post("/v1internal:generateContent", &body)).status, 200);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_probe_of_a_quota_is_not_used_up_by_a_request_that_is_refused() {
    let details = format!("{},{}", reason("QUOTA_EXHAUSTED"), retry_info("598149s"));
    let page = page(503);
    let replies = [error(429, &details)].into_iter().chain((0..5).map(move |_| page.clone()));
    let fixture = Fixture::new(&[("MAX_RETRY_ATTEMPTS", "0")], in_turn(replies));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    fixture.script.advance(ms(599_000));
    for n in 0..5 {
        fixture.ask(post(PRO, &hello(n)));
    }
    fixture.script.advance(ms(1000));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).reason(), "CIRCUIT_OPEN");
    fixture.script.advance(ms(60_000));
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
}

#[test]
fn the_operator_can_end_the_memory_of_exhausted_quotas() {
    let fixture = exhausted_at_first(1);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 429);
    fixture.proxy.retry_quotas(&fixture.script);
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
}

#[test]
fn health_and_metrics_name_the_model_whose_quota_is_exhausted_and_the_reset() {
    let fixture = exhausted_at_first(1);
    assert!(fixture.ask(get("/health")).text().contains(r#""status":"healthy""#));
    fixture.ask(post(GENERATE, HELLO));
    fixture.script.advance(ms(149_000));
    assert!(fixture.ask(get("/health")).text().contains(r#""status":"degraded""#));
    let detailed: serde_json::Value =
        serde_json::from_str(&fixture.ask(get("/health/detailed")).text()).unwrap();
    let quota = &detailed["checks"]["exhausted_quotas"][0];
    assert_eq!(
        (&quota["model"], &quota["seconds_left"]),
        (&"gemini-2.5-flash".into(), &598_000.into())
    );
    let reset = fixture.metric(r#"model_quota_reset_timestamp_seconds{model="gemini-2.5-flash"}"#);
    let clock = fixture.script.wall_clock().0 as f64 / 1000.0;
    assert!((reset - clock - 598_000.0).abs() < 0.01, "{reset} {clock}");
    fixture.ask(with(post(GENERATE, HELLO), "cache-control", "no-cache"));
    assert!(fixture.ask(get("/health")).text().contains(r#""status":"healthy""#));
}
