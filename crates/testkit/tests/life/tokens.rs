//! Access tokens, credentials and the store.

use std::time::Duration;

use code_assist_core::SendError;
use code_assist_testkit::client::{all, ask, get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::proxy_with;

use crate::{GENERATE, HELLO, login, run, signed_in};

#[test]
fn a_cold_request_finds_token_and_project_and_is_answered() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, -10);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.text(),
        r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}],"responseId":"t1"}"#
    );
    assert_eq!(answer.header("x-cloudaicompanion-trace-id"), "t1");
    assert!(answer.header("x-request-id").starts_with("req_"));
    assert!(answer.header("server-timing").starts_with("auth;dur="));
    let sent = &script.received(":generateContent")[0];
    assert_eq!(sent.headers["authorization"], "Bearer ya29.new-1");
    assert!(sent.headers["user-agent"].to_str().unwrap().starts_with("code-assist-proxy/"));
    let (head, tail) = sent.body.split_once(r#""user_prompt_id":""#).unwrap();
    assert_eq!(head, r#"{"model":"gemini-2.5-flash","project":"found-project","#);
    assert_eq!(&tail[36..], format!(r#"","request":{HELLO}}}"#));
}

#[test]
fn a_hundred_cold_requests_cause_one_refresh_and_one_discovery() {
    let script = ScriptedPlatform::new(google_but(|request| {
        let slow = request.is("/token") || request.is(":loadCodeAssist");
        slow.then(|| google()(request).after(Duration::from_millis(300)))
    }));
    let proxy = signed_in(&script, -10);
    let asked = (0..100).map(|_| ask(&proxy, &script, post(GENERATE, HELLO))).collect();
    let answers = script.run(&proxy, all(asked));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn an_access_token_near_its_expiry_is_refreshed_while_it_is_used() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| google()(request).after(Duration::from_secs(5)))
    }));
    let proxy = signed_in(&script, 200);
    let first = run(&script, &proxy, post(GENERATE, HELLO));
    assert!(first.header("server-timing").starts_with("auth;dur="));
    let sent = &script.received(":generateContent")[0];
    assert_eq!(
        sent.headers["authorization"], "Bearer ya29.old",
        "the request does not wait for the refresh"
    );
    script.advance(Duration::from_secs(10));
    let second = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(second.status, 200);
    assert_eq!(
        script.received(":generateContent")[1].headers["authorization"],
        "Bearer ya29.new-1"
    );
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn a_401_of_upstream_causes_one_refresh_and_one_replay() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is(":generateContent") && request.headers["authorization"] == "Bearer ya29.old")
            .then(|| {
                Reply::status(
                    401,
                    r#"{"error":{"code":401,"message":"old","status":"UNAUTHENTICATED"}}"#,
                )
            })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.status, 200);
    assert_eq!(script.received("/token").len(), 1);
    let sent = script.received(":generateContent");
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].body, sent[1].body, "the replay is the same request");
}

#[test]
fn a_second_401_is_reported_as_rejected_credentials_and_not_retried() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":generateContent").then(|| {
            Reply::status(
                401,
                r#"{"error":{"code":401,"message":"no","status":"UNAUTHENTICATED"}}"#,
            )
        })
    }));
    let proxy = signed_in(&script, 3000);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "CREDENTIALS_REJECTED"));
    assert_eq!(script.received(":generateContent").len(), 2);
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn invalid_grant_is_final_until_the_credentials_change() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is("/token") && request.body.contains("1%2F%2Frefresh&")).then(|| {
            Reply::status(400, r#"{"error":"invalid_grant","error_description":"revoked"}"#)
        })
    }));
    let proxy = signed_in(&script, -10);
    for _ in 0..3 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        assert!(answer.text().contains("revoked"), "{}", answer.text());
        script.advance(Duration::from_secs(100));
    }
    assert_eq!(script.received("/token").len(), 1, "a rejected refresh token is not sent again");
    script.write_login(login(-10).replace("1//refresh", "1//signed-in-again"));
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_token_endpoint_that_is_down_is_asked_again_later() {
    let mut tries = 0;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if !request.is("/token") {
            return None;
        }
        tries += 1;
        (tries <= 6).then(|| Reply::unreachable(SendError::Connect("refused".to_owned())))
    }));
    let proxy = signed_in(&script, -10);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "UPSTREAM_UNREACHABLE"));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 503);
    assert_eq!(
        script.received("/token").len(),
        3,
        "the token endpoint is not asked again within the pause"
    );
    script.advance(Duration::from_secs(10));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 503);
    script.advance(Duration::from_secs(10));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_newer_token_in_the_file_is_adopted_without_a_refresh() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, 1000);
    run(&script, &proxy, post(GENERATE, HELLO));
    script.write_login("{\"access_token\":\"ya29.half-writ");
    script.run(&proxy, proxy.tick(&script));
    script.write_login(login(3000).replace("ya29.old", "ya29.from-the-cli"));
    script.run(&proxy, proxy.tick(&script));
    run(&script, &proxy, post(GENERATE, HELLO));
    let sent = script.received(":generateContent");
    assert_eq!(sent[1].headers["authorization"], "Bearer ya29.from-the-cli");
    assert_eq!(script.received("/token").len(), 0);
}

#[test]
fn the_error_for_missing_credentials_names_the_file_that_was_looked_for() {
    let script = ScriptedPlatform::new(google());
    let proxy = proxy_with(&script, &[]);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "CREDENTIALS_MISSING"));
    assert!(answer.text().contains("oauth_creds.json"));
    assert!(script.all_received().is_empty(), "nothing goes to Google without a token");
    script.write_login(login(3000));
    script.run(&proxy, proxy.tick(&script));
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "no restart is needed: {}", answer.text());
}

#[test]
fn a_stored_token_is_validated_once_and_an_invalid_one_is_refreshed() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is("/tokeninfo")).then(|| Reply::status(400, r#"{"error":"invalid_token"}"#))
    }));
    let proxy = signed_in(&script, 3000);
    for _ in 0..3 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    }
    assert_eq!(script.received("/tokeninfo").len(), 1);
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":generateContent").len(), 3);
}

#[test]
fn an_unreachable_tokeninfo_invalidates_no_token() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/tokeninfo").then(|| Reply::unreachable(SendError::Connect(String::new())))
    }));
    let proxy = signed_in(&script, 3000);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert_eq!(script.received("/token").len(), 0);
}

#[test]
fn a_rotated_refresh_token_is_kept_across_a_restart() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| {
            Reply::ok(r#"{"access_token":"ya29.r","expires_in":60,"refresh_token":"1//rotated"}"#)
        })
    }));
    let first = signed_in(&script, -10);
    run(&script, &first, post(GENERATE, HELLO));
    script.advance(Duration::from_secs(3600));
    let second = proxy_with(&script, &[]);
    run(&script, &second, post(GENERATE, HELLO));
    let refreshes = script.received("/token");
    assert!(refreshes[0].body.contains("1%2F%2Frefresh"));
    assert!(refreshes[1].body.contains("1%2F%2Frotated"), "{}", refreshes[1].body);
}

#[test]
fn a_restart_finds_token_and_project_in_the_store() {
    let script = ScriptedPlatform::new(google());
    let first = signed_in(&script, -10);
    run(&script, &first, post(GENERATE, HELLO));
    let second = proxy_with(&script, &[]);
    run(&script, &second, post(GENERATE, HELLO));
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn the_stored_token_and_project_of_another_account_are_not_used() {
    let script = ScriptedPlatform::new(google());
    let first = signed_in(&script, -10);
    run(&script, &first, post(GENERATE, HELLO));
    script.write_login(login(-10).replace("1//refresh", "1//another-account"));
    let second = proxy_with(&script, &[]);
    run(&script, &second, post(GENERATE, HELLO));
    assert_eq!(script.received("/token").len(), 2);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn store_entries_without_an_owner_are_used_and_an_absurd_expiry_is_not() {
    let soon = 1_750_000_000_000_u64 + 3_000_000;
    for (expiry, refreshes) in [(soon, 0), (soon * 1000, 1)] {
        let script = ScriptedPlatform::new(google());
        script.put(
            "oauth_token_cache",
            format!(r#"{{"access_token":"ya29.stored","expiry_date":{expiry},"refresh_count":1,"last_used":1,"created_at":1,"token_type":"Bearer","scope":""}}"#),
        );
        script.put(
            "project_id_cache",
            format!(r#"{{"project_id":"stored-project","discovered_at":1,"ttl":{soon},"source":"discovery","validation_count":1}}"#),
        );
        let proxy = signed_in(&script, -10);
        run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(script.received("/token").len(), refreshes);
        assert_eq!(script.received(":loadCodeAssist").len(), 0);
        assert!(script.received(":generateContent")[0].body.contains("stored-project"));
    }
}

#[test]
fn a_store_that_fails_never_fails_a_request() {
    let script = ScriptedPlatform::new(google());
    let proxy = signed_in(&script, -10);
    script.break_store(true);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    assert!(run(&script, &proxy, get("/health")).text().contains(r#""kv_status":"disconnected""#));
}

#[test]
fn an_access_token_is_used_as_it_is_and_never_refreshed() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":generateContent").then(|| Reply::status(401, "{}"))
    }));
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.mine"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    assert_eq!(script.received(":generateContent")[0].headers["authorization"], "Bearer ya29.mine");
    assert_eq!(script.received("/token").len(), 0);
}

#[test]
fn an_upstream_that_rejects_every_token_does_not_cause_a_refresh_for_each_request() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":generateContent").then(|| Reply::status(401, "{}"))
    }));
    let proxy = signed_in(&script, 3000);
    for _ in 0..10 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    }
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":generateContent").len(), 11);
}
