//! Answers of one account are never given to another: cache, coalescing and model lists.

use code_assist_testkit::client::{get, with};

use crate::fixture::{Fixture, GENERATE, OPERATOR, key, login, of};

/// A request that is repeatable, with the same body whatever the key.
fn repeatable(id: &str) -> http::Request<code_assist_core::Payload> {
    let mut request = of("x", GENERATE);
    request.headers_mut().insert("x-goog-api-key", format!("key-of-{id}").parse().expect("a key"));
    *request.body_mut() = code_assist_core::Payload::from(bytes::Bytes::from_static(
        br#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"temperature":0}}"#,
    ));
    request
}

#[test]
fn equal_requests_of_two_logins_share_no_answer_even_under_one_id() {
    let fixture = Fixture::with(&[("RESPONSE_CACHE_TTL_SECONDS", "60")], |settings| {
        let mut second = key("ada", Some(login("new-ada")));
        second.digest = code_assist_core::KeyDigest::of("key-of-second");
        let mut third = key("ada", None);
        third.digest = code_assist_core::KeyDigest::of("key-of-third");
        settings.keys = vec![key("ada", Some(login("ada"))), second, third];
    });
    let ids = ["ada", "second", "third"];
    for round in 0..3 {
        let answers = fixture.together(ids.map(repeatable).into());
        for ((answer, _), account) in answers.iter().zip(["ada", "new-ada", OPERATOR]) {
            assert!(
                answer.text().contains(&format!("I am {account}\"")),
                "{round} {}",
                answer.text()
            );
        }
    }
    let mut accounts = fixture.accounts();
    accounts.dedup();
    accounts.sort();
    assert!(accounts.len() < 9, "some answers are from the cache: {accounts:?}");
    // Coalesced requests of one login go out once.
    let before = fixture.accounts().len();
    fixture.script.advance(std::time::Duration::from_secs(3600 / 2));
    fixture.together(vec![repeatable("ada"), repeatable("ada"), repeatable("second")]);
    assert_eq!(fixture.accounts().len(), before + 2);
}

#[test]
fn a_login_that_a_reload_replaces_leaves_no_answer_behind() {
    let fixture = Fixture::with(&[("RESPONSE_CACHE_TTL_SECONDS", "600")], |settings| {
        settings.keys = vec![key("ada", Some(login("ada")))];
    });
    fixture.ask(repeatable("ada"));
    fixture.ask(repeatable("ada"));
    let mut settings = fixture.settings.clone();
    settings.keys = vec![key("ada", Some(login("ben")))];
    fixture.proxy.reload(&settings);
    assert!(fixture.ask(repeatable("ada")).text().contains("I am ben"));
}

#[test]
fn a_key_is_shown_the_models_of_its_own_account() {
    let fixture = Fixture::new();
    for (id, account) in [("ada", "ada"), ("eve", OPERATOR), ("ben", "ben")] {
        let request = with(get("/v1beta/models"), "x-goog-api-key", &format!("key-of-{id}"));
        let models = fixture.ask(request).text();
        for other in ["ada", "ben", OPERATOR] {
            let is_listed = models.contains(&format!("models/gemini-of-{other}\""));
            assert_eq!(is_listed, other == account, "{other} for {id}: {models}");
        }
    }
}
