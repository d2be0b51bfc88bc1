//! Credentials: every source, rewritten while the proxy runs, missing, wrong, revoked.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::google::Google;
use crate::process::{Proxy, Setup};
use crate::{ARRAY, GENERATE, HELLO};

#[test]
fn every_source_of_credentials_serves() {
    let google = Google::new();
    let elsewhere = Setup::on(&google).login("{}");
    elsewhere.write("elsewhere/creds.json", google.login());
    let path = elsewhere.path("elsewhere/creds.json").display().to_string();
    let cli_home = Setup::on(&google).login("{}");
    cli_home.write("cli/.gemini/oauth_creds.json", google.login());
    let home = cli_home.path("cli").display().to_string();
    for (what, setup) in [
        ("the CLI's file", Setup::on(&google)),
        ("GEMINI_OAUTH_CREDS_FILE", elsewhere.env("GEMINI_OAUTH_CREDS_FILE", path)),
        ("GEMINI_CLI_HOME", cli_home.env("GEMINI_CLI_HOME", home)),
        (
            "GCP_SERVICE_ACCOUNT",
            Setup::on(&google).login("nonsense").env("GCP_SERVICE_ACCOUNT", google.login()),
        ),
        (
            "GEMINI_CREDENTIALS",
            Setup::on(&google).login("nonsense").env("GEMINI_CREDENTIALS", google.expired_login()),
        ),
        (
            "GOOGLE_CLOUD_ACCESS_TOKEN",
            Setup::on(&google)
                .env("GCP_SERVICE_ACCOUNT", "nonsense")
                .env("GOOGLE_CLOUD_ACCESS_TOKEN", code_assist_emulator::ACCESS_TOKEN),
        ),
    ] {
        let proxy = setup.start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text());
        let told = what.trim_start_matches("the CLI's ");
        let told = match what {
            "GEMINI_CREDENTIALS" => "GCP_SERVICE_ACCOUNT",
            "GOOGLE_CLOUD_ACCESS_TOKEN" | "GCP_SERVICE_ACCOUNT" => told,
            _ => "creds.json",
        };
        assert!(proxy.stdout().contains(told), "{what}: {}", proxy.stdout());
    }
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
        let google = Google::new();
        let mut login = login;
        login["refresh_token"] = json!("1//emulator-refresh");
        if let Value::Object(inner) = &mut login["token"] {
            inner.insert("refreshToken".into(), json!("1//emulator-refresh"));
        } else if let Value::Object(outer) = &mut login {
            outer.remove("token");
        }
        let proxy = Setup::on(&google).login(&login.to_string()).start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{login}: {}", answer.text());
        assert_eq!(google.count("token"), refreshes, "{login}");
    }
}

#[test]
fn a_newer_token_in_the_rewritten_file_is_adopted_within_three_seconds() {
    let google = Google::new();
    let proxy = Setup::on(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let first = bearer(&google);
    // The CLI does not write atomically: half a file is passed over.
    let login = google.login();
    let newer: Value = serde_json::from_str(&login).unwrap();
    let newer = format!("Bearer {}", newer["access_token"].as_str().unwrap());
    assert_ne!(first, newer);
    proxy.login(&login[..login.len() / 2]);
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(bearer(&google), first);
    proxy.login(&login);
    let begun = Instant::now();
    loop {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        if bearer(&google) == newer {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{newer} is not used");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(google.count("token"), 0, "no refresh was needed");
}

#[test]
fn a_service_account_is_refused_with_what_works_instead() {
    let google = Google::new();
    let key = json!({"type": "service_account", "project_id": "p", "private_key_id": "hush-id",
        "private_key": "-----BEGIN PRIVATE KEY-----\nhush-key\n", "client_email": "a@b.c"});
    let from_file = Setup::on(&google).login(&key.to_string());
    let from_env = Setup::on(&google).env("GCP_SERVICE_ACCOUNT", key.to_string());
    for setup in [from_file, from_env] {
        let proxy = setup.start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.verdict(), (503, "CREDENTIALS_REJECTED".into()));
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        for part in ["service_account", "oauth_creds.json", "Gemini CLI"] {
            assert!(message.contains(part), "{message}");
        }
        let (stdout, stderr) = proxy.all_output();
        for said in [message, stdout, stderr] {
            assert!(!said.contains("hush"), "{said}");
        }
    }
    assert!(google.log().is_empty(), "nothing goes out: {:?}", google.log());
}

#[test]
fn missing_credentials_are_told_with_the_path_and_found_when_they_come() {
    let google = Google::new();
    let setup = Setup::on(&google);
    std::fs::remove_file(setup.path(".gemini/oauth_creds.json")).unwrap();
    let path = setup.path(".gemini/oauth_creds.json").display().to_string();
    let proxy = setup.start();
    proxy.await_output("MISSING");
    assert!(proxy.stdout().contains(&path), "{}", proxy.stdout());
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.verdict(), (503, "CREDENTIALS_MISSING".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&path), "{message}");
    assert!(message.contains("GCP_SERVICE_ACCOUNT"), "{message}");
    assert_eq!(proxy.post(ARRAY, HELLO).verdict(), (503, "CREDENTIALS_MISSING".into()));
    assert!(proxy.get("/health").text().contains(r#""status":"degraded""#));
    assert_eq!(google.count("generateContent"), 0);
    proxy.login(&google.login());
    becomes(&proxy, 200, Duration::from_secs(3));
}

#[test]
fn an_encrypted_store_next_to_a_missing_file_is_said_to_be_one() {
    let google = Google::new();
    let setup = Setup::on(&google);
    std::fs::remove_file(setup.path(".gemini/oauth_creds.json")).unwrap();
    setup.write(".gemini/gemini-credentials.json", "encrypted");
    let proxy = setup.start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.verdict(), (503, "CREDENTIALS_MISSING".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    for said in [message, proxy.stdout()] {
        assert!(said.contains("encrypted"), "{said}");
        assert!(said.contains("GEMINI_FORCE_ENCRYPTED_FILE_STORAGE"), "{said}");
    }
}

#[test]
fn a_revoked_login_is_told_and_not_hammered_until_somebody_signs_in_again() {
    let google = Google::new();
    let setup = Setup::on(&google).login(&google.expired_login());
    google.state(json!({"revoke_refresh": true}));
    let proxy = setup.start();
    for _ in 0..20 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.verdict(), (503, "CREDENTIALS_REJECTED".into()));
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(message.contains("invalid_grant"), "{message}");
        assert!(message.contains("Sign in again"), "{message}");
    }
    thread::sleep(Duration::from_secs(2));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 503);
    assert_eq!(google.count("token"), 1, "a dead login is asked about once");
    assert_eq!(google.count("generateContent"), 0);
    proxy.login(&google.login());
    becomes(&proxy, 200, Duration::from_secs(3));
}

#[test]
fn a_token_that_google_has_ended_is_renewed_and_the_request_replayed() {
    let google = Google::new();
    let proxy = Setup::on(&google).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    google.state(json!({"expire_tokens": true}));
    let asked: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| proxy.post(GENERATE, HELLO))).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(asked.iter().all(|answer| answer.status() == 200));
    assert_eq!(google.count("token"), 1, "one refresh for twenty 401s");
    let health = proxy.get("/health").json();
    assert_eq!(health["metrics"]["token_refreshes"], 1, "{health}");
}

#[test]
fn a_401_that_stays_is_never_shown_as_the_clients_own() {
    let google = Google::new();
    google.script(json!({"match": {"rpc": "generateContent"}, "times": 0, "status": 401}));
    let proxy = Setup::on(&google).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.verdict(), (503, "CREDENTIALS_REJECTED".into()));
    assert_eq!(google.count("generateContent"), 2, "once, and once more after a refresh");
    assert_eq!(google.count("token"), 1);
}

#[test]
fn a_token_endpoint_that_fails_is_backed_off_from_and_asked_again() {
    let google = Google::new();
    google.state(json!({"token_status": 500}));
    let proxy = Setup::on(&google).login(&google.expired_login()).start();
    for _ in 0..10 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.verdict(), (503, "UPSTREAM_UNREACHABLE".into()), "{}", answer.text());
    }
    assert!(google.count("token") <= 2, "{}", google.count("token"));
    google.state(json!({"token_status": null}));
    becomes(&proxy, 200, Duration::from_secs(6));
}

#[test]
fn a_loaded_token_is_validated_once() {
    let google = Google::new();
    let proxy = Setup::on(&google).start();
    for _ in 0..5 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(google.count("tokeninfo"), 1);
    let unchecked = Google::new();
    let proxy = Setup::on(&unchecked).env("VALIDATE_TOKENS_BEFORE_USE", "false").start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(unchecked.count("tokeninfo"), 0);
}

#[test]
fn the_clis_file_is_never_written() {
    let google = Google::new();
    google.state(json!({"rotate_refresh": true}));
    let setup = Setup::on(&google);
    let login = google.expired_login();
    setup.write(".gemini/oauth_creds.json", &login);
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    google.state(json!({"expire_tokens": true}));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "the rotated refresh token is used");
    assert_eq!(google.count("token"), 2);
    let now = std::fs::read_to_string(setup.path(".gemini/oauth_creds.json")).unwrap();
    assert_eq!(now, login);
}

/// The token that the last request was sent with.
fn bearer(google: &Google) -> String {
    let last = google.received("generateContent").pop().expect("a request");
    last["headers"]["authorization"].as_str().expect("a token").to_owned()
}

/// Asks until the answer has this status.
#[track_caller]
fn becomes(proxy: &Proxy, status: u16, patience: Duration) {
    let begun = Instant::now();
    loop {
        let answer = proxy.post(GENERATE, HELLO);
        if answer.status() == status {
            return;
        }
        assert!(begun.elapsed() < patience, "{}", answer.text());
        thread::sleep(Duration::from_millis(20));
    }
}
