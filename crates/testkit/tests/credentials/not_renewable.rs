//! Access tokens that cannot be renewed.

use std::time::Duration;

use code_assist_testkit::client::post;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;

use crate::{GENERATE, HELLO, run};

#[test]
fn a_single_401_does_not_end_the_use_of_a_token_that_cannot_be_renewed() {
    for (content, more) in [
        (None, Some(("GOOGLE_CLOUD_ACCESS_TOKEN", "tok"))),
        (Some(r#"{"access_token":"tok"}"#), None),
        (Some(r#"{"access_token":"tok","expiry_date":1750003600000}"#), None),
    ] {
        let mut first = true;
        let script = ScriptedPlatform::new(google_but(move |request| {
            (request.is(":generateContent") && std::mem::replace(&mut first, false))
                .then(|| Reply::status(401, "{}"))
        }));
        if let Some(content) = content {
            script.write_login(content);
        }
        let proxy = proxy_with(&script, more.as_slice());
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).reason(), "CREDENTIALS_REJECTED");
        script.advance(Duration::from_secs(1));
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200, "{content:?}");
    }
}

#[test]
fn a_rejected_token_that_cannot_be_renewed_is_tried_rarely() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":generateContent").then(|| Reply::status(401, "{}"))
    }));
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "tok"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    for _ in 0..600 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.advance(Duration::from_secs(1));
        script.run(&proxy, proxy.tick(&script));
    }
    let tries = script.received(":generateContent").len();
    assert!((10..20).contains(&tries), "{tries} in ten minutes");
}

#[test]
fn an_expired_token_that_cannot_be_renewed_is_not_tried_until_the_file_changes() {
    let script = ScriptedPlatform::new(google());
    script.write_login(r#"{"access_token":"tok","expiry_date":1749999999000}"#);
    let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
    for _ in 0..3 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.advance(Duration::from_secs(100));
    }
    assert!(script.all_received().is_empty());
    script.write_login(r#"{"access_token":"tok-2","expiry_date":1750003600000}"#);
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn an_access_token_that_no_header_may_carry_is_reported() {
    let script = ScriptedPlatform::new(google());
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "two\nlines"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    assert!(answer.text().contains("no header"), "{}", answer.text());
}
