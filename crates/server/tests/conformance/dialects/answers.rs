//! Answers of each dialect, whole and as streams, byte for byte where the dialect fixes the bytes.

use code_assist_harness::{GoogleEmulator, ProxyBuilder, Response, ScriptedUpstream, post};
use serde_json::{Value, json};

use super::Api;
use super::api::frames;

/// The name as the client writes it.
const NAME: &str = "google/gemini-2.5-flash";

const USAGE: &str = r#""usageMetadata":{"promptTokenCount":10,"cachedContentTokenCount":4,"candidatesTokenCount":5,"thoughtsTokenCount":3,"totalTokenCount":18}"#;
const CALLS: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"},{"functionCall":{"id":"c-1","name":"f","args":{"n":12345678901234567890}},"thoughtSignature":"U0lH"},{"functionCall":{"id":"c-2","name":"f","args":{"b":1.50,"a":"\u2028é"}}}]}}],"responseId":"R"}"#;

/// An upstream that answers with these events, or with one of them in a whole answer.
fn upstream(events: &'static [&'static str]) -> ScriptedUpstream {
    let events: Vec<String> =
        events.iter().map(|event| event.replace("\"USAGE\":0", USAGE)).collect();
    ScriptedUpstream::new(move |request, connection| {
        if request.head.contains("stream") {
            connection.begin_stream();
            for event in &events {
                connection.chunk(format!("data: {{\"response\":{event}}}\r\n\r\n"));
            }
            connection.end();
        } else {
            let body = format!("{{\"response\":{}}}", events[0]);
            connection
                .write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

const STOP: &str = r#"{"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}],"responseId":"R","USAGE":0}"#;
const WHOLE: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hello"}]},"finishReason":"STOP"}],"createTime":"2025-06-17T00:00:00.5Z","responseId":"R","USAGE":0}"#;
const HEL: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]}}],"createTime":"2025-06-17T00:00:00.5Z","responseId":"R","usageMetadata":{"promptTokenCount":10}}"#;

fn ask(api: Api, upstream: &ScriptedUpstream, more: Value) -> Response {
    let proxy = ProxyBuilder::for_upstream(upstream).start();
    let answer =
        proxy.send(post(&api.path(NAME), &["x-request-id: mine-1"], api.hello(NAME, more)));
    assert_eq!(answer.status(), 200, "{api:?}: {}", answer.text());
    assert_eq!(answer.header("x-proxy-model"), "gemini-2.5-flash", "{api:?}");
    assert_eq!(answer.header("x-request-id"), "mine-1", "{api:?}");
    // Anthropic's SDKs read this one.
    let own = if api == Api::Messages { "mine-1" } else { "" };
    assert_eq!(answer.header("request-id"), own, "{api:?}");
    answer
}

/// The bytes with each id that is made anew in an answer replaced by its kind.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('"') {
        let (before, string) = rest.split_at(at + 1);
        out.push_str(before);
        let kind = ["chatcmpl-", "resp_", "msg_", "rs_", "fc_"]
            .into_iter()
            .find(|kind| string.starts_with(kind));
        rest = string;
        if let Some(kind) = kind {
            out.push_str(kind);
            let end = string.find('"').expect("the end of a string");
            assert!(end > kind.len() && end <= 64, "{string}");
            rest = &string[end..];
        }
    }
    out + rest
}

#[test]
fn a_stream_of_chat_has_exactly_these_frames() {
    let upstream = upstream(&[HEL, STOP]);
    let answer = ask(
        Api::Chat,
        &upstream,
        json!({"stream": true, "stream_options": {"include_usage": true}}),
    );
    let frame = |rest: &str| {
        format!(
            "data: {{\"id\":\"chatcmpl-\",\"object\":\"chat.completion.chunk\",\"created\":1750118400,\"model\":\"{NAME}\",{rest}}}\n\n"
        )
    };
    let choice = |delta: &str| {
        frame(&format!(
            r#""choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null}}],"usage":null"#
        ))
    };
    let expected = [
        choice(r#"{"role":"assistant","content":""}"#),
        choice(r#"{"content":"Hel"}"#),
        choice(r#"{"content":"lo"}"#),
        frame(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null"#),
        frame(
            r#""choices":[],"usage":{"prompt_tokens":10,"completion_tokens":8,"total_tokens":18,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0,"image_tokens":0,"text_tokens":0,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":3,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#,
        ),
        "data: [DONE]\n\n".to_owned(),
    ];
    assert_eq!(without_ids(&answer.text()), expected.concat());
    // Without the option there is no usage at all.
    let answer = ask(Api::Chat, &upstream, json!({"stream": true}));
    assert!(!answer.text().contains("usage"), "{}", answer.text());
}

#[test]
fn a_stream_of_messages_has_exactly_these_frames() {
    let answer = ask(Api::Messages, &upstream(&[HEL, STOP]), json!({"stream": true}));
    let event =
        |name: &str, rest: &str| format!("event: {name}\ndata: {{\"type\":\"{name}\"{rest}}}\n\n");
    let delta = |text: &str| {
        event(
            "content_block_delta",
            &format!(r#","index":0,"delta":{{"type":"text_delta","text":"{text}"}}"#),
        )
    };
    let expected = [
        event(
            "message_start",
            &format!(
                r#","message":{{"id":"msg_","type":"message","role":"assistant","model":"{NAME}","content":[],"stop_reason":null,"stop_sequence":null,"usage":{{"input_tokens":10,"output_tokens":1,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}}}}"#
            ),
        ),
        event("ping", ""),
        event("content_block_start", r#","index":0,"content_block":{"type":"text","text":""}"#),
        delta("Hel"),
        delta("lo"),
        event("content_block_stop", r#","index":0"#),
        event(
            "message_delta",
            r#","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":6,"cache_read_input_tokens":4,"cache_creation_input_tokens":0,"output_tokens":8,"output_tokens_details":{"thinking_tokens":3}}"#,
        ),
        event("message_stop", ""),
    ];
    assert_eq!(without_ids(&answer.text()), expected.concat());
}

#[test]
fn a_stream_of_responses_has_exactly_these_events() {
    let answer = ask(Api::Responses, &upstream(&[HEL, STOP]), json!({"stream": true}));
    let text = without_ids(&answer.text());
    let names: Vec<String> = frames(&text).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected, "{text}");
    for (number, part) in [
        (
            2,
            r#""output_index":0,"item":{"type":"message","id":"msg_","status":"in_progress","role":"assistant","content":[]}"#,
        ),
        (
            3,
            r#""item_id":"msg_","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}"#,
        ),
        (4, r#""item_id":"msg_","output_index":0,"content_index":0,"delta":"Hel","logprobs":[]"#),
        (5, r#""item_id":"msg_","output_index":0,"content_index":0,"delta":"lo","logprobs":[]"#),
        (6, r#""item_id":"msg_","output_index":0,"content_index":0,"text":"Hello","logprobs":[]"#),
    ] {
        let name = expected[number];
        let frame = format!(
            "event: {name}\ndata: {{\"type\":\"{name}\",\"sequence_number\":{number},{part}}}\n\n"
        );
        assert!(text.contains(&frame), "{frame} is not in {text}");
    }
    let last = &frames(&text).pop().unwrap().1["response"];
    assert_eq!(
        last["usage"],
        json!({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
            "output_tokens": 8, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 18})
    );
    assert_eq!((&last["status"], &last["store"]), (&json!("completed"), &json!(false)));
}

#[test]
fn whole_answers_have_ids_usage_and_the_name_that_the_client_sent() {
    let upstream = upstream(&[WHOLE]);
    let ids = Api::ALL.map(|api| {
        let answer = ask(api, &upstream, json!({}));
        let body = answer.json();
        assert_eq!(answer.header("content-type"), "application/json; charset=UTF-8");
        assert_eq!((&*api.text(&body), &body["model"]), ("Hello", &json!(NAME)), "{body}");
        let usage = &body["usage"];
        let totals = match api {
            Api::Chat => [&usage["prompt_tokens"], &usage["completion_tokens"]],
            _ => [&usage["input_tokens"], &usage["output_tokens"]],
        };
        // Anthropic's input is without what was cached.
        let input = if api == Api::Messages { 6 } else { 10 };
        assert_eq!(totals, [&json!(input), &json!(8)], "{body}");
        let again = ask(api, &upstream, json!({})).json()["id"].clone();
        assert_ne!(again, body["id"], "{api:?}: each answer has an id of its own");
        body["id"].as_str().unwrap().to_owned()
    });
    for (id, kind) in ids.iter().zip(["chatcmpl-", "resp_", "msg_"]) {
        assert!(id.starts_with(kind), "{id}");
    }
}

#[test]
fn parallel_calls_are_the_same_whole_and_streamed() {
    for api in Api::ALL {
        let tools = json!({"tools": [api.tool("f")]});
        let mut streamed = tools.clone();
        streamed["stream"] = true.into();
        let whole = upstream(&[
            r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"},{"functionCall":{"id":"c-1","name":"f","args":{"n":12345678901234567890}},"thoughtSignature":"U0lH"},{"functionCall":{"id":"c-2","name":"f","args":{"b":1.50,"a":"\u2028é"}}}]},"finishReason":"STOP"}],"responseId":"R","USAGE":0}"#,
        ]);
        let events = upstream(&[
            CALLS,
            r#"{"candidates":[{"finishReason":"STOP"}],"responseId":"R","USAGE":0}"#,
        ]);
        let texts = [ask(api, &whole, tools), ask(api, &events, streamed)];
        let [whole, streamed] = texts.each_ref().map(|text| api.answer(text));
        assert_eq!(api.text(&whole), "Hel");
        let ids = api.call_ids(&whole);
        assert_eq!(ids, ["c-1", "c-2"], "{api:?}: {whole}");
        assert_eq!(api.call_ids(&streamed), ids, "{api:?}: {streamed}");
        for text in &texts {
            let text = text.text();
            assert!(text.contains("12345678901234567890"), "{api:?}: {text}");
            assert!(text.contains("1.50"), "{api:?}: {text}");
            assert!(!text.contains('\u{2028}'), "{api:?}: {text}");
        }
        let history =
            [&whole, &streamed].map(|answer| without_ids(&json!(api.history(answer)).to_string()));
        if api != Api::Chat {
            assert_eq!(history[0], history[1], "{api:?}");
        }
        let finish = match api {
            Api::Chat => &whole["choices"][0]["finish_reason"],
            Api::Messages => &whole["stop_reason"],
            _ => &whole["status"],
        };
        assert!(["tool_calls", "tool_use", "completed"].iter().any(|it| finish == it), "{finish}");
    }
}

#[test]
fn streams_have_the_headers_of_streams() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for api in Api::ALL {
        let answer = proxy.post(&api.path(NAME), api.hello(NAME, json!({"stream": true})));
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("x-accel-buffering", "no"),
            ("x-proxy-model", "gemini-2.5-flash"),
        ] {
            assert_eq!(answer.header(name), value, "{api:?}: {name}");
        }
        assert!(answer.header("cache-control").contains("no-cache"), "{api:?}");
        assert!(!answer.header("x-request-id").is_empty(), "{api:?}");
        assert_eq!(api.text(&api.answer(&answer)), "You said: Hello", "{api:?}");
    }
}

#[test]
fn events_reach_the_client_before_upstream_has_ended() {
    for api in Api::ALL {
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let upstream = ScriptedUpstream::new(move |_, connection| {
            connection.begin_stream();
            connection.chunk(format!("data: {{\"response\":{HEL}}}\r\n\r\n"));
            let gate = gate.lock().unwrap();
            gate.recv_timeout(std::time::Duration::from_secs(10)).expect("the test goes on");
            connection.chunk("data: {\"response\":{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"lo\"}]},\"finishReason\":\"STOP\"}]}}\r\n\r\n");
            connection.end();
        });
        let proxy = ProxyBuilder::for_upstream(&upstream).start();
        let mut connection = proxy.connect();
        connection.write(post(&api.path(NAME), &[], api.hello(NAME, json!({"stream": true}))));
        let head = connection.head();
        let begun = connection.chunks_until("Hel");
        go.send(()).unwrap();
        let rest = String::from_utf8(connection.body(&head)).unwrap();
        assert_eq!(api.text(&api.put_together(&(begun + &rest))), "Hello", "{api:?}");
    }
}

#[test]
fn legacy_completions_answer_whole_and_as_a_stream() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    let ask = |is_streamed: bool| {
        let body = json!({"model": NAME, "prompt": "Hello", "stream": is_streamed});
        proxy.post("/v1/completions", body.to_string())
    };
    let whole = ask(false).json();
    assert_eq!((&whole["object"], &whole["model"]), (&json!("text_completion"), &json!(NAME)));
    assert_eq!(whole["choices"][0]["text"], "You said: Hello", "{whole}");
    let events = frames(&ask(true).text());
    let text: String =
        events.iter().filter_map(|(_, event)| event["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, "You said: Hello");
    assert!(events.last().unwrap().1.is_null(), "the last frame is [DONE]");
}

#[test]
fn a_field_without_a_counterpart_is_named_in_a_header() {
    let google = GoogleEmulator::start();
    let proxy = ProxyBuilder::for_emulator(&google).start();
    for api in Api::ALL {
        for is_streamed in [false, true] {
            let members =
                json!({"invented_field": 1, "metadata": {"a": "b"}, "stream": is_streamed});
            let answer = proxy.post(&api.path(NAME), api.hello(NAME, members));
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert_eq!(answer.header("x-proxy-dropped-fields"), "invented_field", "{api:?}");
        }
    }
}
