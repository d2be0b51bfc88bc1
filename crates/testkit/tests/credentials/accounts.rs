//! Accounts that follow each other.

use std::time::Duration;

use code_assist_testkit::client::post;
use code_assist_testkit::google::google_but;
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

use crate::{Event, GENERATE, HELLO, hello, play, run};

#[test]
fn a_rejection_of_the_old_login_does_not_stick_to_the_new_one() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is("/token") && request.body.contains("refresh_token=old")).then(|| {
            Reply::status(400, r#"{"error":"invalid_grant"}"#).after(Duration::from_millis(800))
        })
    }));
    script.write_login(login("of-old", "old", -10));
    let proxy = proxy_with(&script, &[]);
    let answers = play(
        &script,
        &proxy,
        [(0, hello()), (300, Event::Write(login("of-new", "new", 3000))), (400, Event::Tick)],
    );
    assert_eq!(answers[0].status, 200, "it is served by the new login");
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn another_accounts_project_is_found_with_its_own_token() {
    let script = ScriptedPlatform::new(by_account());
    script.write_login(login("a-tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    run(&script, &proxy, post(GENERATE, HELLO));
    script.write_login(login("b-tok", "B", -10));
    play(&script, &proxy, [(0, Event::Tick), (100, hello())]);
    let last = script.received(":generateContent").pop().unwrap();
    assert_eq!(last.headers["authorization"], "Bearer b-new");
    assert!(last.body.contains("project-b"), "{}", last.body);
    let stored = script.stored("project_id_cache").unwrap();
    assert!(stored.contains("project-b"), "{stored}");
}

#[test]
fn a_discovery_for_the_previous_account_does_not_set_the_next_accounts_project() {
    let mut usual = by_account();
    let script = ScriptedPlatform::new(move |request: &Received| {
        let slow = request.is(":loadCodeAssist")
            && request.headers["authorization"].to_str().unwrap().starts_with("Bearer a");
        usual(request).after(Duration::from_millis(if slow { 2000 } else { 0 }))
    });
    script.write_login(login("a-tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    play(
        &script,
        &proxy,
        [
            (0, hello()),
            (100, Event::Write(login("b-tok", "B", 3000))),
            (200, Event::Tick),
            (300, hello()),
            (5000, hello()),
        ],
    );
    for sent in script.received(":generateContent") {
        assert_eq!(sent.headers["authorization"], "Bearer b-tok");
        assert!(sent.body.contains("project-b"), "{}", sent.body);
    }
    let stored = script.stored("project_id_cache").unwrap();
    assert!(stored.contains("project-b"), "{stored}");
}

#[test]
fn a_refresh_for_the_previous_account_does_not_set_the_next_accounts_token() {
    let script = ScriptedPlatform::new(by_account());
    script.write_login(login("a-tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    play(
        &script,
        &proxy,
        [(0, hello()), (100, Event::Write(login("b-tok", "B", 3000))), (200, Event::Tick)],
    );
    let sent = script.received(":generateContent").pop().unwrap();
    assert_eq!(sent.headers["authorization"], "Bearer b-tok");
    assert!(script.stored("oauth_token_cache").is_none(), "nor is it kept");
}

#[test]
fn the_previous_accounts_rotated_refresh_token_is_not_used_for_the_next_account() {
    let script = ScriptedPlatform::new(google_but(|request| {
        (request.is("/token") && request.body.contains("refresh_token=A")).then(|| {
            Reply::ok(r#"{"access_token":"a","expires_in":10,"refresh_token":"A-rotated"}"#)
                .after(Duration::from_millis(500))
        })
    }));
    script.write_login(login("a-tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    play(
        &script,
        &proxy,
        [(0, hello()), (100, Event::Write(login("b-tok", "B", -5))), (200, Event::Tick)],
    );
    script.advance(Duration::from_secs(60));
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(script.received("/token").pop().unwrap().body.contains("refresh_token=B&"));
}

/// Google with two accounts: tokens `a…` and `A` are the first one's, `b…` and `B` the second one's.
fn by_account() -> impl FnMut(&Received) -> Reply + Send + 'static {
    google_but(|request| {
        if request.is("/token") {
            let who = if request.body.contains("refresh_token=A") { "a" } else { "b" };
            let token = format!(r#"{{"access_token":"{who}-new","expires_in":3599}}"#);
            return Some(Reply::ok(token).after(Duration::from_millis(500)));
        }
        request.is(":loadCodeAssist").then(|| {
            let bearer = request.headers["authorization"].as_bytes();
            let who = if bearer.starts_with(b"Bearer a") { "a" } else { "b" };
            Reply::ok(format!(
                r#"{{"currentTier":{{"id":"standard-tier"}},"cloudaicompanionProject":"project-{who}"}}"#
            ))
        })
    })
}
