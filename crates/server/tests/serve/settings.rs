//! Settings of the native binary whose effect no other suite shows.

use std::fs;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use code_assist_harness::{GoogleEmulator, ProxyBuilder};
use serde_json::Value;

use crate::{GENERATE, HELLO};

#[test]
fn the_proxy_listens_on_the_configured_host_only() {
    let proxy = ProxyBuilder::without_upstream().env("HOST", "127.0.0.2").start();
    assert!(proxy.address().starts_with("127.0.0.2:"), "{}", proxy.address());
    assert_eq!(proxy.get("/health").status(), 200);
    let elsewhere = proxy.address().replace("127.0.0.2", "127.0.0.1");
    assert!(std::net::TcpStream::connect(elsewhere).is_err(), "it listens elsewhere too");
}

#[test]
fn a_project_is_cached_for_the_configured_time() {
    for (hours, seconds) in [("0.1", 360), ("2", 7200)] {
        let google = GoogleEmulator::start();
        let setup = ProxyBuilder::for_emulator(&google).env("PROJECT_ID_CACHE_TTL_HOURS", hours);
        let entry = stored(setup, "project_id_cache");
        let value: Value = serde_json::from_str(entry["value"].as_str().expect("text")).unwrap();
        let left = value["ttl"].as_u64().expect("a time") / 1000 - now();
        assert!((seconds - 20..=seconds).contains(&left), "{left} s left of {hours} h");
    }
}

#[test]
fn entries_are_encrypted_with_the_configured_key() {
    let (old, new) = ("0f".repeat(32), "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned());
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials());
    let url = format!("file:{}", setup.path("kv.redb").display());
    let setup = setup.env("KV_URL", &url).env("KV_ENCRYPTION_KEY", &old);
    let kv = |words: &[&str], key: &str| {
        let mut kv = setup.command(&[&["kv"], words].concat());
        kv.env("KV_URL", &url).env("KV_ENCRYPTION_KEY", key).output().expect("the binary runs")
    };
    let export = |key: &str| -> Vec<Value> {
        serde_json::from_slice(&kv(&["export"], key).stdout).expect("an export")
    };
    let serve_with_key = |key: &str| {
        let proxy = setup.same_home_with_env("KV_ENCRYPTION_KEY", key).start();
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        // The store is written after the answer.
        thread::sleep(Duration::from_millis(300));
        let (stdout, stderr) = proxy.into_output();
        format!("{stdout}{stderr}")
    };

    serve_with_key(&old);
    let sealed = export(&old);
    assert!(sealed.iter().any(|entry| entry["key"] == "oauth_token_cache"), "{sealed:?}");
    assert!(sealed.iter().all(|entry| entry["base64"] == true), "all are sealed: {sealed:?}");
    let bytes = fs::read(setup.path("kv.redb")).expect("the store");
    for secret in [&b"ya29"[..], b"\"access_token\"", b"\"project_id\""] {
        assert!(!bytes.windows(secret.len()).any(|part| part == secret), "in the clear");
    }
    assert_eq!(google.count("token"), 1);

    // The old key still decrypts; an import encrypts with the new key.
    serve_with_key(&format!("{new},{old}"));
    assert_eq!(google.count("token"), 1);
    let file = setup.path("all.json").display().to_string();
    assert!(kv(&["export", &file], &old).status.success());
    assert!(!kv(&["import", &file], &new).status.success(), "that key opens none of it");
    assert!(kv(&["import", &file], &format!("{new},{old}")).status.success());
    serve_with_key(&new);
    assert_eq!(google.count("token"), 1);

    // With another key the store is ignored, and that is reported once.
    let output = serve_with_key(&old);
    assert_eq!(google.count("token"), 2);
    assert_eq!(output.matches("is left alone").count(), 1, "{output}");
    assert!(!output.contains(&old) && !output.contains(&new), "{output}");
}

#[test]
fn a_token_is_stored_for_the_configured_time() {
    for (hours, seconds) in [("0.1", 360), ("0.5", 1800), ("1", 3599)] {
        let google = GoogleEmulator::start();
        let setup = ProxyBuilder::for_emulator(&google)
            .credentials(&google.expired_credentials())
            .env("TOKEN_CACHE_TTL_HOURS", hours);
        let left = stored(setup, "oauth_token_cache")["expiration"].as_u64().expect("a time");
        let left = left - now();
        assert!((seconds - 20..=seconds).contains(&left), "{left} s left of {hours} h");
    }
}

/// Serves a request with a store in a file, stops the proxy, and exports one entry.
#[track_caller]
fn stored(setup: ProxyBuilder, key: &str) -> Value {
    let file = setup.path("kv.redb");
    let url = format!("file:{}", file.display());
    let setup = setup.env("KV_URL", &url);
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    // The store is written after the answer.
    thread::sleep(Duration::from_millis(300));
    proxy.kill();
    let output =
        setup.command(&["kv", "export", "--kv-url", &url]).output().expect("the binary runs");
    let entries: Value = serde_json::from_slice(&output.stdout).expect("an export");
    let list = entries.as_array().expect("a list");
    list.iter().find(|entry| entry["key"] == key).unwrap_or_else(|| panic!("{list:?}")).clone()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}
