//! Several processes that share a store: what is done once is done once for all of them.

use std::time::Duration;

use code_assist_core::platform::{Claim, Platform};
use code_assist_core::proxy::Proxy;
use code_assist_testkit::client::{Answer, all, ask, post};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Received, Reply, Script};
use code_assist_testkit::subject::{login, proxy_with};

#[test]
fn four_cold_processes_refresh_once_and_discover_once() {
    let script = Script::new(slow_google());
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(4, &script);
    let answers = fleet.ask(25);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(answers.len(), 100);
    assert_eq!(script.received("/token").len(), 1);
    assert_eq!(script.received(":loadCodeAssist").len(), 1);
}

#[test]
fn the_next_expiry_costs_one_refresh_again() {
    let script = Script::new(slow_google());
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(3, &script);
    fleet.ask(2);
    script.pass(Duration::from_secs(3700));
    fleet.ask(2);
    assert_eq!(script.received("/token").len(), 2);
    let sent = script.received(":generateContent");
    let last = sent.last().unwrap();
    assert_eq!(last.headers["authorization"], "Bearer ya29.new-2");
}

#[test]
fn a_holder_that_died_delays_the_others_by_its_turn_and_no_longer() {
    let script = Script::new(google());
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(2, &script);
    let dead = script.another();
    let claim = fleet.run(dead.claim("oauth_token_cache", Duration::from_secs(12)));
    assert!(matches!(claim, Claim::Granted(_)));
    let begun = script.now();
    let answers = fleet.ask(1);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let waited = script.now().since(begun);
    assert!(waited >= Duration::from_secs(12) && waited < Duration::from_secs(14), "{waited:?}");
    assert_eq!(script.received("/token").len(), 1);
}

#[test]
fn a_token_that_lives_is_used_while_another_process_gets_the_next() {
    let script = Script::new(google());
    script.write_login(login("living", "refresh", 200));
    let fleet = Fleet::of(2, &script);
    let other = script.another();
    fleet.run(other.claim("oauth_token_cache", Duration::from_secs(12)));
    let begun = script.now();
    let answered = fleet.run(async {
        let answer = ask(&fleet.0[0].1, &fleet.0[0].0, post(GENERATE, HELLO)).await;
        (answer.status, script.now().since(begun))
    });
    assert_eq!(answered.0, 200);
    assert!(answered.1 < Duration::from_millis(200), "{:?}", answered.1);
}

#[test]
fn a_failed_refresh_frees_the_turn_at_once() {
    let mut failed = false;
    let script = Script::new(google_but(move |request| {
        let first = request.is("/token") && !std::mem::replace(&mut failed, true);
        first.then(|| Reply::status(500, "{}"))
    }));
    script.write_login(login("dead", "refresh", -10));
    let fleet = Fleet::of(2, &script);
    let begun = script.now();
    let answers = fleet.ask(1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    assert!(script.now().since(begun) < Duration::from_secs(1));
}

#[test]
fn a_late_holders_token_does_not_replace_the_next_ones() {
    let script = Script::new(google());
    let fleet = Fleet::of(1, &script);
    let (other, key, hour) = (script.another(), "oauth_token_cache", Duration::from_secs(3600));
    fleet.run(async {
        let Claim::Granted(late) = other.claim(key, Duration::from_secs(1)).await else {
            panic!("nobody has it")
        };
        other.timer(Duration::from_secs(2)).await;
        let Claim::Granted(next) = other.claim(key, Duration::from_secs(1)).await else {
            panic!("it is over")
        };
        other.save(key, "next".into(), hour, Some(next)).await.unwrap();
        other.save(key, "late".into(), hour, Some(late)).await.unwrap();
    });
    assert_eq!(script.stored(key).as_deref(), Some("next"));
}

/// Processes with their proxies.
struct Fleet(Vec<(Script, Proxy)>);

impl Fleet {
    fn of(count: usize, script: &Script) -> Self {
        let member = || {
            let script = script.another();
            let proxy = proxy_with(&script, &[("VALIDATE_TOKENS_BEFORE_USE", "false")]);
            (script, proxy)
        };
        Self((0..count).map(|_| member()).collect())
    }

    /// So many requests to each of them at once.
    fn ask(&self, each: usize) -> Vec<Answer> {
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
    let mut usual = google();
    move |request| usual(request).after(Duration::from_millis(300))
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const HELLO: &str = r#"{"contents":[{"parts":[{"text":"Hello"}]}]}"#;
