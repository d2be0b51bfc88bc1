//! SIGHUP: the proxy reads its settings again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Proxy, ProxyBuilder, ScriptedUpstream, get, post};

use crate::{HELLO, STREAM};

#[test]
fn sighup_reloads_keys_aliases_and_log_level_and_drops_no_stream() {
    let (upstream, finish) = upstream();
    let proxy = start(&upstream, "proxy_api_keys = \"old-key\"\nlog_level = \"warn\"");
    assert_eq!(generate(&proxy, "old-key", "my-model"), (200, None));
    assert_eq!(generate(&proxy, "new-key", "my-model").0, 401);
    let mut stream = proxy.connect();
    stream.write(post(STREAM, &["x-goog-api-key: old-key"], HELLO));
    let head = stream.head();
    stream.chunks_until("the beginning");

    assert!(!proxy.stdout().contains("\"level\":\"INFO\""), "{}", proxy.stdout());
    reload(
        &proxy,
        "proxy_api_keys = [\"ada:new-key\"]\nmodel_aliases = \"my-model=gemini-2.5-pro\"\n\
         log_level = \"info\"\n",
        "settings read again",
    );
    assert_eq!(generate(&proxy, "old-key", "my-model").0, 401);
    let aliased = generate(&proxy, "new-key", "my-model");
    assert_eq!(aliased, (200, Some("gemini-2.5-pro".to_owned())));
    proxy.await_output("\"model\":\"gemini-2.5-pro\"");

    finish.store(true, Ordering::SeqCst);
    let rest = String::from_utf8(stream.body(&head)).unwrap();
    assert!(rest.contains("the end"), "{rest}");
    assert!(!proxy.stdout().contains("new-key") && !proxy.stdout().contains("old-key"));
}

#[test]
fn sighup_reads_tables_of_keys_again_and_a_revoked_key_ends_no_stream() {
    let (upstream, finish) = upstream();
    let table = |id: &str, digest: &str, more: &str| {
        format!("[[key]]\nid = \"{id}\"\nhash = \"sha256:{digest}\"\n{more}\n")
    };
    let ada = table("ada", DIGESTS[0], "");
    let file = table("bob", DIGESTS[1], "");
    let proxy = start(&upstream, &format!("{file}{ada}"));
    let of = |key: &str| generate(&proxy, &format!("key-of-{key}-0123456789"), "gemini-2.5-pro").0;
    assert_eq!([of("ada"), of("bob"), of("eve")], [200, 200, 401]);
    let mut stream = proxy.connect();
    stream.write(post(STREAM, &["x-goog-api-key: key-of-ada-0123456789"], HELLO));
    let head = stream.head();
    stream.chunks_until("the beginning");

    let bob = table("bob", DIGESTS[1], "models = [\"gemini-3-*\"]");
    let eve = table("eve", DIGESTS[2], "");
    reload(&proxy, &format!("{bob}{eve}"), "settings read again");
    assert_eq!([of("ada"), of("bob"), of("eve")], [401, 403, 200]);

    finish.store(true, Ordering::SeqCst);
    let rest = String::from_utf8(stream.body(&head)).unwrap();
    assert!(rest.contains("the end"), "{rest}");

    reload(&proxy, "[[key]]\nid = \"eve\"\nhsah = \"x\"\n", "did you mean hash?");
    reload(&proxy, "", "there is no key left");
    assert_eq!([of("ada"), of("bob"), of("eve")], [401, 403, 200]);
    assert!(!proxy.stdout().contains("key-of-"), "{}", proxy.stdout());
}

#[test]
fn a_reload_gives_no_key_an_upstream_that_only_a_restart_would_add() {
    let (upstream, _) = upstream();
    let key = format!("[[key]]\nid = \"ada\"\nhash = \"sha256:{}\"\n", DIGESTS[0]);
    let proxy = start(&upstream, &key);
    let of_ada = || generate(&proxy, "key-of-ada-0123456789", "gemini-2.5-pro").0;
    assert_eq!(of_ada(), 200);
    let file = format!(
        "upstreams = [\"code-assist\", \"team\"]\n{key}upstreams = [\"team\"]\n\
         [[upstream]]\nname = \"team\"\nprovider = \"gemini-api\"\napi_key = \"operators-key\"\n"
    );
    reload(
        &proxy,
        &file,
        "upstreams of key ada: names team, which the running process does not have",
    );
    assert_eq!(of_ada(), 200, "the old settings stay");
}

#[test]
fn bad_settings_are_reported_and_the_old_ones_stay() {
    let (upstream, _) = upstream();
    let proxy = start(&upstream, "proxy_api_keys = \"old-key\"");
    for (bad, report) in [
        ("proxy_api_keys = \"hush hush\"", "PROXY_API_KEYS"),
        ("model_aliases = \"nothing\"", "MODEL_ALIASES"),
        ("log_level = \"loud\"", "LOG_LEVEL"),
        ("this is no toml", "is not TOML"),
    ] {
        reload(&proxy, bad, report);
        assert_eq!(generate(&proxy, "old-key", "m").0, 200, "{bad}");
    }
    assert!(!proxy.stdout().contains("hush"), "{}", proxy.stdout());
}

#[test]
fn the_details_of_health_say_when_a_reload_succeeded_and_when_one_failed() {
    let (upstream, _) = upstream();
    let proxy = start(&upstream, "log_level = \"info\"");
    let seen = || proxy.get("/health/detailed").json()["checks"]["reload"].take();
    let becomes = |succeeded: bool, failed: bool| {
        let started = Instant::now();
        loop {
            let seen = seen();
            let times =
                [&seen["succeeded_at"], &seen["failed_at"]].map(serde_json::Value::is_string);
            if times == [succeeded, failed] {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{seen}");
        }
    };
    becomes(false, false);
    reload(&proxy, "log_level = \"loud\"", "LOG_LEVEL");
    becomes(false, true);
    reload(&proxy, "log_level = \"debug\"", "settings read again");
    becomes(true, true);
}

#[test]
fn sighup_ends_the_memory_of_exhausted_quotas_also_with_bad_settings() {
    for (file, report) in [("", "settings read again"), ("log_level = \"loud\"", "LOG_LEVEL")] {
        let exhausted = AtomicBool::new(true);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            let (status, body) = match exhausted.swap(false, Ordering::SeqCst) {
                true => ("429 Too Many Requests", EXHAUSTED),
                false => ("200 OK", r#"{"response":{"candidates":[]}}"#),
            };
            let length = body.len();
            connection
                .write(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"));
        });
        let proxy = start(&upstream, "");
        assert_eq!(generate(&proxy, "", "m").0, 429, "from memory");
        assert_eq!(upstream.received().len(), 1);
        reload(&proxy, file, report);
        assert_eq!(generate(&proxy, "", "m").0, 200);
    }
}

#[test]
fn a_reload_cannot_remove_all_keys_on_a_public_address() {
    let (upstream, _) = upstream();
    let proxy = start(&upstream, "host = \"0.0.0.0\"\nproxy_api_keys = \"old-key-of-ada\"");
    for (file, report) in [
        ("host = \"127.0.0.1\"", "refuses to listen on 0.0.0.0 without keys"),
        ("proxy_api_keys = \"short\"", "fewer than 8 characters"),
    ] {
        reload(&proxy, file, report);
        assert_eq!(generate(&proxy, "", "m").0, 401);
        assert_eq!(generate(&proxy, "old-key-of-ada", "m").0, 200);
    }
}

#[test]
fn a_reload_cannot_remove_all_keys_on_a_loopback_address_either() {
    let (upstream, _) = upstream();
    let proxy = start(&upstream, "proxy_api_keys = \"old-key\"");
    for (file, report) in [
        ("", "there is no key left"),
        ("model_aliases = \"my-model=gemini-2.5-pro\"", "there is no key left"),
        ("proxy_api_keys = \"\"", "PROXY_API_KEYS: is set and empty"),
        ("proxy_api_keys = \" \"", "PROXY_API_KEYS: is set and empty"),
        ("proxy_api_keys = []", "PROXY_API_KEYS: is set and empty"),
        ("proxy_api_keys = \",\"", "holds no key"),
    ] {
        reload(&proxy, file, report);
        assert_eq!(generate(&proxy, "", "my-model").0, 401, "{file}");
        assert_eq!(generate(&proxy, "old-key", "my-model"), (200, None), "{file}");
    }
    reload(&proxy, "proxy_api_keys = \"new-key\"", "settings read again");
    assert_eq!(generate(&proxy, "new-key", "m").0, 200);
}

#[test]
fn wrong_keys_stay_counted_over_a_reload() {
    let (upstream, _) = upstream();
    let proxy = start(&upstream, "proxy_api_keys = \"old-key\"");
    for n in 0..10 {
        assert_eq!(generate(&proxy, &format!("guess-{n}"), "m").0, 401);
    }
    reload(&proxy, "proxy_api_keys = \"new-key\"", "settings read again");
    assert_eq!(generate(&proxy, "new-key", "m").0, 429);
}

#[test]
fn the_number_of_keys_decides_the_share_of_one_caller_also_after_a_reload() {
    let (upstream, finish) = upstream();
    let proxy = start(&upstream, "proxy_api_keys = \"ada:old-key\"\nmax_concurrent_requests = 2\n");
    let per_caller = || {
        let page = proxy.send(get("/health/detailed", &["x-goog-api-key: old-key"])).json();
        page["checks"]["queue"]["per_caller"].as_u64()
    };
    assert_eq!(per_caller(), Some(2));
    let file = |keys: &str| format!("proxy_api_keys = {keys}\nmax_concurrent_requests = 2\n");
    let two = file("[\"ada:old-key\", \"bob:other-key\"]");
    reload(&proxy, &two, "settings read again");
    assert_eq!(per_caller(), Some(1));

    let open_stream = || {
        let mut stream = proxy.connect();
        stream.write(post(STREAM, &["x-goog-api-key: old-key"], HELLO));
        stream
    };
    let mut first = open_stream();
    first.head();
    let mut second = open_stream();
    let waiting = || {
        let page = proxy.send(get("/health/detailed", &["x-goog-api-key: old-key"])).json();
        page["checks"]["queue"]["waiting"].as_u64()
    };
    while waiting() != Some(1) {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(generate(&proxy, "other-key", "m").0, 200, "a place is free for the other caller");
    // The share grows again, and the stream that waits for it goes on at once.
    reload(&proxy, &file("\"ada:old-key\""), "settings read again");
    second.head();
    finish.store(true, Ordering::SeqCst);
}

/// Starts a proxy with this configuration file, and waits until it handles signals: it does so once it
/// answers requests.
fn start(upstream: &ScriptedUpstream, file: &str) -> Proxy {
    let builder = ProxyBuilder::for_upstream(upstream).env("CODE_ASSIST_PROXY_CONFIG", FILE);
    builder.write(FILE, file);
    let proxy = builder.start();
    generate(&proxy, "", "m");
    proxy
}

/// Replaces the configuration file, sends SIGHUP, and waits for new output with this text.
#[track_caller]
fn reload(proxy: &Proxy, file: &str, report: &str) {
    let before = proxy.stdout().len();
    std::fs::write(proxy.path(FILE), file).expect("a writable folder");
    proxy.signal("HUP");
    proxy.await_output_after(before, report);
}

/// Sends a request with this key for this model. Returns the status, and the model that was used
/// instead.
fn generate(proxy: &Proxy, key: &str, model: &str) -> (u16, Option<String>) {
    let path = format!("/v1beta/models/{model}:generateContent");
    let key = (!key.is_empty()).then(|| format!("x-goog-api-key: {key}"));
    let headers: Vec<&str> = key.as_deref().into_iter().collect();
    let response = proxy.send(post(&path, &headers, HELLO));
    (response.status(), response.head.find("x-proxy-model").map(str::to_owned))
}

/// An upstream that answers at once, and ends its streams when the flag is set.
fn upstream() -> (ScriptedUpstream, Arc<AtomicBool>) {
    let finish = Arc::new(AtomicBool::new(false));
    let finished = Arc::clone(&finish);
    let event = |text: &str| {
        format!(
            r#"{{"response":{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}],"role":"model"}},"finishReason":"STOP"}}]}}}}"#
        )
    };
    let upstream = ScriptedUpstream::new(move |request, connection| {
        if !request.head.contains("alt=sse") {
            let body = event("ok");
            let length = body.len();
            connection.write(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            ));
            return;
        }
        connection.begin_stream();
        connection.chunk(format!("data: {}\r\n\r\n", event("the beginning")));
        while !finished.load(Ordering::SeqCst) && connection.is_open() {
            thread::sleep(Duration::from_millis(5));
        }
        connection.chunk(format!("data: {}\r\n\r\n", event("the end")));
        connection.end();
    });
    (upstream, finish)
}

const FILE: &str = "c.toml";

/// Of `key-of-ada-0123456789`, and of the same for bob and eve.
const DIGESTS: [&str; 3] = [
    "71a1f66375991626e6d07831b20c860903ee8227d96290ae42571908c3331f89",
    "20e8e0c37a544b9cc85f35fb43667ea85ffaf10a10ad20ce476e0a11f70c2a30",
    "2a3e9ff0d7008464febd4fb443ce8195df9f4b952826a0430f69aded21d25b6f",
];

const EXHAUSTED: &str = r#"{"error":{"code":429,"message":"Your quota will reset after 166h9m16s.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"QUOTA_EXHAUSTED","domain":"cloudcode-pa.googleapis.com"}]}}"#;
