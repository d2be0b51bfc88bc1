//! A reload adds, keeps, replaces and removes the logins of keys.

use std::time::Duration;

use code_assist_core::KeyDigest;
use code_assist_testkit::client::{all, ask, later};
use code_assist_testkit::script::Reply;

use crate::fixture::{Fixture, GENERATE, OPERATOR, key, login, of};

fn refreshes(fixture: &Fixture, account: &str) -> usize {
    let asked = fixture.script.received("/token");
    asked
        .iter()
        .filter(|it| {
            it.body.contains(&format!("1%2F%2F{account}&"))
                || it.body.ends_with(&format!("1%2F%2F{account}"))
        })
        .count()
}

fn reload(fixture: &Fixture, keys: Vec<code_assist_core::settings::KeySettings>) {
    let mut settings = fixture.settings.clone();
    settings.keys = keys;
    fixture.proxy.reload(&settings);
}

#[test]
fn a_login_that_stays_keeps_its_token_over_a_reload() {
    let fixture = Fixture::new();
    fixture.generate("ada");
    reload(&fixture, vec![key("ada", Some(login("ada"))), key("new", Some(login("new")))]);
    assert_eq!(fixture.generate("ada").status, 200);
    assert_eq!(fixture.generate("new").status, 200);
    assert_eq!(fixture.generate("ben").status, 401);
    assert_eq!((refreshes(&fixture, "ada"), refreshes(&fixture, "new")), (1, 1));
}

#[test]
fn a_changed_login_forgets_what_was_known_of_the_old_one() {
    let fixture = Fixture::new();
    fixture.script("ada", |request| {
        request.is("/token").then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    });
    assert_eq!(fixture.generate("ada").status, 503);
    reload(&fixture, vec![key("ada", Some(login("ben")))]);
    let answer = fixture.generate("ada");
    assert!(answer.text().contains("I am ben"), "{}", answer.text());
    assert_eq!(fixture.google().wrong, "");
}

#[test]
fn a_request_keeps_its_login_to_its_end_although_a_reload_removes_the_key() {
    let fixture = Fixture::new();
    fixture.script("ada", |request| {
        let late = r#"{"access_token":"late","expires_in":3599}"#;
        request.is("/token").then(|| Reply::ok(late).after(Duration::from_secs(2)))
    });
    // The token that comes is not valid, so that a second refresh follows after the reload.
    let asking = ask(&fixture.proxy, &fixture.script, of("ada", GENERATE));
    let reloading = later(&fixture.script, Duration::from_secs(1), async {
        reload(&fixture, vec![key("eve", None)]);
        fixture.google().revoke("nothing");
        fixture.script("ada", |_| None);
        ask(&fixture.proxy, &fixture.script, of("eve", GENERATE)).await
    });
    let both: Vec<std::pin::Pin<Box<dyn Future<Output = _>>>> =
        vec![Box::pin(asking), Box::pin(reloading)];
    let answers = fixture.script.run(&fixture.proxy, all(both));
    assert!(answers[0].text().contains("I am ada"), "{}", answers[0].text());
    assert!(answers[1].text().contains(&format!("I am {OPERATOR}")), "{}", answers[1].text());
    assert_eq!(fixture.generate("ada").status, 401);
    fixture.nothing_was_mixed();
}

#[test]
fn two_keys_of_one_id_with_one_login_share_its_token() {
    let fixture = Fixture::with(&[], |settings| {
        let mut second = key("ada", Some(login("ada")));
        second.digest = KeyDigest::of("key-of-second");
        settings.keys = vec![key("ada", Some(login("ada"))), second];
    });
    assert_eq!(fixture.generate("ada").status, 200);
    assert_eq!(fixture.generate("second").status, 200);
    assert_eq!(refreshes(&fixture, "ada"), 1);
}

#[test]
fn what_is_known_of_a_login_is_stored_under_its_key_and_shared_by_a_fleet() {
    let fixture = Fixture::new();
    for id in ["ada", "ben", "eve"] {
        assert_eq!(fixture.generate(id).status, 200);
    }
    for (entry, account) in [
        ("oauth_token_cache/key/ada", "ada"),
        ("oauth_token_cache/key/ben", "ben"),
        ("oauth_token_cache", OPERATOR),
        ("project_id_cache/key/ada", "ada"),
        ("project_id_cache/key/ben", "ben"),
        ("project_id_cache", OPERATOR),
    ] {
        let stored = fixture.script.stored(entry).expect(entry);
        assert!(stored.contains(account), "{entry}: {stored}");
    }
    let other = fixture.script.another_process();
    let proxy = code_assist_core::Proxy::new(fixture.settings.clone(), &other);
    for id in ["ada", "ben", "eve"] {
        assert_eq!(other.run(&proxy, ask(&proxy, &other, of(id, GENERATE))).status, 200);
    }
    assert_eq!(fixture.script.received("/token").len(), 3, "one refresh for each login");
    assert_eq!(fixture.script.received(":loadCodeAssist").len(), 3);
    fixture.nothing_was_mixed();
}

#[test]
fn a_login_in_a_file_is_read_again_when_the_file_changes() {
    let path = "/etc/proxy/ada.json";
    let fixture = Fixture::with(&[], |settings| {
        settings.keys = vec![key("ada", Some(path.to_owned()))];
    });
    let missing = fixture.generate("ada");
    assert_eq!((missing.status.as_u16(), &*missing.reason()), (503, "CREDENTIALS_MISSING"));
    assert!(missing.text().contains("your own Google login"), "{}", missing.text());
    assert!(missing.text().contains(path), "{}", missing.text());
    fixture.script.write_file(path, "{}");
    fixture.tick();
    fixture.script.advance(Duration::from_secs(60));
    fixture.script.write_file(path, login("ada"));
    fixture.tick();
    assert!(fixture.generate("ada").text().contains("I am ada"));
    fixture.script.write_file(path, login("ben"));
    fixture.tick();
    assert!(fixture.generate("ada").text().contains("I am ben"));
    assert_eq!(fixture.google().wrong, "");
}

#[test]
fn a_login_that_cannot_be_read_says_so() {
    let fixture = Fixture::with(&[], |settings| {
        settings.keys =
            vec![key("ada", Some(r#"{"type":"service_account","private_key":"x"}"#.into()))];
    });
    let answer = fixture.generate("ada");
    assert_eq!((answer.status.as_u16(), &*answer.reason()), (503, "CREDENTIALS_REJECTED"));
    assert!(answer.text().contains("cannot use your own Google login"), "{}", answer.text());
}

#[test]
fn two_holders_with_the_same_login_have_each_what_is_known_of_it() {
    let fixture = Fixture::with(&[], |settings| {
        settings.keys = vec![key("ada", Some(login("ada"))), key("ben", Some(login("ada")))];
    });
    for id in ["ada", "ben"] {
        assert_eq!(fixture.generate(id).status, 200);
        let token = format!("oauth_token_cache/key/{id}");
        assert!(fixture.script.stored(&token).is_some(), "{token}");
    }
    assert_eq!(refreshes(&fixture, "ada"), 2);
}
