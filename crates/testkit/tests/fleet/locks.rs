//! Distributed locks: what a holder that dies costs the others, and that a slow one is waited for.

use std::time::Duration;

use code_assist_core::{LOCK_TTL, LockResult, Platform};
use code_assist_testkit::client::{all, ask, impatient, post};
use code_assist_testkit::contract::lock_contract;
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::login;

use crate::{Fleet, GENERATE, HELLO, REPEATABLE};

#[test]
fn the_scripted_platform_fulfils_the_contract_of_locks() {
    let script = ScriptedPlatform::new(google());
    let fleet = Fleet::of(1, &script);
    let (a, b) = (script.another_process(), script.another_process());
    fleet.run(lock_contract(
        (&a, &b),
        async |how_long| a.advance(how_long),
        ScriptedPlatform::lock,
        ScriptedPlatform::renew,
        ScriptedPlatform::unlock,
    ));
}

#[test]
fn a_process_killed_during_a_refresh_delays_the_others_by_one_lock_lifetime() {
    let script = ScriptedPlatform::new(google_but(stuck_once("/token")));
    script.write_login(login("dead", "refresh", -10));
    script.put("project_id_cache", PROJECT);
    let fleet = Fleet::of(3, &script);
    fleet.kill_while_it_answers(0, HELLO);
    assert_eq!(script.received("/token").len(), 1);
    fleet.answers_in_time(1, HELLO);
    assert_eq!(script.received("/token").len(), 2, "the killed process's refresh, and one more");
}

#[test]
fn a_process_killed_during_a_first_discovery_delays_the_others_by_one_lock_lifetime() {
    let script = ScriptedPlatform::new(google_but(stuck_once(":loadCodeAssist")));
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(3, &script);
    fleet.kill_while_it_answers(0, HELLO);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
    fleet.answers_in_time(1, HELLO);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn a_cold_process_killed_during_its_refresh_holds_no_lock_of_a_discovery() {
    let script = ScriptedPlatform::new(google_but(stuck_once("/token")));
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(3, &script);
    fleet.kill_while_it_answers(0, HELLO);
    assert_eq!(script.locks_taken(), ["oauth_token_cache"]);
    fleet.answers_in_time(1, HELLO);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn processes_killed_one_after_the_other_each_cost_one_lock_lifetime() {
    let (mut token, mut project) = (stuck_once("/token"), stuck_once(":loadCodeAssist"));
    let script = ScriptedPlatform::new(google_but(move |request| {
        token(request).or_else(|| project(request))
    }));
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(4, &script);
    // The second process waits for the first one's lock, refreshes, and dies while it discovers.
    fleet.kill_while_it_answers(0, HELLO);
    fleet.kill_while_it_answers(1, HELLO);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
    fleet.answers_in_time(2, HELLO);
    assert_eq!(script.received("/token").len(), 2);
    assert_eq!(script.received(":loadCodeAssist").len(), 2);
}

#[test]
fn a_process_killed_while_it_asks_for_a_shared_answer_delays_the_others_by_one_lock_lifetime() {
    let script = ScriptedPlatform::new(google_but(stuck_once(":generateContent")));
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(3, &script);
    fleet.kill_while_it_answers(0, REPEATABLE);
    fleet.answers_in_time(1, REPEATABLE);
    assert_eq!(script.received(":generateContent").len(), 2);
}

#[test]
fn a_cold_process_holds_no_lock_of_a_shared_answer_while_it_waits_for_its_token() {
    let script = ScriptedPlatform::new(google_but(stuck_once("/token")));
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(3, &script);
    fleet.kill_while_it_answers(0, REPEATABLE);
    assert_eq!(script.locks_taken(), ["oauth_token_cache"]);
    fleet.answers_in_time(1, REPEATABLE);
    assert_eq!(script.received(":generateContent").len(), 1);
}

#[test]
fn a_slow_refresh_is_waited_for_and_done_once() {
    let slow = |request: &Received| {
        request.is("/token").then(|| {
            let token = r#"{"access_token":"ya29.slow","expires_in":3599}"#;
            Reply::ok(token).after(Duration::from_secs(9))
        })
    };
    let script = ScriptedPlatform::new(google_but(slow));
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(4, &script);
    let answers = fleet.answers(2);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn a_discovery_of_forty_seconds_is_waited_for_and_done_once() {
    let pending = r#"{"name":"operations/onboarding","done":false}"#;
    let done = r#"{"name":"operations/onboarding","done":true,"response":{"cloudaicompanionProject":{"id":"found-project"}}}"#;
    let mut begun = None;
    let script = ScriptedPlatform::new(google_but(move |request| {
        if request.is(":loadCodeAssist") {
            let tiers = r#"{"allowedTiers":[{"id":"standard-tier","isDefault":true}]}"#;
            return Some(Reply::ok(tiers).after(Duration::from_secs(8)));
        }
        if request.is(":onboardUser") {
            begun = Some(request.at);
            return Some(Reply::ok(pending));
        }
        let begun = begun.filter(|_| request.is("operations/onboarding"))?;
        let is_done = request.at.since(begun) > Duration::from_secs(32);
        Some(Reply::ok(if is_done { done } else { pending }))
    }));
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(4, &script);
    let answers = fleet.answers(2);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(script.now().since(script.received(":loadCodeAssist")[0].at).as_secs() >= 40);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
    assert_eq!(script.received(":onboardUser").len(), 1);
}

#[test]
fn a_shared_answer_of_a_minute_is_waited_for_and_asked_for_once() {
    let mut google = google();
    let script = ScriptedPlatform::new(move |request: &Received| {
        let is_slow = request.is(":generateContent");
        let delay = if is_slow { Duration::from_secs(60) } else { Duration::ZERO };
        google(request).after(delay)
    });
    script.write_login(login("living", "refresh", 3000));
    let fleet = Fleet::of(3, &script);
    let asked =
        fleet.0.iter().map(|(script, proxy)| ask(proxy, script, post(GENERATE, REPEATABLE)));
    let answers = fleet.run(all(asked.collect()));
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(script.received(":generateContent").len(), 1);
}

#[test]
fn a_holder_that_was_suspended_goes_on_and_overwrites_nothing() {
    let slow = |request: &Received| {
        request.is("/token").then(|| {
            let token = r#"{"access_token":"ya29.late","expires_in":3599}"#;
            Reply::ok(token).after(Duration::from_secs(8))
        })
    };
    let script = ScriptedPlatform::new(google_but(slow));
    script.write_login(login("dead", "refresh", -10));
    script.put("project_id_cache", PROJECT);
    let fleet = Fleet::of(1, &script);
    let (other, key) = (script.another_process(), "oauth_token_cache");
    let answer = fleet.run(async {
        let (first, proxy) = &fleet.0[0];
        let mut asking = Box::pin(ask(proxy, first, post(GENERATE, HELLO)));
        assert!(impatient(first, Duration::from_secs(1), &mut asking).await.is_none());
        // Nothing of the first process runs in this time.
        script.advance(LOCK_TTL);
        let LockResult::Acquired(next) = other.lock(key, LOCK_TTL).await else {
            panic!("the lock has expired")
        };
        other
            .save(key, "the next holder's".into(), LOCK_TTL * 10, Some(next))
            .await
            .expect("saved");
        asking.await
    });
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = script.received(":generateContent");
    assert_eq!(sent[0].headers["authorization"], "Bearer ya29.late");
    assert_eq!(script.stored(key).as_deref(), Some("the next holder's"));
}

#[test]
fn a_process_that_another_one_delays_for_too_long_works_without_the_lock() {
    let script = ScriptedPlatform::new(google());
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(1, &script);
    let other = script.another_process();
    fleet.run(async {
        let LockResult::Acquired(token) = other.lock("oauth_token_cache", LOCK_TTL).await else {
            panic!("the lock is free")
        };
        let (first, proxy) = &fleet.0[0];
        let mut asking = Box::pin(ask(proxy, first, post(GENERATE, HELLO)));
        let begun = script.now();
        // A holder that is never done.
        let answer = loop {
            if let Some(answer) = impatient(&other, LOCK_TTL / 3, &mut asking).await {
                break answer;
            }
            assert!(other.renew("oauth_token_cache", token, LOCK_TTL).await);
        };
        assert_eq!(answer.status, 200);
        let waited = script.now().since(begun);
        assert!(waited >= LONGEST_WAIT && waited < LONGEST_WAIT + PAUSE * 2, "{waited:?}");
    });
}

impl Fleet {
    /// Sends a request to one process, and kills the process when it has waited for its answer long
    /// enough to be asking Google.
    fn kill_while_it_answers(&self, index: usize, body: &str) {
        let (script, proxy) = &self.0[index];
        self.run(async {
            let mut asking = Box::pin(ask(proxy, script, post(GENERATE, body)));
            let answer = impatient(script, LOCK_TTL + 2 * PAUSE, &mut asking).await;
            assert!(answer.is_none(), "it was answered in time");
            script.kill();
        });
    }

    /// Sends a request to every process from this one on. The first answer must come within a lock's
    /// lifetime and a pause, and the others, which read its result, within one more pause.
    fn answers_in_time(&self, from: usize, body: &str) {
        let now = || self.0[0].0.now();
        let begun = now();
        let asked = self.0[from..].iter().map(async |(script, proxy)| {
            let answer = ask(proxy, script, post(GENERATE, body)).await;
            (answer, now().since(begun))
        });
        let answers = self.run(all(asked.collect()));
        assert!(answers.iter().all(|(answer, _)| answer.status == 200), "{answers:?}");
        let within = |limit| answers.iter().filter(|(_, waited)| *waited <= limit).count();
        assert!(within(LOCK_TTL + PAUSE) >= 1, "{answers:?}");
        assert_eq!(within(LOCK_TTL + 2 * PAUSE), answers.len(), "{answers:?}");
    }
}

/// Google does not answer the first of these requests.
fn stuck_once(end: &'static str) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    let mut stuck = false;
    move |request| {
        let is_first = request.is(end) && !std::mem::replace(&mut stuck, true);
        is_first.then(|| Reply::ok("{}").after(Duration::from_secs(3600)))
    }
}

const PROJECT: &str = r#"{"project_id":"found-project","discovered_at":1,"ttl":1999999999999}"#;

/// The longest pause between two looks at a lock.
const PAUSE: Duration = Duration::from_millis(500);

/// How long a process waits for others that refresh.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
