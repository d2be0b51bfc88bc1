//! The project and its discovery.

use std::time::Duration;

use code_assist_core::{Monotonic, Platform as _, SendError};
use code_assist_testkit::client::post;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Piece, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

use crate::{Event, GENERATE, HELLO, hello, play, run};

#[test]
fn a_missing_licence_does_not_cause_a_discovery_for_each_request() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":generateContent").then(|| refused_project("SUBSCRIPTION_REQUIRED"))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    for _ in 0..10 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 403);
        script.advance(Duration::from_secs(1));
    }
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn a_late_failure_with_the_old_project_does_not_invalidate_the_new_one() {
    let mut discoveries = 0;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if request.is(":loadCodeAssist") {
            discoveries += 1;
            return Some(Reply::ok(format!(
                r#"{{"currentTier":{{"id":"s"}},"cloudaicompanionProject":"p{discoveries}"}}"#
            )));
        }
        let old = request.is(":generateContent") && request.body.contains(r#""project":"p1""#);
        let slow = if request.body.contains("slow") { 2000 } else { 10 };
        old.then(|| refused_project("CONSUMER_INVALID").after(Duration::from_millis(slow)))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    let slow = Event::Post(GENERATE, r#"{"contents":"slow"}"#);
    play(&script, &proxy, [(0, hello()), (0, slow), (1000, hello())]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn a_passed_through_call_with_a_refused_project_does_not_invalidate_the_proxys_own() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is(":generateContent") && request.body.contains("mine"))
            .then(|| refused_project("CONSUMER_INVALID"))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[("CODE_ASSIST_PROTOCOL", "all")]);
    for _ in 0..5 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        let passed_on = post("/v1internal:generateContent", r#"{"project":"mine"}"#);
        assert_eq!(run(&script, &proxy, passed_on).status, 403);
    }
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn a_discovery_whose_connection_breaks_is_made_again_since_it_changes_nothing() {
    let failing = |reply: fn() -> Reply, times: usize| {
        let left = std::cell::Cell::new(times);
        let script = ScriptedPlatform::new(google_but(move |request| {
            let breaks = request.is(":loadCodeAssist") && left.get() > 0;
            left.set(left.get() - usize::from(breaks));
            breaks.then(reply)
        }));
        script.write_login(login("tok", "A", 3000));
        script
    };
    let reset = || Reply::unreachable(SendError::Disconnected("reset".to_owned()));
    let cut = || Reply::pieces([Piece::Data("{".into()), Piece::Break("reset".to_owned())]);
    for reply in [reset as fn() -> Reply, cut] {
        let script = failing(reply, 1);
        let proxy = proxy_with(&script, &[]);
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        assert_eq!(script.received(":loadCodeAssist").len(), 2);
        assert_eq!(script.received(":generateContent").len(), 1);

        let script = failing(reply, 100);
        let proxy = proxy_with(&script, &[("MAX_RETRY_ATTEMPTS", "2")]);
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (502, "UPSTREAM_DISCONNECTED")
        );
        assert!(answer.text().contains("Nothing was carried out"), "{}", answer.text());
        assert_eq!(script.received(":loadCodeAssist").len(), 3);
        assert!(script.received(":generateContent").is_empty());
    }
}

#[test]
fn a_discovery_without_an_answer_ends_before_its_lease() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":loadCodeAssist").then(|| google()(request).after(Duration::from_secs(250)))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "UPSTREAM_UNREACHABLE");
    assert!(script.now() < Monotonic(31_000_000), "{:?}", script.now());
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn an_onboarding_of_slow_answers_ends_before_its_lease() {
    let script = ScriptedPlatform::new(google_but(|request| {
        if request.is(":loadCodeAssist") {
            return Some(Reply::ok(r#"{"allowedTiers":[{"id":"free-tier","isDefault":true}]}"#));
        }
        (request.is(":onboardUser") || request.is("operations/7")).then(|| {
            let pending = Reply::ok(r#"{"name":"operations/7","done":false}"#);
            pending.after(Duration::from_secs(29))
        })
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "ACCOUNT_INELIGIBLE");
    assert!(script.now() < Monotonic(151_000_000), "{:?}", script.now());
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

fn refused_project(reason: &str) -> Reply {
    Reply::status(
        403,
        format!(
            r#"{{"error":{{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com"}}]}}}}"#
        ),
    )
}
