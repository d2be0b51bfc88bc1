//! How often the core asks the platform and its policies during one request. The clock and the
//! breakers are cheap to ask, but not free: a lock for the breakers, a call into JavaScript for the
//! Worker's clock.

use std::time::Duration;

use code_assist_core::Proxy;
use code_assist_testkit::client::{ask, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

#[test]
fn a_warm_unary_request_reads_the_monotonic_clock_at_most_9_times() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, &[]);
    assert_eq!(script.run(&proxy, ask(&proxy, &script, post(GENERATE, HELLO))).status, 200);
    let before = script.clock_reads();
    let answer = script.run(&proxy, ask(&proxy, &script, post(GENERATE, HELLO)));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let reads = script.clock_reads() - before;
    assert!((1..=9).contains(&reads), "{reads} reads of the clock");
}

#[test]
fn a_try_asks_its_endpoints_breaker_for_one_decision() {
    let mut broken = 5;
    let script = ScriptedPlatform::new(google_but(move |request| {
        let fails = request.is(":generateContent") && broken > 0;
        fails.then(|| {
            broken -= 1;
            Reply::status(500, "<html>")
        })
    }));
    let proxy = signed_in(&script, &[("MAX_RETRY_ATTEMPTS", "0")]);
    let status = || script.run(&proxy, ask(&proxy, &script, post(GENERATE, HELLO))).status;
    for _ in 0..5 {
        assert_eq!(status(), 500);
    }
    assert_eq!(status(), 503, "the breaker is open");
    // A half-open breaker lets one probe through and rejects every other call: a try that asked
    // twice would reject itself.
    script.advance(Duration::from_secs(60));
    assert_eq!(status(), 200);
    assert_eq!(script.received(":generateContent").len(), 6);
}

fn signed_in(script: &ScriptedPlatform, settings: &[(&str, &str)]) -> Proxy {
    script.write_login(login("ya29.warm", "1//refresh", 3000));
    proxy_with(script, settings)
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
