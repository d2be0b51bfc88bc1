//! A credential file that changes while requests are served.

use std::time::Duration;

use code_assist_core::Platform as _;
use code_assist_testkit::client::post;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

use crate::{Event, GENERATE, HELLO, hello, play, run};

#[test]
fn a_refresh_that_ends_after_the_cli_wrote_a_newer_token_still_counts() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| {
            Reply::ok(r#"{"access_token":"n","expires_in":3599,"refresh_token":"rotated"}"#)
                .after(Duration::from_millis(500))
        })
    }));
    script.write_login(login("tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    play(
        &script,
        &proxy,
        [(0, hello()), (100, Event::Write(login("from-the-cli", "A", 3000))), (200, Event::Tick)],
    );
    script.advance(Duration::from_secs(3400));
    script.run(&proxy, proxy.tick(&script));
    let refreshes = script.received("/token");
    assert!(refreshes.last().unwrap().body.contains("refresh_token=rotated&"));
}

#[test]
fn a_rotated_refresh_token_outlives_a_store_that_fails_and_a_file_that_is_rewritten() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| {
            Reply::ok(r#"{"access_token":"n","expires_in":3599,"refresh_token":"rotated"}"#)
        })
    }));
    script.write_login(login("a-tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    script.break_store(true);
    run(&script, &proxy, post(GENERATE, HELLO));
    script.write_login(login("a-tok", "A", -9));
    script.run(&proxy, proxy.tick(&script));
    script.advance(Duration::from_secs(3700));
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(script.received("/token").pop().unwrap().body.contains("refresh_token=rotated&"));
}

#[test]
fn a_file_token_without_expiry_that_upstream_refused_does_not_come_back() {
    let script = ScriptedPlatform::new(google_but(|request| {
        if request.is("/tokeninfo") {
            return Some(Reply::status(503, "x"));
        }
        let dead = request.headers.get("authorization").is_some_and(|it| it == "Bearer dead");
        dead.then(|| Reply::status(401, "{}"))
    }));
    script.write_login(r#"{"access_token":"dead","refresh_token":"A"}"#);
    let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
    for _ in 0..3 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        script.advance(Duration::from_secs(3400));
        // The CLI writes its file anew, with nothing new about the token.
        script.write_login(format!(
            r#"{{"access_token":"dead","refresh_token":"A","id_token":"{:?}"}}"#,
            script.now()
        ));
        script.run(&proxy, proxy.tick(&script));
    }
    let sent = script.received(":generateContent");
    let dead = sent.iter().filter(|sent| sent.headers["authorization"] == "Bearer dead");
    assert_eq!(dead.count(), 1);
    assert_eq!(script.received("/token").len(), 4, "one for each hour, and none for the file");
}

#[test]
fn a_credential_file_that_is_only_touched_causes_no_call() {
    for content in [login("tok", "A", 3000), r#"{"access_token":"f","refresh_token":"A"}"#.into()] {
        let script = ScriptedPlatform::new(google());
        script.write_login(content.clone());
        let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
        run(&script, &proxy, post(GENERATE, HELLO));
        script.advance(Duration::from_secs(1600));
        script.run(&proxy, proxy.tick(&script));
        let before = script.all_received().len();
        for _ in 0..10 {
            script.write_login(content.clone());
            script.advance(Duration::from_secs(1));
            script.run(&proxy, proxy.tick(&script));
        }
        assert_eq!(script.all_received().len(), before);
    }
}

#[test]
fn a_file_with_a_byte_order_mark_or_in_utf_16_is_read() {
    let content = login("tok", "A", 3000);
    let utf16: Vec<u8> =
        format!("\u{feff}{content}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for stored in [format!("\u{feff}{content}").into_bytes(), utf16] {
        let script = ScriptedPlatform::new(google());
        script.write_login(stored);
        let proxy = proxy_with(&script, &[]);
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        let sent = script.received(":generateContent");
        assert_eq!(sent[0].headers["authorization"], "Bearer tok");
    }
}

#[test]
fn what_cannot_be_read_is_reported_with_its_place_and_not_as_googles_refusal() {
    let path = "/home/ada/.gemini/oauth_creds.json";
    let file = "/home/test/.gemini/oauth_creds.json cannot be read: ";
    for (variable, content, said) in [
        (
            Some("GCP_SERVICE_ACCOUNT"),
            path,
            "GCP_SERVICE_ACCOUNT cannot be read: it holds the path",
        ),
        (
            Some("GEMINI_CREDENTIALS"),
            "AIzaSyHush",
            "GEMINI_CREDENTIALS cannot be read: it is an API key",
        ),
        (
            Some("CLOUDCODE_OAUTH_CREDS"),
            "{\"refresh_token\":\"hush",
            "CLOUDCODE_OAUTH_CREDS cannot be read: its JSON breaks off",
        ),
        (
            Some("GCP_SERVICE_ACCOUNT"),
            "{\"hush\":1}",
            "neither a refresh_token nor an access_token",
        ),
        (Some("GCP_SERVICE_ACCOUNT"), "''", "it is empty"),
        (Some("GOOGLE_CLOUD_ACCESS_TOKEN"), "hush\nhush", "characters that no header may have"),
        (None, "", "it is empty"),
        (None, "hush\u{1}", "binary or encrypted data"),
        (None, "{\"refresh_token\":\"hush", "its JSON breaks off at line 1 column 22"),
    ] {
        let script = ScriptedPlatform::new(google());
        script.write_login(content);
        let settings: Vec<_> = variable.map(|name| (name, content)).into_iter().collect();
        let proxy = proxy_with(&script, &settings);
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!((answer.status.as_u16(), &*answer.reason()), (503, "CREDENTIALS_REJECTED"));
        let message = answer.text();
        assert!(message.contains(said), "{message}");
        assert!(variable.is_some() || message.contains(file), "{message}");
        for wrong in ["does not accept", "Sign in again", "ush"] {
            assert!(!message.contains(wrong), "{message}");
        }
        assert!(script.all_received().is_empty(), "Google is not asked");
        let steps = script.run(&proxy, proxy.check(&script));
        if variable != Some("GOOGLE_CLOUD_ACCESS_TOKEN") {
            assert_eq!((steps[0].name, steps[0].result.word()), ("credentials", "fail"));
            assert!(steps[0].detail.contains(said), "{}", steps[0].detail);
        }
    }
}
