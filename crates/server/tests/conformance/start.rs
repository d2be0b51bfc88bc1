//! Start, restart, and health checks without requests upstream.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get};

use crate::{GENERATE, HELLO};

#[test]
fn the_proxy_starts_while_google_is_unreachable() {
    let google = GoogleEmulator::start();
    let login = google.credentials();
    drop(google);
    let started = Instant::now();
    // Gemini CLI's own JSON, in the variable that is named after a service account.
    let proxy = ProxyBuilder::without_upstream().env("GCP_SERVICE_ACCOUNT", login).start();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(proxy.get("/health").status(), 200);
    assert_eq!(proxy.get("/v1beta/models").status(), 200, "the built-in models are there");
    let answer = proxy.post(GENERATE, HELLO);
    answer.assert_upstream_failed(proxy.is_native(), (503, "UPSTREAM_UNREACHABLE"));
}

#[test]
fn health_sends_no_request_upstream() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    // The proxy itself refreshes its token once at the start.
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
        // The store is written after the answer.
        thread::sleep(Duration::from_millis(300));
        assert_eq!((google.count("token"), google.count("loadCodeAssist")), (1, 1));
    }
    assert_eq!(google.count("generateContent"), 3);
}
