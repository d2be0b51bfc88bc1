//! Faults of the token endpoint, of credentials and of the project's discovery.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_emulator::Options;
use code_assist_harness::samples::{GENERATE, HELLO, STREAM};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, Response, TestProxy, parse_events, post};
use serde_json::json;

use crate::network::nowhere;
use crate::tries::together;

pub(crate) fn token_endpoint_down() -> Vec<TestProxy> {
    let down = nowhere();
    let dead =
        TestProxy::with_expired_token(GoogleEmulator::start(), &[("OAUTH_TOKEN_URL", &down)]);
    assert_refused_for_a_while(&dead.post(GENERATE, HELLO));
    assert_eq!(dead.google().count("generateContent"), 0);
    let alive = TestProxy::for_emulator(GoogleEmulator::start(), &[("OAUTH_TOKEN_URL", &down)]);
    assert_eq!(alive.post(GENERATE, HELLO).status(), 200, "a living token is used on");
    vec![dead, alive]
}

pub(crate) fn token_endpoint_slow() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_delay_ms": 1000}));
    let proxy = TestProxy::with_expired_token(google, &[]);
    let answers = together(&proxy, 20, HELLO);
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert!(answers.iter().any(|answer| answer.head.server_timing("auth") >= 900.0));
    assert_eq!(proxy.google().count("token"), 1);
    assert_eq!(proxy.google().count("generateContent"), 20);
    vec![proxy]
}

pub(crate) fn token_endpoint_500() -> Vec<TestProxy> {
    comes_back(json!({"token_status": 500}))
}

pub(crate) fn token_endpoint_garbage() -> Vec<TestProxy> {
    comes_back(json!({"token_status": 200, "token_body": "<html>Sign in to the network</html>"}))
}

pub(crate) fn token_endpoint_fails_once() -> Vec<TestProxy> {
    let failures = [
        json!({"status": 502, "body": "<html>Bad Gateway</html>"}),
        json!({"status": 429, "headers": {"retry-after": "1"}}),
        json!({"close_before_head": true}),
        json!({"status": 200, "body": "<html>Sign in to the network</html>"}),
    ];
    let proxies = failures.map(|mut failure| {
        let google = GoogleEmulator::start();
        failure["match"] = json!({"rpc": "token"});
        google.add_rules(failure.clone());
        let proxy = TestProxy::with_expired_token(google, &[]);
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{failure}: {}", answer.text());
        assert_eq!(proxy.google().received("token").len(), 2, "{failure}");
        proxy
    });
    proxies.into()
}

pub(crate) fn token_endpoint_busy() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let busy = json!({"match": {"rpc": "token"}, "status": 429, "headers": {"retry-after": "30"}});
    google.add_rules(busy);
    let proxy = TestProxy::with_expired_token(google, &[]);
    for _ in 0..3 {
        let after = assert_refused_for_a_while(&proxy.post(GENERATE, HELLO));
        assert!((20..=30).contains(&after), "{after}");
    }
    assert_eq!(proxy.google().received("token").len(), 1);
    vec![proxy]
}

pub(crate) fn invalid_grant() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials());
    google.set_state(json!({"revoke_refresh": true}));
    let proxy = TestProxy::start(setup, &[]).with(google);
    for _ in 0..5 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
        assert!(answer.text().contains("Sign in again"), "{}", answer.text());
    }
    assert_eq!(proxy.google().count("token"), 1);
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy]
}

pub(crate) fn revoked_mid_stream() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.set_state(json!({"stream_events": 4, "stream_interval_ms": 200}));
    let proxy = TestProxy::for_emulator(google, &[]);
    let mut stream = proxy.connect();
    stream.write(post(STREAM, &[], HELLO));
    let head = stream.head();
    assert_eq!(head.status, 200);
    proxy.google().set_state(json!({"expire_tokens": true, "revoke_refresh": true}));
    assert_eq!(
        proxy.post(GENERATE, HELLO).status_and_reason(),
        (503, "CREDENTIALS_REJECTED".into())
    );
    let all = parse_events(&String::from_utf8(stream.body(&head)).expect("text"));
    assert!(all.iter().all(|event| event.get("error").is_none()), "{all:?}");
    let ends = |event: &serde_json::Value| event["candidates"][0]["finishReason"] == "STOP";
    assert!(all.iter().any(ends), "{all:?}");
    let record = &proxy.google().received("streamGenerateContent")[0];
    assert_eq!(record["cancelled"], false);
    vec![proxy]
}

pub(crate) fn credentials_unreadable() -> Vec<TestProxy> {
    let path = "/home/ada/.gemini/oauth_creds.json";
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[("GCP_SERVICE_ACCOUNT", path)]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    let message = answer.error()["message"].to_string();
    assert!(message.contains("GCP_SERVICE_ACCOUNT cannot be read: it holds the path"), "{message}");
    assert!(!message.contains("does not accept"), "{message}");
    assert!(proxy.google().log().is_empty());
    vec![proxy]
}

pub(crate) fn token_given_ends() -> Vec<TestProxy> {
    let settings = [
        ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.emulator-access"),
        ("GEMINI_PROJECT_ID", "emulator-project"),
    ];
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &settings);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    proxy.google().set_state(json!({"expire_tokens": true}));
    assert_eq!(
        proxy.post(GENERATE, HELLO).status_and_reason(),
        (503, "CREDENTIALS_REJECTED".into())
    );
    assert_eq!(proxy.google().count("token"), 0);
    vec![proxy]
}

pub(crate) fn onboarding_stuck() -> Vec<TestProxy> {
    let google = GoogleEmulator::start_with(Options { onboarded: false, ..Options::default() });
    google.set_state(json!({"onboarding_polls": 2}));
    // The onboarding is pending for two polls; the interval between polls grows.
    let pending = r#"{"name":"operations/onboarding","done":false}"#;
    google.add_rules(json!({"match": {"rpc": "onboardUser"}, "status": 200, "body": pending}));
    google.add_rules(
        json!({"match": {"rpc": "operations"}, "times": 2, "status": 200, "body": pending}),
    );
    let done = r#"{"name":"operations/onboarding","done":true,"response":{"cloudaicompanionProject":{"id":"emulator-project"}}}"#;
    google.add_rules(json!({"match": {"rpc": "operations"}, "status": 200, "body": done}));
    let proxy = TestProxy::for_emulator(google, &[]);
    // The emulator does not know the operation that the script has invented.
    proxy.google().set_state(json!({"account": "onboarded"}));
    proxy.google().add_rules(json!({"match": {"rpc": "loadCodeAssist"}, "status": 200,
        "body": r#"{"allowedTiers":[{"id":"standard-tier","isDefault":true}]}"#}));
    let started = Instant::now();
    let answers = together(&proxy, 5, HELLO);
    assert!(answers.iter().all(|answer| answer.status() == 200), "{}", answers[0].text());
    // The polls come after 0.5, 1 and 2 seconds.
    assert!(started.elapsed() > Duration::from_millis(3400), "{:?}", started.elapsed());
    assert_eq!(proxy.google().count("onboardUser"), 1);
    assert_eq!(proxy.google().count("operations"), 3);
    vec![proxy]
}

pub(crate) fn discovery_down() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "loadCodeAssist"}, "times": 3, "status": 503}));
    let proxy = TestProxy::for_emulator(google, &[]);
    for _ in 0..5 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 503);
    }
    assert_eq!(proxy.google().count("loadCodeAssist"), 3, "a failure is remembered for a while");
    thread::sleep(Duration::from_millis(3100));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.google().count("generateContent"), 1);
    vec![proxy]
}

/// A token endpoint in this state, which recovers later.
fn comes_back(trouble: serde_json::Value) -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.set_state(trouble);
    let proxy = TestProxy::with_expired_token(google, &[]);
    for _ in 0..10 {
        let after = assert_refused_for_a_while(&proxy.post(GENERATE, HELLO));
        assert!((1..=2).contains(&after), "{after}");
    }
    let tries = proxy.google().received("token").len();
    assert!((3..=6).contains(&tries), "{tries}");
    proxy.google().set_state(json!({"token_status": null, "token_body": null}));
    proxy.until("200 again", |proxy| proxy.post(GENERATE, HELLO).status() == 200);
    vec![proxy]
}

/// Asserts that the token endpoint's failure is the reason, and returns the `Retry-After`.
#[track_caller]
fn assert_refused_for_a_while(answer: &Response) -> u64 {
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    answer.header("retry-after").parse().expect("seconds")
}
