//! Answers and streams of every provider arrive at the client as that provider's rules say.

use code_assist_harness::{Provider, ProxyBuilder, ScriptedUpstream};
use serde_json::{Value, json};

use super::WHOLE;
use crate::{ARRAY, COUNT, GENERATE, HELLO, STREAM};

/// A client's prompt whose answers may be kept.
const CERTAIN: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
/// The same call by a client in Vertex mode.
const VERTEX_CLIENT: &str =
    "/v1/projects/mine/locations/here/publishers/google/models/gemini-2.5-flash";

/// Who gets answers byte for byte: the provider, and the paths of a call that comes whole, as events and
/// as an array.
fn copied() -> [(Provider, [String; 3]); 2] {
    let calls = |path: &str| {
        [":generateContent", ":streamGenerateContent?alt=sse", ":streamGenerateContent"]
            .map(|call| format!("{path}{call}"))
    };
    [
        (Provider::GeminiApi, calls("/v1beta/models/gemini-2.5-flash")),
        (Provider::Vertex, calls(VERTEX_CLIENT)),
    ]
}

#[test]
fn a_whole_answer_arrives_byte_for_byte() {
    let whole = "{\r\n  \"candidates\" : [ {\"content\":{\"parts\":[{\"text\":\"\\u00e9 é \u{2028}\u{85}\",\"thoughtSignature\":\"s==\"}]},\"citationMetadata\":{\"citations\":[]},\"new\":[0.10,1e2,1e2],\"finishReason\":\"STOP\"} ],\"zz\":null}\n\n";
    for (provider, [path, ..]) in copied() {
        let headers = "Content-Type: application/json; charset=UTF-8\r\nSet-Cookie: a=b\r\nX-Own: 1\r\nAlt-Svc: h3\r\nAccess-Control-Allow-Origin: *\r\n";
        let upstream = ScriptedUpstream::answering("200 OK", headers, whole);
        let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
        let answer = proxy.post(&path, HELLO);
        assert_eq!((answer.status(), &*answer.text()), (200, whole), "{path}");
        assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
        for name in ["set-cookie", "x-own", "alt-svc", "access-control-allow-origin"] {
            assert_eq!(answer.head.find(name), None, "{path}: {name}");
        }
        assert_eq!(upstream.received().len(), 1);
    }
}

#[test]
fn events_and_arrays_arrive_byte_for_byte_wherever_they_are_cut() {
    let events = ": a remark\r\ndata: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"a\u{2028}é\"}]},\"x\": 1.50}]}\r\n\r\ndata:{\"candidates\": [{\"finishReason\": \"STOP\"}]}\n\n";
    let array = "[{\n  \"candidates\": [{\"content\": {\"parts\": [{\"text\": \"}]\\\"\u{2029}\"}]}}]\n}\n,\r\n{\"candidates\": [{\"finishReason\": \"STOP\"}]}\n]\n";
    for (provider, [_, sse, plain]) in copied() {
        for (path, whole, kind) in
            [(sse, events, "text/event-stream"), (plain, array, "application/json; charset=UTF-8")]
        {
            let upstream = ScriptedUpstream::new(move |request, connection| {
                connection.write(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
                ));
                let size = request.text().split("\"topK\":").nth(1).unwrap();
                let size: usize = size.trim_end_matches('}').parse().unwrap();
                whole.as_bytes().chunks(size).for_each(|piece| connection.chunk(piece));
                connection.end();
            });
            let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
            let mut connection = proxy.connect();
            for size in [1, 2, 3, 7, 40, 1000] {
                let body = format!(
                    "{},\"generationConfig\":{{\"topK\":{size}}}}}",
                    &HELLO[..HELLO.len() - 1]
                );
                let answer = connection.send(code_assist_harness::post(&path, &[], body));
                assert_eq!((answer.status(), &*answer.text()), (200, whole), "{path} by {size}");
                assert_eq!(answer.header("content-type"), kind);
            }
        }
    }
}

#[test]
fn a_gemini_client_gets_the_same_fields_from_every_provider() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        let name = provider.name();
        let whole = proxy.post(GENERATE, HELLO);
        assert_eq!(whole.status(), 200, "{name}: {}", whole.text());
        assert_eq!(text_of(&whole.json()), "You said: Hello", "{name}");
        assert!(whole.json()["usageMetadata"]["promptTokenCount"].is_u64(), "{name}");
        assert!(whole.json().get("response").is_none(), "{name}");

        let stream = proxy.post(STREAM, HELLO);
        assert_eq!(stream.header("content-type"), "text/event-stream", "{name}");
        assert_eq!(stream.header("x-accel-buffering"), "no", "{name}");
        let text: String = stream.events().iter().map(text_of).collect();
        assert_eq!(text, "You said: Hello", "{name}");

        let array = proxy.post(ARRAY, HELLO);
        assert_eq!(array.header("content-type"), "application/json; charset=UTF-8", "{name}");
        assert!(array.json().is_array(), "{name}: {}", array.text());
        let text: String = array.json().as_array().unwrap().iter().map(text_of).collect();
        assert_eq!(text, "You said: Hello", "{name}: {}", array.text());

        let counted = proxy.post(COUNT, HELLO);
        assert!(counted.json()["totalTokens"].as_u64() > Some(0), "{name}: {}", counted.text());
        let cites = proxy.post(GENERATE, HELLO.replace("Hello", "cite this"));
        let citations = &cites.json()["candidates"][0]["citationMetadata"];
        assert!(citations["citationSources"].is_array(), "{name}: {}", cites.text());
        for header in ["x-proxy-upstream", "x-proxy-dropped-fields", "x-proxy-failover"] {
            assert_eq!(whole.head.find(header), None, "{name}: {header} with one upstream");
        }
    }
}

#[test]
fn every_provider_lists_and_describes_its_models() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        let name = provider.name();
        let list = proxy.get("/v1beta/models");
        assert_eq!(list.status(), 200, "{name}: {}", list.text());
        let models = list.json()["models"].as_array().cloned().unwrap_or_default();
        let known = |model: &Value| model["name"] == "models/gemini-2.5-flash";
        assert!(models.iter().any(known), "{name}: {}", list.text());
        let one = proxy.get("/v1beta/models/gemini-2.5-flash");
        assert_eq!(one.status(), 200, "{name}: {}", one.text());
        assert_eq!(one.json()["name"], "models/gemini-2.5-flash", "{name}");
        assert_eq!(proxy.get("/v1beta/models/no-such-model").status(), 404, "{name}");
    }
}

#[test]
fn embeddings_come_from_those_that_have_them() {
    for provider in Provider::BARE {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        let body = r#"{"content":{"role":"user","parts":[{"text":"Hello"}]}}"#;
        let answer = proxy.post("/v1beta/models/gemini-embedding-001:embedContent", body);
        assert_eq!(answer.status(), 200, "{}: {}", provider.name(), answer.text());
        assert!(answer.json()["embedding"]["values"].is_array(), "{}", answer.text());
    }
}

#[test]
fn an_equal_question_is_answered_from_memory_at_every_provider() {
    for provider in Provider::ALL {
        let answer = provider.answer(WHOLE);
        let upstream = ScriptedUpstream::answering("200 OK", "", &answer);
        let proxy = ProxyBuilder::for_scripted(provider, &upstream).start();
        let ask = || proxy.post(GENERATE, CERTAIN);
        let (first, second) = (ask(), ask());
        assert_eq!([first.header("x-cache"), second.header("x-cache")], ["MISS", "HIT"]);
        assert_eq!((first.text(), second.text()), (WHOLE.to_owned(), WHOLE.to_owned()));
        assert_eq!(upstream.received().len(), 1, "{}", provider.name());
    }
}

#[test]
fn another_version_of_the_gemini_api_is_another_question() {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = ProxyBuilder::for_scripted(Provider::GeminiApi, &upstream).start();
    for path in [GENERATE, "/v1/models/gemini-2.5-flash:generateContent"] {
        assert_eq!(proxy.post(path, CERTAIN).header("x-cache"), "MISS", "{path}");
    }
}

#[test]
fn an_error_in_the_middle_of_a_stream_is_passed_on_and_logged() {
    for provider in Provider::ALL {
        let google = provider.emulator();
        let proxy = ProxyBuilder::for_provider(provider, &google).start();
        google.add_rules(json!({"match": {"rpc": "streamGenerateContent"}, "times": 2,
            "keep_events": 1, "tail_error": "resource_exhausted"}));
        let name = provider.name();
        let events = proxy.post(STREAM, HELLO);
        assert_eq!(events.status(), 200, "{name}");
        let text = events.text();
        assert!(text.contains("You s") && text.contains("RESOURCE_EXHAUSTED"), "{name}: {text}");
        let bare = text.rsplit("\r\n\r\n").next().unwrap();
        let last: Value =
            serde_json::from_str(bare).unwrap_or_else(|why| panic!("{name}: {why}: {text}"));
        assert_eq!(last["error"]["status"], "RESOURCE_EXHAUSTED", "{name}: the bare error is last");
        proxy.post(ARRAY, HELLO);
        let lines = proxy.await_request_lines(2);
        assert!(lines.iter().all(|line| line["outcome"] != "ok"), "{name}: {lines:?}");
    }
}

#[test]
fn the_models_of_vertex_ai_come_from_its_catalogue() {
    let google = Provider::Vertex.emulator();
    let proxy = ProxyBuilder::for_provider(Provider::Vertex, &google).start();
    assert_eq!(proxy.get("/v1beta/models?pageSize=3").status(), 200);
    let asked = google.received("listPublisherModels");
    assert!(!asked.is_empty());
    let path = "/v1beta1/publishers/google/models";
    assert!(asked.iter().all(|record| record["path"] == path), "{asked:?}");
}

/// The text of one answer or event.
fn text_of(answer: &Value) -> String {
    let text = &answer["candidates"][0]["content"]["parts"][0]["text"];
    text.as_str().unwrap_or_default().to_owned()
}
