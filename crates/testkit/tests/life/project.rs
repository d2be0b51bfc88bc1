//! The project that a request names.

use code_assist_testkit::client::post;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;

use crate::{GENERATE, HELLO, login, run, signed_in};

#[test]
fn a_project_that_upstream_refuses_is_discovered_anew() {
    let mut refused = false;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if !request.is(":generateContent") || std::mem::replace(&mut refused, true) {
            return None;
        }
        Some(Reply::status(
            403,
            r#"{"error":{"code":403,"message":"Permission denied on resource project x.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_INVALID","domain":"googleapis.com"}]}}"#,
        ))
    }));
    let proxy = signed_in(&script, 3000);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 403);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn onboarding_is_polled_to_its_end() {
    let mut polls = 0;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if request.is(":loadCodeAssist") {
            return Some(Reply::ok(r#"{"allowedTiers":[{"id":"free-tier","isDefault":true}]}"#));
        }
        if request.is(":onboardUser") {
            return Some(Reply::ok(r#"{"name":"operations/7","done":false}"#));
        }
        request.is("/v1internal/operations/7").then(|| {
            polls += 1;
            Reply::ok(if polls < 3 {
                r#"{"name":"operations/7"}"#
            } else {
                r#"{"done":true,"response":{"cloudaicompanionProject":{"id":"new-project"}}}"#
            })
        })
    }));
    let proxy = signed_in(&script, 3000);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert!(script.received(":generateContent")[0].body.contains("new-project"));
    assert_eq!(script.received(":onboardUser").len(), 1);
}

#[test]
fn onboarding_that_never_ends_is_given_up_and_not_begun_again_at_once() {
    let script = ScriptedPlatform::new(google_but(|request| {
        if request.is(":loadCodeAssist") {
            return Some(Reply::ok(r#"{"allowedTiers":[{"id":"free-tier","isDefault":true}]}"#));
        }
        (request.is(":onboardUser") || request.is("operations/7"))
            .then(|| Reply::ok(r#"{"name":"operations/7","done":false}"#))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "ACCOUNT_INELIGIBLE"));
    let asked = script.all_received().len();
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 403);
    assert_eq!(script.all_received().len(), asked);
}

#[test]
fn the_error_for_an_ineligible_account_names_every_reason() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":loadCodeAssist").then(|| Reply::ok(r#"{"allowedTiers":[{"id":"standard-tier","userDefinedCloudaicompanionProject":true,"isDefault":true}],"ineligibleTiers":[{"reasonCode":"UNSUPPORTED_CLIENT","reasonMessage":"This client is no longer supported","tierId":"free-tier"}]}"#))
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "ACCOUNT_INELIGIBLE"));
    assert!(answer.text().contains("UNSUPPORTED_CLIENT"));
    assert!(answer.text().contains("This client is no longer supported"));
}

#[test]
fn a_configured_project_is_used_without_asking() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login(3000));
    let proxy = proxy_with(&script, &[("GOOGLE_CLOUD_PROJECT", "mine")]);
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(script.received(":generateContent")[0].body.contains(r#""project":"mine""#));
    assert_eq!(script.received(":loadCodeAssist").len(), 0);
}

#[test]
fn a_large_request_that_waits_for_the_project_leaves_its_permit_to_the_discovery() {
    let large = HELLO.replace("Hello", &"x".repeat(100 << 10));
    let own = format!(r#"{{"model":"m","project":"foreign","request":{large}}}"#);
    for (path, body) in [(GENERATE, large.as_str()), ("/v1internal:generateContent", &own)] {
        let script = ScriptedPlatform::new(google());
        script.set_permits(1);
        let proxy = signed_in(&script, 3000);
        let answer = run(&script, &proxy, post(path, body));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(script.received(":loadCodeAssist").len(), 1, "{path}");
    }
}
