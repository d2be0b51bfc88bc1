//! The store: whatever happens to it, no request fails for it.

use std::fs;

use code_assist_harness::{GoogleEmulator, ProxyBuilder};

use crate::answers::{GENERATE, HELLO};
use crate::bench::Bench;

pub(crate) fn store_damaged() -> Vec<Bench> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    setup.write("kv.redb", b"nonsense".repeat(4096));
    let bench = serves(google, setup);
    let names = fs::read_dir(bench.path(".")).expect("a folder").flatten();
    let aside = names.filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-"));
    assert_eq!(aside.count(), 1);
    vec![bench]
}

pub(crate) fn store_deleted() -> Vec<Bench> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    let bench = serves(google, setup);
    fs::remove_file(bench.path("kv.redb")).expect("a file that is there");
    bench.google().set_state(serde_json::json!({"expire_tokens": true}));
    assert_eq!(bench.post(GENERATE, HELLO).status(), 200);
    assert_eq!(bench.get("/health").status(), 200);
    vec![bench]
}

pub(crate) fn store_in_use() -> Vec<Bench> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("KV_URL", "file:kv.redb");
    let first = setup.start();
    let bench = serves(google, setup);
    works_from_memory(&bench);
    assert_eq!(first.post(GENERATE, HELLO).status(), 200);
    vec![bench]
}

pub(crate) fn store_full() -> Vec<Bench> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).file_size_limit(4);
    let bench = serves(google, setup);
    works_from_memory(&bench);
    vec![bench]
}

pub(crate) fn store_unwritable() -> Vec<Bench> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    setup.write("kv.redb/in-the-way", b"a folder where the file should be");
    let bench = serves(google, setup);
    works_from_memory(&bench);
    vec![bench]
}

/// It says that it does, and where: nobody should find out at the next start.
#[track_caller]
fn works_from_memory(bench: &Bench) {
    let said = bench.stdout();
    assert!(said.contains("kv.redb") && said.contains("memory"), "{said}");
    let health = bench.get("/health").json();
    assert_eq!(health["kv_status"], "disconnected", "{health}");
    assert_eq!(health["status"], "degraded", "{health}");
}

/// A few requests with a token to renew and a project to find, each of which writes.
#[track_caller]
fn serves(google: GoogleEmulator, setup: ProxyBuilder) -> Bench {
    let setup = setup.credentials(&google.expired_credentials());
    let bench = Bench::of(setup, &[("KV_URL", "file:kv.redb")]).with(google);
    for _ in 0..3 {
        let answer = bench.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        bench.google().set_state(serde_json::json!({"expire_tokens": true}));
    }
    assert_eq!(bench.google().count("loadCodeAssist"), 1);
    bench
}
