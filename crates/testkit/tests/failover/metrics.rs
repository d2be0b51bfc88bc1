//! The counts of failovers.

use code_assist_testkit::client::get;

use crate::fixture::{Fixture, generate, on, quota};

#[test]
fn each_request_that_moves_counts_by_both_upstreams_and_the_class_of_the_failure() {
    let fixture = Fixture::new(&["code-assist", "gemini-api", "vertex"]);
    fixture.answers("code-assist", quota());
    for number in 0..3 {
        fixture.ask(generate(&format!("{number}")));
    }
    let metrics = fixture.ask(get("/metrics")).text();
    let line =
        r#"code_assist_proxy_failovers_total{from="code-assist",to="gemini-api",reason="quota"} 3"#;
    assert!(metrics.contains(line), "{metrics}");
    let counted = metrics.lines().filter(|line| line.contains("_failovers_total{"));
    assert_eq!(counted.filter(|line| !line.ends_with(" 0")).count(), 1, "{metrics}");
}

#[test]
fn an_answer_from_the_cache_counts_as_no_failover() {
    let fixture = Fixture::with(&["gemini-api", "second"], |settings| {
        settings.failover = on();
    });
    let repeatable = || {
        code_assist_testkit::client::post(
            "/v1beta/models/gemini-2.5-flash:countTokens",
            r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#,
        )
    };
    fixture.ask(repeatable());
    let denied = crate::fixture::google_error(403, "PERMISSION_DENIED", "No.", "SERVICE_DISABLED");
    fixture.answers("gemini-api", denied);
    fixture.generate();
    let hit = fixture.ask(repeatable());
    assert_eq!((hit.header("x-cache"), hit.header("x-proxy-failover")), ("HIT", ""));
    assert_eq!(hit.header("x-proxy-upstream"), "gemini-api");
    let metrics = fixture.ask(get("/metrics")).text();
    assert!(metrics.contains(r#"to="second",reason="account"} 1"#), "{metrics}");
}
