//! Several upstreams: which one a request goes to, and when another one stands in.

use code_assist_emulator::{Options, Played};
use code_assist_harness::{GoogleEmulator, Provider, Proxy, ProxyBuilder, get, post};
use serde_json::json;

use crate::{COUNT, GENERATE, HELLO, STREAM};

/// An emulator that plays every provider.
fn all() -> GoogleEmulator {
    GoogleEmulator::start_with(Options { played: Played::All, ..Options::default() })
}

/// A rule for the calls of one RPC on one provider, by the path that they have there.
fn failing(path: &str, error: &str) -> serde_json::Value {
    json!({"match": {"path": path}, "error": error, "times": 0})
}

fn pinned(proxy: &Proxy, path: &str, name: &str) -> code_assist_harness::Response {
    proxy.send(post(path, &[&format!("x-proxy-upstream: {name}")], HELLO))
}

const AT_GEMINI_API: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const AT_VERTEX: &str = "/v1beta1/projects/emulator-vertex-project/locations/global/publishers/google/models/gemini-2.5-flash:generateContent";
const AT_CODE_ASSIST: &str = "/v1internal:generateContent";

#[test]
fn a_client_may_name_the_upstream_and_an_unknown_name_is_a_400() {
    let google = all();
    let proxy = ProxyBuilder::for_providers(&Provider::ALL, &google).start();
    for path in [GENERATE, STREAM, COUNT] {
        let first = proxy.post(path, HELLO);
        assert_eq!(
            (first.status(), first.header("x-proxy-upstream")),
            (200, "code-assist"),
            "{path}"
        );
        for provider in Provider::ALL {
            let answer = pinned(&proxy, path, provider.name());
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            assert_eq!(answer.header("x-proxy-upstream"), provider.name(), "{path}");
        }
        let answer = pinned(&proxy, path, "nowhere");
        assert_eq!(answer.status_and_reason(), (400, "UNKNOWN_UPSTREAM".into()), "{path}");
        assert!(answer.text().contains("gemini-api"), "{}", answer.text());
    }
    let log = google.log();
    assert!(log.iter().all(|record| record["headers"]["x-proxy-upstream"].is_null()));
    assert_eq!(google.count("unknown"), 0);
    let lines = proxy.await_request_lines(15);
    assert!(lines.iter().any(|line| line["upstream"] == "vertex"), "{lines:?}");
}

#[test]
fn a_method_goes_to_the_first_upstream_that_has_it() {
    let google = all();
    let proxy = ProxyBuilder::for_providers(&Provider::ALL, &google).start();
    let embed = r#"{"content":{"role":"user","parts":[{"text":"Hello"}]}}"#;
    let answer = proxy.post("/v1beta/models/gemini-embedding-001:embedContent", embed);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-proxy-upstream"), "gemini-api");
    let files = proxy.get("/v1beta/files");
    assert_eq!((files.status(), files.header("x-proxy-upstream")), (200, "gemini-api"));
    let refused = proxy.send(get("/v1beta/files", &["x-proxy-upstream: vertex"]));
    assert_eq!(refused.status_and_reason(), (404, "NOT_OFFERED_BY_UPSTREAM".into()));
}

#[test]
fn a_request_moves_to_the_next_upstream_if_the_operator_asks_for_it() {
    let google = all();
    let order = [Provider::GeminiApi, Provider::Vertex];
    google.add_rules(failing(AT_GEMINI_API, "quota_per_day"));
    // Off by default.
    let proxy = ProxyBuilder::for_providers(&order, &google).start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.header("x-proxy-upstream")), (429, "gemini-api"));
    assert_eq!(answer.head.find("x-proxy-failover"), None);

    let proxy = ProxyBuilder::for_providers(&order, &google).env("FAILOVER", "on").start();
    for _ in 0..2 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.header("x-proxy-upstream"), "vertex");
        let told = answer.header("x-proxy-failover");
        assert!(told.starts_with("gemini-api;reason="), "{told}");
    }
    // What is known is not asked again.
    let asked = google.log().iter().filter(|record| record["path"] == AT_GEMINI_API).count();
    assert_eq!(asked, 2, "one of each proxy");
    // A client that names the upstream gets its error.
    let answer = pinned(&proxy, GENERATE, "gemini-api");
    assert_eq!((answer.status(), answer.head.find("x-proxy-failover")), (429, None));
    // Another model is not concerned.
    let other = proxy.post("/v1beta/models/gemini-2.5-pro:generateContent", HELLO);
    assert_eq!((other.status(), other.header("x-proxy-upstream")), (200, "gemini-api"));
}

#[test]
fn a_refused_credential_moves_a_request_too_and_a_bad_request_does_not() {
    let google = all();
    let proxy = ProxyBuilder::for_providers(&[Provider::GeminiApi, Provider::Vertex], &google)
        .env("GEMINI_API_KEY", "AIza-no-such-key")
        .env("FAILOVER", "account")
        .start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.header("x-proxy-failover"), "gemini-api;reason=CREDENTIALS_REJECTED");

    let proxy = ProxyBuilder::for_providers(&[Provider::GeminiApi, Provider::Vertex], &google)
        .env("FAILOVER", "on")
        .start();
    let answer = proxy.post(GENERATE, r#"{"contents":[],"nonsense":1}"#);
    assert_eq!((answer.status(), answer.header("x-proxy-upstream")), (400, "gemini-api"));
    assert_eq!(answer.head.find("x-proxy-failover"), None);
}

#[test]
fn if_all_fail_the_client_gets_the_first_error_and_what_was_tried() {
    let google = all();
    google.add_rules(failing(AT_GEMINI_API, "quota_per_day"));
    google.add_rules(failing(AT_VERTEX, "iam_permission_denied"));
    google.add_rules(json!({"match": {"path": AT_CODE_ASSIST}, "status": 403, "times": 0}));
    let proxy = ProxyBuilder::for_providers(&[Provider::GeminiApi, Provider::Vertex], &google)
        .env("FAILOVER", "on")
        .start();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 429, "{}", answer.text());
    let tried = answer.header("x-proxy-tried");
    assert!(tried.starts_with("gemini-api;") && tried.contains(", vertex;"), "{tried}");
}

#[test]
fn keys_and_limits_hold_in_front_of_every_provider() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google)
            .env("PROXY_API_KEYS", "alice:alices-secret-key")
            .env("RATE_LIMIT_MAX_REQUESTS", "3")
            .start();
        let name = provider.name();
        let missing = proxy.post(GENERATE, HELLO);
        assert_eq!(missing.status_and_reason(), (401, "API_KEY_MISSING".into()), "{name}");
        if provider == Provider::GeminiApi {
            for path in ["/v1beta/files", "/v1beta/openai/models", "/v1/interactions"] {
                assert_eq!(proxy.get(path).reason(), "API_KEY_MISSING", "{path}");
            }
        }
        let ask = || proxy.send(post(GENERATE, &["x-goog-api-key: alices-secret-key"], HELLO));
        for _ in 0..3 {
            assert_eq!(ask().status(), 200, "{name}");
        }
        assert_eq!(ask().status_and_reason(), (429, "RATE_LIMITED".into()), "{name}");
        if provider == Provider::GeminiApi {
            let files = proxy.send(get("/v1beta/files", &["x-goog-api-key: alices-secret-key"]));
            assert_eq!(files.status_and_reason(), (429, "RATE_LIMITED".into()));
        }
    }
}
