//! `/live` and `/ready`, as an orchestrator asks for them.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_emulator::Options;
use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder, get, post};
use serde_json::{Value, json};

use crate::{HELLO, STREAM};

#[test]
fn a_proxy_is_ready_by_itself_within_seconds() {
    let google = GoogleEmulator::start();
    for setup in [
        ProxyBuilder::for_emulator(&google),
        ProxyBuilder::for_emulator(&google).credentials(&google.expired_credentials()),
    ] {
        let proxy = setup.start();
        assert_eq!(await_status(&proxy, 200), json!({"status": "ready"}));
        assert_eq!(google.count("generateContent"), 0);
    }
}

#[test]
fn a_proxy_with_refused_missing_or_unreadable_credentials_is_never_ready() {
    let google = GoogleEmulator::start();
    let refused = json!({"refresh_token": "1//unknown", "access_token": "", "expiry_date": 0});
    let setup = || ProxyBuilder::for_emulator(&google);
    for (reason, setup) in [
        ("credentials_rejected", setup().credentials(&refused.to_string())),
        ("credentials_missing", setup().without_env("GCP_SERVICE_ACCOUNT")),
        ("credentials_unreadable", setup().credentials("no JSON")),
    ] {
        let proxy = setup.start();
        let mut reasons = Vec::new();
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            let answer = proxy.get("/ready");
            assert_eq!(answer.status(), 503, "{reason}: {}", answer.text());
            reasons.push(answer.json()["reasons"].clone());
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(reasons.last(), Some(&json!([reason])), "{}", proxy.stdout());
        assert_eq!(proxy.get("/live").status(), 200);
    }
}

#[test]
fn a_proxy_is_ready_once_the_token_endpoint_can_be_reached() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let other = GoogleEmulator::start();
    let url = format!("http://{port}");
    let proxy = ProxyBuilder::for_emulator(&other)
        .credentials(&other.expired_credentials())
        .env("OAUTH_TOKEN_URL", format!("{url}/token"))
        .env("OAUTH_TOKENINFO_URL", format!("{url}/tokeninfo"))
        .start();
    let body = proxy.get("/ready").json();
    assert_eq!(body["status"], "not_ready", "{body}");
    proxy.await_output("no access token:");
    assert_eq!(proxy.get("/ready").json()["reasons"], json!(["token_unavailable"]));
    let _google = GoogleEmulator::start_with(Options { port: port.port(), ..Options::default() });
    assert_eq!(await_status(&proxy, 200), json!({"status": "ready"}));
}

#[test]
fn a_stopping_proxy_is_live_and_not_ready() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"stream_events": 4, "stream_interval_ms": 500}));
    let proxy = ProxyBuilder::for_emulator(&google).start();
    await_status(&proxy, 200);
    let mut running = proxy.connect();
    running.write(post(STREAM, &[], HELLO));
    running.head();
    proxy.signal("TERM");
    proxy.await_output("shutting down");
    let ready = proxy.get("/ready");
    let reasons = json!({"status": "not_ready", "reasons": ["shutting_down"]});
    assert_eq!((ready.status(), ready.json()), (503, reasons));
    let live = proxy.get("/live");
    assert_eq!((live.status(), live.json()), (200, json!({"status": "live"})));
}

#[test]
fn probes_need_no_key_and_are_in_neither_log_nor_statistics() {
    let google = GoogleEmulator::start();
    let proxy =
        ProxyBuilder::for_emulator(&google).env("PROXY_API_KEYS", "0123456789abcdef").start();
    await_status(&proxy, 200);
    for path in ["/live", "/ready"] {
        assert_eq!(proxy.send(get(path, &["x-api-key: wrong"])).status(), 200);
        assert_eq!(proxy.get(path).header("cache-control"), "no-store");
    }
    assert_eq!(proxy.request_lines(), Vec::<Value>::new());
    assert_eq!(proxy.get("/health").json()["metrics"]["requests_processed"], 0);
}

/// Waits until `/ready` answers with this status. Nothing but the probe is sent.
#[track_caller]
fn await_status(proxy: &Proxy, status: u16) -> Value {
    let started = Instant::now();
    loop {
        let answer = proxy.get("/ready");
        if answer.status() == status {
            return answer.json();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{}", answer.text());
        thread::sleep(Duration::from_millis(20));
    }
}
