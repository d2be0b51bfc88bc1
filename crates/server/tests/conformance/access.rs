//! Access: keys in every header and parameter, hosts, origins, CORS.

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get, post, request};

use crate::{ARRAY, GENERATE, HELLO, STREAM};

const KEY: &str = "alices-secret-key";

#[test]
fn a_key_is_accepted_in_every_header_and_parameter_and_never_forwarded() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google)
        .env("PROXY_API_KEYS", format!("another-secret-key,alice:{KEY}"))
        .start();
    // alice:alices-secret-key and :alices-secret-key
    let basic = ["YWxpY2U6YWxpY2VzLXNlY3JldC1rZXk=", "OmFsaWNlcy1zZWNyZXQta2V5"];
    let carriers = [
        post(GENERATE, &[&format!("x-goog-api-key: {KEY}")], HELLO),
        post(GENERATE, &[&format!("Authorization: Bearer {KEY}")], HELLO),
        post(GENERATE, &[&format!("authorization: bearer {KEY}")], HELLO),
        post(GENERATE, &[&format!("x-api-key: {KEY}")], HELLO),
        post(&format!("{GENERATE}?key={KEY}"), &[], HELLO),
        post(&format!("{STREAM}&key={KEY}"), &[], HELLO),
        post(&format!("{ARRAY}?x=1&key={KEY}"), &[], HELLO),
        post(GENERATE, &[&format!("Authorization: Basic {}", basic[0])], HELLO),
        post(GENERATE, &[&format!("Authorization: Basic {}", basic[1])], HELLO),
        get(&format!("/v1beta/models?key={KEY}"), &[]),
        // The first key found decides.
        post(GENERATE, &[&format!("x-goog-api-key: {KEY}"), "x-api-key: wrong"], HELLO),
    ];
    for carrier in &carriers {
        let answer = proxy.send(carrier);
        let text = String::from_utf8_lossy(carrier);
        assert_eq!(answer.status(), 200, "{text}: {}", answer.text());
    }
    let lines = proxy.await_request_lines(carriers.len());
    assert!(lines.iter().all(|line| line["client"] == "alice"), "{lines:?}");
    let log = serde_json::to_string(&google.log()).unwrap();
    assert!(google.count("generateContent") > 0);
    for secret in [KEY, basic[0], basic[1]] {
        assert!(!log.contains(secret), "a client's key went upstream: {secret}");
    }
    for record in google.log() {
        assert!(record["headers"]["x-goog-api-key"].is_null(), "{record}");
        assert!(record["headers"]["x-api-key"].is_null(), "{record}");
        assert!(!record["query"].as_str().unwrap().contains("key"), "{record}");
    }
}

#[test]
fn a_missing_or_wrong_key_is_a_401_and_nothing_goes_upstream() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).env("PROXY_API_KEYS", KEY).start();
    let nearly = &KEY[..KEY.len() - 1];
    for (reason, sent) in [
        ("API_KEY_MISSING", post(GENERATE, &[], HELLO)),
        ("API_KEY_MISSING", post(GENERATE, &["x-goog-api-key: "], HELLO)),
        ("API_KEY_MISSING", post(STREAM, &[], HELLO)),
        ("API_KEY_MISSING", get("/v1beta/models", &[])),
        ("API_KEY_MISSING", get("/health/detailed", &[])),
        ("API_KEY_MISSING", get("/metrics", &[])),
        ("API_KEY_MISSING", post("/v1internal:generateContent", &[], HELLO)),
        ("API_KEY_INVALID", post(GENERATE, &["x-goog-api-key: wrong"], HELLO)),
        ("API_KEY_INVALID", post(GENERATE, &[&format!("x-goog-api-key: {nearly}")], HELLO)),
        ("API_KEY_INVALID", post(GENERATE, &[&format!("Authorization: Bearer {KEY}x")], HELLO)),
        ("API_KEY_INVALID", post(&format!("{GENERATE}?key=wrong"), &[], HELLO)),
        // A wrong first key is refused, even before a right one.
        ("API_KEY_INVALID", post(&format!("{GENERATE}?key={KEY}"), &["x-api-key: wrong"], HELLO)),
    ] {
        let answer = proxy.send(&sent);
        let text = String::from_utf8_lossy(&sent).into_owned();
        assert_eq!(answer.status_and_reason(), (401, reason.to_owned()), "{text}");
        assert_eq!(answer.error()["status"], "UNAUTHENTICATED");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    assert_eq!(proxy.get("/health").status(), 200, "health needs no key");
    assert_eq!(google.count("generateContent") + google.count("streamGenerateContent"), 0);
}

#[test]
fn after_ten_wrong_keys_no_key_from_the_address_is_checked() {
    let google = GoogleEmulator::start();
    let keys = format!("alice:{KEY},bob:bobs-secret-key");
    let proxy = ProxyBuilder::for_emulator(&google).env("PROXY_API_KEYS", keys).start();
    let send = |key: &str| proxy.send(post(GENERATE, &[&format!("x-goog-api-key: {key}")], HELLO));
    assert_eq!(send(KEY).status(), 200);
    for n in 0..10 {
        let answer = send(&format!("guess-{n}"));
        assert_eq!(answer.status_and_reason(), (401, "API_KEY_INVALID".into()));
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 401, "no key is no guess");
    }
    for key in ["guess-10", "bobs-secret-key"] {
        let answer = send(key);
        assert_eq!(answer.status_and_reason(), (429, "TOO_MANY_ATTEMPTS".into()), "{key}");
        assert_eq!(answer.error()["status"], "RESOURCE_EXHAUSTED");
        let after: u64 = answer.header("retry-after").parse().unwrap();
        assert!((30..=60).contains(&after), "{after}");
    }
    assert_eq!(send(KEY).status(), 200, "it was accepted before");
    assert_eq!(proxy.get("/health").status(), 200);
    assert_eq!(google.count("generateContent"), 2);
}

#[test]
fn without_keys_what_a_browser_calls_cross_site_needs_an_allowed_origin() {
    let google = GoogleEmulator::start();
    let proxy =
        ProxyBuilder::for_emulator(&google).env("ALLOWED_ORIGINS", "https://app.example").start();
    let models = "/v1beta/models";
    for site in ["cross-site", "same-site"] {
        let site = format!("Sec-Fetch-Site: {site}");
        for path in [models, "/v1internal:loadCodeAssist", "/v1internal/operations/x", "/health"] {
            let answer = proxy.send(get(path, &[&site, "Sec-Fetch-Mode: no-cors"]));
            assert_eq!(answer.status_and_reason(), (403, "ORIGIN_NOT_ALLOWED".into()), "{path}");
        }
        let answer = proxy.send(get(models, &[&site, "Origin: https://app.example"]));
        assert_eq!(answer.status(), 200);
        let link = [&*site, "Sec-Fetch-Mode: navigate"];
        assert_eq!(proxy.send(get("/", &link)).status(), 200, "a link to the status page");
        assert_eq!(proxy.send(get(models, &link)).status(), 403);
    }
    for site in ["same-origin", "none"] {
        assert_eq!(proxy.send(get(models, &[&format!("Sec-Fetch-Site: {site}")])).status(), 200);
    }
}

#[test]
fn only_loopback_names_are_answered_without_keys() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let port = proxy.address().rsplit(':').next().unwrap();
    for good in ["localhost", "127.0.0.1", &format!("localhost:{port}"), "[::1]:80", "a.localhost"]
    {
        let answer = proxy.send(post(GENERATE, &[&format!("Host: {good}")], HELLO));
        assert_eq!(answer.status(), 200, "{good}: {}", answer.text());
    }
    let sent = google.count("generateContent");
    for bad in [
        "evil.example",
        "evil.example:8787",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "localhost.evil",
    ] {
        for path in [GENERATE, "/health"] {
            let method = if path == GENERATE { "POST" } else { "GET" };
            let answer = proxy.send(request(method, path, &[&format!("Host: {bad}")], b"{}"));
            assert_eq!(answer.status_and_reason(), (403, "HOST_NOT_ALLOWED".into()), "{bad}");
        }
    }
    assert_eq!(google.count("generateContent"), sent);
}

#[test]
fn web_pages_are_answered_only_from_allowed_origins() {
    let google = GoogleEmulator::start();
    let closed = ProxyBuilder::for_emulator(&google).start();
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        let answer = closed.send(post(GENERATE, &[&format!("Origin: {origin}")], HELLO));
        assert_eq!(answer.status_and_reason(), (403, "ORIGIN_NOT_ALLOWED".into()), "{origin}");
        assert_eq!(answer.head.find("access-control-allow-origin"), None);
    }
    assert_eq!(google.count("generateContent"), 0);
    let own = format!("Origin: http://{}", closed.address());
    let host = format!("Host: {}", closed.address());
    assert_eq!(closed.send(get("/", &[&own, &host])).status(), 200, "our own page");

    let open = ProxyBuilder::for_emulator(&google)
        .env("ALLOWED_ORIGINS", "http://localhost:3000,https://app.example");
    let open = open.start();
    let sent = post(GENERATE, &["Origin: https://app.example"], HELLO);
    assert_eq!(open.send(sent).status(), 200);
    let sent = post(GENERATE, &["Origin: https://app.example.evil"], HELLO);
    assert_eq!(open.send(sent).status_and_reason(), (403, "ORIGIN_NOT_ALLOWED".into()));

    let files = ProxyBuilder::for_emulator(&google).env("ALLOWED_ORIGINS", "null,file://").start();
    for origin in ["null", "file://"] {
        let answer = files.send(post(GENERATE, &[&format!("Origin: {origin}")], HELLO));
        assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (200, origin));
    }
    let sent = post(GENERATE, &["Origin: https://app.example"], HELLO);
    assert_eq!(files.send(sent).status_and_reason(), (403, "ORIGIN_NOT_ALLOWED".into()));
}

#[test]
fn a_preflight_allows_what_gemini_clients_send() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("ALLOWED_ORIGINS", "https://app.example");
    let proxy = setup.env("PROXY_API_KEYS", KEY).start();
    let sent = "x-goog-api-key, x-goog-api-client, content-type, authorization, x-custom";
    let answer = proxy.send(request(
        "OPTIONS",
        GENERATE,
        &[
            "Origin: https://app.example",
            "Access-Control-Request-Method: POST",
            &format!("Access-Control-Request-Headers: {sent}"),
            "Access-Control-Request-Private-Network: true",
        ],
        b"",
    ));
    assert_eq!((answer.status(), answer.text().as_str()), (204, ""));
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
    assert_eq!(answer.header("access-control-allow-headers"), sent);
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert_eq!(answer.header("access-control-allow-private-network"), "true");
    assert!(answer.header("vary").contains("Origin"));
    let stranger = proxy.send(request(
        "OPTIONS",
        GENERATE,
        &["Origin: https://evil.example", "Access-Control-Request-Method: POST"],
        b"",
    ));
    assert_eq!(stranger.head.find("access-control-allow-origin"), None);
    assert!(google.log().is_empty() || google.count("generateContent") == 0);
}

#[test]
fn answers_errors_and_streams_carry_the_cors_headers() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("ALLOWED_ORIGINS", "https://app.example");
    let proxy = setup.env("PROXY_API_KEYS", KEY).start();
    let key = format!("x-goog-api-key: {KEY}");
    let origin = "Origin: https://app.example";
    for (status, sent) in [
        (200, post(GENERATE, &[&key, origin], HELLO)),
        (200, post(STREAM, &[&key, origin], HELLO)),
        (400, post(GENERATE, &[&key, origin], "[]")),
        (401, post(GENERATE, &[origin], HELLO)),
        (404, get("/nothing", &[&key, origin])),
        (200, get("/health", &[origin])),
    ] {
        let answer = proxy.send(&sent);
        assert_eq!(answer.status(), status);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
        assert_eq!(answer.header("vary"), "Origin");
    }
    let plain = proxy.send(post(GENERATE, &[&key], HELLO));
    assert_eq!(plain.head.find("access-control-allow-origin"), None);
    assert_eq!(plain.header("vary"), "Origin", "caches must not mix them up");
}
