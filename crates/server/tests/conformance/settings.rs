//! Settings that every build has.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use code_assist_harness::{Connection, GoogleEmulator, ProxyBuilder, ScriptedUpstream, get, post};
use serde_json::{Value, json};

use crate::{GENERATE, HELLO};

#[test]
fn api_version_aliases_and_oauth_client_follow_their_settings() {
    let upstream = ScriptedUpstream::answering("200 OK", "", "{\"response\":{}}");
    let proxy = ProxyBuilder::for_upstream(&upstream)
        .env("CODE_ASSIST_API_VERSION", "v2internal")
        .env("MODEL_ALIASES", "mine=gemini-2.5-pro,gemini-2.5-flash=gemini-3-flash")
        .start();
    for (requested, sent) in [("mine", "gemini-2.5-pro"), ("gemini-2.5-flash", "gemini-3-flash")] {
        let answer = proxy.post(&format!("/v1beta/models/{requested}:generateContent"), HELLO);
        assert_eq!(answer.header("x-proxy-model"), sent);
        let received = upstream.received().pop().unwrap();
        assert!(received.head.starts_with("POST /v2internal:generateContent HTTP/1.1"));
        assert!(received.text().starts_with(&format!(r#"{{"model":"{sent}","#)));
    }

    let google = GoogleEmulator::start();
    google.set_state(json!({"client_id": "own-client", "client_secret": "own-secret"}));
    let proxy = ProxyBuilder::for_emulator(&google)
        .credentials(&google.expired_credentials())
        .env("OAUTH_CLIENT_ID", "own-client")
        .env("OAUTH_CLIENT_SECRET", "own-secret")
        .start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
}

#[test]
fn a_token_is_renewed_as_early_as_configured() {
    for (minutes, refreshes) in [("5", 0), ("15", 1)] {
        let google = GoogleEmulator::start();
        let mut login: Value = serde_json::from_str(&google.credentials()).unwrap();
        login["expiry_date"] = json!((now() + 600) * 1000);
        let proxy = ProxyBuilder::for_emulator(&google)
            .credentials(&login.to_string())
            .env("VALIDATE_TOKENS_BEFORE_USE", "false")
            .env("TOKEN_REFRESH_BUFFER_MINUTES", minutes)
            .start();
        for _ in 0..3 {
            assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(google.count("token"), refreshes, "{minutes} minutes before the end");
    }
}

#[test]
fn tokens_are_validated_at_the_configured_url() {
    let google = GoogleEmulator::start();
    let tokeninfo = ScriptedUpstream::answering("200 OK", "", r#"{"expires_in":"3000"}"#);
    let address = format!("{}/some/info", tokeninfo.url());
    let proxy = ProxyBuilder::for_emulator(&google).env("OAUTH_TOKENINFO_URL", address).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(google.count("tokeninfo"), 0);
    let received = tokeninfo.received();
    assert_eq!(received.len(), 1);
    assert!(received[0].head.contains(" /some/info"), "{}", received[0].head);
}

#[test]
fn the_model_list_is_cached_unless_disabled() {
    for (keep, lists) in [("true", 1), ("false", 3)] {
        let google = GoogleEmulator::start();
        let proxy =
            ProxyBuilder::for_emulator(&google).env("ENABLE_MODEL_NAME_CACHE", keep).start();
        for _ in 0..3 {
            assert_eq!(proxy.get("/v1beta/models").status(), 200);
        }
        assert_eq!(google.count("retrieveUserQuota"), lists, "ENABLE_MODEL_NAME_CACHE={keep}");
    }
}

#[test]
fn retry_delays_follow_their_settings() {
    let broken = r#"{"error":{"code":500,"message":"x","status":"INTERNAL"}}"#;
    let upstream = ScriptedUpstream::answering("500 Internal Server Error", "", broken);
    let took = |base: &str, most: &str| {
        let proxy = ProxyBuilder::for_upstream(&upstream)
            .env("MAX_RETRY_ATTEMPTS", "4")
            .env("RETRY_BASE_DELAY_MS", base)
            .env("RETRY_MAX_DELAY_MS", most)
            .start();
        let started = Instant::now();
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 500);
        started.elapsed()
    };
    let none = took("0", "30000");
    assert!(none < Duration::from_millis(500), "{none:?} without a pause");
    let capped = took("60000", "50");
    assert!(capped < Duration::from_millis(700), "{capped:?} with at most 50 ms four times");
    // Four draws between 0 and 1 s: less than 0.1 s in all once in 240,000 runs.
    let some = took("1000", "1000");
    assert!(some > Duration::from_millis(100), "{some:?} with up to a second four times");
}

#[test]
fn equal_requests_are_coalesced_within_the_configured_window() {
    let whole = r#"{"response":{"candidates":[{"content":{"parts":[{"text":"Hi"}]},"finishReason":"STOP"}]}}"#;
    let upstream = ScriptedUpstream::answering("200 OK", "", whole);
    let proxy = ProxyBuilder::for_upstream(&upstream)
        .env("RESPONSE_CACHE_TTL_SECONDS", "0")
        .env("REQUEST_DEDUP_WINDOW_MS", "500")
        .start();
    let mut connection = Connection::open(proxy.address());
    let certain = HELLO.replace("}]}]}", "}]}],\"generationConfig\":{\"temperature\":0}}");
    let mut ask = || connection.send(post(GENERATE, &[], &certain)).header("x-cache").to_owned();
    assert_eq!([ask(), ask(), ask()], ["MISS", "COALESCED", "COALESCED"]);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(ask(), "MISS");
    assert_eq!(upstream.received().len(), 2);
    assert_eq!(proxy.send(get("/health", &[])).status(), 200);
}

#[test]
fn nothing_below_the_configured_level_is_logged() {
    let google = GoogleEmulator::start();
    let quiet = ProxyBuilder::for_emulator(&google).env("LOG_LEVEL", "error").start();
    assert_eq!(quiet.post(GENERATE, HELLO).status(), 200);
    let usual = ProxyBuilder::for_emulator(&google).start();
    assert_eq!(usual.post(GENERATE, HELLO).status(), 200);
    usual.await_request_lines(1);
    assert!(quiet.request_lines().is_empty(), "{:?}", quiet.request_lines());
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}
