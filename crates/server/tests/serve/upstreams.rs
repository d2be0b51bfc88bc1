//! What the operator sees of several upstreams: start-up lines, log lines, health, metrics and paths.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_emulator::{GEMINI_API_KEY, Options, Played};
use code_assist_harness::{GoogleEmulator, Proxy, ProxyBuilder};
use serde_json::{Value, json};

use crate::{GENERATE, HELLO};

fn all() -> ProxyBuilder {
    ProxyBuilder::without_upstream().argument("--emulator=all")
}

fn checks(proxy: &Proxy) -> Value {
    proxy.get("/health/detailed").json()["checks"].clone()
}

fn proxy_paths(proxy: &Proxy) -> Vec<Value> {
    proxy.get("/").json()["endpoints"]["proxy"].as_array().expect("a list of paths").clone()
}

#[test]
fn the_emulator_needs_no_credentials_and_keeps_the_order_of_upstreams() {
    let proxy = all().env("UPSTREAMS", "vertex,gemini-api").env("FAILOVER", "on").start();
    let output = proxy.stdout();
    let upstreams: Vec<&str> =
        output.lines().filter_map(|line| line.trim().strip_prefix("upstream ")).collect();
    let names: Vec<&str> =
        upstreams.iter().filter_map(|line| line.trim().split(' ').next()).collect();
    assert_eq!(names, ["vertex", "gemini-api", "code-assist"], "{output}");
    assert!(upstreams[0].ends_with(", emulator-vertex-project in global"), "{output}");
    let failover =
        "  failover     in this order, for account, quota, capacity, unreachable, not-found\n";
    assert!(output.contains(failover), "{output}");
    assert_eq!(output.matches("  credentials  thrown away").count(), 1, "{output}");
    assert!(!output.contains("Please note"), "no terms of Code Assist: {output}");
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.header("x-proxy-upstream")), (200, "vertex"));

    for (played, set) in [("gemini-api", "gemini-api"), ("vertex", "gemini-api"), ("all", "auto")] {
        let setup = ProxyBuilder::without_upstream().argument(&format!("--emulator={played}"));
        let proxy = setup.env("UPSTREAMS", set).start();
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "{played} {set}");
    }
}

#[test]
fn health_metrics_and_log_name_the_upstream() {
    let proxy = all().start();
    let mut connection = proxy.connect();
    let path = "/v1beta/models/gemini-2.5-flash:generateContent";
    let headers = ["x-proxy-upstream: gemini-api"];
    let answer = connection.send(code_assist_harness::post(path, &headers, HELLO));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    proxy.await_output(r#""upstream":"gemini-api""#);

    let checks = checks(&proxy);
    let upstreams = checks["upstreams"].as_array().unwrap();
    let seen: Vec<_> = upstreams.iter().map(|it| (&it["name"], &it["status"])).collect();
    let unknown = json!("unknown");
    assert_eq!(
        seen,
        [
            (&json!("code-assist"), &unknown),
            (&json!("gemini-api"), &json!("healthy")),
            (&json!("vertex"), &unknown),
        ]
    );
    assert_eq!(upstreams[2]["project"], json!({ "status": "known", "location": "global" }));
    let metrics = proxy.get("/metrics").text();
    let line = r#"requests_total{method="generateContent",model="gemini-2.5-flash",status="2xx",upstream="gemini-api"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    // All three are at the emulator's one address.
    for name in ["code-assist", "gemini-api", "vertex"] {
        let state = metrics.lines().filter(|line| {
            line.starts_with("code_assist_proxy_breaker_state{")
                && line.contains(&format!("upstream=\"{name}\""))
        });
        assert_eq!(state.count(), 3, "{metrics}");
    }
}

#[test]
fn with_one_upstream_nothing_names_it() {
    let proxy = ProxyBuilder::without_upstream().argument("--emulator").start();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    proxy.await_output(r#""method":"generateContent""#);
    assert_eq!(checks(&proxy).get("upstreams"), None);
    assert!(!checks(&proxy).to_string().contains(r#""upstream":"#));
    let metrics = proxy.get("/metrics").text();
    assert!(!metrics.contains("upstream=\"") && !metrics.contains("unable"), "{metrics}");
    let log = proxy.stdout();
    assert!(!log.contains(r#""upstream":"#), "{log}");
}

#[test]
fn the_paths_that_are_listed_are_those_of_the_upstreams_in_use() {
    let of = |played: &str| {
        let setup = ProxyBuilder::without_upstream().argument(&format!("--emulator={played}"));
        proxy_paths(&setup.start())
    };
    let own_protocol = json!("POST /v1internal:{method}");
    let uploads = json!("* /upload/v1beta/{path}");
    let embeddings = json!("POST /v1beta/models/{model}:embedContent");
    let code_assist = of("code-assist");
    assert!(code_assist.contains(&own_protocol) && !code_assist.contains(&uploads));
    let public = of("gemini-api");
    assert!(public.contains(&uploads) && !public.contains(&own_protocol), "{public:?}");
    let vertex = of("vertex");
    assert!(vertex.contains(&embeddings) && !vertex.contains(&uploads), "{vertex:?}");
    let all = of("all");
    assert!([&own_protocol, &uploads, &embeddings].iter().all(|path| all.contains(path)));
}

/// Code Assist without a sign-in, and a key of the Gemini API that works.
fn with_a_spare(google: &GoogleEmulator) -> ProxyBuilder {
    ProxyBuilder::for_emulator(google)
        .without_env("GCP_SERVICE_ACCOUNT")
        .env("UPSTREAMS", "code-assist,gemini-api")
        .env("GEMINI_API_KEY", GEMINI_API_KEY)
        .env("GEMINI_API_ENDPOINT", google.url())
}

#[test]
fn a_proxy_is_ready_while_any_upstream_could_serve() {
    let google = GoogleEmulator::start_with(Options { played: Played::All, ..Options::default() });
    let alone = with_a_spare(&google).env("UPSTREAMS", "code-assist").start();
    let began = Instant::now();
    while !alone.get("/ready").text().contains("credentials_missing") {
        assert!(began.elapsed() < Duration::from_secs(5), "{}", alone.get("/ready").text());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(alone.get("/ready").status(), 503);
    for (failover, status) in [("off", 503), ("account", 200)] {
        let spared = with_a_spare(&google).env("FAILOVER", failover).start();
        assert_eq!(spared.get("/ready").status(), 200, "{failover}");
        assert_eq!(spared.post(GENERATE, HELLO).status(), status, "{failover}");
        assert_eq!(spared.get("/ready").status(), 200, "{failover}");
        assert_eq!(spared.get("/health").json()["status"], "degraded", "the first one is refused");
    }
}

#[test]
fn without_any_credential_all_three_ways_are_named() {
    let setup = ProxyBuilder::without_upstream().env("ALLOW_UNAUTHENTICATED", "true");
    let proxy = setup.start();
    proxy.await_output("MISSING");
    let output = proxy.stdout();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_MISSING".into()));
    let message = answer.error()["message"].as_str().unwrap().to_owned();
    for said in [output, message] {
        for way in ["GEMINI_API_KEY", "VERTEX_PROJECT", "GCP_SERVICE_ACCOUNT"] {
            assert!(said.contains(way), "no {way} in {said}");
        }
    }
}

#[test]
fn a_credential_that_is_not_used_is_named_at_the_start() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("GEMINI_API_KEY", GEMINI_API_KEY);
    let output = setup.start().stdout();
    let line = "  unused       gemini-api has a credential too: UPSTREAMS=code-assist,gemini-api\n";
    assert!(output.contains(line), "{output}");
}
