//! Credentials over time: files that change in the middle of things, accounts that follow each
//! other, tokens that die, endpoints that say strange things.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use code_assist_core::payload::Payload;
use code_assist_core::platform::Platform;
use code_assist_core::proxy::Proxy;
use code_assist_core::settings::{Layer, Settings, Source};
use code_assist_testkit::client::{Answer, all, ask, get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Received, Reply, Script};
use http::Request;

#[test]
fn what_somebody_in_between_says_to_a_refresh_is_not_final() {
    let mut first = true;
    let script = Script::new(google_but(move |request| {
        (request.is("/token") && std::mem::replace(&mut first, false))
            .then(|| Reply::status(403, r#"{"error":"temporarily_unavailable"}"#))
    }));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).reason(), "UPSTREAM_UNREACHABLE");
    script.pass(Duration::from_secs(3600));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_token_endpoint_that_issues_dead_tokens_is_not_hammered() {
    let script = Script::new(google_but(|request| {
        request.is("/token").then(|| Reply::ok(r#"{"access_token":"n","expires_in":0}"#))
    }));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
    for _ in 0..30 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.pass(Duration::from_secs(1));
    }
    assert_eq!(script.received("/token").len(), 5, "after 0, 1, 3, 7 and 15 seconds");
}

#[test]
fn an_access_token_that_no_header_may_carry_is_told() {
    let script = Script::new(google());
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "two\nlines"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    assert!(answer.text().contains("no header"), "{}", answer.text());
}

/// A proxy with these settings on top of the test's own.
fn proxy_with(script: &Script, more: &[(&str, &str)]) -> Proxy {
    let ours = [
        ("CODE_ASSIST_ENDPOINT", "http://127.0.0.1:1"),
        ("OAUTH_TOKEN_URL", "http://127.0.0.1:2/token"),
        ("OAUTH_TOKENINFO_URL", "http://127.0.0.1:2/tokeninfo"),
        ("HOME", "/home/test"),
    ];
    let lookup = |name: &str| {
        let found = more.iter().chain(&ours).find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let layers = [Layer { source: Source::Env, lookup: &lookup }];
    let (settings, _) = Settings::read(&layers).expect("the test's settings are good");
    Proxy::new(settings, script)
}

/// An `oauth_creds.json` whose access token lives for so many seconds.
fn login(access: &str, refresh: &str, seconds: i64) -> String {
    let expiry = 1_750_000_000_000_i64 + seconds * 1000;
    format!(
        r#"{{"access_token":"{access}","refresh_token":"{refresh}","expiry_date":{expiry},"token_type":"Bearer"}}"#
    )
}

fn run(script: &Script, proxy: &Proxy, request: Request<Payload>) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
