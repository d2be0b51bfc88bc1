//! Keys, limits, quotas, failover and the cache are the same in every dialect, Gemini's included.

use std::thread;
use std::time::{Duration, Instant};

use code_assist_emulator::{Options, Played};
use code_assist_harness::{
    GoogleEmulator, Provider, Proxy, ProxyBuilder, Response, ScriptedUpstream, post,
};
use serde_json::{Value, json};

use super::Api;

const MODEL: &str = "gemini-2.5-flash";
const KEY: &str = "Authorization: Bearer alices-secret-key";
const AT_GEMINI_API: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const AT_VERTEX: &str = "/v1beta1/projects/emulator-vertex-project/locations/global/publishers/google/models/gemini-2.5-flash:generateContent";

fn all() -> GoogleEmulator {
    GoogleEmulator::start_with(Options { played: Played::All, ..Options::default() })
}

fn hello(proxy: &Proxy, api: Api, headers: &[&str]) -> Response {
    proxy.send(post(&api.path(MODEL), headers, api.hello(MODEL, json!({}))))
}

/// The proxy's reason in an error of any dialect.
fn reason(answer: &Response) -> String {
    code_assist_harness::proxy_error_reason(&answer.json()["error"])
}

#[test]
fn keys_and_rate_limits_hold_in_every_dialect_together() {
    let google = GoogleEmulator::start();
    for api in Api::WITH_GEMINI {
        let proxy = ProxyBuilder::for_emulator(&google)
            .env("PROXY_API_KEYS", "alice:alices-secret-key,bob:bobs-secret-key")
            .env("RATE_LIMIT_MAX_REQUESTS", "4")
            .start();
        let before = google.count("generateContent");
        let missing = hello(&proxy, api, &[]);
        assert_eq!((missing.status(), &*reason(&missing)), (401, "API_KEY_MISSING"), "{api:?}");
        for other in Api::WITH_GEMINI {
            let answer = hello(&proxy, other, &[KEY]);
            assert_eq!(answer.status(), 200, "{other:?}: {}", answer.text());
        }
        let limited = hello(&proxy, api, &[KEY]);
        assert_eq!((limited.status(), &*reason(&limited)), (429, "RATE_LIMITED"), "{api:?}");
        assert!(!limited.header("retry-after").is_empty(), "{api:?}");
        let other = hello(&proxy, api, &["x-api-key: bobs-secret-key"]);
        assert_eq!(other.status(), 200, "{api:?}: another key has a limit of its own");
        assert_eq!(google.count("generateContent") - before, 5, "{api:?}");
        let lines = proxy.await_request_lines(7);
        let dialects: Vec<&str> =
            lines.iter().map(|line| line["dialect"].as_str().unwrap_or_default()).collect();
        for dialect in ["openai", "anthropic"] {
            assert!(dialects.contains(&dialect), "{dialects:?}");
        }
        assert!(lines.iter().all(|line| line["status"] != 200 || line["client"] != Value::Null));
        let log = json!(google.log()).to_string();
        assert!(!log.contains("secret-key"), "a client's key went upstream");
    }
}

#[test]
fn a_full_proxy_lets_requests_wait_and_then_refuses_them() {
    for api in Api::WITH_GEMINI {
        let google = GoogleEmulator::start();
        google.add_rules(json!({"match": {"rpc": "generateContent"}, "delay_ms": 1200}));
        let proxy = ProxyBuilder::for_emulator(&google)
            .env("MAX_CONCURRENT_REQUESTS", "1")
            .env("QUEUE_TIMEOUT_MS", "200")
            .start();
        thread::scope(|scope| {
            let slow = scope.spawn(|| hello(&proxy, api, &[]));
            google.await_call("generateContent", |_| true);
            let answer = hello(&proxy, api, &[]);
            let status = if api == Api::Messages { 529 } else { 503 };
            assert_eq!((answer.status(), &*reason(&answer)), (status, "QUEUE_TIMEOUT"), "{api:?}");
            assert!(!answer.header("retry-after").is_empty(), "{api:?}");
            assert_eq!(slow.join().unwrap().status(), 200, "{api:?}");
        });
        assert_eq!(google.count("generateContent"), 1, "{api:?}");
    }
}

#[test]
fn a_quota_that_is_used_up_is_remembered_for_every_dialect() {
    for first in Api::WITH_GEMINI {
        let google = Provider::GeminiApi.emulator();
        google.add_rules(json!({"error": "quota_per_day", "times": 0}));
        let proxy = ProxyBuilder::for_provider(Provider::GeminiApi, &google).start();
        let refused = hello(&proxy, first, &[]);
        assert_eq!(refused.status(), 429, "{}", refused.text());
        for api in Api::WITH_GEMINI {
            let answer = hello(&proxy, api, &[]);
            let error = answer.json()["error"].clone();
            assert_eq!((answer.status(), &error["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
            let message = error["message"].as_str().unwrap();
            assert!(message.starts_with("You exceeded your current quota"), "{api:?}: {message}");
            match api {
                Api::Gemini => {}
                Api::Messages => assert_eq!(error["type"], "rate_limit_error"),
                _ => assert_eq!(error["code"], "insufficient_quota", "{error}"),
            }
            if api != Api::Gemini {
                assert_eq!(answer.header("x-should-retry"), "false", "{api:?}");
            }
        }
        assert_eq!(google.count("generateContent"), 1, "{first:?}: the rest is from memory");
        google.clear_rules();
        let insists = hello(&proxy, first, &["Cache-Control: no-cache"]);
        assert_eq!(insists.status(), 200, "{first:?}: {}", insists.text());
    }
}

#[test]
fn a_request_moves_to_the_next_upstream_in_every_dialect() {
    let google = all();
    google
        .add_rules(json!({"match": {"path": AT_GEMINI_API}, "error": "quota_per_day", "times": 0}));
    for api in Api::WITH_GEMINI {
        let order = [Provider::GeminiApi, Provider::Vertex, Provider::CodeAssist];
        let setup = ProxyBuilder::for_providers(&order, &google).env("FAILOVER", "on");
        let proxy = setup.start();
        for _ in 0..2 {
            let answer = hello(&proxy, api, &[]);
            assert_eq!(answer.status(), 200, "{api:?}: {}", answer.text());
            assert_eq!(api.text(&answer.json()), "You said: Hello");
            assert_eq!(answer.header("x-proxy-upstream"), "vertex", "{api:?}");
            let told = answer.header("x-proxy-failover");
            assert!(told.starts_with("gemini-api;reason="), "{api:?}: {told}");
        }
        for (name, status) in [("vertex", 200), ("code-assist", 200), ("gemini-api", 429)] {
            let answer = hello(&proxy, api, &[&format!("x-proxy-upstream: {name}")]);
            assert_eq!((answer.status(), answer.header("x-proxy-upstream")), (status, name));
            assert_eq!(answer.head.find("x-proxy-failover"), None, "{api:?}");
        }
        let answer = hello(&proxy, api, &["x-proxy-upstream: nowhere"]);
        assert_eq!((answer.status(), &*reason(&answer)), (400, "UNKNOWN_UPSTREAM"), "{api:?}");
    }
}

#[test]
fn if_all_upstreams_fail_the_first_error_is_told_in_the_dialect() {
    for api in Api::WITH_GEMINI {
        let google = all();
        google.add_rules(json!([
            {"match": {"path": AT_GEMINI_API}, "error": "quota_per_day", "times": 0},
            {"match": {"path": AT_VERTEX}, "error": "iam_permission_denied", "times": 0},
        ]));
        let order = [Provider::GeminiApi, Provider::Vertex];
        let proxy = ProxyBuilder::for_providers(&order, &google).env("FAILOVER", "on").start();
        let answer = hello(&proxy, api, &[]);
        assert_eq!(answer.status(), 429, "{api:?}: {}", answer.text());
        let tried = answer.header("x-proxy-tried");
        assert!(tried.starts_with("gemini-api;") && tried.contains(", vertex;"), "{tried}");
    }
}

#[test]
fn a_history_that_moves_to_another_provider_leaves_its_signatures_behind() {
    let google = all();
    let model = super::GEMINI_3;
    for api in Api::ALL {
        let proxy = ProxyBuilder::for_providers(&Provider::ALL, &google).start();
        let ask = |items: &[Value], upstream: &str| {
            let mut body = api.request(model, items);
            body["tools"] = json!([api.tool("look_up")]);
            if api == Api::Messages {
                body["thinking"] = json!({"type": "enabled", "budget_tokens": 2000});
            }
            let pinned = format!("x-proxy-upstream: {upstream}");
            api.answer(&proxy.send(post(&api.path(model), &[&pinned], body.to_string())))
        };
        let mut items = vec![api.user("use a tool")];
        // Each provider goes on with what the one before it has begun.
        for pair in ["code-assist", "gemini-api", "vertex", "code-assist"].windows(2) {
            let answer = ask(&items, pair[0]);
            let ids = api.call_ids(&answer);
            let [id] = &ids[..] else { panic!("{api:?}: one call: {answer}") };
            items.extend(api.history(&answer));
            items.extend(api.results(&[(id, "42".to_owned())]));
            let last = ask(&items, pair[1]);
            let text = api.text(&last);
            assert!(text.starts_with("The function look_up answered"), "{api:?}: {last}");
            items.extend(api.history(&last));
            items.push(api.user("use a tool"));
        }
    }
}

/// A proxy in front of an upstream that counts, and answers after a while.
fn counting(delay: Duration) -> (ScriptedUpstream, Proxy) {
    let whole = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"finishReason":"STOP"}],"responseId":"R"}}"#;
    let upstream = ScriptedUpstream::new(move |_, connection| {
        thread::sleep(delay);
        connection
            .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{whole}", whole.len()));
    });
    let proxy = ProxyBuilder::for_upstream(&upstream).start();
    (upstream, proxy)
}

/// A request whose answer may be kept.
fn certain(api: Api) -> String {
    api.hello(
        MODEL,
        match api {
            Api::Gemini => json!({"generationConfig": {"temperature": 0}}),
            _ => json!({"temperature": 0}),
        },
    )
}

#[test]
fn an_equal_question_is_answered_from_memory_with_an_id_of_its_own() {
    for api in Api::WITH_GEMINI {
        let (upstream, proxy) = counting(Duration::ZERO);
        let [first, second] = [(); 2].map(|()| proxy.post(&api.path(MODEL), certain(api)));
        assert_eq!([first.header("x-cache"), second.header("x-cache")], ["MISS", "HIT"], "{api:?}");
        assert_eq!(upstream.received().len(), 1, "{api:?}");
        let [first, second] = [first.json(), second.json()];
        assert_eq!(api.text(&first), api.text(&second));
        assert!(api == Api::Gemini || first["id"] != second["id"], "{api:?}: {first} {second}");
    }
}

#[test]
fn equal_questions_at_once_are_asked_once() {
    for api in Api::WITH_GEMINI {
        let (upstream, proxy) = counting(Duration::from_millis(800));
        thread::scope(|scope| {
            let asked: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| proxy.post(&api.path(MODEL), certain(api))))
                .collect();
            let answers: Vec<Value> =
                asked.into_iter().map(|asked| asked.join().unwrap().json()).collect();
            assert!(answers.iter().all(|answer| api.text(answer) == "Hi"), "{answers:?}");
        });
        assert_eq!(upstream.received().len(), 1, "{api:?}");
    }
}

#[test]
fn an_idempotency_key_that_comes_again_gets_the_same_answer_or_a_conflict() {
    for api in Api::WITH_GEMINI {
        let (upstream, proxy) = counting(Duration::ZERO);
        let keyed = "Idempotency-Key: key-1";
        let send = |body: String| proxy.send(post(&api.path(MODEL), &[keyed], body));
        let body = api.hello(MODEL, json!({}));
        let [first, second] = [(); 2].map(|()| send(body.clone()));
        assert_eq!([first.status(), second.status()], [200, 200], "{api:?}: {}", second.text());
        assert_eq!(api.text(&first.json()), api.text(&second.json()));
        assert_eq!(upstream.received().len(), 1, "{api:?}");
        let other = send(body.replace("Hello", "Another"));
        assert_eq!(other.status(), 409, "{api:?}: {}", other.text());
        let error = other.json()["error"].clone();
        match api {
            Api::Gemini => assert_eq!(error["status"], "ABORTED"),
            Api::Messages => assert_eq!(error["type"], "invalid_request_error"),
            _ => assert_eq!(error["code"], "idempotency_error"),
        }
        assert_eq!(upstream.received().len(), 1, "{api:?}");
    }
}

#[test]
fn an_alias_chooses_the_model_and_the_answer_has_the_clients_name() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google)
        .env(
            "MODEL_ALIASES",
            "claude-*haiku*=gemini-2.5-flash,claude-*=gemini-2.5-pro,gpt-5=gemini-2.5-pro",
        )
        .start();
    for api in Api::ALL {
        for (name, model) in [
            ("claude-haiku-4-5-20251001", "gemini-2.5-flash"),
            ("claude-opus-5-5", "gemini-2.5-pro"),
            ("gpt-5", "gemini-2.5-pro"),
        ] {
            for is_streamed in [false, true] {
                let body = api.hello(name, json!({"stream": is_streamed}));
                let answer = proxy.post(&api.path(name), body);
                assert_eq!(answer.header("x-proxy-model"), model, "{api:?} {name}");
                assert_eq!(api.answer(&answer)["model"], name, "{api:?}");
            }
        }
    }
}

#[test]
fn many_clients_of_all_dialects_at_once_get_their_own_answers() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let started = Instant::now();
    thread::scope(|scope| {
        for n in 0..24_usize {
            let proxy = &proxy;
            scope.spawn(move || {
                let api = Api::ALL[n % 3];
                let body = api.hello(MODEL, json!({"stream": n % 2 == 0}));
                let answer =
                    proxy.post(&api.path(MODEL), body.replace("Hello", &format!("Number {n}.")));
                assert_eq!(api.text(&api.answer(&answer)), format!("You said: Number {n}."));
            });
        }
    });
    assert!(started.elapsed() < Duration::from_secs(20));
}
