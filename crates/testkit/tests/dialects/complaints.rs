//! What users of other gateways complain of (`docs/reference/dialects.md` 9.2), row by row. The rows that
//! are not here have their tests elsewhere:
//!
//! | Rows | Test |
//! |---|---|
//! | 1, 5 | golden `12_chat_call_then_stop` |
//! | 2, 9, 22 | the rules of `assembled.rs`, for every golden stream and every stream of `properties.rs` |
//! | 3, 6 | `signatures.rs` |
//! | 7, 8, 12, 20 | `properties.rs`: arguments in a history, and in an answer |
//! | 10, 11, 13 | `translate/request/tests`, goldens 5 and 10; `translate/schema/tests.rs` |
//! | 14 | golden `14_chat_thoughts` |
//! | 16 | goldens `16_chat_malformed_call_first` and `…_second` |
//! | 18 | `streams.rs`: heartbeats while upstream is silent |
//! | 24, 25 | `translate/request/tests/config.rs`, golden 9 |
//! | 26 | `translate/request/tests/config.rs`: thinking by family |
//! | 29 | `life.rs`, `translate/fault/tests.rs` |
//! | 30 | `translate/request/tests/contents.rs`, golden 2 |

use std::time::Duration;

use code_assist_testkit::google::{event, last_event};
use code_assist_testkit::script::{Piece, Reply};
use serde_json::{Value, json};

use crate::assembled::call_ids;
use crate::fixture::{ALL, Api, Fixture};

fn sent(fixture: &Fixture) -> Value {
    fixture.bodies().pop().expect("a call")
}

#[test]
fn row_4_a_signature_of_any_length_is_in_no_id() {
    let signature = "S".repeat(4600);
    let call = format!(
        r#"{{"response":{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{{}}}},"thoughtSignature":"{signature}"}}]}},"finishReason":"STOP"}}]}},"traceId":"t"}}"#
    );
    for api in ALL {
        let call = call.clone();
        let fixture = Fixture::with(&[], move |request| {
            request.line.contains("enerateContent").then(|| Reply::ok(call.clone()))
        });
        let answer = fixture.ask(api.path(), &api.body("gemini-3-pro-preview", "")).text();
        assert!(answer.contains(&signature), "{api:?}: {answer}");
        let ids = call_ids(&answer);
        assert_eq!(ids.len(), 1, "{api:?}: {answer}");
        assert!(ids[0].len() <= 64 && !ids[0].contains("SSS"), "{ids:?}");
    }
}

#[test]
fn row_15_thoughts_are_asked_for_only_where_the_client_wants_them() {
    let fixture = Fixture::new();
    for (api, more) in [
        (Api::Chat, ""),
        (Api::Chat, r#","reasoning":{"effort":"low","exclude":true}"#),
        (Api::Responses, ""),
        (Api::Responses, r#","reasoning":{"effort":"low"}"#),
        (Api::Messages, ""),
        (Api::Messages, r#","thinking":{"type":"adaptive","display":"omitted"}"#),
    ] {
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", more));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let shows = &sent(&fixture)["generationConfig"]["thinkingConfig"]["includeThoughts"];
        let wants = api == Api::Responses && !more.is_empty();
        assert!(shows.is_null() || wants, "{api:?} {more}: {shows}");
    }
}

#[test]
fn row_17_an_event_reaches_the_client_before_the_next_one_comes() {
    for api in ALL {
        let fixture = Fixture::with(&[], |request| {
            let line = |event: String| Piece::Data(format!("data: {event}\r\n\r\n").into());
            request.line.contains(":streamGenerateContent").then(|| {
                Reply::pieces([
                    line(event("first")),
                    Piece::Silence(Duration::from_secs(1)),
                    line(event("second")),
                    Piece::Silence(Duration::from_secs(1)),
                    line(last_event("third")),
                ])
            })
        });
        let answer = fixture.ask(api.path(), &api.body("gemini-2.5-pro", r#","stream":true"#));
        let piece_of = |word: &str| {
            let holds =
                |piece: &bytes::Bytes| piece.windows(word.len()).any(|at| at == word.as_bytes());
            answer.pieces.iter().position(holds)
        };
        let places = ["first", "second", "third"].map(piece_of);
        assert_eq!(places, [Some(0), Some(1), Some(2)], "{api:?}: {}", answer.text());
    }
}

#[test]
fn row_19_the_size_of_the_prompt_is_in_the_first_event_and_in_the_last() {
    let fixture = Fixture::with(&[], |request| {
        request.line.contains(":streamGenerateContent").then(|| {
            let events = [
                r#"{"response":{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":900,"cachedContentTokenCount":600}},"traceId":"t"}"#,
                r#"{"response":{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":900,"cachedContentTokenCount":600,"candidatesTokenCount":2,"thoughtsTokenCount":3}},"traceId":"t"}"#,
            ];
            code_assist_testkit::google::sse(&events)
        })
    });
    let body = Api::Messages.body("gemini-2.5-pro", r#","stream":true"#);
    let answer = fixture.ask(Api::Messages.path(), &body).text();
    let counts = r#""input_tokens":300,"#;
    assert_eq!(answer.matches(counts).count(), 2, "{answer}");
    assert_eq!(answer.matches(r#""cache_read_input_tokens":600"#).count(), 2, "{answer}");
    assert!(answer.contains(r#""output_tokens":5"#), "{answer}");
}

#[test]
fn row_21_codexs_tools_are_declared_or_left_out_and_no_request_fails_for_them() {
    let fixture = Fixture::new();
    let tools = r#","tools":[{"type":"function","name":"exec","parameters":{"type":"object"}},{"type":"custom","name":"apply_patch","format":{"type":"grammar","syntax":"lark","definition":"start: x"}},{"type":"namespace","name":"multi_agent_v1","tools":[{"type":"function","name":"spawn"}]},{"type":"local_shell"},{"type":"web_search","external_web_access":false},{"type":"image_generation"},{"type":"a_tool_of_tomorrow"}]"#;
    let answer = fixture.ask(Api::Responses.path(), &Api::Responses.body("gemini-2.5-pro", tools));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let declared = &sent(&fixture)["tools"][0]["functionDeclarations"];
    let names: Vec<&str> =
        declared.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["exec", "apply_patch", "multi_agent_v1__spawn"]);
    let dropped = answer.header("x-proxy-dropped-fields");
    assert_eq!(dropped, "tools[3], tools[5], tools[6]");
}

#[test]
fn row_23_nothing_is_dialled_for_the_url_of_an_image() {
    let fixture = Fixture::new();
    let url = "http://169.254.169.254/latest/meta-data";
    let chat = format!(
        r#"{{"model":"gemini-2.5-pro","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{url}"}}}}]}}]}}"#
    );
    let responses = format!(
        r#"{{"model":"gemini-2.5-pro","input":[{{"role":"user","content":[{{"type":"input_image","image_url":"{url}"}}]}}]}}"#
    );
    let messages = format!(
        r#"{{"model":"gemini-2.5-pro","max_tokens":9,"messages":[{{"role":"user","content":[{{"type":"image","source":{{"type":"url","url":"{url}"}}}}]}}]}}"#
    );
    let before = fixture.script.all_received().len();
    for (api, body) in [(Api::Chat, chat), (Api::Responses, responses), (Api::Messages, messages)] {
        let answer = fixture.ask(api.path(), &body);
        assert_eq!(answer.status, 400, "{api:?}: {}", answer.text());
        assert!(answer.text().contains("data: URL"), "{}", answer.text());
    }
    assert_eq!(fixture.script.all_received().len(), before, "nothing was dialled");
}

#[test]
fn row_27_fields_that_google_does_not_know_are_left_out_and_told() {
    let fixture = Fixture::new();
    let more = r#","store":true,"prediction":{"type":"content"},"a_new_field":1"#;
    let answer = fixture.ask(Api::Chat.path(), &Api::Chat.body("gemini-2.5-pro", more));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let dropped: Vec<&str> = answer.header("x-proxy-dropped-fields").split(", ").collect();
    for field in ["store", "prediction", "a_new_field"] {
        assert!(dropped.contains(&field), "{dropped:?}");
        assert!(sent(&fixture).get(field).is_none());
    }
}

#[test]
fn row_28_a_prefill_and_every_setting_reach_google() {
    let fixture = Fixture::new();
    let body = r#"{"model":"gemini-3-pro-preview","max_tokens":7,"seed":3,"stop":["X"],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"Once"}]}"#;
    assert_eq!(fixture.ask(Api::Chat.path(), body).status, 200);
    let request = sent(&fixture);
    let expected = json!({"maxOutputTokens": 7, "seed": 3, "stopSequences": ["X"]});
    assert_eq!(request["generationConfig"], expected);
    assert_eq!(request["contents"][1], json!({"role": "model", "parts": [{"text": "Once"}]}));
    let body = r#"{"model":"gemini-3-pro-preview","max_tokens":7,"stop_sequences":["X"],"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"gs1.c.f.S"},{"type":"tool_use","id":"t","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"r"}]}]}"#;
    assert_eq!(fixture.ask(Api::Messages.path(), body).status, 200);
    let request = sent(&fixture);
    assert_eq!(request["contents"][1]["parts"][0]["thoughtSignature"], "S");
    assert_eq!(request["generationConfig"]["stopSequences"], json!(["X"]));
}
