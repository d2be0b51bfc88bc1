mod ends;
mod parts;

use std::sync::Arc;

use super::*;
use crate::caller::Caller;
use crate::dialect::translate::answer::AnswerPlan;
use crate::dialect::translate::names::{NamedTool, ToolNames};
use crate::google::ProviderKind;
use crate::policy::call_signatures::CallSignatures;

fn plan() -> ResponsesPlan {
    let named = |upstream: &str, namespace: Option<&'static str>, name: &'static str| NamedTool {
        upstream: upstream.to_owned(),
        client: ClientToolName { namespace: namespace.map(Into::into), name: name.into() },
        takes_text: name == "patch",
    };
    let names = vec![
        named("mcp__d__search", Some("mcp__d"), "search"),
        named("patch", None, "patch"),
        named("f", None, "f"),
    ];
    ResponsesPlan {
        plan: AnswerPlan {
            model: "gemini-2.5-pro".into(),
            names: ToolNames::new(names),
            one_call: false,
            provider: ProviderKind::CodeAssist,
        },
        echo: "\"store\":false".into(),
        logprobs: false,
    }
}

fn writer(plan: ResponsesPlan) -> (ResponsesWriter, SignatureRecall) {
    let signatures = SignatureRecall::new(Arc::new(CallSignatures::new(100_000)), Caller::Unknown);
    let birth = Birth { seed: [7; 32], now: 1_764_000_000, signatures: signatures.clone() };
    (ResponsesWriter::new(plan, birth), signatures)
}

fn feed(writer: &mut ResponsesWriter, event: &str, out: &mut BytesMut) -> Result<(), Error> {
    writer.event(&AnswerEvent::read(event.as_bytes()).unwrap(), out)
}

/// The stream of these events, whose ids are made short: `<rs_1>` is the first id with this prefix.
fn stream_of(plan: ResponsesPlan, events: &[&str]) -> String {
    let (mut writer, _) = writer(plan);
    let mut out = BytesMut::new();
    for event in events {
        feed(&mut writer, event, &mut out).unwrap();
    }
    writer.end(&mut out).unwrap();
    let stream = short_ids(&out);
    check(&stream);
    stream
}

fn whole_of(plan: ResponsesPlan, event: &str) -> String {
    let (writer, _) = writer(plan);
    let whole = writer.whole(&AnswerEvent::read(event.as_bytes()).unwrap()).unwrap();
    short_ids(&whole)
}

fn short_ids(bytes: &[u8]) -> String {
    let mut text = String::from_utf8(bytes.to_vec()).unwrap();
    for prefix in ["resp_", "rs_", "msg_", "fc_", "ctc_", "call_", "ws_", "ig_", "ci_"] {
        let mut number = 0;
        let opened = format!("\"{prefix}");
        let mut from = 0;
        while let Some(at) = text[from..].find(&opened).map(|at| from + at) {
            from = at + opened.len();
            let id: String = text[at + 1..].chars().take_while(|letter| *letter != '"').collect();
            let random = &id[prefix.len()..];
            if random.len() == 24 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                number += 1;
                text = text.replace(&id, &format!("<{prefix}{number}>"));
            }
        }
    }
    text
}

fn frames(stream: &str) -> Vec<(String, serde_json::Value)> {
    let read = |frame: &str| {
        let (event, data) = frame.split_once('\n').unwrap();
        let data = data.strip_prefix("data: ").unwrap();
        assert!(!data.contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']), "{data}");
        (event.strip_prefix("event: ").unwrap().to_owned(), serde_json::from_str(data).unwrap())
    };
    stream.strip_suffix("\n\n").unwrap().split("\n\n").map(read).collect()
}

/// What holds for every stream.
fn check(stream: &str) {
    let frames = frames(stream);
    let (mut open, mut done) = (None, Vec::new());
    for (number, (event, data)) in frames.iter().enumerate() {
        assert_eq!(data["type"], event.as_str());
        assert_eq!(data["sequence_number"], number);
        let index = &data["output_index"];
        match &**event {
            "response.output_item.added" => {
                assert_eq!(open, None, "an item is added to an open one");
                assert_eq!(*index, done.len());
                open = Some(data["item"]["id"].clone());
            }
            "response.output_item.done" => {
                assert_eq!(open.take(), Some(data["item"]["id"].clone()));
                assert_eq!(*index, done.len());
                done.push(data["item"].clone());
            }
            _ if data.get("item_id").is_some() => {
                assert_eq!(open.as_ref(), Some(&data["item_id"]), "{event}");
                assert_eq!(*index, done.len());
            }
            _ => {}
        }
    }
    assert_eq!(open, None, "an item is not done");
    let (last, data) = frames.last().unwrap();
    assert!(["response.completed", "response.incomplete"].contains(&&**last), "{last}");
    assert_eq!(data["response"]["output"], serde_json::Value::Array(done));
    assert_eq!(last.strip_prefix("response.").unwrap(), data["response"]["status"]);
}

fn kinds(stream: &str) -> Vec<String> {
    frames(stream).into_iter().map(|(event, _)| event.replace("response.", "")).collect()
}

fn output(stream: &str) -> serde_json::Value {
    frames(stream).pop().unwrap().1["response"]["output"].clone()
}

const USAGE: &str = r#""usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":2,"thoughtsTokenCount":5,"totalTokenCount":17}"#;

fn object(status: &str, output: &str, usage: &str) -> String {
    format!(
        "{{\"id\":\"<resp_1>\",\"object\":\"response\",\"created_at\":1764000001,\"status\":\"{status}\",\
         \"completed_at\":null,\"error\":null,\"incomplete_details\":null,\"model\":\"gemini-2.5-pro\",\
         \"output\":[{output}],\"store\":false,\"usage\":{usage}}}"
    )
}

const USAGE_OUT: &str = "{\"input_tokens\":10,\"input_tokens_details\":{\"cached_tokens\":0,\
    \"cache_write_tokens\":0},\"output_tokens\":7,\"output_tokens_details\":{\"reasoning_tokens\":5},\
    \"total_tokens\":17}";

#[test]
fn a_text_is_nine_events() {
    let stream = stream_of(
        plan(),
        &[&format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"Hi"}}]}},"finishReason":"STOP"}}],{USAGE},"createTime":"2025-11-24T16:00:01.5Z"}}"#
        )],
    );
    let begun = object("in_progress", "", "null");
    let message = r#"{"type":"message","id":"<msg_1>","status":"completed","role":"assistant","content":[{"type":"output_text","text":"Hi","annotations":[],"logprobs":[]}]}"#;
    let expected = [
        ("response.created", format!(r#""response":{begun}"#)),
        ("response.in_progress", format!(r#""response":{begun}"#)),
        (
            "response.output_item.added",
            r#""output_index":0,"item":{"type":"message","id":"<msg_1>","status":"in_progress","role":"assistant","content":[]}"#.to_owned(),
        ),
        (
            "response.content_part.added",
            r#""item_id":"<msg_1>","output_index":0,"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}"#.to_owned(),
        ),
        (
            "response.output_text.delta",
            r#""item_id":"<msg_1>","output_index":0,"content_index":0,"delta":"Hi","logprobs":[]"#.to_owned(),
        ),
        (
            "response.output_text.done",
            r#""item_id":"<msg_1>","output_index":0,"content_index":0,"text":"Hi","logprobs":[]"#.to_owned(),
        ),
        (
            "response.content_part.done",
            r#""item_id":"<msg_1>","output_index":0,"content_index":0,"part":{"type":"output_text","text":"Hi","annotations":[],"logprobs":[]}"#.to_owned(),
        ),
        ("response.output_item.done", format!(r#""output_index":0,"item":{message}"#)),
        (
            "response.completed",
            format!(r#""response":{}"#, object("completed", message, USAGE_OUT)),
        ),
    ];
    let expected: String = expected
        .iter()
        .enumerate()
        .map(|(number, (event, rest))| {
            format!(
                "event: {event}\ndata: {{\"type\":\"{event}\",\"sequence_number\":{number},{rest}}}\n\n"
            )
        })
        .collect();
    assert_eq!(stream, expected);
}

#[test]
fn the_unstreamed_object_is_that_of_the_last_event() {
    let event = format!(
        r#"{{"candidates":[{{"content":{{"parts":[{{"text":"hm","thought":true}},{{"text":"Hi"}},{{"functionCall":{{"name":"f","args":{{"a":1}}}}}}]}},"finishReason":"STOP"}}],{USAGE}}}"#
    );
    let whole: serde_json::Value = serde_json::from_str(&whole_of(plan(), &event)).unwrap();
    let streamed = frames(&stream_of(plan(), &[&event])).pop().unwrap().1;
    assert_eq!(whole, streamed["response"]);
    assert_eq!(whole["output"].as_array().unwrap().len(), 3);
}

const CALL: &str = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"mcp__d__search","args":{"q": "a b", "n":1.50}},"thoughtSignature":"S"}]}}]}"#;
const STOP: &str = r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}]}"#;

#[test]
fn a_call_of_a_namespace_follows_an_item_with_its_signature() {
    let stream = stream_of(plan(), &[CALL, STOP]);
    let item = |status: &str, arguments: &str| {
        format!(
            r#"{{"type":"function_call","id":"<fc_1>","call_id":"<call_1>","namespace":"mcp__d","name":"search","arguments":"{arguments}","status":"{status}"}}"#
        )
    };
    let arguments = r#"{\"q\":\"a b\",\"n\":1.50}"#;
    let reasoning =
        r#"{"type":"reasoning","id":"<rs_1>","summary":[],"encrypted_content":"gs1.c.f.S"}"#;
    for (number, event, rest) in [
        (
            2,
            "output_item.added",
            r#""output_index":0,"item":{"type":"reasoning","id":"<rs_1>","summary":[]}"#.to_owned(),
        ),
        (3, "output_item.done", format!(r#""output_index":0,"item":{reasoning}"#)),
        (4, "output_item.added", format!(r#""output_index":1,"item":{}"#, item("in_progress", ""))),
        (
            5,
            "function_call_arguments.delta",
            format!(r#""item_id":"<fc_1>","output_index":1,"delta":"{arguments}""#),
        ),
        (
            6,
            "function_call_arguments.done",
            format!(
                r#""item_id":"<fc_1>","output_index":1,"name":"search","arguments":"{arguments}""#
            ),
        ),
        (
            7,
            "output_item.done",
            format!(r#""output_index":1,"item":{}"#, item("completed", arguments)),
        ),
    ] {
        let event = format!("response.{event}");
        let frame = format!(
            "event: {event}\ndata: {{\"type\":\"{event}\",\"sequence_number\":{number},{rest}}}\n\n"
        );
        assert!(stream.contains(&frame), "{frame} is not in {stream}");
    }
    assert_eq!(kinds(&stream).len(), 9);
}

#[test]
fn signatures_are_remembered_by_the_ids_that_clients_send_back() {
    let (mut writer, signatures) = writer(plan());
    let mut out = BytesMut::new();
    feed(&mut writer, CALL, &mut out).unwrap();
    let text = String::from_utf8(out.to_vec()).unwrap();
    let id = |prefix: &str| {
        let at = text.find(&format!(":\"{prefix}")).unwrap() + 2;
        text[at..at + prefix.len() + 24].to_owned()
    };
    assert_eq!(signatures.recall(&id("call_")).as_deref(), Some(&b"S"[..]));
    assert_eq!(signatures.recall(&id("rs_")).as_deref(), Some(&b"gs1.c.f.S"[..]));
    assert_eq!(signatures.recall(&id("fc_")), None);
}

/// Thoughts stay open until the next part shows whether it has a signature.
#[test]
fn thoughts_take_the_signature_of_the_part_that_follows() {
    let thought = r#"{"candidates":[{"content":{"parts":[{"text":"h\u00e4","thought":true}]}}]}"#;
    let more = r#"{"candidates":[{"content":{"parts":[{"text":"m","thought":true}]}}]}"#;
    let text = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#;
    let signed = r#"{"candidates":[{"content":{"parts":[{"text":"x","thoughtSignature":"T"}]}}]}"#;
    for (next, carried) in
        [(CALL, "gs1.c.f.S"), (text, "gs1.c.-."), (signed, "gs1.c.t.T"), (STOP, "gs1.c.-.")]
    {
        let stream = stream_of(plan(), &[thought, more, next, STOP]);
        assert_eq!(
            kinds(&stream)[2..9],
            [
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
            ]
        );
        let item = format!(
            r#"{{"type":"reasoning","id":"<rs_1>","summary":[{{"type":"summary_text","text":"h\u00e4m"}}],"encrypted_content":"{carried}"}}"#
        );
        assert!(stream.contains(&item), "{item} is not in {stream}");
    }
}

#[test]
fn items_have_the_order_of_the_parts() {
    let parts = [
        r#"{"text":"a","thought":true}"#,
        r#"{"functionCall":{"name":"f","id":"own-1"},"thoughtSignature":"S"}"#,
        r#"{"functionCall":{"name":"f","id":"own-1","args":{}}}"#,
        r#"{"text":"b","thought":true}"#,
        r#"{"text":"c"}"#,
        r#"{"text":"d","thoughtSignature":"late"}"#,
        r#"{"functionCall":{"name":"unknown"},"thoughtSignature":"T"}"#,
        r#"{"text":"e"}"#,
    ];
    let expected = serde_json::json!([
        ["reasoning", "gs1.c.f.S"],
        ["function_call", "own-1"],
        ["function_call", "<call_1>"],
        ["reasoning", "gs1.c.-."],
        ["message", "cd"],
        ["reasoning", "gs1.c.f.T"],
        ["function_call", "<call_2>"],
        ["message", "e"],
    ]);
    let event = |parts: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#);
    let apart: Vec<String> = parts.iter().map(|part| event(part)).collect();
    let together = [event(&parts.join(","))];
    for events in [&apart[..], &together] {
        let mut events: Vec<&str> = events.iter().map(String::as_str).collect();
        events.push(STOP);
        let output = output(&stream_of(plan(), &events));
        let items = output.as_array().unwrap().iter().map(|item| {
            let what = [&item["encrypted_content"], &item["call_id"], &item["content"][0]["text"]];
            let what = what.into_iter().find(|what| what.is_string()).unwrap();
            serde_json::json!([item["type"], what])
        });
        assert_eq!(items.collect::<serde_json::Value>(), expected);
    }
}
