//! The account's models.

use std::time::Duration;

use code_assist_core::{Monotonic, Platform as _};
use code_assist_testkit::client::get;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::ScriptedPlatform;
use code_assist_testkit::subject::{login, proxy_with};

use crate::{Event, MODELS, play, run};

#[test]
fn a_hundred_requests_for_the_model_list_cause_one_call() {
    for cache in ["true", "false"] {
        let script = ScriptedPlatform::new(google_but(|request| {
            request
                .is(":retrieveUserQuota")
                .then(|| google()(request).after(Duration::from_millis(300)))
        }));
        script.write_login(login("tok", "A", 3000));
        let proxy = proxy_with(&script, &[("ENABLE_MODEL_NAME_CACHE", cache)]);
        let answers = play(&script, &proxy, (0..100).map(|_| (0, Event::Get(MODELS))));
        assert!(answers.iter().all(|answer| answer.text().contains("gemini-9-test")));
        assert_eq!(script.received(":retrieveUserQuota").len(), 1);
        run(&script, &proxy, get(MODELS));
        let later = if cache == "true" { 1 } else { 2 };
        assert_eq!(script.received(":retrieveUserQuota").len(), later);
    }
}

#[test]
fn the_model_list_does_not_wait_for_a_silent_upstream() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":retrieveUserQuota").then(|| google()(request).after(Duration::from_secs(9999)))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    for _ in 0..3 {
        let answer = run(&script, &proxy, get("/v1beta/models/gemini-2.5-flash"));
        assert_eq!(answer.status, 200, "a built-in one is known without Google");
    }
    assert!(script.now() < Monotonic(6_000_000), "they wait once: {:?}", script.now());
    script.advance(Duration::from_secs(31));
    run(&script, &proxy, get(MODELS));
    assert_eq!(script.received(":retrieveUserQuota").len(), 2, "later Google gets another chance");
}

#[test]
fn the_models_are_discovered_even_if_the_first_client_has_gone() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is(":retrieveUserQuota").then(|| google()(request).after(Duration::from_secs(1)))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    script.run(&proxy, async {
        let mut gone = Box::pin(proxy.handle(&script, get(MODELS)));
        let patience = script.timer(Duration::from_millis(100));
        let mut patience = Box::pin(patience);
        std::future::poll_fn(|cx| {
            assert!(gone.as_mut().poll(cx).is_pending());
            patience.as_mut().poll(cx)
        })
        .await;
    });
    let answer = run(&script, &proxy, get(MODELS));
    assert!(answer.text().contains("gemini-9-test"));
    assert_eq!(script.received(":retrieveUserQuota").len(), 1);
}
