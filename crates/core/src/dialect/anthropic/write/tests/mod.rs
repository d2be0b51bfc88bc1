//! Answers of Gemini's, and the messages that clients make of them.

mod ends;
mod parts;

use serde_json::{Value, json};

use super::*;
use crate::caller::Caller;
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::draft::ClientToolName;
use crate::dialect::translate::names::{NamedTool, ToolNames};
use crate::google::ProviderKind;
use crate::policy::call_signatures::CallSignatures;

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
    };
    change(&mut plan);
    let thinking = thoughts != Thoughts::Absent;
    let plan = MessagesPlan { plan, thinking, shows_thoughts: thoughts == Thoughts::Shown };
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
