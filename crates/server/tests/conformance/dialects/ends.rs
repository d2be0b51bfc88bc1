//! The last bytes of streams that break, whose status is a 200 already.

use std::thread;
use std::time::Duration;

use code_assist_harness::{Provider, ProxyBuilder, ScriptedUpstream};
use serde_json::{Value, json};

use super::Api;
use super::api::frames;

const MODEL: &str = "gemini-2.5-flash";
const FIRST: &str =
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"some"}]}}],"responseId":"r1"}"#;

/// Holds the end of a stream to the form of its dialect. No end of a complete answer may follow.
#[track_caller]
fn check(api: Api, text: &str, kind: (&str, &str), codes: (&str, &str), message: &str) {
    let all = frames(text);
    assert!(text.contains("some"), "{api:?}: {text}");
    for end in ["[DONE]", "message_stop", "message_delta", "response.completed", "\"stop\""] {
        assert!(!text.contains(end), "{api:?}: {end} after an error: {text}");
    }
    let (name, last) = all.last().expect("frames");
    match api {
        Api::Gemini => unreachable!(),
        Api::Chat => {
            let error = &last["error"];
            assert_eq!((&**name, last.as_object().expect("an object").len()), ("", 1), "{text}");
            assert_eq!((&error["type"], &error["code"]), (&json!(kind.0), &json!(codes.0)));
            assert_eq!(error.get("param"), Some(&Value::Null), "{text}");
            assert!(error["message"].as_str().expect("a string").contains(message), "{text}");
        }
        Api::Responses => {
            assert_eq!(name, "response.failed", "{text}");
            let response = &last["response"];
            assert_eq!(response["status"], "failed");
            assert_eq!(response["error"]["code"], codes.1, "{text}");
            assert!(
                response["error"]["message"].as_str().expect("a string").contains(message),
                "{text}"
            );
            let (name, before) = &all[all.len() - 2];
            assert_eq!((&**name, &before["type"]), ("error", &json!("error")), "{text}");
            assert_eq!(before["message"], response["error"]["message"], "{text}");
            assert_eq!(before["error"]["message"], before["message"]);
            assert!(before["code"].is_string() && before["error"]["type"].is_string(), "{text}");
            let numbers: Vec<&Value> = all.iter().map(|(_, it)| &it["sequence_number"]).collect();
            let expected: Vec<Value> = (0..all.len()).map(Value::from).collect();
            assert_eq!(numbers, expected.iter().collect::<Vec<_>>(), "no gaps");
        }
        Api::Messages => {
            assert_eq!((&**name, &last["type"]), ("error", &json!("error")), "{text}");
            assert_eq!(last["error"]["type"], kind.1, "{text}");
            assert!(
                last["error"]["message"].as_str().expect("a string").contains(message),
                "{text}"
            );
        }
    }
}

#[test]
fn a_stream_that_breaks_ends_with_the_dialects_error() {
    for api in Api::ALL {
        for (what, kind, codes, message) in [
            ("cut", ("server_error", "api_error"), ("upstream_disconnected", "server_error"), ""),
            ("silent", ("server_error", "timeout_error"), ("upstream_timeout", "server_error"), ""),
            ("ended", ("server_error", "api_error"), ("upstream_incomplete", "server_error"), ""),
            ("garbage", ("server_error", "api_error"), ("upstream_malformed", "server_error"), ""),
        ] {
            let upstream = ScriptedUpstream::new(move |_, connection| {
                connection.begin_stream();
                connection.chunk(format!("data: {{\"response\":{FIRST}}}\r\n\r\n"));
                match what {
                    "cut" => {
                        // The first event is on its way to the client by then.
                        thread::sleep(Duration::from_millis(100));
                        connection.close();
                    }
                    "silent" => {
                        connection.is_closed_within(Duration::from_secs(10));
                        connection.close();
                    }
                    "garbage" => {
                        connection.chunk("data: {\"response\":nonsense}\r\n\r\n");
                        connection.end();
                    }
                    _ => connection.end(),
                }
            });
            let proxy =
                ProxyBuilder::for_upstream(&upstream).env("STREAM_IDLE_TIMEOUT_MS", "400").start();
            let answer = proxy.post(&api.path(MODEL), api.hello(MODEL, json!({"stream": true})));
            assert_eq!(answer.status(), 200, "{api:?}, {what}");
            check(api, &answer.text(), kind, codes, message);
            if api == Api::Messages {
                let last = frames(&answer.text()).pop().unwrap().1;
                assert_eq!(last["request_id"], answer.header("x-request-id"), "{what}");
            }
            assert_eq!(upstream.received().len(), 1, "{api:?}, {what}");
            let line = &proxy.await_request_lines(1)[0];
            assert_ne!(line["outcome"], "ok", "{api:?}, {what}: {line}");
        }
    }
}

#[test]
fn an_error_of_googles_within_a_stream_keeps_its_words() {
    for provider in Provider::ALL {
        for api in Api::ALL {
            let google = provider.emulator();
            google.add_rules(json!({"match": {"rpc": "streamGenerateContent"},
                "keep_events": 1, "tail_error": "resource_exhausted"}));
            let proxy = ProxyBuilder::for_provider(provider, &google).start();
            let body = api.hello(MODEL, json!({"stream": true})).replace("Hello", "some thing");
            let answer = proxy.post(&api.path(MODEL), body);
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let text = answer.text();
            let (_, last) = frames(&text).pop().unwrap();
            let message = "Resource has been exhausted (e.g. check quota).";
            let said = match api {
                Api::Responses => &last["response"]["error"]["message"],
                _ => &last["error"]["message"],
            };
            assert_eq!(said, message, "{}: {text}", provider.name());
            match api {
                Api::Messages => assert_eq!(last["error"]["type"], "rate_limit_error"),
                Api::Responses => {
                    assert_eq!(last["response"]["error"]["code"], "rate_limit_exceeded");
                }
                _ => assert_eq!(last["error"]["code"], "rate_limit_exceeded"),
            }
        }
    }
}

#[test]
fn an_answer_without_content_is_an_error_in_either_form() {
    let empty = r#"{"response":{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed function call: f("}],"responseId":"r1"}}"#;
    for api in Api::ALL {
        let upstream = ScriptedUpstream::new(move |request, connection| {
            if request.head.contains("stream") {
                connection.begin_stream();
                connection.chunk(format!("data: {empty}\r\n\r\n"));
                connection.end();
            } else {
                connection.write(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{empty}",
                    empty.len()
                ));
            }
        });
        let proxy = ProxyBuilder::for_upstream(&upstream).env("MAX_RETRY_ATTEMPTS", "0").start();
        for is_streamed in [false, true] {
            let body = api.hello(MODEL, json!({"stream": is_streamed}));
            let answer = proxy.post(&api.path(MODEL), body);
            let text = answer.text();
            assert!(text.contains("Malformed function call: f("), "{api:?}: {text}");
            assert_eq!(answer.status(), 502, "{api:?}, {is_streamed}: {text}");
            let error = answer.json()["error"].clone();
            match api {
                Api::Messages => assert_eq!(error["type"], "api_error"),
                _ => assert_eq!(error["code"], "malformed_function_call", "{text}"),
            }
        }
    }
}
