//! Refreshes and the token endpoint.

use std::time::Duration;

use code_assist_core::{Monotonic, Platform, SendError};
use code_assist_testkit::client::{ask, get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Piece, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

use crate::{GENERATE, HELLO, run};

#[test]
fn only_clients_requests_count_for_the_token_hit_rate_and_a_cold_one_is_no_hit() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    let rate = || run(&script, &proxy, get("/health")).text();
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(rate().contains(r#""cache_hit_rate":0.0"#), "{}", rate());
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(rate().contains(r#""cache_hit_rate":0.5"#), "{}", rate());
}

#[test]
fn a_token_endpoint_that_fails_for_a_moment_costs_no_request_its_answer() {
    let cut = Piece::Break("reset".to_owned());
    for (what, failure) in [
        ("500", Reply::status(500, "{}")),
        ("502", Reply::status(502, "<html>Bad Gateway</html>")),
        ("503", Reply::status(503, "")),
        ("504", Reply::status(504, "")),
        ("429", Reply::status(429, r#"{"error":"rate_limit_exceeded"}"#)),
        ("429 with a delay", Reply::status(429, "{}").with_header("retry-after", "1")),
        ("no connection", Reply::unreachable(SendError::Connect("refused".to_owned()))),
        ("closed", Reply::unreachable(SendError::Disconnected("closed".to_owned()))),
        ("cut", Reply::ok(r#"{"access_to"#).then([cut])),
        ("a web page", Reply::ok("<html>Sign in to the network</html>")),
        ("no token", Reply::ok("{}")),
        (
            "an error of another program",
            Reply::status(403, r#"{"error":"temporarily_unavailable"}"#),
        ),
    ] {
        for failures in [1, 2] {
            let script = fails(failures, failure.clone());
            script.write_login(login("old", "A", -10));
            let proxy = proxy_with(&script, &[]);
            let answer = run(&script, &proxy, post(GENERATE, HELLO));
            assert_eq!(answer.status, 200, "{what}: {}", answer.text());
            assert_eq!(script.received("/token").len(), failures + 1, "{what}");
            assert!(script.now().since(Monotonic(0)) < Duration::from_secs(3), "{what}");
        }
    }
}

#[test]
fn after_three_failures_requests_are_refused_with_the_time_of_the_next_try() {
    // With a project, and with one that still has to be discovered.
    for settings in [&[("GEMINI_PROJECT_ID", "p")][..], &[]] {
        let script = fails(3, Reply::status(502, "<html>Bad Gateway</html>"));
        script.write_login(login("old", "A", -10));
        let proxy = proxy_with(&script, settings);
        let refused = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!((refused.status.as_u16(), &*refused.reason()), (503, "UPSTREAM_UNREACHABLE"));
        assert_eq!(refused.header("retry-after"), "1");
        assert!(refused.text().contains("502 Bad Gateway"), "{}", refused.text());
        assert_eq!(script.received("/token").len(), 3);
        let metrics = run(&script, &proxy, get("/metrics")).text();
        assert!(metrics.contains(r#"token_refreshes_total{result="failed"} 1"#), "{metrics}");

        script.advance(Duration::from_millis(400));
        let refused = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!((refused.status.as_u16(), &*refused.reason()), (503, "UPSTREAM_UNREACHABLE"));
        let text = refused.text();
        assert!(text.contains(r#""retryDelay":"0.5"#), "what is left of a second: {text}");
        assert_eq!(script.received("/token").len(), 3, "nothing is asked in the pause");

        script.advance(Duration::from_millis(601));
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    }
}

#[test]
fn a_delay_that_the_token_endpoint_states_is_kept() {
    let busy = |seconds| Reply::status(429, "{}").with_header("retry-after", seconds);
    let script = fails(1, busy("2"));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    let tries = script.received("/token");
    assert_eq!(tries[1].at.since(tries[0].at), Duration::from_secs(2));

    let script = fails(1, busy("20"));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[]);
    let refused = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "20"));
    script.advance(Duration::from_secs(19));
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(script.received("/token").len(), 1);
    script.advance(Duration::from_secs(1));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_token_endpoint_that_is_silent_is_asked_once() {
    let script = fails(1, Reply::ok("{}").after(Duration::from_secs(60)));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[]);
    let refused = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "1"));
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn while_the_old_token_is_valid_no_request_waits_for_the_tries() {
    let script = fails(3, Reply::status(503, ""));
    script.write_login(login("living", "A", 200));
    let proxy = proxy_with(&script, &[("VALIDATE_TOKENS_BEFORE_USE", "false")]);
    let (answer, waited) = script.run(&proxy, async {
        let answer = ask(&proxy, &script, post(GENERATE, HELLO)).await;
        (answer, script.now().since(Monotonic(0)))
    });
    assert_eq!(answer.status, 200);
    assert!(waited < Duration::from_millis(200), "{waited:?}");
    assert_eq!(script.received("/token").len(), 3);
}

#[test]
fn a_token_endpoint_that_issues_expired_tokens_is_asked_rarely() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| Reply::ok(r#"{"access_token":"n","expires_in":0}"#))
    }));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
    for _ in 0..30 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.advance(Duration::from_secs(1));
    }
    assert_eq!(script.received("/token").len(), 5, "after 0, 1, 3, 7 and 15 seconds");
}

/// Google, whose token endpoint fails so often and then works.
fn fails(times: usize, failure: Reply) -> ScriptedPlatform {
    let mut tries = 0;
    ScriptedPlatform::new(google_but(move |request| {
        if !request.is("/token") {
            return None;
        }
        tries += 1;
        (tries <= times).then(|| failure.clone())
    }))
}
