//! A refresh token with which Google has replaced the user's own outlives what happens to the store.

use std::fs;

use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, RedisServer};
use serde_json::json;

use crate::{GENERATE, HELLO};

#[test]
fn a_rotated_refresh_token_outlives_a_damaged_and_a_deleted_store() {
    for seal in [None, Some("0f".repeat(32))] {
        let google = GoogleEmulator::start();
        let setup = rotating(&google);
        let setup = match &seal {
            Some(key) => setup.env("KV_ENCRYPTION_KEY", key),
            None => setup,
        };
        let proxy = setup.start();
        served(&proxy);
        drop(proxy);
        let copy = fs::read_to_string(setup.path("kv.redb.refresh-token")).expect("a copy");
        // The mark of encrypted values, in base64.
        assert_eq!(copy.contains("\"value\":\"AHNlYWxlZ"), seal.is_some(), "{copy}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;

            let found = fs::metadata(setup.path("kv.redb.refresh-token")).unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, 0o600);
        }

        setup.write("kv.redb", b"nonsense".repeat(4096));
        let proxy = setup.start();
        served(&proxy);
        let output = proxy.stdout();
        assert!(output.contains("is damaged") && output.contains("a copy is kept"), "{output}");
        drop(proxy);

        fs::remove_file(setup.path("kv.redb")).unwrap();
        let proxy = setup.start();
        served(&proxy);
        assert_eq!(google.count("token"), 3);
        assert!(!proxy.stdout().contains("you have to sign in again"), "{}", proxy.stdout());
    }
}

#[test]
fn a_rotated_refresh_token_is_used_though_the_store_cannot_be_opened() {
    let google = GoogleEmulator::start();
    let setup = rotating(&google);
    served(&setup.start());
    let mut later = fs::read(setup.path("kv.redb")).unwrap();
    // Where redb names its file format.
    (later[64], later[192]) = (4, 4);
    setup.write("kv.redb", &later);
    let proxy = setup.start();
    served(&proxy);
    let output = proxy.stdout();
    assert!(
        output.contains("It is left as it is") && output.contains("in memory only"),
        "{output}"
    );
    assert!(output.contains("you have to sign in again"), "it is rotated again: {output}");
    assert!(fs::read(setup.path("kv.redb")).unwrap() == later, "not a byte is changed");
}

#[test]
fn an_emptied_store_has_no_copy_of_a_rotated_refresh_token() {
    let google = GoogleEmulator::start();
    let setup = rotating(&google);
    served(&setup.start());
    assert!(setup.path("kv.redb.refresh-token").exists());
    let output = setup.command(&["kv", "clear", "--kv-url", "file:kv.redb"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!setup.path("kv.redb.refresh-token").exists());
    assert_eq!(setup.start().post(GENERATE, HELLO).reason(), "CREDENTIALS_REJECTED");
}

#[test]
fn a_copy_that_cannot_be_read_is_reported_and_replaced() {
    let google = GoogleEmulator::start();
    let setup = rotating(&google);
    served(&setup.start());
    setup.write("kv.redb.refresh-token", "{\"hush");
    let proxy = setup.start();
    served(&proxy);
    let output = proxy.stdout();
    let says = "kv.redb.refresh-token is ignored: it is not what this program writes";
    assert!(output.contains(says) && !output.contains("hush"), "{output}");
    drop(proxy);
    setup.write("kv.redb", b"nonsense".repeat(4096));
    served(&setup.start());
}

#[test]
fn a_rotation_that_a_restart_would_lose_is_logged() {
    for (durable, appendonly) in [(None, ""), (Some(false), "no"), (Some(true), "yes")] {
        let google = GoogleEmulator::start();
        // The log of the server's writes is for this test only.
        let folder = tempfile::TempDir::new().unwrap();
        let dir = folder.path().to_str().unwrap();
        let options = ["--dir", dir, "--appendonly", appendonly];
        let redis = durable.map(|_| RedisServer::start(&options));
        let url = redis.as_ref().map_or_else(|| "memory:".to_owned(), RedisServer::url);
        let setup = rotating(&google).env("KV_URL", url);
        let proxy = setup.start();
        served(&proxy);
        let output = proxy.stdout();
        let warned = output.contains("you have to sign in again");
        assert_eq!(warned, durable != Some(true), "{durable:?}: {output}");
    }
}

fn rotating(google: &GoogleEmulator) -> ProxyBuilder {
    google.set_state(json!({"rotate_refresh": true}));
    let setup = ProxyBuilder::for_emulator(google).env("KV_URL", "file:kv.redb");
    setup.credentials(&google.expired_credentials())
}

/// Asserts that a first request is served, and waits until all that led to it is in the log.
#[track_caller]
fn served(proxy: &Proxy) {
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}\n{}", answer.text(), proxy.stdout());
    proxy.await_request_lines(1);
}
