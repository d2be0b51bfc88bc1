//! Several processes that share a store: work that is to be done once is done by one of them.

mod identity;
mod locks;
mod usage;

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::internals::google::credentials;
use code_assist_core::internals::policy::cache;
use code_assist_core::{LOCK_TTL, LockResult, Platform, Proxy};
use code_assist_testkit::client::{Answer, all, ask, impatient, later, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};

#[test]
fn four_cold_processes_refresh_once_and_discover_once() {
    let script = ScriptedPlatform::new(slow_google());
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(4, &script);
    let answers = fleet.answers(25);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(answers.len(), 100);
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn the_next_expiry_costs_one_refresh_again() {
    let script = ScriptedPlatform::new(slow_google());
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(3, &script);
    fleet.answers(2);
    script.advance(Duration::from_secs(3700));
    fleet.answers(2);
    assert_eq!(script.received("/token").len(), 2);
    let sent = script.received(":generateContent");
    let last = sent.last().unwrap();
    assert_eq!(last.headers["authorization"], "Bearer ya29.new-2");
}

#[test]
fn a_valid_token_is_used_while_another_process_refreshes_it() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 200));
    let fleet = Fleet::of(2, &script);
    let other = script.another_process();
    fleet.run(other.lock("oauth_token_cache", LOCK_TTL));
    let begun = script.now();
    let answered = fleet.run(async {
        let answer = ask(&fleet.0[0].1, &fleet.0[0].0, post(GENERATE, HELLO)).await;
        (answer.status, script.now().since(begun))
    });
    assert_eq!(answered.0, 200);
    assert!(answered.1 < Duration::from_millis(200), "{:?}", answered.1);
}

#[test]
fn a_failed_refresh_releases_its_lock_at_once_and_its_tries_count_for_the_fleet() {
    let script = ScriptedPlatform::new(google_but(|request| {
        request.is("/token").then(|| Reply::status(500, "{}"))
    }));
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(8, &script);
    let begun = script.now();
    let answers = fleet.answers(1);
    assert!(answers.iter().all(|answer| answer.reason() == "UPSTREAM_UNREACHABLE"), "{answers:?}");
    assert!(answers.iter().all(|answer| !answer.header("retry-after").is_empty()), "{answers:?}");
    let waited = script.now().since(begun);
    assert!(waited < Duration::from_secs(8), "the processes fail one after the other: {waited:?}");
    let tries = script.received("/token").len();
    assert!(tries <= 3 + 3 + 2 * 6, "{tries}");
}

#[test]
fn a_late_lock_holders_write_does_not_replace_the_next_holders() {
    let script = ScriptedPlatform::new(google());
    let fleet = Fleet::of(1, &script);
    let (other, key, hour) =
        (script.another_process(), "oauth_token_cache", Duration::from_secs(3600));
    fleet.run(async {
        let LockResult::Acquired(late) = other.lock(key, Duration::from_secs(1)).await else {
            panic!("the lock is free")
        };
        other.timer(Duration::from_secs(2)).await;
        let LockResult::Acquired(next) = other.lock(key, Duration::from_secs(1)).await else {
            panic!("the lock has expired")
        };
        other.save(key, "next".into(), hour, Some(next)).await.unwrap();
        other.save(key, "late".into(), hour, Some(late)).await.unwrap();
    });
    assert_eq!(script.stored(key).as_deref(), Some("next"));
}

#[test]
fn an_answer_that_one_process_has_cached_is_a_hit_in_another() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(2, &script);
    let first = fleet.answer_of(0, REPEATABLE);
    assert_eq!((first.status.as_u16(), first.header("x-cache")), (200, "MISS"));
    let second = fleet.answer_of(1, REPEATABLE);
    assert_eq!((second.status.as_u16(), second.header("x-cache")), (200, "HIT"));
    assert_eq!(second.text(), first.text());
    assert_eq!(second.headers["content-type"], first.headers["content-type"]);
    assert_eq!(script.received(":generateContent").len(), 1);

    // The cached answer expires five minutes after it was given, in every process.
    script.advance(Duration::from_secs(200));
    assert_eq!(fleet.answer_of(1, REPEATABLE).header("x-cache"), "HIT");
    script.advance(Duration::from_secs(101));
    assert_eq!(fleet.answer_of(1, REPEATABLE).header("x-cache"), "MISS");
}

#[test]
fn an_answer_that_is_not_kept_is_unknown_to_other_processes() {
    let searching = REPEATABLE.replace("}]}],", r#"}]}],"tools":[{"googleSearch":{}}],"#);
    for (body, reply) in [(REPEATABLE, Some(CUT)), (searching.as_str(), None)] {
        let script = ScriptedPlatform::new(google_but(move |request: &Received| {
            reply.filter(|_| request.is(":generateContent")).map(Reply::ok)
        }));
        script.write_login(login("living", "refresh", 3000));
        let fleet = Fleet::of(2, &script);
        let begun = script.now();
        for process in [0, 1, 1] {
            assert_eq!(fleet.answer_of(process, body).header("x-cache"), "MISS", "{body}");
        }
        assert_eq!(script.received(":generateContent").len(), 3);
        assert!(script.now().since(begun) < Duration::from_secs(1), "no process holds a lock");
    }
}

#[test]
fn a_stored_answer_that_would_not_be_kept_today_is_not_used() {
    let script = ScriptedPlatform::new(google());
    let file = login("living", "refresh", 3000);
    let account = credentials::Login::parse(file.as_bytes()).unwrap().fingerprint();
    script.write_login(file);
    let fleet = Fleet::of(1, &script);
    assert_eq!(fleet.answer_of(0, HELLO).status, 200, "the proxy knows its account");
    let request = code_assist_core::Payload::from(Bytes::from(REPEATABLE));
    let key = cache::CacheKey::new(None, "generateContent", "gemini-2.5-flash", &request, None);
    let stored = |body: &'static str| {
        let (status, headers, body) =
            (http::StatusCode::OK, http::HeaderMap::new(), Bytes::from(body));
        let answer = cache::CachedAnswer { status, headers, body };
        script.put(
            &key.key(&account),
            answer.to_stored(&key, &account, script.wall_clock()).unwrap(),
        );
    };
    stored(r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#);
    assert_eq!(fleet.answer_of(0, REPEATABLE).header("x-cache"), "MISS");
    let fleet = Fleet::of(1, &script);
    stored(r#"{"candidates":[{"content":{"parts":[{"text":"stored"}]},"finishReason":"STOP"}]}"#);
    let answer = fleet.answer_of(0, REPEATABLE);
    assert_eq!(answer.header("x-cache"), "HIT");
    assert!(answer.text().contains("stored"), "{}", answer.text());
}

#[test]
fn equal_requests_to_several_processes_at_once_are_one_call() {
    let script = ScriptedPlatform::new(slow_google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(3, &script);
    let asked = fleet.0.iter().flat_map(|(script, proxy)| {
        (0..2).map(move |_| ask(proxy, script, post(GENERATE, REPEATABLE)))
    });
    let answers = fleet.run(all(asked.collect()));
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(script.received(":generateContent").len(), 1);
    let count = |result| answers.iter().filter(|it| it.header("x-cache") == result).count();
    assert_eq!((count("MISS"), count("COALESCED")), (1, 5), "{answers:?}");
}

#[test]
fn a_failed_request_is_not_shared_and_releases_its_lock_at_once() {
    let mut failed = false;
    let script = ScriptedPlatform::new(google_but(move |request| {
        let first = request.is(":generateContent") && !std::mem::replace(&mut failed, true);
        first.then(|| Reply::status(400, r#"{"error":{"code":400,"message":"no"}}"#))
    }));
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(2, &script);
    assert_eq!(fleet.answer_of(0, REPEATABLE).status, 400);
    let begun = script.now();
    let second = fleet.answer_of(1, REPEATABLE);
    assert_eq!((second.status.as_u16(), second.header("x-cache")), (200, "MISS"));
    assert!(script.now().since(begun) < Duration::from_secs(1));
}

#[test]
fn a_client_that_goes_away_leaves_its_request_to_another_process() {
    let script = ScriptedPlatform::new(slow_google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(2, &script);
    fleet.answers(1);
    let begun = script.now();
    let [(one, first), (other, second)] = &fleet.0[..] else { panic!("there are two") };
    let answer = fleet.run(async {
        let patience = Duration::from_millis(100);
        let gives_up = impatient(one, patience, ask(first, one, post(GENERATE, REPEATABLE)));
        let waits = later(one, patience / 2, ask(second, other, post(GENERATE, REPEATABLE)));
        let (mut gives_up, mut waits) = (Box::pin(gives_up), Box::pin(waits));
        let mut gone = false;
        std::future::poll_fn(move |cx| {
            if !gone && let std::task::Poll::Ready(answer) = gives_up.as_mut().poll(cx) {
                assert!(answer.is_none(), "it was answered in time");
                gone = true;
            }
            waits.as_mut().poll(cx)
        })
        .await
    });
    assert_eq!((answer.status.as_u16(), answer.header("x-cache")), (200, "MISS"));
    let waited = script.now().since(begun);
    assert!(
        waited < Duration::from_secs(1),
        "the other process waited for the lock's expiry: {waited:?}"
    );
}

#[test]
fn an_idempotency_key_stands_for_one_request_in_all_processes() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(2, &script);
    let answer_of = |index: usize, body: &str| {
        let mut request = post(GENERATE, body);
        request.headers_mut().insert("idempotency-key", "k".parse().unwrap());
        fleet.run(ask(&fleet.0[index].1, &fleet.0[index].0, request))
    };
    assert_eq!(answer_of(0, HELLO).status, 200);
    assert_eq!(answer_of(1, HELLO).header("x-cache"), "HIT");
    let other = answer_of(1, HELLO.replace("Hello", "Bye").as_str());
    assert_eq!(other.status, 409);
    assert_eq!(script.received(":generateContent").len(), 1);
}

#[test]
fn a_rate_limit_holds_for_all_processes_together_and_for_each_one_without_the_store() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::with(4, &script, &[("RATE_LIMIT_MAX_REQUESTS", "100")]);
    let answers = fleet.answers(40);
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((passed, answers.len()), (100, 160));
    assert!(answers.iter().all(|it| it.header("x-ratelimit-limit") == "100"));
    assert!(answers.iter().any(|it| it.reason() == "RATE_LIMITED"));

    // Each process counts on from the requests that it has let through itself.
    script.break_store(true);
    let answers = fleet.answers(100);
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(passed, 300);
}

#[test]
fn a_store_that_loses_its_counts_lets_no_process_pass_the_limit_by_itself() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::with(2, &script, &[("RATE_LIMIT_MAX_REQUESTS", "5")]);
    let passed = |index: usize| {
        let asked = (0..20).map(|_| fleet.answer_of(index, HELLO));
        asked.filter(|answer| answer.status == 200).count()
    };
    assert_eq!(passed(0), 5);
    script.lose_counts();
    assert_eq!(passed(0), 0, "the process knows what it has let through");
    assert_eq!(passed(1), 5, "what another process has let through is not known");
    script.lose_counts();
    assert_eq!((passed(0), passed(1)), (0, 0));
}

#[test]
fn a_request_that_one_count_refuses_is_counted_by_neither() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::with(2, &script, &[("RATE_LIMIT_MAX_REQUESTS", "4")]);
    let passes = |index: usize| fleet.answer_of(index, HELLO).status == 200;
    assert!((0..4).all(|_| passes(0)));
    // The count of all refuses what the second process's own count allows.
    assert!((0..9).all(|_| !passes(1)));
    script.lose_counts();
    // The own count of the first process refuses, and the count of all does not count that.
    assert!((0..9).all(|_| !passes(0)));
    assert!((0..4).all(|_| passes(1)), "the second process has let nothing through");
    assert!(!passes(1));
}

#[test]
fn a_quota_that_one_process_found_used_up_is_known_to_all_processes() {
    let spent = r#"{"error":{"code":429,"message":"Resets in 2h.","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED"}]}}"#;
    let script = ScriptedPlatform::new(google_but(move |request| {
        request.is(":generateContent").then(|| Reply::status(429, spent))
    }));
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(2, &script);
    assert_eq!(fleet.answer_of(0, HELLO).status, 429);
    let (other, proxy) = &fleet.0[1];
    fleet.run(proxy.tick(other));
    let answer = fleet.answer_of(1, HELLO);
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "7200"));
    assert_eq!(script.received(":generateContent").len(), 1);
}

#[test]
fn a_running_process_uses_the_refresh_token_that_another_one_received() {
    let mut serial = 0;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if !request.is("/token") {
            return None;
        }
        // Google takes the newest refresh token and no other.
        if !request.body.contains(&format!("refresh_token=r{serial}&")) {
            return Some(Reply::status(400, r#"{"error":"invalid_grant"}"#));
        }
        serial += 1;
        Some(Reply::ok(format!(
            r#"{{"access_token":"t{serial}","expires_in":3599,"refresh_token":"r{serial}"}}"#
        )))
    }));
    script.write_login(login("dead", "r0", -10));
    let fleet = Fleet::of(2, &script);
    for hour in 0..6 {
        let answer = fleet.answer_of(hour % 2, HELLO);
        assert_eq!(answer.status, 200, "{hour}: {}", answer.text());
        script.advance(Duration::from_secs(3700));
    }
    let sent = script.received(":generateContent");
    assert_eq!(sent.last().unwrap().headers["authorization"].as_bytes(), b"Bearer t6");
}

/// Processes, each with its proxy.
struct Fleet(Vec<(ScriptedPlatform, Proxy)>);

impl Fleet {
    fn of(count: usize, script: &ScriptedPlatform) -> Self {
        Self::with(count, script, &[])
    }

    fn with(count: usize, script: &ScriptedPlatform, more: &[(&str, &str)]) -> Self {
        let settings = [&[("VALIDATE_TOKENS_BEFORE_USE", "false")], more].concat();
        let member = || {
            let script = script.another_process();
            let proxy = proxy_with(&script, &settings);
            (script, proxy)
        };
        Self((0..count).map(|_| member()).collect())
    }

    /// The answer of one process to a request.
    fn answer_of(&self, index: usize, body: &str) -> Answer {
        let (script, proxy) = &self.0[index];
        self.run(ask(proxy, script, post(GENERATE, body)))
    }

    /// The answers to requests that go to all processes at once, `each` to every one.
    fn answers(&self, each: usize) -> Vec<Answer> {
        let asked = self.0.iter().flat_map(|(script, proxy)| {
            (0..each).map(move |_| ask(proxy, script, post(GENERATE, HELLO)))
        });
        self.run(all(asked.collect()))
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        let fleet: Vec<_> = self.0.iter().map(|(script, proxy)| (script, proxy)).collect();
        self.0[0].0.run_fleet(&fleet, future)
    }
}

fn slow_google() -> impl FnMut(&Received) -> Reply + Send + 'static {
    let mut google = google();
    move |request| google(request).after(Duration::from_millis(300))
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const HELLO: &str = r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#;
/// A request whose answer may be used again: its temperature is zero.
const REPEATABLE: &str =
    r#"{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
/// An answer that broke off, and so is not kept.
const CUT: &str = r#"{"response":{"candidates":[{"content":{"parts":[{"text":"Hel"}]},"finishReason":"MAX_TOKENS"}]}}"#;
