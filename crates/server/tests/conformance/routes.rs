//! Paths and methods: every spelling that clients use reaches its operation.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{GoogleEmulator, ProxyBuilder, get, post, request};
use serde_json::json;

use crate::{COUNT, GENERATE, HELLO, STREAM};

#[test]
fn every_spelling_of_a_path_leads_to_the_same_operation() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let mut connection = proxy.connect();
    let paths = [
        "/v1/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1alpha/models/gemini-2.5-flash:generateContent",
        "/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash%3AgenerateContent",
        "/v1beta/models/gemini-2.5-flash%3agenerateContent",
        "//v1beta//models//gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:generateContent/",
        "/v1beta/models/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/models%2Fgemini-2.5-flash:generateContent",
        "/v1beta/gemini-2.5-flash:generateContent",
        "/v1beta/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/publishers/google/models/gemini-2.5-flash:generateContent",
        "/v1beta1/projects/p/locations/global/publishers/google/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:generateContent?alt=json&foo=bar&prettyPrint=false",
    ];
    for path in paths {
        let answer = connection.send(post(path, &[], HELLO));
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        let answer = answer.json();
        let text = &answer["candidates"][0]["content"]["parts"][0]["text"];
        assert_eq!(text, "You said: Hello", "{path}");
    }
    let received = google.received("generateContent");
    assert_eq!(received.len(), paths.len());
    for record in received {
        assert_eq!(record["path"], "/v1internal:generateContent");
        assert_eq!(record["query"], "", "the client's query goes nowhere");
    }
}

#[test]
fn a_model_name_is_forwarded_unchanged() {
    let google = GoogleEmulator::start();
    let models = ["gemini-2.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview", "gemini-3-flash"];
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for model in models {
        let answer = proxy.post(&format!("/v1beta/models/{model}:generateContent"), HELLO);
        assert_eq!(answer.status(), 200, "{model}: {}", answer.text());
        assert_eq!(answer.head.find("x-proxy-model"), None, "{model}");
        let record = google.received("generateContent").pop().unwrap();
        let sent: serde_json::Value =
            serde_json::from_str(record["body"].as_str().unwrap()).unwrap();
        assert_eq!(sent["model"], model);
    }
    let answer = proxy.post("/v1beta/models/gemini-9-future:generateContent", HELLO);
    assert_eq!(answer.status(), 404, "an unknown model is for GoogleEmulator to judge");
    assert_eq!(answer.reason(), "");
    let answer = proxy.post("/v1beta/models/gemini-1.5-flash:generateContent", HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(
        !answer.header("x-proxy-model").is_empty(),
        "the answer names the model that replaces a retired one"
    );
}

#[test]
fn tokens_are_counted_in_both_request_forms() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let plain = proxy.post(COUNT, HELLO);
    assert_eq!(plain.status(), 200, "{}", plain.text());
    let count = plain.json()["totalTokens"].as_u64().unwrap();
    assert!(count > 0);
    let whole = format!(
        r#"{{"generateContentRequest":{{"model":"models/gemini-2.5-flash",{}}}"#,
        &HELLO[1..]
    );
    let answer = proxy.post(COUNT, whole);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.json()["totalTokens"], count);
}

#[test]
fn models_are_listed_and_described() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for path in ["/v1/models", "/v1beta/models/", "/models", "/v1beta/models?pageSize=1000"] {
        let answer = proxy.get(path);
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        let list = answer.json();
        let names: Vec<&str> = list["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"models/gemini-2.5-flash"), "{names:?}");
        assert!(names.contains(&"models/gemini-3-flash"), "the account's own: {names:?}");
    }
    let first = proxy.get("/v1beta/models?pageSize=2").json();
    assert_eq!(first["models"].as_array().unwrap().len(), 2);
    let token = first["nextPageToken"].as_str().unwrap();
    let second = proxy.get(&format!("/v1beta/models?pageSize=2&pageToken={token}")).json();
    assert_ne!(first["models"][0]["name"], second["models"][0]["name"]);
    let one = proxy.get("/v1beta/models/gemini-2.5-pro").json();
    assert_eq!(one["name"], "models/gemini-2.5-pro");
    let methods = one["supportedGenerationMethods"].as_array().unwrap();
    assert!(methods.contains(&json!("generateContent")), "{one}");
    let none = proxy.get("/v1beta/models/gemini-nothing");
    assert_eq!(none.status_and_reason(), (404, "NOT_FOUND".into()));
}

#[test]
fn an_operation_that_code_assist_lacks_is_a_404_and_a_wrong_method_is_a_405() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for path in [
        "/v1beta/models/text-embedding-004:embedContent",
        "/v1beta/models/text-embedding-004:batchEmbedContents",
        "/v1beta/models/x:predict",
        "/v1beta/files",
        "/upload/v1beta/files",
        "/v1beta/cachedContents",
        "/v1beta/tunedModels/x:generateContent",
    ] {
        let answer = proxy.post(path, HELLO);
        let verdict = (404, "NOT_OFFERED_BY_CODE_ASSIST".to_owned());
        assert_eq!(answer.status_and_reason(), verdict, "{path}: {}", answer.text());
        assert_eq!(answer.error()["status"], "NOT_FOUND");
    }
    for path in ["/nothing", "/v1beta/models/a/b/c", "/v1internalx:generateContent", "/v2/models"] {
        assert_eq!(
            proxy.post(path, HELLO).status_and_reason(),
            (404, "NOT_FOUND".into()),
            "{path}"
        );
    }
    for (method, path, allow) in [
        ("GET", GENERATE, "POST"),
        ("PUT", STREAM, "POST"),
        ("DELETE", COUNT, "POST"),
        ("POST", "/v1beta/models", "GET, HEAD"),
        ("POST", "/v1beta/models/gemini-2.5-pro", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
    ] {
        let answer = proxy.send(request(method, path, &[], b""));
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
        assert_eq!(answer.reason(), "METHOD_NOT_ALLOWED");
    }
    assert!(google.log().is_empty() || google.count("generateContent") == 0);
}

#[test]
fn code_assists_own_api_is_forwarded_with_the_proxys_token() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let body = format!(
        r#"{{"model":"gemini-2.5-flash","project":"emulator-project","user_prompt_id":"p","request":{HELLO}}}"#
    );
    let own = ["Authorization: Bearer ya29.of-the-client"];
    let answer = proxy.send(post("/v1internal:generateContent", &own, &body));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert!(answer.json()["response"]["candidates"].is_array(), "untouched: {}", answer.text());
    let record = &google.received("generateContent")[0];
    assert_eq!(record["body"], body.as_str(), "byte for byte");
    assert_ne!(record["headers"]["authorization"], "Bearer ya29.of-the-client");
    let stream = proxy.post("/v1internal:streamGenerateContent?alt=sse", &body);
    assert_eq!(stream.header("content-type"), "text/event-stream");
    assert!(stream.events()[0]["response"].is_object(), "{}", stream.text());
    let answer = proxy.get("/v1internal:getCodeAssistGlobalUserSetting");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let refused = proxy.post("/v1internal:generateContent", r#"{"bad":1}"#);
    assert_eq!(refused.status(), 400, "{}", refused.text());
}

#[test]
fn a_body_is_read_as_json_whatever_its_content_type() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for kind in ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "nonsense"] {
        let kind = format!("Content-Type: {kind}");
        let answer = proxy.send(request("POST", GENERATE, &[&kind], HELLO.as_bytes()));
        assert_eq!(answer.status(), 200, "{kind}: {}", answer.text());
    }
    let answer = proxy.send(request("POST", GENERATE, &[], HELLO.as_bytes()));
    assert_eq!(answer.status(), 200, "no type at all: {}", answer.text());
    for record in google.received("generateContent") {
        assert_eq!(record["headers"]["content-type"], "application/json");
    }
}

#[test]
fn every_response_has_a_request_id_and_a_server_timing() {
    let google = GoogleEmulator::start();
    let proxy =
        ProxyBuilder::for_emulator(&google).env("PROXY_API_KEYS", "alices-secret-key").start();
    let key = "x-goog-api-key: alices-secret-key";
    let cases = [
        (200, get("/health", &[])),
        (200, get("/", &[])),
        (204, request("OPTIONS", GENERATE, &[], b"")),
        (401, post(GENERATE, &[], HELLO)),
        (200, post(GENERATE, &[key], HELLO)),
        (200, post(STREAM, &[key], HELLO)),
        (400, post(GENERATE, &[key], "[]")),
        (404, get("/nothing", &[key])),
        (405, get(GENERATE, &[key])),
    ];
    for (status, request) in cases {
        let answer = proxy.send(&request);
        let text = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(answer.status(), status, "{text}");
        assert!(answer.header("x-request-id").starts_with("req_"), "{text}");
        for part in ["auth", "queue", "upstream", "proxy"] {
            assert!(answer.head.server_timing(part) >= 0.0, "{text}");
        }
    }
}

#[test]
fn the_probes_answer_without_a_key_and_readiness_comes_without_a_request() {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google).env("PROXY_API_KEYS", "alices-secret-key");
    let proxy = setup.start();
    assert_eq!(proxy.get("/live").json(), json!({"status": "live"}));
    let started = Instant::now();
    while proxy.get("/ready").status() != 200 {
        assert!(started.elapsed() < Duration::from_secs(10), "{}", proxy.get("/ready").text());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(proxy.get("/ready").json(), json!({"status": "ready"}));
    let signed_out = ProxyBuilder::without_upstream().start();
    let answer = signed_out.get("/ready");
    assert_eq!((answer.status(), answer.json()["status"].as_str()), (503, Some("not_ready")));
    assert_eq!(google.count("generateContent"), 0);
}

#[test]
fn a_valid_request_id_is_kept_and_an_invalid_one_is_replaced() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for sane in ["abc-123", "A.b_c", &"x".repeat(128)] {
        let answer = proxy.send(get("/health", &[&format!("X-Request-ID: {sane}")]));
        assert_eq!(answer.header("x-request-id"), sane);
    }
    for odd in ["a b", "a\"b", "", "<script>", &"x".repeat(129), "caf\u{e9}"] {
        let answer = proxy.send(get("/health", &[&format!("x-request-id: {odd}")]));
        assert!(answer.header("x-request-id").starts_with("req_"), "{odd:?}");
    }
    let first = proxy.get("/health").header("x-request-id").to_owned();
    assert_ne!(first, proxy.get("/health").header("x-request-id"));
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for path in ["/health", "/live", "/", "/v1beta/models"] {
        let mut connection = proxy.connect();
        connection.write(request("HEAD", path, &[], b""));
        let head = connection.head();
        assert_eq!(head.status, 200, "{path}");
        // The next response begins where a body would be.
        connection.write(get("/health", &[]));
        assert_eq!(connection.response().status(), 200, "{path}");
    }
}
