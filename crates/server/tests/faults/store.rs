//! Faults of the store. None of them fails a request.

use std::fs;

use code_assist_harness::samples::{GENERATE, HELLO};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, TestProxy};

pub(crate) fn store_damaged() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    setup.write("kv.redb", b"nonsense".repeat(4096));
    let proxy = serves(google, setup);
    let names = fs::read_dir(proxy.path(".")).expect("a folder").flatten();
    let aside = names.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-"));
    assert_eq!(aside.count(), 1);
    vec![proxy]
}

pub(crate) fn store_deleted() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    let proxy = serves(google, setup);
    fs::remove_file(proxy.path("kv.redb")).expect("a file that is there");
    proxy.google().set_state(serde_json::json!({"expire_tokens": true}));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.get("/health").status(), 200);
    vec![proxy]
}

pub(crate) fn store_in_use() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("KV_URL", "file:kv.redb");
    let first = setup.start();
    let proxy = serves(google, setup);
    works_from_memory(&proxy);
    assert_eq!(first.post(GENERATE, HELLO).status(), 200);
    vec![proxy]
}

pub(crate) fn store_full() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).file_size_limit(4);
    let proxy = serves(google, setup);
    works_from_memory(&proxy);
    vec![proxy]
}

pub(crate) fn store_unwritable() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    setup.write("kv.redb/in-the-way", b"a folder where the file should be");
    let proxy = serves(google, setup);
    works_from_memory(&proxy);
    vec![proxy]
}

/// Asserts that the proxy works from memory and reports it, with the name of the file.
#[track_caller]
fn works_from_memory(proxy: &TestProxy) {
    let output = proxy.stdout();
    assert!(output.contains("kv.redb") && output.contains("memory"), "{output}");
    let health = proxy.get("/health").json();
    assert_eq!(health["kv_status"], "disconnected", "{health}");
    assert_eq!(health["status"], "degraded", "{health}");
}

/// Sends requests that refresh a token and discover a project, and so write to the store.
#[track_caller]
fn serves(google: GoogleEmulator, setup: ProxyBuilder) -> TestProxy {
    let setup = setup.credentials(&google.expired_credentials());
    let proxy = TestProxy::start(setup, &[("KV_URL", "file:kv.redb")]).with(google);
    for _ in 0..3 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        proxy.google().set_state(serde_json::json!({"expire_tokens": true}));
    }
    assert_eq!(proxy.google().count("loadCodeAssist"), 1);
    proxy
}
