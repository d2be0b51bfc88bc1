//! Refreshes and the token endpoint.

use std::time::Duration;

use code_assist_testkit::client::{get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
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
fn a_refresh_error_that_is_not_googles_own_is_not_final() {
    let mut first = true;
    let script = ScriptedPlatform::new(google_but(move |request| {
        (request.is("/token") && std::mem::replace(&mut first, false))
            .then(|| Reply::status(403, r#"{"error":"temporarily_unavailable"}"#))
    }));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).reason(), "UPSTREAM_UNREACHABLE");
    script.advance(Duration::from_secs(3600));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
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
