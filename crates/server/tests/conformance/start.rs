//! Starting, starting again, and health, which asks nobody.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get};

use crate::{GENERATE, HELLO};

#[test]
fn the_proxy_starts_while_google_is_unreachable() {
    let google = GoogleEmulator::start();
    let login = google.credentials();
    drop(google);
    let begun = Instant::now();
    // The CLI's own JSON, in the variable that the seed wanted a service account in.
    let proxy = ProxyBuilder::without_upstream().env("GCP_SERVICE_ACCOUNT", login).start();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(proxy.get("/health").status(), 200);
    assert_eq!(proxy.get("/v1beta/models").status(), 200, "the built-in models are there");
    let answer = proxy.post(GENERATE, HELLO);
    answer.assert_upstream_failed(proxy.is_native(), (503, "UPSTREAM_UNREACHABLE"));
}

#[test]
fn health_sends_no_request_upstream() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    // The proxy's own look for its token, once at the start, is not health's doing.
    thread::sleep(Duration::from_millis(300));
    let before = google.log().len();
    let mut connection = proxy.connect();
    for _ in 0..50 {
        let answer = connection.send(get("/health", &[]));
        let health = answer.json();
        assert_eq!(health["status"], "healthy");
        let names: Vec<&str> = health.as_object().unwrap().keys().map(String::as_str).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        let wanted = ["kv_status", "metrics", "status", "timestamp", "upstream_status", "version"];
        assert_eq!(sorted, wanted);
        assert!(!proxy.is_native() || answer.head.server_timing("proxy") < 50.0);
    }
    assert_eq!(google.log().len(), before);
    assert_eq!(google.count("generateContent") + google.count("loadCodeAssist"), 0);
}

#[test]
fn token_and_project_are_restored_after_a_restart() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials(&google.expired_credentials())
        .env("KV_URL", "file:kv.redb");
    for _ in 0..3 {
        let proxy = setup.start();
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
        assert!(proxy.get("/health").text().contains(r#""kv_status":"connected""#));
        // What is written is written after the answer.
        thread::sleep(Duration::from_millis(300));
        assert_eq!((google.count("token"), google.count("loadCodeAssist")), (1, 1));
    }
    assert_eq!(google.count("generateContent"), 3);
}
