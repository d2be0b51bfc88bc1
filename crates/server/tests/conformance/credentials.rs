//! Credentials and tokens: in every variable and form; missing, wrong, expired, revoked.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder};
use serde_json::{Value, json};

use crate::{ARRAY, GENERATE, HELLO};

#[test]
fn every_variable_for_credentials_works() {
    let google = GoogleEmulator::start();
    let without = || ProxyBuilder::for_emulator(&google).without_env("GCP_SERVICE_ACCOUNT");
    for (what, setup) in [
        ("GCP_SERVICE_ACCOUNT", without().env("GCP_SERVICE_ACCOUNT", google.credentials())),
        ("GEMINI_CREDENTIALS", without().env("GEMINI_CREDENTIALS", google.expired_credentials())),
        ("CLOUDCODE_OAUTH_CREDS", without().env("CLOUDCODE_OAUTH_CREDS", google.credentials())),
        (
            "GOOGLE_CLOUD_ACCESS_TOKEN",
            without()
                .env("GCP_SERVICE_ACCOUNT", "nonsense")
                .env("GOOGLE_CLOUD_ACCESS_TOKEN", code_assist_emulator::ACCESS_TOKEN),
        ),
    ] {
        let answer = setup.start().post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text());
    }
    assert_eq!(google.count("token"), 1, "only one of them had ended");
}

#[test]
fn credentials_are_read_in_quotes_and_in_base64() {
    let google = GoogleEmulator::start();
    let json = google.credentials();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &json);
    for text in [
        format!("'{json}'"),
        format!("\"{}\"", json.replace('"', "\\\"")),
        format!("\u{feff}{json}"),
        base64.trim_end_matches('=').to_owned(),
    ] {
        let answer =
            ProxyBuilder::for_emulator(&google).credentials(&text).start().post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{text}: {}", answer.text());
    }
}

#[test]
fn credentials_that_cannot_be_read_are_called_so_and_never_shown() {
    let google = GoogleEmulator::start();
    for (text, said) in [
        ("/home/hush/oauth_creds", "cannot be read: it holds the path of a file"),
        ("AIzaSyHushHushHush", "cannot be read: it is an API key"),
        ("{\"refresh_token\":\"hush", "cannot be read: its JSON breaks off"),
    ] {
        let proxy = ProxyBuilder::for_emulator(&google).credentials(text).start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{message}");
        assert!(!message.contains("does not accept"), "{message}");
        let (stdout, stderr) = proxy.into_output();
        for output in [message, stdout, stderr] {
            assert!(!output.to_lowercase().contains("hush"), "{output}");
        }
    }
    assert!(google.log().is_empty(), "nothing goes out: {:?}", google.log());
}

#[test]
fn the_error_for_missing_credentials_names_the_variables_to_set() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).without_env("GCP_SERVICE_ACCOUNT").start();
    for path in [GENERATE, ARRAY] {
        let answer = proxy.post(path, HELLO);
        assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_MISSING".into()));
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("GCP_SERVICE_ACCOUNT"), "{message}");
    }
    assert!(proxy.get("/health").text().contains(r#""status":"degraded""#));
    assert_eq!(google.count("generateContent"), 0);
}

#[test]
fn revoked_credentials_are_reported_and_not_tried_again_at_once() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials());
    google.set_state(json!({"revoke_refresh": true}));
    let proxy = setup.start();
    for _ in 0..20 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("invalid_grant"), "{message}");
        assert!(message.contains("Sign in again"), "{message}");
    }
    assert_eq!(google.count("token"), 1, "revoked credentials are tried once");
    assert_eq!(google.count("generateContent"), 0);
}

#[test]
fn an_expiry_is_read_in_every_unit_and_place() {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (alive, dead) = (seconds + 1800, seconds - 1800);
    let token = code_assist_emulator::ACCESS_TOKEN;
    for (refreshes, login) in [
        (0, json!({"access_token": token, "expiry_date": alive * 1000})),
        (0, json!({"access_token": token, "expiry_date": alive})),
        (0, json!({"access_token": token, "expiry_date": (alive * 1000).to_string()})),
        (0, json!({"token": {"accessToken": token, "expiresAt": alive * 1000}})),
        (1, json!({"access_token": token, "expiry_date": dead * 1000})),
        (1, json!({"access_token": token, "expiry_date": dead})),
        (1, json!({"access_token": token, "expiry_date": 1})),
    ] {
        let google = GoogleEmulator::start();
        let mut login = login;
        login["refresh_token"] = json!("1//emulator-refresh");
        if let Value::Object(inner) = &mut login["token"] {
            inner.insert("refreshToken".into(), json!("1//emulator-refresh"));
        } else if let Value::Object(outer) = &mut login {
            outer.remove("token");
        }
        let proxy = ProxyBuilder::for_emulator(&google).credentials(&login.to_string()).start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{login}: {}", answer.text());
        assert_eq!(google.count("token"), refreshes, "{login}");
    }
}

#[test]
fn a_service_account_is_refused_and_the_error_names_an_alternative() {
    let google = GoogleEmulator::start();
    let key = json!({"type": "service_account", "project_id": "p", "private_key_id": "hush-id",
        "private_key": "-----BEGIN PRIVATE KEY-----\nhush-key\n", "client_email": "a@b.c"});
    let proxy = ProxyBuilder::for_emulator(&google).credentials(&key.to_string()).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    for part in ["service_account", "oauth_creds.json", "Gemini CLI"] {
        assert!(message.contains(part), "{message}");
    }
    let (stdout, stderr) = proxy.into_output();
    for output in [message, stdout, stderr] {
        assert!(!output.contains("hush"), "{output}");
    }
    assert!(google.log().is_empty(), "nothing goes out: {:?}", google.log());
}

#[test]
fn a_token_that_google_has_revoked_is_refreshed_and_the_request_replayed() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    google.set_state(json!({"expire_tokens": true}));
    let answers: Vec<_> = thread::scope(|scope| {
        let requests: Vec<_> =
            (0..20).map(|_| scope.spawn(|| proxy.post(GENERATE, HELLO))).collect();
        requests.into_iter().map(|request| request.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status() == 200));
    assert_eq!(google.count("token"), 1, "one refresh for twenty 401s");
    let health = proxy.get("/health").json();
    assert_eq!(health["metrics"]["token_refreshes"], 1, "{health}");
}

#[test]
fn a_persistent_401_is_not_passed_on_to_the_client() {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "generateContent"}, "times": 0, "status": 401}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    assert_eq!(google.count("generateContent"), 2, "once, and once more after a refresh");
    assert_eq!(google.count("token"), 1);
}

#[test]
fn a_failing_token_endpoint_is_retried_with_backoff() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_status": 500}));
    let proxy =
        ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials()).start();
    for _ in 0..10 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(
            answer.status_and_reason(),
            (503, "UPSTREAM_UNREACHABLE".into()),
            "{}",
            answer.text()
        );
        let after: u64 = answer.header("retry-after").parse().expect("seconds");
        assert!((1..=2).contains(&after), "{after}");
    }
    let tries = google.received("token").len();
    assert!((3..=6).contains(&tries), "three tries, then a pause: {tries}");
    google.set_state(json!({"token_status": null}));
    becomes(&proxy, 200, Duration::from_secs(6));
}

#[test]
fn a_token_endpoint_that_fails_twice_costs_no_request_its_answer() {
    let google = GoogleEmulator::start();
    google.add_rules(json!([
        {"match": {"rpc": "token"}, "status": 502},
        {"match": {"rpc": "token"}, "close_before_head": true},
    ]));
    let proxy =
        ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials()).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(google.received("token").len(), 3);
}

#[test]
fn a_loaded_token_is_validated_once() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for _ in 0..5 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(google.count("tokeninfo"), 1);
    let unchecked = GoogleEmulator::start();
    let proxy =
        ProxyBuilder::for_emulator(&unchecked).env("VALIDATE_TOKENS_BEFORE_USE", "false").start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(unchecked.count("tokeninfo"), 0);
}

/// Sends requests until one has this status.
#[track_caller]
fn becomes(proxy: &Proxy, status: u16, timeout: Duration) {
    let started = Instant::now();
    loop {
        let answer = proxy.post(GENERATE, HELLO);
        if answer.status() == status {
            return;
        }
        assert!(started.elapsed() < timeout, "{}", answer.text());
        thread::sleep(Duration::from_millis(20));
    }
}
