//! Paths of the dialects, and what else their clients ask for: models, counts, embeddings.

use code_assist_emulator::{Options, Played};
use code_assist_harness::{GoogleEmulator, Provider, Proxy, ProxyBuilder, get, post, request};
use serde_json::{Value, json};

use super::Api;

const MODEL: &str = "gemini-2.5-flash";
const BEARER: &str = "Authorization: Bearer any";
const VERSION: &str = "anthropic-version: 2026-10-21";

fn at(provider: Provider) -> (GoogleEmulator, Proxy) {
    let google = provider.emulator();
    let proxy = ProxyBuilder::for_provider(provider, &google).start();
    (google, proxy)
}

#[test]
fn every_way_to_write_a_path_leads_to_the_dialect() {
    let (_google, proxy) = at(Provider::CodeAssist);
    for (api, paths) in [
        (
            Api::Chat,
            &[
                "/v1/chat/completions",
                "/chat/completions",
                "/v1/v1/chat/completions",
                "/openai/v1/chat/completions",
                "/openai/chat/completions",
                "/v1beta/openai/chat/completions",
                "//v1//chat/completions/",
            ][..],
        ),
        (
            Api::Responses,
            &["/v1/responses", "/responses", "/openai/v1/responses", "/v1/v1/responses"],
        ),
        (
            Api::Messages,
            &[
                "/v1/messages?beta=true",
                "/messages",
                "/v1/v1/messages",
                "/anthropic/v1/messages",
                "/anthropic/messages?beta=true",
            ],
        ),
    ] {
        for path in paths {
            let answer = proxy.post(path, api.hello(MODEL, json!({})));
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            assert_eq!(api.text(&answer.json()), "You said: Hello", "{path}");
            let wrong = proxy.send(get(path, &[]));
            assert_eq!((wrong.status(), wrong.header("allow")), (405, "POST"), "{path}");
        }
    }
}

#[test]
fn models_are_listed_in_the_shape_of_the_client() {
    for provider in Provider::ALL {
        let (_google, proxy) = at(provider);
        let ask = |path: &str, header: &str| {
            let answer = proxy.send(get(path, &[header]));
            assert_eq!(answer.status(), 200, "{path} {header}: {}", answer.text());
            answer.json()
        };
        for path in ["/v1/models", "/models", "/openai/v1/models"] {
            let list = ask(path, BEARER);
            assert_eq!(list["object"], "list", "{path}: {list}");
            let known = list["data"].as_array().unwrap().iter().find(|one| one["id"] == MODEL);
            let known = known.unwrap_or_else(|| panic!("{path}: {list}"));
            assert_eq!((&known["object"], &known["owned_by"]), (&json!("model"), &json!("google")));
            assert!(known["created"].is_u64(), "{known}");
        }
        for path in ["/v1/models", "/anthropic/v1/models"] {
            let list = ask(&format!("{path}?limit=2"), VERSION);
            let data = list["data"].as_array().unwrap();
            assert_eq!((data.len(), &list["has_more"]), (2, &json!(true)), "{path}: {list}");
            assert_eq!([&list["first_id"], &list["last_id"]], [&data[0]["id"], &data[1]["id"]]);
            let next = format!("{path}?limit=1000&after_id={}", data[1]["id"].as_str().unwrap());
            let next = ask(&next, VERSION);
            assert_eq!(next["has_more"], false);
            assert!(!next["data"].to_string().contains(data[0]["id"].as_str().unwrap()));
            assert!(data[0]["created_at"].as_str().unwrap().ends_with('Z'), "{list}");
        }
        // A key in Google's place is that of a Gemini client, who lists on /v1 too.
        for headers in ["x-goog-api-key: any", "Accept: */*"] {
            assert!(ask("/v1/models", headers)["models"].is_array(), "{headers}");
        }
        for name in [MODEL, &format!("models/{MODEL}")] {
            assert_eq!(ask(&format!("/v1/models/{name}"), BEARER)["object"], "model");
            assert_eq!(ask(&format!("/v1/models/{name}"), VERSION)["type"], "model");
        }
        let unknown = proxy.send(get("/v1/models/no-such-model", &[BEARER]));
        assert_eq!(unknown.status(), 404, "{}", unknown.text());
        let error = &unknown.json()["error"];
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("model_not_found"), &json!("model")),
            "{error}"
        );
        let unknown = proxy.send(get("/v1/models/no-such-model", &[VERSION]));
        assert_eq!(unknown.json()["error"]["type"], "not_found_error", "{}", unknown.text());
    }
}

#[test]
fn tokens_are_counted_at_every_provider() {
    for provider in Provider::ALL {
        let (google, proxy) = at(provider);
        let mut body: Value = serde_json::from_str(&Api::Messages.hello(MODEL, json!({}))).unwrap();
        body.as_object_mut().unwrap().remove("max_tokens");
        for path in ["/v1/messages/count_tokens?beta=true", "/anthropic/v1/messages/count_tokens"] {
            // An equal question would be answered from memory.
            body["messages"][0]["content"] = path.into();
            let answer = proxy.post(path, body.to_string());
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
            let count = answer.json()["input_tokens"].as_u64().unwrap();
            assert!(count > 0);
            assert_eq!(answer.text(), format!(r#"{{"input_tokens":{count}}}"#));
        }
        let answer =
            proxy.post("/v1/responses/input_tokens", Api::Responses.hello(MODEL, json!({})));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.json()["object"], "response.input_tokens");
        assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0);
        assert_eq!(google.count("countTokens"), 3, "{}", provider.name());
        // Tools and a system prompt count too.
        body["system"] = "Be brief. ".repeat(50).into();
        body["tools"] = json!([Api::Messages.tool("look_up")]);
        let longer = proxy.post("/v1/messages/count_tokens", body.to_string());
        assert!(longer.json()["input_tokens"].as_u64() > Some(100), "{}", longer.text());
    }
}

#[test]
fn a_client_may_ask_whether_the_server_is_there() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google)
        .env("PROXY_API_KEYS", "alice:alices-secret-key")
        .start();
    let asked = proxy.send(get("/api/hello", &[]));
    assert_eq!((asked.status(), &*asked.text()), (200, ""));
    for path in ["/api/hello", "/anthropic/api/hello", "/"] {
        let mut connection = proxy.connect();
        connection.write(request("HEAD", path, &[], b""));
        assert_eq!(connection.head().status, 200, "{path}");
    }
}

#[test]
fn what_is_not_offered_is_a_404_of_the_dialect() {
    let (google, proxy) = at(Provider::CodeAssist);
    for (method, path, header, anthropic, code) in [
        ("POST", "/v1/images/generations", BEARER, false, json!("unsupported_endpoint")),
        ("POST", "/v1/audio/speech", BEARER, false, json!("unsupported_endpoint")),
        ("POST", "/v1/responses/compact", BEARER, false, json!("unsupported_endpoint")),
        ("POST", "/v1/batches", BEARER, false, json!("unsupported_endpoint")),
        ("GET", "/v1/files", BEARER, false, json!("unsupported_endpoint")),
        ("GET", "/v1/responses/resp_x", BEARER, false, json!(null)),
        ("POST", "/v1/responses/resp_x/cancel", BEARER, false, json!(null)),
        ("GET", "/v1/chat/completions/chatcmpl-x", BEARER, false, json!(null)),
        ("POST", "/v1/messages/batches", VERSION, true, json!("")),
        ("POST", "/v1/complete", VERSION, true, json!("")),
        ("GET", "/v1/files", VERSION, true, json!("")),
        ("POST", "/v1/nonsense", VERSION, true, json!("")),
    ] {
        let answer = proxy.send(request(method, path, &[header], b"{}"));
        let error = answer.json()["error"].clone();
        assert_eq!(answer.status(), 404, "{path}: {}", answer.text());
        assert_eq!(answer.header("x-should-retry"), "false", "{path}");
        if anthropic {
            assert_eq!(error["type"], "not_found_error", "{path}: {}", answer.text());
        } else {
            let words = (&error["type"], &error["code"]);
            assert_eq!(words, (&json!("invalid_request_error"), &code), "{path}");
        }
    }
    let stored = proxy.send(get("/v1/responses/resp_x", &[BEARER]));
    assert_eq!(stored.json()["error"]["message"], "Response with id 'resp_x' not found.");
    assert!(asks_nothing(&google), "{:?}", google.log());
}

#[test]
fn a_preflight_allows_what_the_dialects_clients_send() {
    let google = GoogleEmulator::start();
    let proxy =
        ProxyBuilder::for_emulator(&google).env("ALLOWED_ORIGINS", "https://app.example").start();
    let asked = "x-api-key, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, openai-organization, openai-project, openai-beta, idempotency-key, authorization, content-type, x-stainless-arch, x-stainless-lang, x-stainless-os, x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, x-stainless-timeout";
    let wanted = format!("Access-Control-Request-Headers: {asked}");
    for api in Api::ALL {
        let headers =
            ["Origin: https://app.example", "Access-Control-Request-Method: POST", &*wanted];
        let answer = proxy.send(request("OPTIONS", &api.path(MODEL), &headers, b""));
        assert!([200, 204].contains(&answer.status()), "{api:?}: {}", answer.status());
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        let allowed = answer.header("access-control-allow-headers").to_ascii_lowercase();
        let allowed: Vec<&str> = allowed.split(',').map(str::trim).collect();
        for name in asked.split(", ") {
            assert!(allowed.contains(&name), "{api:?}: {name} is not in {allowed:?}");
        }
        let sent = post(&api.path(MODEL), &headers[..1], api.hello(MODEL, json!({})));
        let answer = proxy.send(sent);
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        let exposed = answer.header("access-control-expose-headers").to_ascii_lowercase();
        assert!(exposed.contains("x-request-id") || exposed == "*", "{exposed}");
    }
}

#[test]
fn embeddings_come_from_those_that_have_them() {
    let ask = |proxy: &Proxy, more: Value| {
        let mut body = json!({"model": "gemini-embedding-001", "input": ["one", "two"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        proxy.post("/v1/embeddings", body.to_string())
    };
    for provider in Provider::BARE {
        let (_google, proxy) = at(provider);
        let name = provider.name();
        let plain = ask(&proxy, json!({"dimensions": 128}));
        assert_eq!(plain.status(), 200, "{name}: {}", plain.text());
        let plain = plain.json();
        assert_eq!(
            (&plain["object"], &plain["model"]),
            (&json!("list"), &json!("gemini-embedding-001"))
        );
        assert!(plain["usage"]["prompt_tokens"].is_u64(), "{name}: {plain}");
        let coded = ask(&proxy, json!({"dimensions": 128, "encoding_format": "base64"})).json();
        for at in [0, 1] {
            let one = &plain["data"][at];
            assert_eq!(
                (&one["object"], &one["index"]),
                (&json!("embedding"), &json!(at)),
                "{name}"
            );
            let values = one["embedding"].as_array().expect("numbers");
            let bytes = from_base64(coded["data"][at]["embedding"].as_str().expect("base64"));
            assert_eq!(bytes.len(), 4 * values.len(), "{name}");
            for (value, bytes) in values.iter().zip(bytes.chunks_exact(4)) {
                let decoded = f32::from_le_bytes(bytes.try_into().unwrap());
                let exact = value.as_f64().unwrap();
                assert!((f64::from(decoded) - exact).abs() < 1e-6, "{name}: {decoded} {exact}");
            }
        }
        let refused = ask(&proxy, json!({"input": [[1, 2, 3]]}));
        assert_eq!(refused.status(), 400, "{name}: {}", refused.text());
    }
    let (google, proxy) = at(Provider::CodeAssist);
    let answer = ask(&proxy, json!({}));
    let error = answer.json()["error"].clone();
    assert_eq!(
        (answer.status(), &error["type"]),
        (404, &json!("invalid_request_error")),
        "{error}"
    );
    assert!(asks_nothing(&google), "{:?}", google.log());
}

/// Whether nothing but the account has been asked for.
fn asks_nothing(google: &GoogleEmulator) -> bool {
    let own = ["loadCodeAssist", "retrieveUserQuota", "token", "tokeninfo"];
    google.log().iter().all(|call| own.iter().any(|own| call["rpc"] == *own))
}

/// The bytes behind a text in the standard alphabet.
fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| -> u32 {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let at = alphabet.iter().position(|known| *known == byte).expect("base64");
        u32::try_from(at).expect("small")
    };
    let digits: Vec<u32> = text.trim_end_matches('=').bytes().map(digit).collect();
    let mut out = Vec::new();
    for four in digits.chunks(4) {
        let number =
            four.iter().enumerate().fold(0, |all, (at, digit)| all | digit << (18 - 6 * at));
        out.extend_from_slice(&number.to_be_bytes()[1..four.len()]);
    }
    out
}

#[test]
fn googles_own_openai_endpoint_is_copied_and_played_where_it_is_not() {
    let google = GoogleEmulator::start_with(Options { played: Played::All, ..Options::default() });
    for provider in Provider::ALL {
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        let answer =
            proxy.post("/v1beta/openai/chat/completions", Api::Chat.hello(MODEL, json!({})));
        assert_eq!(answer.status(), 200, "{}: {}", provider.name(), answer.text());
        assert_eq!(Api::Chat.text(&answer.json()), "You said: Hello");
        let is_copied = provider == Provider::GeminiApi;
        assert_eq!(google.count("openai.chat"), u64::from(provider != Provider::CodeAssist));
        let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
        assert!(is_copied || id.starts_with("chatcmpl-"), "{id}");
        let list = proxy.send(get("/v1beta/openai/models", &[BEARER]));
        assert_eq!((list.status(), &list.json()["object"]), (200, &json!("list")));
    }
}

#[test]
fn a_dialect_that_is_off_does_not_exist() {
    let google = GoogleEmulator::start();
    for (set, on) in [
        ("gemini", &[Api::Gemini][..]),
        ("openai", &[Api::Chat, Api::Responses]),
        ("anthropic", &[Api::Messages]),
        ("gemini,anthropic", &[Api::Gemini, Api::Messages]),
    ] {
        let proxy = ProxyBuilder::for_emulator(&google).env("DIALECTS", set).start();
        for api in Api::WITH_GEMINI {
            let answer = proxy.post(&api.path(MODEL), api.hello(MODEL, json!({})));
            let expected = if on.contains(&api) { 200 } else { 404 };
            assert_eq!(answer.status(), expected, "{set}: {api:?}: {}", answer.text());
        }
    }
}
