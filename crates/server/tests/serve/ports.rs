//! The main port and `ADMIN_PORT`: what each serves, and when each can be reached.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use code_assist_harness::{
    Connection, GoogleEmulator, Proxy, ProxyBuilder, Response, ScriptedUpstream, get, post, request,
};

use crate::{GENERATE, HELLO, STREAM};

const HTML: &str = "accept: text/html";

#[test]
fn with_an_admin_port_numbers_are_served_there_only_and_the_api_is_not() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).env("ADMIN_PORT", "0").start();
    let admin = admin_address(&proxy);
    for (path, headers, on_main, on_admin) in [
        ("/health", "x: y", 200, 200),
        ("/", "x: y", 200, 200),
        ("/", HTML, 404, 200),
        ("/metrics", "x: y", 404, 200),
        ("/health/detailed", "x: y", 404, 200),
        ("/v1beta/models", "x: y", 200, 404),
        ("/v1internal/operations/x", "x: y", 403, 404),
        ("/usage", "x: y", 404, 404),
        ("/nothing", "x: y", 404, 404),
    ] {
        assert_eq!(proxy.send(get(path, &[headers])).status(), on_main, "{path} on the main port");
        assert_eq!(
            on_port(&admin, get(path, &[headers])).status(),
            on_admin,
            "{path} on the other"
        );
    }
    let listed = |answer: &Response, group: &str| answer.json()["endpoints"][group].to_string();
    let (main, other) = (proxy.get("/"), on_port(&admin, get("/", &[])));
    assert!(listed(&main, "proxy").contains("generateContent"), "{}", main.text());
    assert!(!listed(&main, "monitoring").contains("/metrics"), "{}", main.text());
    assert_eq!(listed(&other, "proxy"), "[]");
    assert!(listed(&other, "monitoring").contains("/metrics"), "{}", other.text());
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let answer = on_port(&admin, post(GENERATE, &[], HELLO));
    assert_eq!(answer.status_and_reason(), (404, "NOT_FOUND".into()));
    assert_eq!(google.count("generateContent"), 1);
}

#[test]
fn the_status_page_can_send_a_prompt_only_where_the_api_is_and_the_operator_wants_it() {
    let page = |answer: Response| {
        let policy = answer.header("content-security-policy").to_owned();
        (answer.text().contains("streamGenerateContent"), policy)
    };
    let plain = ProxyBuilder::without_upstream().start();
    let (has_panel, policy) = page(plain.send(get("/", &[HTML])));
    assert!(has_panel);
    let admin = ProxyBuilder::without_upstream().env("ADMIN_PORT", "0").start();
    let (has_panel, other) = page(on_port(&admin_address(&admin), get("/", &[HTML])));
    assert!(!has_panel, "the admin port does not serve the API");
    assert_ne!(policy, other, "each script has its own hash");
    for setting in [("STATUS_PAGE_TRY", "false"), ("DIALECTS", "openai")] {
        let off = ProxyBuilder::without_upstream().env(setting.0, setting.1).start();
        assert!(!page(off.send(get("/", &[HTML]))).0, "{setting:?}");
    }
}

#[test]
fn usage_is_served_on_both_ports() {
    let tables = r#"{"key":[{"id":"ada","key":"key-of-ada-0123456789"}]}"#;
    let proxy = ProxyBuilder::without_upstream()
        .env("PROXY_KEYS_JSON", tables)
        .env("ADMIN_PORT", "0")
        .start();
    let key = "x-goog-api-key: key-of-ada-0123456789";
    assert_eq!(proxy.send(get("/usage", &[key])).status(), 200);
    assert_eq!(on_port(&admin_address(&proxy), get("/usage", &[key])).status(), 200);
}

#[test]
fn without_an_admin_port_the_main_port_serves_all() {
    let proxy = ProxyBuilder::without_upstream().start();
    for path in ["/health", "/metrics", "/health/detailed"] {
        assert_eq!(proxy.get(path).status(), 200, "{path}");
    }
    assert_eq!(proxy.send(get("/", &[HTML])).status(), 200);
}

#[test]
fn the_rules_of_admission_hold_on_the_admin_port() {
    let keyed = ProxyBuilder::without_upstream()
        .env("PROXY_API_KEYS", "ada:0123456789abcdef")
        .env("ADMIN_PORT", "0")
        .start();
    let admin = admin_address(&keyed);
    let key = "x-goog-api-key: 0123456789abcdef";
    assert_eq!(on_port(&admin, get("/metrics", &[])).status(), 401);
    assert_eq!(on_port(&admin, get("/metrics", &[key])).status(), 200);
    assert_eq!(on_port(&admin, get("/health", &[])).status(), 200);
    assert_eq!(keyed.send(get("/metrics", &[key])).status(), 404);

    let local = ProxyBuilder::without_upstream().env("ADMIN_PORT", "0").start();
    let admin = admin_address(&local);
    let foreign = b"GET /metrics HTTP/1.1\r\nhost: evil.example\r\n\r\n";
    assert_eq!(on_port(&admin, foreign.to_vec()).reason(), "HOST_NOT_ALLOWED");
    let page = get("/metrics", &["origin: https://evil.example"]);
    assert_eq!(on_port(&admin, page).reason(), "ORIGIN_NOT_ALLOWED");
}

#[test]
fn an_admin_port_that_cannot_be_used_is_an_error_that_names_it() {
    let same = ProxyBuilder::without_upstream().env("PORT", "8787").env("ADMIN_PORT", "8787");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let in_use = ProxyBuilder::without_upstream().env("ADMIN_PORT", port);
    let no_port = ProxyBuilder::without_upstream().env("ADMIN_PORT", "70000");
    for (setup, code, text) in [
        (same, 2, "is the same as PORT"),
        (in_use, 1, "choose another ADMIN_PORT"),
        (no_port, 2, "ADMIN_PORT"),
    ] {
        let run = setup.run_to_exit();
        let error = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(code), "{error}");
        assert!(error.contains(text), "{error}");
    }
}

#[test]
fn the_admin_port_answers_while_every_place_of_the_main_port_has_a_request_in_flight() {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk(EVENT);
        connection.is_closed_within(Duration::from_secs(20));
        connection.close();
    });
    let proxy = ProxyBuilder::for_upstream(&upstream)
        .open_files_limit(64)
        .env("ADMIN_PORT", "0")
        // Of these each needs another file, for its connection upstream. The others wait.
        .env("MAX_CONCURRENT_REQUESTS", "4")
        .env("QUEUE_TIMEOUT_MS", "60000")
        .start();
    let admin = admin_address(&proxy);
    let before = on_port(&admin, get("/metrics", &[])).text();
    let limit = value(&before, "code_assist_proxy_connections_limit");
    assert!((limit - 24.0).abs() < 0.1, "{limit}");
    // All come from one address, which gets only probes answered in the last tenth.
    let metrics = || on_port(&admin, get("/metrics", &[])).text();
    let closed = "code_assist_proxy_connections_closed_total{reason=\"places_exhausted\"}";
    let started = Instant::now();
    let mut running = Vec::new();
    while value(&metrics(), closed) < 1.0 {
        let mut connection = proxy.connect();
        connection.try_write(post(STREAM, &[], HELLO));
        running.push(connection);
        assert!(started.elapsed() < Duration::from_secs(10), "{}", metrics());
    }
    let refused = proxy.post(GENERATE, HELLO);
    assert_eq!(refused.status_and_reason(), (503, "OVERLOADED".into()));
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("connection"), "close");
    assert_eq!(proxy.get("/health").status(), 200);
    assert_eq!(on_port(&admin, get("/health", &[])).status(), 200);
    running.truncate(10);
    let started = Instant::now();
    while value(&metrics(), "code_assist_proxy_connections") > 10.0 {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", metrics());
    }
    // Some of the requests that have waited are served now.
    assert_ne!(proxy.get("/metrics").status(), 503);
}

#[test]
fn both_ports_answer_while_the_proxy_drains() {
    let google = GoogleEmulator::start();
    google.set_state(serde_json::json!({"stream_events": 4, "stream_interval_ms": 300}));
    let mut proxy = ProxyBuilder::for_emulator(&google).env("ADMIN_PORT", "0").start();
    let admin = admin_address(&proxy);
    let mut idle = Connection::open(&admin);
    assert_eq!(idle.send(get("/health", &[])).status(), 200);
    let mut running = proxy.connect();
    running.write(post(STREAM, &[], HELLO));
    let head = running.head();
    running.chunk().unwrap();
    proxy.signal("TERM");
    proxy.await_output("shutting down");
    assert_eq!(proxy.get("/health").status(), 503);
    assert_eq!(on_port(&admin, get("/health", &[])).status(), 503);
    assert!(String::from_utf8_lossy(&running.body(&head)).contains("STOP"));
    assert_eq!(proxy.wait_for_exit(Duration::from_secs(5)).code(), Some(0));
}

#[test]
fn http_1_1_needs_a_host_and_http_1_0_does_not() {
    let proxy = ProxyBuilder::without_upstream().start();
    let without = |version: &str| format!("GET /health HTTP/{version}\r\nx: y\r\n\r\n");
    let mut connection = proxy.connect();
    let answer = connection.send(without("1.1"));
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.error()["status"], "INVALID_ARGUMENT");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(connection.until_closed(), b"");
    let with_body = format!("POST {GENERATE} HTTP/1.1\r\ncontent-length: 57\r\n\r\n{HELLO}");
    assert_eq!(proxy.send(with_body).status(), 400);
    assert_eq!(proxy.send(without("1.0")).status(), 200);
    let empty = "GET /health HTTP/1.1\r\nhost:\r\n\r\n";
    assert_ne!(proxy.send(empty).status(), 200, "an empty one is no loopback name");
    assert_eq!(proxy.send(request("GET", "/health", &[], b"")).status(), 200);
}

/// The address of the admin port, from the start-up lines.
#[track_caller]
fn admin_address(proxy: &Proxy) -> String {
    let output = proxy.stdout();
    let line = output.lines().find(|line| line.trim_start().starts_with("admin port"));
    let (_, url) = line.expect("a start-up line").split_once("http://").expect("a URL");
    url.split_whitespace().next().expect("an address").to_owned()
}

fn on_port(address: &str, request: Vec<u8>) -> Response {
    Connection::open(address).send(request)
}

/// The value of a sample.
#[track_caller]
fn value(metrics: &str, name: &str) -> f64 {
    let sample = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    sample.expect("the metric").parse().expect("a number")
}

const EVENT: &str = "data: {\"response\":{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"part\"}]}}]}}\r\n\r\n";
