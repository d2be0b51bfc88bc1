//! Gemini CLI's credential file: found, rewritten while the proxy runs, missing, revoked, never written.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder};
use serde_json::{Value, json};

use crate::{GENERATE, HELLO};

#[test]
fn a_credential_file_works_at_every_configurable_path() {
    let google = GoogleEmulator::start();
    let elsewhere = ProxyBuilder::for_emulator(&google).credentials_file("{}");
    elsewhere.write("elsewhere/creds.json", google.credentials());
    let path = elsewhere.path("elsewhere/creds.json").display().to_string();
    let cli_home = ProxyBuilder::for_emulator(&google).credentials_file("{}");
    cli_home.write("cli/.gemini/oauth_creds.json", google.credentials());
    let home = cli_home.path("cli").display().to_string();
    for (what, setup) in [
        (
            "the CLI's file",
            ProxyBuilder::for_emulator(&google).credentials_file(&google.credentials()),
        ),
        ("GEMINI_OAUTH_CREDS_FILE", elsewhere.env("GEMINI_OAUTH_CREDS_FILE", path)),
        ("GEMINI_CLI_HOME", cli_home.env("GEMINI_CLI_HOME", home)),
    ] {
        let proxy = setup.start();
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{what}: {}", answer.text());
        assert!(proxy.stdout().contains("creds.json"), "{what}: {}", proxy.stdout());
    }
}

#[test]
fn a_newer_token_in_the_rewritten_file_is_adopted_within_three_seconds() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).credentials_file(&google.credentials()).start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let first = bearer(&google);
    // Gemini CLI does not write atomically: the proxy ignores half a file.
    let login = google.credentials();
    let newer: Value = serde_json::from_str(&login).unwrap();
    let newer = format!("Bearer {}", newer["access_token"].as_str().unwrap());
    assert_ne!(first, newer);
    proxy.write_credentials_file(&login[..login.len() / 2]);
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(bearer(&google), first);
    proxy.write_credentials_file(&login);
    let started = Instant::now();
    loop {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        if bearer(&google) == newer {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{newer} is not used");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(google.count("token"), 0, "no refresh was needed");
}

#[test]
fn missing_credentials_are_reported_with_their_path_and_loaded_once_written() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).without_env("GCP_SERVICE_ACCOUNT");
    let path = setup.path(".gemini/oauth_creds.json").display().to_string();
    let proxy = setup.start();
    proxy.await_output("MISSING");
    assert!(proxy.stdout().contains(&path), "{}", proxy.stdout());
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_MISSING".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains(&path), "{message}");
    assert!(message.contains("GCP_SERVICE_ACCOUNT"), "{message}");
    assert_eq!(google.count("generateContent"), 0);
    proxy.write_credentials_file(&google.credentials());
    becomes(&proxy, 200, Duration::from_secs(3));
}

#[test]
fn an_encrypted_credential_store_beside_a_missing_file_is_reported() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).without_env("GCP_SERVICE_ACCOUNT");
    setup.write(".gemini/gemini-credentials.json", "encrypted");
    let proxy = setup.start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_MISSING".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    for output in [message, proxy.stdout()] {
        assert!(output.contains("encrypted"), "{output}");
        assert!(output.contains("GEMINI_FORCE_ENCRYPTED_FILE_STORAGE"), "{output}");
    }
}

#[test]
fn a_file_in_utf_16_is_read_and_one_that_cannot_be_read_is_reported_at_the_start() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).credentials_file("{}");
    let utf16: Vec<u8> = format!("\u{feff}{}", google.credentials())
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    setup.write(".gemini/oauth_creds.json", utf16);
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);

    let setup = ProxyBuilder::for_emulator(&google).credentials_file("AIzaSyHush");
    let path = setup.path(".gemini/oauth_creds.json").display().to_string();
    let said = format!("{path} cannot be read: it is an API key");
    let proxy = setup.start();
    let answer = proxy.post(GENERATE, HELLO);
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    for output in [message, proxy.stdout()] {
        assert!(output.contains(&said), "{output}");
        assert!(!output.contains("Hush"), "{output}");
    }
    // The CLI writes it anew, and no restart is needed.
    proxy.write_credentials_file(&google.credentials());
    becomes(&proxy, 200, Duration::from_secs(3));
}

#[test]
fn revoked_credentials_work_again_after_a_new_sign_in() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).credentials_file(&google.expired_credentials());
    google.set_state(json!({"revoke_refresh": true}));
    let proxy = setup.start();
    assert_eq!(
        proxy.post(GENERATE, HELLO).status_and_reason(),
        (503, "CREDENTIALS_REJECTED".into())
    );
    // The proxy reads the file several times meanwhile, and sends no request for it.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 503);
    assert_eq!(google.count("token"), 1, "revoked credentials are tried once");
    proxy.write_credentials_file(&google.credentials());
    becomes(&proxy, 200, Duration::from_secs(3));
}

#[test]
fn gemini_clis_file_is_never_written() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"rotate_refresh": true}));
    let login = google.expired_credentials();
    let setup = ProxyBuilder::for_emulator(&google).credentials_file(&login);
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    google.set_state(json!({"expire_tokens": true}));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "the rotated refresh token is used");
    assert_eq!(google.count("token"), 2);
    let now = std::fs::read_to_string(setup.path(".gemini/oauth_creds.json")).unwrap();
    assert_eq!(now, login);
}

#[test]
fn a_service_account_in_the_file_is_refused_and_its_key_is_never_printed() {
    let google = GoogleEmulator::start();
    let key = json!({"type": "service_account", "project_id": "p", "private_key_id": "hush-id",
        "private_key": "-----BEGIN PRIVATE KEY-----\nhush-key\n", "client_email": "a@b.c"});
    let proxy = ProxyBuilder::for_emulator(&google).credentials_file(&key.to_string()).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("service_account"), "{message}");
    let (stdout, stderr) = proxy.into_output();
    for output in [message, stdout, stderr] {
        assert!(!output.contains("hush"), "{output}");
    }
    assert!(google.log().is_empty(), "nothing goes out: {:?}", google.log());
}

/// The token of the last request upstream.
fn bearer(google: &GoogleEmulator) -> String {
    let last = google.received("generateContent").pop().expect("a request");
    last["headers"]["authorization"].as_str().expect("a token").to_owned()
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
