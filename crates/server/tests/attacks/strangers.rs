//! Guesses and floods of refused requests.

use std::time::{Duration, Instant};

use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, TestProxy, get, post};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Strangers"
    both {
        guessed_keys: "one guessed key after the other from one address, then the right key of another client",
            "ten times 401, then 429 `TOO_MANY_ATTEMPTS` with `Retry-After` for every key, right or wrong; a key that was accepted there before still passes";
        guesses_without_effect: "wrong keys on `/health`, `/live`, `/ready` and `/`, which need none",
            "the answer is the same as without a key, and nothing is counted";
        flood_in_the_log: "500 requests without a key, each with an id of 128 letters",
            "401 each; at most ten lines a second, with the address, and then a count; no other reason's line is left out";
        flood_in_the_statistics: "500 requests without a key, beside one honest request",
            "`requests_processed`, the latency histograms and every ratio have the honest one only";
    }
    native {
        keys_that_protect_nothing: "a start with `PROXY_API_KEYS` or `KV_ENCRYPTION_KEY` empty or blank, in environment and file, and with a key of two letters on `0.0.0.0`",
            "exit 2, with the name of the setting", because "a Worker answers 503 `SETTINGS_INVALID` instead";
        tokens_in_the_clear: "a start with `http://` to another machine for endpoint, token and tokeninfo address",
            "exit 2, unless `ALLOW_INSECURE_UPSTREAM=true`", because "it starts a process";
    }
    proved {
        reload_without_keys: "SIGHUP with the keys gone from the file, empty, blank, or a lone comma",
            "refused: the old keys stay in force",
            by "crates/server/tests/serve/reload.rs::a_reload_cannot_remove_all_keys_on_a_loopback_address_either";
        guesses_over_a_reload: "SIGHUP after ten wrong keys", "the count stays",
            by "crates/server/tests/serve/reload.rs::wrong_keys_stay_counted_over_a_reload";
        guesses_from_many_addresses: "wrong keys from a million addresses",
            "the memory is bounded, and no address gets more than its ten",
            by "crates/testkit/tests/policy_properties/key_guesses.rs::no_address_gets_more_than_ten_guesses_in_any_minute_whatever_others_do";
        wrong_secret_in_a_rollout: "credentials that Google refuses, and `/ready` asked all the time",
            "503 from the first to the last time",
            by "crates/server/tests/serve/probes.rs::a_proxy_with_refused_missing_or_unreadable_credentials_is_never_ready";
        outage_behind_strangers: "two thousand requests without a key beside fifty that all fail",
            "the alert on errors fires",
            by "crates/testkit/tests/metrics.rs::refused_strangers_have_a_count_of_their_own_and_are_in_no_ratio_and_no_latency";
    }
}

fn guessed_keys() -> Vec<Attacked> {
    let proxy = keyed();
    let send = |key: &str| proxy.send(post(GENERATE, &[&format!("x-goog-api-key: {key}")], HELLO));
    assert_eq!(send(KEY).status(), 200);
    for n in 0..10 {
        assert_eq!(
            send(&format!("guess-{n}")).status_and_reason(),
            (401, "API_KEY_INVALID".into())
        );
    }
    let started = Instant::now();
    for key in ["guess", OTHER, "guess", OTHER] {
        let answer = send(key);
        assert_eq!(answer.status_and_reason(), (429, "TOO_MANY_ATTEMPTS".into()), "{key}");
        let after: u64 = answer.header("retry-after").parse().expect("a number of seconds");
        assert!(
            (1..=60).contains(&after) && started.elapsed() < Duration::from_secs(50),
            "{after}"
        );
    }
    assert_eq!(send(KEY).status(), 200, "another caller's key");
    vec![proxy.into()]
}

fn guesses_without_effect() -> Vec<Attacked> {
    let proxy = keyed();
    proxy.until("ready", |proxy| proxy.get("/ready").status() == 200);
    for path in ["/health", "/live", "/ready", "/"] {
        for n in 0..15 {
            let guess = format!("x-goog-api-key: guess-{n}");
            assert_eq!(proxy.send(get(path, &[&guess])).status(), 200, "{path}");
        }
    }
    let key = format!("x-goog-api-key: {OTHER}");
    assert_eq!(proxy.send(post(GENERATE, &[&key], HELLO)).status(), 200);
    vec![proxy.into()]
}

fn flood_in_the_log() -> Vec<Attacked> {
    let proxy = keyed();
    let id = format!("x-request-id: {}", "i".repeat(128));
    let started = Instant::now();
    let mut connection = proxy.connect();
    for _ in 0..500 {
        assert_eq!(connection.send(post(GENERATE, &[&id], HELLO)).status(), 401);
    }
    let seconds = started.elapsed().as_secs_f64();
    let wrong = post(GENERATE, &["x-goog-api-key: guess"], HELLO);
    assert_eq!(proxy.send(wrong).status(), 401);
    proxy.await_output("api_key_invalid");
    let lines = proxy.request_lines();
    let with = |reason: &str| lines.iter().filter(|line| line["reason"] == reason).count();
    assert_eq!(with("api_key_invalid"), 1);
    let most = 10.0 * (seconds + 2.0);
    assert!((with("api_key_missing") as f64) <= most, "{} in {seconds} s", with("api_key_missing"));
    if proxy.is_native() {
        assert!(lines.iter().all(|line| line["peer"] == "127.0.0.1"), "{lines:?}");
        proxy.await_output("refused requests without a line of their own");
    }
    vec![proxy.into()]
}

fn flood_in_the_statistics() -> Vec<Attacked> {
    let proxy = keyed();
    let key = format!("x-goog-api-key: {KEY}");
    assert_eq!(proxy.send(post(GENERATE, &[&key], HELLO)).status(), 200);
    let mut connection = proxy.connect();
    for _ in 0..500 {
        assert_eq!(connection.send(post(GENERATE, &[], HELLO)).status(), 401);
    }
    let metrics = proxy.send(get("/metrics", &[&key])).text();
    let refused = r#"code_assist_proxy_refused_requests_total{reason="api_key_missing"} 500"#;
    assert!(metrics.contains(refused), "{metrics}");
    for name in ["request_duration_seconds_count", "overhead_seconds_count"] {
        assert!(metrics.contains(&format!("\ncode_assist_proxy_{name} 1\n")), "{metrics}");
    }
    assert!(!metrics.contains(r#"status="4xx""#), "{metrics}");
    assert_eq!(proxy.get("/health").json()["metrics"]["requests_processed"], 1);
    vec![proxy.into()]
}

fn keys_that_protect_nothing() -> Vec<Attacked> {
    for (name, value, host) in [
        ("PROXY_API_KEYS", "", "127.0.0.1"),
        ("PROXY_API_KEYS", " ", "127.0.0.1"),
        ("KV_ENCRYPTION_KEY", "", "127.0.0.1"),
        ("PROXY_API_KEYS", "a1", "0.0.0.0"),
    ] {
        let setup = ProxyBuilder::without_upstream().env("HOST", host);
        let line = format!("{} = \"{value}\"", name.to_lowercase());
        setup.write("config.toml", line);
        for setup in [
            setup.same_home_with_env(name, value),
            setup.same_home_with_env("CODE_ASSIST_PROXY_CONFIG", "config.toml"),
        ] {
            let refused = setup.run_to_exit();
            assert_eq!(refused.status.code(), Some(2), "{name}={value}");
            let message = String::from_utf8(refused.stderr).expect("UTF-8");
            assert!(message.contains(name), "{message}");
        }
    }
    Vec::new()
}

fn tokens_in_the_clear() -> Vec<Attacked> {
    for name in ["CODE_ASSIST_ENDPOINT", "OAUTH_TOKEN_URL", "OAUTH_TOKENINFO_URL"] {
        for url in ["http://upstream.invalid", "http://192.0.2.1:8080"] {
            let refused = ProxyBuilder::without_upstream().env(name, url).run_to_exit();
            assert_eq!(refused.status.code(), Some(2), "{name}={url}");
        }
    }
    Vec::new()
}

fn keyed() -> TestProxy {
    TestProxy::for_emulator(
        GoogleEmulator::start(),
        &[("PROXY_API_KEYS", &format!("alice:{KEY},bob:{OTHER}"))],
    )
}

const KEY: &str = "alices-secret-key";
const OTHER: &str = "bobs-own-secret-key";
