//! Requests in OpenAI's and Anthropic's dialects, which are translated.

use std::time::{Duration, Instant};

use code_assist_harness::samples::{WHOLE, ok};
use code_assist_harness::{
    GoogleEmulator, Provider, ProxyBuilder, ScriptedUpstream, TestProxy, post,
};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Translated requests"
    both {
        values_without_end: "10 MB of empty objects as messages, content parts, tools, items, stop sequences",
            "400 before anything is translated: at most 500,000 values, of which each takes a hundred times its own length";
        names_of_dropped_fields: "fields and tools to drop with line ends, commas and NUL in their names, and 20,000 of them",
            "200; `x-proxy-dropped-fields` is visible ASCII, and names 64 at most";
        models_of_any_length: "a model's name of 1 MB, with line ends, in each dialect",
            "404 in the dialect's form, with at most 100 letters of it, and nothing goes upstream";
        models_as_paths: "models called `../files/x`, `m:countTokens?x=`, `a#b`, `a b`, `publishers/p/models/m`, `%2e%2e/x`, with line ends, in each dialect, at each provider",
            "404 in the dialect's form, and nothing goes upstream: a model's name becomes part of a path";
        pairing_without_end: "2,000 calls with results in the other order, with one id, with no result; 2,000 results of no call",
            "200 without delay";
    }
    native {
        values_and_memory: "12 such bodies at once", "less than 96 MiB are resident afterwards, and honest requests are served",
            because "the memory of an isolate cannot be measured";
    }
    proved {
        names_in_the_header: "a field whose name has line ends, commas, NUL or a megabyte", "the header is visible ASCII and bounded",
            by "crates/core/src/proxy/dropped.rs::a_name_of_a_field_cannot_break_the_header";
    }
}

/// A path of each dialect, with its list of what is said, and what every request of it needs.
const DIALECTS: [(&str, &str, &str); 3] = [
    ("/v1/chat/completions", "messages", ""),
    ("/v1/responses", "input", ""),
    ("/v1/messages", "messages", r#""max_tokens":5,"#),
];

/// The rest of a request to each path that takes a model.
const ONE_OF_EACH: [(&str, &str); 6] = [
    ("/v1/messages", r#""max_tokens":5,"messages":[{"role":"user","content":"hi"}]"#),
    ("/v1/messages/count_tokens", r#""messages":[{"role":"user","content":"hi"}]"#),
    ("/v1/chat/completions", r#""stream":true,"messages":[{"role":"user","content":"hi"}]"#),
    ("/v1/responses", r#""input":"hi""#),
    ("/v1/completions", r#""prompt":"hi""#),
    ("/v1/embeddings", r#""input":"hi""#),
];

fn values_without_end() -> Vec<Attacked> {
    let proxy = proxy();
    for (path, body) in endless() {
        let answer = proxy.send(post(path, &[], body));
        assert_eq!(answer.status(), 400, "{path} {}", answer.text());
        assert!(answer.text().contains("at most 500000"), "{path} {}", answer.text());
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn values_and_memory() -> Vec<Attacked> {
    let proxy = proxy();
    std::thread::scope(|scope| {
        for (path, body) in endless() {
            let proxy = &proxy;
            scope.spawn(move || assert_ne!(proxy.send(post(path, &[], body)).status(), 200));
        }
    });
    vec![proxy.into()]
}

/// Bodies of few bytes a value.
fn endless() -> Vec<(&'static str, String)> {
    let objects = format!("[{}{{}}]", "{},".repeat((10 << 20) / 3));
    let mut bodies = Vec::new();
    for (path, list, needed) in DIALECTS {
        let hello = r#"[{"role":"user","content":"hi"}]"#;
        let mut push = |messages: &str, more: &str| {
            let body =
                format!(r#"{{"model":"gemini-2.5-flash",{needed}"{list}":{messages}{more}}}"#);
            bodies.push((path, body));
        };
        push(&objects, "");
        push(&format!(r#"[{{"role":"user","content":{objects}}}]"#), "");
        push(hello, &format!(r#","tools":{objects}"#));
        let stops = if path == "/v1/messages" { "stop_sequences" } else { "stop" };
        push(hello, &format!(r#","{stops}":{objects}"#));
    }
    bodies
}

fn names_of_dropped_fields() -> Vec<Attacked> {
    let proxy = proxy();
    for (path, list, needed) in DIALECTS {
        for more in [
            r#""a\r\nx-evil: 1,\u0000é":1"#.to_owned(),
            format!(
                r#""tools":[{}{{"type":"t"}}]"#,
                r#"{"type":"t,\r\nx-evil: 1"},"#.repeat(20_000)
            ),
            (0..20_000).map(|at| format!(r#""field_{at}":1"#)).collect::<Vec<_>>().join(","),
        ] {
            let body = format!(
                r#"{{"model":"gemini-2.5-flash",{needed}"{list}":[{{"role":"user","content":"hi"}}],{more}}}"#
            );
            let answer = proxy.send(post(path, &[], body));
            assert_eq!(answer.status(), 200, "{path} {}", answer.text());
            assert_eq!(answer.header("x-evil"), "");
            let dropped = answer.header("x-proxy-dropped-fields");
            assert!(!dropped.is_empty(), "{path}");
            assert!(dropped.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            assert!(dropped.split(", ").count() <= 65, "{path} {}", dropped.len());
        }
    }
    vec![proxy.into()]
}

fn models_of_any_length() -> Vec<Attacked> {
    let proxy = proxy();
    let model = r"a\r\nx-evil: 1\n\ndata: x ".repeat(40_000);
    for (path, body) in ONE_OF_EACH {
        let answer = proxy.send(post(path, &[], format!(r#"{{"model":"{model}",{body}}}"#)));
        assert_eq!(answer.status(), 404, "{path} {}", answer.text());
        assert!(answer.text().len() < 1000, "{path} {}", answer.text().len());
        assert_eq!(answer.header("x-evil"), "");
    }
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn models_as_paths() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|_, connection| connection.write(ok(WHOLE)));
    let for_api = |provider| TestProxy::start(ProxyBuilder::for_scripted(provider, &upstream), &[]);
    let proxies = [Provider::CodeAssist, Provider::GeminiApi, Provider::Vertex].map(for_api);
    for proxy in &proxies {
        for model in [
            "../files/x",
            "../../v1internal:loadCodeAssist",
            "gemini-2.5-flash:countTokens?x=",
            "gemini-2.5-flash/../../x",
            "%2e%2e/x",
            "a#b",
            "a?b",
            "a b",
            r"a\nb",
            r"a\r\nx-evil: 1",
            r"a\u0000",
            r"\u00e9",
            "..",
            "publishers/p/models/m",
            "tunedModels/m",
        ] {
            for (path, body) in ONE_OF_EACH {
                let body = format!(r#"{{"model":"{model}",{body}}}"#);
                let answer = proxy.send(post(path, &[], body));
                assert_eq!(answer.status(), 404, "{path} {model} {}", answer.text());
            }
        }
    }
    let received = upstream.received();
    assert!(received.is_empty(), "{:?}", received.first().map(|request| &request.head));
    proxies.into_iter().map(Attacked::without_upstream).collect()
}

fn pairing_without_end() -> Vec<Attacked> {
    const CALLS: usize = 2_000;
    let proxy = proxy();
    let calls = |id: fn(usize) -> usize| {
        let call =
            |at| format!(r#"{{"type":"tool_use","id":"c{}","name":"f","input":{{}}}}"#, id(at));
        (0..CALLS).map(call).collect::<Vec<_>>().join(",")
    };
    let results = |id: fn(usize) -> usize| {
        let result =
            |at| format!(r#"{{"type":"tool_result","tool_use_id":"c{}","content":"x"}}"#, id(at));
        (0..CALLS).map(result).collect::<Vec<_>>().join(",")
    };
    for (calls, results) in [
        (calls(|at| at), results(|at| CALLS - 1 - at)),
        (calls(|_| 0), results(|_| 0)),
        (calls(|at| at), results(|at| CALLS + at)),
        (calls(|at| at), r#"{"type":"text","text":"hi"}"#.to_owned()),
    ] {
        let body = format!(
            r#"{{"model":"gemini-2.5-flash","max_tokens":5,"messages":[{{"role":"assistant","content":[{calls}]}},{{"role":"user","content":[{results}]}}]}}"#
        );
        let began = Instant::now();
        let answer = proxy.send(post("/v1/messages", &[], body));
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    }
    vec![proxy.into()]
}

fn proxy() -> TestProxy {
    TestProxy::for_emulator(GoogleEmulator::start(), &[])
}

/// Quadratic work on 10,000 calls takes minutes in a debug build.
const SOON: Duration = Duration::from_secs(20);
