use super::*;
use crate::caller::Caller;
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::ClientToolName;
use crate::dialect::translate::names::{NamedTool, ToolNames};
use crate::google::ProviderKind;
use crate::policy::call_signatures::CallSignatures;
use serde_json::{Value, json};

/// What the client has asked of thinking.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Thoughts {
    Absent,
    Omitted,
    Shown,
}

fn writer(thoughts: Thoughts) -> MessagesWriter {
    writer_with(thoughts, 1, SignatureRecall::default(), |_| {})
}

fn writer_with(
    thoughts: Thoughts,
    seed: u8,
    signatures: SignatureRecall,
    change: impl FnOnce(&mut AnswerPlan),
) -> MessagesWriter {
    let mut plan = AnswerPlan {
        model: "claude-opus-5-5".into(),
        names: ToolNames::default(),
        one_call: false,
        provider: ProviderKind::CodeAssist,
        shows_thoughts: thoughts == Thoughts::Shown,
    };
    change(&mut plan);
    let plan = MessagesPlan { plan, thinking: thoughts != Thoughts::Absent };
    MessagesWriter::new(plan, Birth { seed: [seed; 32], now: 1, signatures })
        .with_request_id("req-1")
}

/// The stream for these events, to its end.
fn stream(mut writer: MessagesWriter, events: &[&str]) -> Result<String, Error> {
    let mut out = BytesMut::new();
    for event in events {
        writer.event(&AnswerEvent::read(event.as_bytes()).unwrap(), &mut out)?;
    }
    writer.end(&mut out)?;
    Ok(String::from_utf8(out.to_vec()).unwrap())
}

fn whole(writer: MessagesWriter, event: &str) -> Result<Value, Error> {
    let bytes = writer.whole(&AnswerEvent::read(event.as_bytes()).unwrap())?;
    Ok(serde_json::from_slice(&bytes).unwrap())
}

/// The frames of a stream. Each has its type on its `event:` line.
fn frames(stream: &str) -> Vec<Value> {
    let frames = stream.split_terminator("\n\n").map(|frame| {
        let (event, data) = frame.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event.strip_prefix("event: "), data["type"].as_str());
        data
    });
    frames.collect()
}

/// The blocks that a client makes of a stream, which keeps the rules of streams.
fn blocks(stream: &str) -> Vec<Value> {
    let frames = frames(stream);
    assert_eq!(frames[0]["type"], "message_start");
    assert_eq!(frames[1]["type"], "ping");
    let [.., delta, stop] = &frames[..] else { panic!("{stream}") };
    assert_eq!(delta["type"], "message_delta");
    assert!(delta["usage"]["output_tokens"].is_u64());
    assert_eq!(stop, &json!({"type": "message_stop"}));
    let mut blocks: Vec<Value> = Vec::new();
    let mut open = None;
    let mut inputs: Vec<String> = Vec::new();
    for frame in &frames[2..frames.len() - 2] {
        let index = frame["index"].as_u64().unwrap();
        if frame["type"] == "content_block_start" {
            assert_eq!((open, index), (None, blocks.len() as u64), "{stream}");
            open = Some(index);
            blocks.push(frame["content_block"].clone());
            inputs.push(String::new());
            continue;
        }
        assert_eq!(open, Some(index), "{stream}");
        let block = blocks.last_mut().unwrap();
        if frame["type"] == "content_block_stop" {
            if let Some(input) = inputs.last().filter(|input| !input.is_empty()) {
                block["input"] = serde_json::from_str(input).unwrap();
            }
            open = None;
            continue;
        }
        assert_eq!(frame["type"], "content_block_delta");
        let delta = &frame["delta"];
        let (field, piece) = match delta["type"].as_str().unwrap() {
            "text_delta" => ("text", &delta["text"]),
            "thinking_delta" => ("thinking", &delta["thinking"]),
            "signature_delta" => ("signature", &delta["signature"]),
            "input_json_delta" => {
                inputs.last_mut().unwrap().push_str(delta["partial_json"].as_str().unwrap());
                continue;
            }
            other => panic!("{other}"),
        };
        let text = format!("{}{}", block[field].as_str().unwrap(), piece.as_str().unwrap());
        block[field] = text.into();
    }
    assert_eq!(open, None, "{stream}");
    blocks
}

fn delta(stream: &str) -> Value {
    let frames = frames(stream);
    frames[frames.len() - 2].clone()
}

const STOP: &str = r#"{"candidates":[{"finishReason":"STOP"}]}"#;

fn part(part: &str) -> String {
    format!(r#"{{"candidates":[{{"content":{{"parts":[{part}]}}}}]}}"#)
}

#[test]
fn thoughts_and_a_signed_call_become_these_bytes() {
    let thought = r#"{"candidates":[{"content":{"parts":[{"text":"h\u00e4m\u2028","thought":true}]}}],"usageMetadata":{"promptTokenCount":30,"cachedContentTokenCount":10}}"#;
    let call = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"Bash","args":{"command": "ls \"x\""}},"thoughtSignature":"S"}]}}]}"#;
    let stop = r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":30,"cachedContentTokenCount":10,"candidatesTokenCount":4,"thoughtsTokenCount":3,"toolUsePromptTokenCount":2}}"#;
    let stream = stream(writer(Thoughts::Shown), &[thought, call, stop]).unwrap();
    let mut ids = IdSource::new([1; 32]);
    let (message, call) = (ids.next("msg_"), ids.next("toolu_"));
    let expected = r#"event: message_start
data: {"type":"message_start","message":{"id":"MESSAGE","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":20,"output_tokens":1,"cache_read_input_tokens":10,"cache_creation_input_tokens":0}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h\u00e4m\u2028"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"gs1.c.f.S"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"CALL","name":"Bash","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"command\":\"ls \\\"x\\\"\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":22,"cache_read_input_tokens":10,"cache_creation_input_tokens":0,"output_tokens":7,"output_tokens_details":{"thinking_tokens":3}}}

event: message_stop
data: {"type":"message_stop"}

"#;
    assert_eq!(stream, expected.replace("MESSAGE", &message).replace("CALL", &call));
}

#[test]
fn a_text_becomes_these_bytes_and_one_object() {
    let text = [part(r#"{"text":"Hel"}"#), part(r#"{"text":"lo"}"#)];
    let text = stream(writer(Thoughts::Absent), &[&text[0], &text[1], STOP]).unwrap();
    let (_, rest) = text.split_once("data: {\"type\":\"ping\"}\n\n").unwrap();
    let expected = r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":0,"output_tokens_details":{"thinking_tokens":0}}}

event: message_stop
data: {"type":"message_stop"}

"#;
    assert_eq!(rest, expected);

    let event = r#"{"candidates":[{"content":{"parts":[{"text":"Hel"},{"text":"lo"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}"#;
    let answer = writer(Thoughts::Absent).whole(&AnswerEvent::read(event.as_bytes()).unwrap());
    let id = IdSource::new([1; 32]).next("msg_");
    let expected = r#"{"id":"MESSAGE","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn","stop_sequence":null,"stop_details":null,"usage":{"input_tokens":3,"cache_read_input_tokens":0,"cache_creation_input_tokens":0,"output_tokens":2,"output_tokens_details":{"thinking_tokens":0}}}"#;
    assert_eq!(answer.unwrap(), expected.replace("MESSAGE", &id));
}

#[test]
fn every_answer_has_an_id_of_its_own() {
    let id = |seed| {
        let writer = writer_with(Thoughts::Absent, seed, SignatureRecall::default(), |_| {});
        frames(&stream(writer, &[STOP]).unwrap())[0]["message"]["id"].clone()
    };
    assert_ne!(id(1), id(2));
}

/// Parts of each kind, and the blocks that they become for a client that wants to see thoughts.
fn part_cases() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("a text", r#"{"text":"a"}"#, json!([{"type":"text","text":"a"}])),
        ("an empty text", r#"{"text":""}"#, json!([])),
        ("an unknown part", r#"{"toolCall":{"x":1}}"#, json!([])),
        (
            "a thought without a signature",
            r#"{"text":"hm","thought":true}"#,
            json!([{"type":"thinking","thinking":"hm","signature":"gs1.c.-."}]),
        ),
        (
            "a signed text after a thought",
            r#"{"text":"hm","thought":true},{"text":"a","thoughtSignature":"S"}"#,
            json!([
                {"type":"thinking","thinking":"hm","signature":"gs1.c.t.S"},
                {"type":"text","text":"a"}
            ]),
        ),
        (
            "a signed text alone",
            r#"{"text":"a","thoughtSignature":"S"}"#,
            json!([
                {"type":"thinking","thinking":"","signature":"gs1.c.t.S"},
                {"type":"text","text":"a"}
            ]),
        ),
        (
            "a signature after its text",
            r#"{"text":"a"},{"text":"b","thoughtSignature":"S"},{"text":"","thoughtSignature":"T"}"#,
            json!([{"type":"text","text":"ab"}]),
        ),
        (
            "a signed call after a thought and a text",
            r#"{"text":"hm","thought":true},{"text":"a"},{"functionCall":{"id":"i-1_A","name":"f"},"thoughtSignature":"S"}"#,
            json!([
                {"type":"thinking","thinking":"hm","signature":"gs1.c.-."},
                {"type":"text","text":"a"},
                {"type":"thinking","thinking":"","signature":"gs1.c.f.S"},
                {"type":"tool_use","id":"i-1_A","name":"f","input":{}}
            ]),
        ),
        (
            "parallel calls",
            r#"{"functionCall":{"id":"a","name":"f","args":{"n":1.50}},"thoughtSignature":"S"},{"functionCall":{"id":"b","name":"g"}}"#,
            json!([
                {"type":"thinking","thinking":"","signature":"gs1.c.f.S"},
                {"type":"tool_use","id":"a","name":"f","input":{"n":1.5}},
                {"type":"tool_use","id":"b","name":"g","input":{}}
            ]),
        ),
        (
            "code and its output",
            r#"{"text":"a"},{"executableCode":{"language":"PYTHON","code":"print(1)"}},{"codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1\n"}}"#,
            json!([{"type":"text","text":"a\n```python\nprint(1)\n```\n\n```output\n1\n```\n"}]),
        ),
        (
            "an image",
            r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
            json!([{"type":"text","text":"![image](data:image/png;base64,AA==)"}]),
        ),
        ("a recording", r#"{"inlineData":{"mimeType":"audio/wav","data":"AA=="}}"#, json!([])),
    ]
}

#[test]
fn each_part_has_its_blocks_streamed_and_whole() {
    for (name, parts, expected) in part_cases() {
        let event = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{parts}]}},"finishReason":"STOP"}}]}}"#
        );
        let streamed = stream(writer(Thoughts::Shown), &[&event]).unwrap();
        assert_eq!(Value::Array(blocks(&streamed)), expected, "{name}");
        let whole = whole(writer(Thoughts::Shown), &event).unwrap();
        assert_eq!(whole["content"], expected, "{name}");
        assert_eq!(whole["stop_reason"], delta(&streamed)["delta"]["stop_reason"], "{name}");
        assert_eq!(whole["usage"], delta(&streamed)["usage"], "{name}");
    }
}

#[test]
fn a_client_that_omits_thoughts_gets_signatures_in_empty_blocks() {
    let thought = part(r#"{"text":"hm","thought":true}"#);
    let call = part(r#"{"functionCall":{"id":"a","name":"f"},"thoughtSignature":"S"}"#);
    let stream = stream(writer(Thoughts::Omitted), &[&thought, &call, STOP]).unwrap();
    let expected = json!([
        {"type":"thinking","thinking":"","signature":"gs1.c.f.S"},
        {"type":"tool_use","id":"a","name":"f","input":{}}
    ]);
    assert_eq!(Value::Array(blocks(&stream)), expected);
}

#[test]
fn a_client_without_thinking_gets_the_signature_on_the_call() {
    let thought = part(r#"{"text":"hm","thought":true},{"text":"a","thoughtSignature":"T"}"#);
    let call =
        part(r#"{"functionCall":{"id":"a","name":"f","args":{"x":1}},"thoughtSignature":"S"}"#);
    let streamed = stream(writer(Thoughts::Absent), &[&thought, &call, STOP]).unwrap();
    let call = json!({"type":"tool_use","id":"a","name":"f","input":{"x":1},
        "extra_content":{"google":{"thought_signature":"S"}}});
    assert_eq!(blocks(&streamed), [json!({"type":"text","text":"a"}), call]);
}

#[test]
fn the_signature_of_a_call_is_remembered_by_the_id_that_the_client_gets() {
    let memory = std::sync::Arc::new(CallSignatures::new(1 << 16));
    for thoughts in [Thoughts::Absent, Thoughts::Shown] {
        let recall = SignatureRecall::new(memory.clone(), Caller::default());
        let writer = writer_with(thoughts, 1, recall.clone(), |_| {});
        let call = part(r#"{"functionCall":{"id":"no/id","name":"f"},"thoughtSignature":"S"}"#);
        let streamed = stream(writer, &[&call, STOP]).unwrap();
        let blocks = blocks(&streamed);
        let id = blocks.last().unwrap()["id"].as_str().unwrap();
        assert!(id.starts_with("toolu_"), "{id}");
        assert_eq!(recall.recall(id).as_deref(), Some(&b"S"[..]));
    }
}

#[test]
fn an_id_of_geminis_is_kept_once_and_where_clients_take_it() {
    let long = "x".repeat(65);
    let calls: Vec<String> = ["a", "a", "", "b.c", &long, "ü"]
        .iter()
        .map(|id| format!(r#"{{"functionCall":{{"id":"{id}","name":"f"}}}}"#))
        .collect();
    let event = part(&calls.join(","));
    let blocks = blocks(&stream(writer(Thoughts::Absent), &[&event, STOP]).unwrap());
    let ids: Vec<&str> = blocks.iter().map(|block| block["id"].as_str().unwrap()).collect();
    assert_eq!(ids[0], "a");
    assert!(ids[1..].iter().all(|id| id.starts_with("toolu_") && id.len() == 30), "{ids:?}");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

#[test]
fn a_tool_has_the_name_that_the_client_knows() {
    let writer = writer_with(Thoughts::Absent, 1, SignatureRecall::default(), |plan| {
        plan.names = ToolNames::new(vec![NamedTool {
            upstream: "a_b".to_owned(),
            client: ClientToolName { namespace: None, name: "a b".into() },
            takes_text: false,
        }]);
    });
    let calls = ["a_b", "default_api:a_b", "other"]
        .map(|name| format!(r#"{{"functionCall":{{"name":"{name}"}}}}"#));
    let event = part(&calls.join(","));
    let blocks = blocks(&stream(writer, &[&event, STOP]).unwrap());
    let names: Vec<&Value> = blocks.iter().map(|block| &block["name"]).collect();
    assert_eq!(names, ["a b", "a b", "other"]);
}

#[test]
fn of_parallel_calls_a_client_that_takes_one_gets_the_first() {
    let writer =
        writer_with(Thoughts::Absent, 1, SignatureRecall::default(), |plan| plan.one_call = true);
    let first = part(r#"{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}}"#);
    let second = part(r#"{"functionCall":{"name":"h"}}"#);
    let end = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3}}"#;
    let streamed = stream(writer, &[&first, &second, end]).unwrap();
    let blocks = blocks(&streamed);
    assert_eq!((blocks.len(), &blocks[0]["name"]), (1, &json!("f")));
    assert_eq!(delta(&streamed)["usage"]["input_tokens"], 3);
}

#[test]
fn each_end_has_its_stop_reason() {
    let text = part(r#"{"text":"a"}"#);
    let call = part(r#"{"functionCall":{"name":"f"}}"#);
    let thought = part(r#"{"text":"a","thought":true}"#);
    for (before, reason, expected) in [
        (&text, "STOP", "end_turn"),
        (&thought, "STOP", "end_turn"),
        (&call, "STOP", "tool_use"),
        (&text, "MAX_TOKENS", "max_tokens"),
        (&call, "MAX_TOKENS", "max_tokens"),
        (&text, "CONTINUATION", "max_tokens"),
        (&thought, "SAFETY", "refusal"),
        (&call, "RECITATION", "refusal"),
        (&text, "MALFORMED_FUNCTION_CALL", "end_turn"),
        (&call, "OTHER", "tool_use"),
        (&text, "A_WORD_OF_TOMORROW", "end_turn"),
    ] {
        let end = format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#);
        let delta = delta(&stream(writer(Thoughts::Absent), &[before, &end]).unwrap());
        assert_eq!(delta["delta"]["stop_reason"], expected, "{reason}");
        assert_eq!(delta["delta"]["stop_sequence"], Value::Null);
        assert_eq!(delta["delta"].get("stop_details").is_some(), expected == "refusal");
    }
}

#[test]
fn a_filter_says_why_it_has_stopped_the_answer() {
    let filtered = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"SAFETY","finishMessage":"Too hot."}]}"#;
    let prompt =
        r#"{"promptFeedback":{"blockReason":"BLOCKLIST"},"usageMetadata":{"promptTokenCount":9}}"#;
    for (event, content, explanation, tokens) in [
        (filtered, json!([{"type":"text","text":"a"}]), "SAFETY: Too hot.", 0),
        (prompt, json!([]), "BLOCKLIST: Google has stopped the request or its answer.", 9),
    ] {
        let details = json!({"type":"refusal","category":null,"explanation":explanation});
        let streamed = stream(writer(Thoughts::Absent), &[event]).unwrap();
        assert_eq!(Value::Array(blocks(&streamed)), content);
        assert_eq!(delta(&streamed)["delta"]["stop_reason"], "refusal");
        assert_eq!(delta(&streamed)["delta"]["stop_details"], details);
        assert_eq!(delta(&streamed)["usage"]["input_tokens"], tokens);
        let whole = whole(writer(Thoughts::Absent), event).unwrap();
        assert_eq!((&whole["content"], &whole["stop_details"]), (&content, &details));
    }
}

#[test]
fn a_failure_with_nothing_but_thoughts_is_an_error_and_not_an_empty_message() {
    let failed = r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]},"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"no"}]}"#;
    let error = Error::NoAnswer {
        reason: "MALFORMED_FUNCTION_CALL".to_owned(),
        message: Some("no".to_owned()),
    };
    let mut out = BytesMut::new();
    let event = AnswerEvent::read(failed.as_bytes()).unwrap();
    assert_eq!(writer(Thoughts::Shown).event(&event, &mut out), Err(error.clone()));
    assert!(out.is_empty());
    assert_eq!(whole(writer(Thoughts::Shown), failed), Err(error.clone()));

    // After a thought the error ends the stream.
    let mut writer = writer(Thoughts::Shown);
    let thought = part(r#"{"text":"hm","thought":true}"#);
    writer.event(&AnswerEvent::read(thought.as_bytes()).unwrap(), &mut out).unwrap();
    out.clear();
    assert_eq!(writer.event(&event, &mut out), Err(error.clone()));
    assert!(out.is_empty());
    writer.error(&error, &mut out);
    let [frame] = &frames(std::str::from_utf8(&out).unwrap())[..] else { panic!("{out:?}") };
    assert_eq!(frame["error"]["type"], "api_error");
    assert_eq!(frame["request_id"], "req-1");
}

#[test]
fn an_answer_without_an_end_is_an_error() {
    let text = part(r#"{"text":"Hel"}"#);
    assert_eq!(stream(writer(Thoughts::Absent), &[&text]), Err(Error::UpstreamIncomplete));
    assert_eq!(whole(writer(Thoughts::Absent), &text), Err(Error::UpstreamIncomplete));
    assert_eq!(whole(writer(Thoughts::Absent), "{}"), Err(Error::UpstreamIncomplete));
}

#[test]
fn an_error_and_a_sign_of_life_are_frames_of_their_own() {
    let mut writer = writer(Thoughts::Absent);
    let mut out = BytesMut::new();
    writer.beat(&mut out);
    assert_eq!(&out[..], b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
    out.clear();
    writer.error(&Error::Internal, &mut out);
    let (before, after) = (
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"",
        "\"},\"request_id\":\"req-1\"}\n\n",
    );
    let frame = std::str::from_utf8(&out).unwrap();
    assert!(frame.starts_with(before) && frame.ends_with(after), "{frame}");
}

#[test]
fn a_search_comes_after_the_text_and_is_counted() {
    let text = part(r#"{"text":"So."}"#);
    let end = r#"{"candidates":[{"finishReason":"STOP","groundingMetadata":{"webSearchQueries":["a \"b\""],"groundingChunks":[{"web":{"uri":"https://x.example/1","title":"X \"1\""}},{"web":{"uri":"https://x.example/2"}}]}}]}"#;
    let streamed = stream(writer(Thoughts::Absent), &[&text, end]).unwrap();
    let mut ids = IdSource::new([1; 32]);
    let id = [ids.next("msg_"), ids.next("srvtoolu_")][1].clone();
    let expected = json!([
        {"type":"text","text":"So."},
        {"type":"server_tool_use","id":id,"name":"web_search","input":{"query":"a \"b\""}},
        {"type":"web_search_tool_result","tool_use_id":id,"content":[
            {"type":"web_search_result","url":"https://x.example/1","title":"X \"1\"","encrypted_content":"","page_age":null},
            {"type":"web_search_result","url":"https://x.example/2","title":"","encrypted_content":"","page_age":null}
        ]}
    ]);
    assert_eq!(Value::Array(blocks(&streamed)), expected);
    assert_eq!(delta(&streamed)["usage"]["server_tool_use"], json!({"web_search_requests":1}));
    assert_eq!(delta(&streamed)["delta"]["stop_reason"], "end_turn");

    let event = end
        .replace(r#"{"finishReason""#, r#"{"content":{"parts":[{"text":"So."}]},"finishReason""#);
    let whole = whole(writer(Thoughts::Absent), &event).unwrap();
    assert_eq!(whole["content"], expected);
    assert_eq!(whole["usage"]["server_tool_use"], json!({"web_search_requests":1}));
}

#[test]
fn what_is_held_is_bounded_by_what_came() {
    let mut writer = writer(Thoughts::Shown);
    let mut out = BytesMut::new();
    assert_eq!(writer.held(), 0);
    let text = part(r#"{"text":"a long text that is gone at once"}"#);
    writer.event(&AnswerEvent::read(text.as_bytes()).unwrap(), &mut out).unwrap();
    assert_eq!(writer.held(), 0);
    let end = r#"{"candidates":[{"finishReason":"SAFETY","finishMessage":"no","groundingMetadata":{"webSearchQueries":["a"]}}]}"#;
    writer.event(&AnswerEvent::read(end.as_bytes()).unwrap(), &mut out).unwrap();
    assert!(writer.held() > 8, "{}", writer.held());
}

#[test]
fn any_order_of_parts_keeps_the_rules_of_streams() {
    let kinds = [
        r#"{"text":"a"}"#,
        r#"{"text":"t","thought":true}"#,
        r#"{"text":"a","thoughtSignature":"T"}"#,
        r#"{"functionCall":{"name":"f"},"thoughtSignature":"S"}"#,
        r#"{"functionCall":{"id":"i","name":"f","args":{}}}"#,
        r#"{"text":"","thoughtSignature":"T"}"#,
        r#"{"inlineData":{"mimeType":"image/png","data":"AA=="}}"#,
    ];
    let count = kinds.len();
    for thoughts in [Thoughts::Absent, Thoughts::Omitted, Thoughts::Shown] {
        for order in 0..count.pow(4) {
            let parts: Vec<&str> =
                (0..4).map(|place| kinds[order / count.pow(place) % count]).collect();
            let mut events: Vec<String> = parts.iter().map(|one| part(one)).collect();
            events.push(STOP.to_owned());
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            let streamed = blocks(&stream(writer(thoughts), &events).unwrap());
            let event = format!(
                r#"{{"candidates":[{{"content":{{"parts":[{}]}},"finishReason":"STOP"}}]}}"#,
                parts.join(",")
            );
            let whole = whole(writer(thoughts), &event).unwrap();
            assert_eq!(Value::Array(streamed), whole["content"], "{parts:?}");
        }
    }
}
