//! Credentials over time: files that change in the middle of things, accounts that follow each
//! other, tokens that die, endpoints that say strange things.

use std::future::Future;
use std::time::Duration;

use code_assist_core::{Monotonic, Payload, Platform, Proxy};
use code_assist_testkit::client::{Answer, all, ask, get, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Received, Reply, Script};
use code_assist_testkit::subject::{login, proxy_with};
use http::Request;

#[test]
fn a_rejection_of_the_old_login_does_not_stick_to_the_new_one() {
    let script = Script::new(google_but(|request| {
        (request.is("/token") && request.body.contains("refresh_token=old")).then(|| {
            Reply::status(400, r#"{"error":"invalid_grant"}"#).after(Duration::from_millis(800))
        })
    }));
    script.write_login(login("of-old", "old", -10));
    let proxy = proxy_with(&script, &[]);
    let answers = play(
        &script,
        &proxy,
        [(0, hello()), (300, Event::Write(login("of-new", "new", 3000))), (400, Event::Tend)],
    );
    assert_eq!(answers[0].status, 200, "it is served by the new login");
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn another_accounts_project_is_found_with_its_own_token() {
    let script = Script::new(by_account());
    script.write_login(login("a-tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    run(&script, &proxy, post(GENERATE, HELLO));
    script.write_login(login("b-tok", "B", -10));
    play(&script, &proxy, [(0, Event::Tend), (100, hello())]);
    let last = script.received(":generateContent").pop().unwrap();
    assert_eq!(last.headers["authorization"], "Bearer b-new");
    assert!(last.body.contains("project-b"), "{}", last.body);
    let stored = script.stored("project_id_cache").unwrap();
    assert!(stored.contains("project-b"), "{stored}");
}

#[test]
fn a_discovery_for_the_last_account_is_nothing_to_the_next() {
    let mut usual = by_account();
    let script = Script::new(move |request: &Received| {
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
            (200, Event::Tend),
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
fn a_refresh_of_the_last_account_is_nothing_to_the_next() {
    let script = Script::new(by_account());
    script.write_login(login("a-tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    play(
        &script,
        &proxy,
        [(0, hello()), (100, Event::Write(login("b-tok", "B", 3000))), (200, Event::Tend)],
    );
    let sent = script.received(":generateContent").pop().unwrap();
    assert_eq!(sent.headers["authorization"], "Bearer b-tok");
    assert!(script.stored("oauth_token_cache").is_none(), "nor is it kept");
}

#[test]
fn the_last_accounts_rotated_refresh_token_is_not_put_into_the_next_login() {
    let script = Script::new(google_but(|request| {
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
        [(0, hello()), (100, Event::Write(login("b-tok", "B", -5))), (200, Event::Tend)],
    );
    script.pass(Duration::from_secs(60));
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(script.received("/token").pop().unwrap().body.contains("refresh_token=B&"));
}

#[test]
fn a_refresh_that_ends_after_the_cli_wrote_a_newer_token_still_counts() {
    let script = Script::new(google_but(|request| {
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
        [(0, hello()), (100, Event::Write(login("from-the-cli", "A", 3000))), (200, Event::Tend)],
    );
    script.pass(Duration::from_secs(3400));
    script.run(&proxy, proxy.tick(&script));
    let refreshes = script.received("/token");
    assert!(refreshes.last().unwrap().body.contains("refresh_token=rotated&"));
}

#[test]
fn a_rotated_refresh_token_outlives_a_store_that_fails_and_a_file_that_is_rewritten() {
    let script = Script::new(google_but(|request| {
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
    script.pass(Duration::from_secs(3700));
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(script.received("/token").pop().unwrap().body.contains("refresh_token=rotated&"));
}

#[test]
fn one_stray_401_does_not_end_a_token_that_cannot_be_renewed() {
    for (content, more) in [
        (None, Some(("GOOGLE_CLOUD_ACCESS_TOKEN", "tok"))),
        (Some(r#"{"access_token":"tok"}"#), None),
        (Some(r#"{"access_token":"tok","expiry_date":1750003600000}"#), None),
    ] {
        let mut first = true;
        let script = Script::new(google_but(move |request| {
            (request.is(":generateContent") && std::mem::replace(&mut first, false))
                .then(|| Reply::status(401, "{}"))
        }));
        if let Some(content) = content {
            script.write_login(content);
        }
        let proxy = proxy_with(&script, more.as_slice());
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).reason(), "CREDENTIALS_REJECTED");
        script.pass(Duration::from_secs(1));
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200, "{content:?}");
    }
}

#[test]
fn a_dead_token_that_cannot_be_renewed_is_not_hammered() {
    let script = Script::new(google_but(|request| {
        request.is(":generateContent").then(|| Reply::status(401, "{}"))
    }));
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "tok"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    for _ in 0..600 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.pass(Duration::from_secs(1));
        script.run(&proxy, proxy.tick(&script));
    }
    let tries = script.received(":generateContent").len();
    assert!((10..20).contains(&tries), "{tries} in ten minutes");
}

#[test]
fn a_token_that_has_expired_and_cannot_be_renewed_is_dead_until_the_file_changes() {
    let script = Script::new(google());
    script.write_login(r#"{"access_token":"tok","expiry_date":1749999999000}"#);
    let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
    for _ in 0..3 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.pass(Duration::from_secs(100));
    }
    assert!(script.all_received().is_empty());
    script.write_login(r#"{"access_token":"tok-2","expiry_date":1750003600000}"#);
    script.run(&proxy, proxy.tick(&script));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_file_token_without_expiry_that_upstream_refused_does_not_come_back() {
    let script = Script::new(google_but(|request| {
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
        script.pass(Duration::from_secs(3400));
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
fn a_file_that_is_only_touched_is_no_news() {
    for content in [login("tok", "A", 3000), r#"{"access_token":"f","refresh_token":"A"}"#.into()] {
        let script = Script::new(google());
        script.write_login(content.clone());
        let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
        run(&script, &proxy, post(GENERATE, HELLO));
        script.pass(Duration::from_secs(1600));
        script.run(&proxy, proxy.tick(&script));
        let before = script.all_received().len();
        for _ in 0..10 {
            script.write_login(content.clone());
            script.pass(Duration::from_secs(1));
            script.run(&proxy, proxy.tick(&script));
        }
        assert_eq!(script.all_received().len(), before);
    }
}

#[test]
fn a_check_refreshes_once_and_goes_on_with_what_it_got() {
    for seconds in [-3000, 3000] {
        let script = Script::new(google());
        script.write_login(login("tok", "A", seconds));
        let proxy = proxy_with(&script, &[]);
        let steps = script.run(&proxy, proxy.check(&script));
        let told: Vec<_> = steps.iter().map(|step| (step.name, step.result.word())).collect();
        let names = ["credentials", "token", "project", "quota"];
        assert_eq!(told, names.map(|name| (name, "ok")));
        assert_eq!(script.received("/token").len(), 1);
        let asked = script.received(":retrieveUserQuota");
        assert_eq!(asked[0].headers["authorization"], "Bearer ya29.new-1");
    }
}

#[test]
fn a_check_tells_why_the_refresh_failed() {
    let script = Script::new(google_but(|request| {
        request.is("/token").then(|| Reply::status(400, r#"{"error":"invalid_grant"}"#))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    let steps = script.run(&proxy, proxy.check(&script));
    let last = steps.last().unwrap();
    assert_eq!((last.name, last.result.word()), ("token", "fail"));
    assert!(last.detail.contains("invalid_grant"), "{}", last.detail);
}

#[test]
fn a_licence_that_is_missing_is_no_discovery_for_each_request() {
    let script = Script::new(google_but(|request| {
        request.is(":generateContent").then(|| refused_project("SUBSCRIPTION_REQUIRED"))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    for _ in 0..10 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 403);
        script.pass(Duration::from_secs(1));
    }
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn a_late_failure_with_the_old_project_is_nothing_to_the_new_one() {
    let mut discoveries = 0;
    let script = Script::new(google_but(move |request| {
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
fn a_call_that_was_passed_on_with_its_own_project_is_nothing_to_ours() {
    let script = Script::new(google_but(|request| {
        (request.is(":generateContent") && request.body.contains("mine"))
            .then(|| refused_project("CONSUMER_INVALID"))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    for _ in 0..5 {
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        let passed_on = post("/v1internal:generateContent", r#"{"project":"mine"}"#);
        assert_eq!(run(&script, &proxy, passed_on).status, 403);
    }
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn a_discovery_that_google_keeps_waiting_ends_before_its_lease() {
    let script = Script::new(google_but(|request| {
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
    let script = Script::new(google_but(|request| {
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

#[test]
fn a_hundred_who_ask_for_the_models_cause_one_call() {
    for cache in ["true", "false"] {
        let script = Script::new(google_but(|request| {
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
fn the_models_do_not_wait_for_a_silent_google() {
    let script = Script::new(google_but(|request| {
        request.is(":retrieveUserQuota").then(|| google()(request).after(Duration::from_secs(9999)))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    for _ in 0..3 {
        let answer = run(&script, &proxy, get("/v1beta/models/gemini-2.5-flash"));
        assert_eq!(answer.status, 200, "a built-in one is known without Google");
    }
    assert!(script.now() < Monotonic(6_000_000), "they wait once: {:?}", script.now());
    script.pass(Duration::from_secs(31));
    run(&script, &proxy, get(MODELS));
    assert_eq!(script.received(":retrieveUserQuota").len(), 2, "later Google gets another chance");
}

#[test]
fn models_are_found_out_even_if_who_asked_first_has_gone() {
    let script = Script::new(google_but(|request| {
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

#[test]
fn only_clients_requests_count_for_the_cache_hit_rate_and_a_cold_one_is_no_hit() {
    let script = Script::new(google());
    script.write_login(login("tok", "A", -10));
    let proxy = proxy_with(&script, &[]);
    let rate = || run(&script, &proxy, get("/health")).text();
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(rate().contains(r#""cache_hit_rate":0.0"#), "{}", rate());
    run(&script, &proxy, post(GENERATE, HELLO));
    assert!(rate().contains(r#""cache_hit_rate":0.5"#), "{}", rate());
}

#[test]
fn a_wall_clock_that_jumps_causes_no_stampede_and_kills_no_token() {
    let hours = 5 * 3600;
    for jump in [hours, -hours] {
        let script = Script::new(google_but(|request| {
            request.is("/token").then(|| google()(request).after(Duration::from_millis(300)))
        }));
        script.write_login(login("tok", "A", 3000));
        let proxy = proxy_with(&script, &[]);
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        for by in [jump, -jump] {
            script.set_clock(by);
            let answers = play(&script, &proxy, (0..100).map(|_| (0, hello())));
            assert!(answers.iter().all(|answer| answer.status == 200), "{by}");
        }
        let refreshes = script.received("/token").len();
        assert!(refreshes <= 2, "{refreshes} after two jumps");
        // And life goes on: one refresh for each hour.
        for _ in 0..3 * 3600 {
            script.pass(Duration::from_secs(1));
            script.run(&proxy, proxy.tick(&script));
        }
        assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
        let later = script.received("/token").len() - refreshes;
        assert!((3..=4).contains(&later), "{later} in three hours after {jump}");
    }
}

#[test]
fn a_token_that_died_unnoticed_because_the_clock_was_set_back_is_replaced_at_once() {
    let script = Script::new(google_but(|request| {
        let dead = request.headers.get("authorization").is_some_and(|it| it == "Bearer tok");
        (dead && request.at > Monotonic(3_000_000_000)).then(|| Reply::status(401, "{}"))
    }));
    script.write_login(login("tok", "A", 3000));
    let proxy = proxy_with(&script, &[]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
    script.set_clock(-5 * 3600);
    // Nobody takes the regular look: a laptop slept.
    script.pass(Duration::from_secs(3600));
    let answers = play(&script, &proxy, (0..100).map(|_| (0, hello())));
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn what_somebody_in_between_says_to_a_refresh_is_not_final() {
    let mut first = true;
    let script = Script::new(google_but(move |request| {
        (request.is("/token") && std::mem::replace(&mut first, false))
            .then(|| Reply::status(403, r#"{"error":"temporarily_unavailable"}"#))
    }));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[]);
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).reason(), "UPSTREAM_UNREACHABLE");
    script.pass(Duration::from_secs(3600));
    assert_eq!(run(&script, &proxy, post(GENERATE, HELLO)).status, 200);
}

#[test]
fn a_token_endpoint_that_issues_dead_tokens_is_not_hammered() {
    let script = Script::new(google_but(|request| {
        request.is("/token").then(|| Reply::ok(r#"{"access_token":"n","expires_in":0}"#))
    }));
    script.write_login(login("old", "A", -10));
    let proxy = proxy_with(&script, &[("GEMINI_PROJECT_ID", "p")]);
    for _ in 0..30 {
        let answer = run(&script, &proxy, post(GENERATE, HELLO));
        assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
        script.pass(Duration::from_secs(1));
    }
    assert_eq!(script.received("/token").len(), 5, "after 0, 1, 3, 7 and 15 seconds");
}

#[test]
fn an_access_token_that_no_header_may_carry_is_told() {
    let script = Script::new(google());
    let more = [("GOOGLE_CLOUD_ACCESS_TOKEN", "two\nlines"), ("GEMINI_PROJECT_ID", "p")];
    let proxy = proxy_with(&script, &more);
    let answer = run(&script, &proxy, post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "CREDENTIALS_REJECTED");
    assert!(answer.text().contains("no header"), "{}", answer.text());
}

fn refused_project(reason: &str) -> Reply {
    Reply::status(
        403,
        format!(
            r#"{{"error":{{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com"}}]}}}}"#
        ),
    )
}

/// Google, for whom `a…` and `A` are one account's tokens and `b…` and `B` another's.
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

/// Something that happens in a test's world.
enum Event {
    /// A client gets this path.
    Get(&'static str),
    /// A client posts this body to this path.
    Post(&'static str, &'static str),
    /// The shell takes its regular look.
    Tend,
    /// The CLI writes its file.
    Write(String),
}

/// Lets these things happen, each after so many milliseconds; the clients' answers in order.
fn play(
    script: &Script,
    proxy: &Proxy,
    events: impl IntoIterator<Item = (u64, Event)>,
) -> Vec<Answer> {
    let happening = events.into_iter().map(|(after_ms, event)| async move {
        script.timer(Duration::from_millis(after_ms)).await;
        match event {
            Event::Get(path) => return Some(ask(proxy, script, get(path)).await),
            Event::Post(path, body) => return Some(ask(proxy, script, post(path, body)).await),
            Event::Tend => proxy.tick(script).await,
            Event::Write(login) => script.write_login(login),
        }
        None
    });
    script.run(proxy, all(happening.collect())).into_iter().flatten().collect()
}

fn hello() -> Event {
    Event::Post(GENERATE, HELLO)
}

fn run(script: &Script, proxy: &Proxy, request: Request<Payload>) -> Answer {
    script.run(proxy, ask(proxy, script, request))
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const MODELS: &str = "/v1beta/models?pageSize=1000";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
