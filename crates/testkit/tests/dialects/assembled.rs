//! What a client puts together from a stream, and the rules that it relies on: no frame comes before its
//! parents, each has one end, and nothing follows the last one (`docs/reference/dialects.md` 3.3, 4.6, 5.5).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::fixture::Api;

/// The answer that the frames of a stream are together, in the form of the whole answer without its ids.
/// The error for a stream that ends with one.
pub(crate) fn assemble(api: Api, stream: &str) -> Result<Value, Value> {
    let stream = without_surrogates(stream);
    let frames = stream.strip_suffix("\n\n").expect("a stream ends with a blank line");
    let frames: Vec<&str> = frames.split("\n\n").filter(|frame| *frame != ": ").collect();
    match api {
        Api::Chat => chat(&frames),
        Api::Responses => responses(&frames),
        Api::Messages => messages(&frames),
    }
}

/// The same of an answer that is not streamed.
pub(crate) fn whole(api: Api, body: &str) -> Value {
    let body = without_surrogates(body);
    let mut whole: Value =
        serde_json::from_str(&body).unwrap_or_else(|why| panic!("{why}: {body}"));
    match api {
        Api::Chat => {
            let choice = whole["choices"][0].clone();
            let mut message = choice["message"].as_object().expect("a message").clone();
            message.retain(|_, value| !value.is_null() && *value != "" && *value != json!([]));
            let usage = whole["usage"].clone();
            whole = json!({"finish": choice["finish_reason"], "message": message, "usage": usage});
        }
        Api::Messages if whole["stop_details"].is_null() => {
            whole.as_object_mut().expect("a message").remove("stop_details");
        }
        Api::Responses | Api::Messages => {}
    }
    without_ids(&mut whole);
    whole
}

/// The ids of an answer's calls.
pub(crate) fn call_ids(answer: &str) -> Vec<String> {
    let mut ids = BTreeSet::new();
    for (at, _) in answer.match_indices(r#"id":""#) {
        let (before, from) = (&answer[..at], &answer[at + r#"id":""#.len()..]);
        let (id, behind) = from.split_once('"').expect("an id ends");
        let is_call = before.ends_with(r#""call_"#)
            || before.ends_with(r#"{"type":"tool_use",""#)
            || behind.starts_with(r#","type":"function""#);
        if is_call {
            ids.insert(id.to_owned());
        }
    }
    ids.into_iter().collect()
}

fn chat(frames: &[&str]) -> Result<Value, Value> {
    let (mut message, mut calls) = (Map::new(), Vec::new());
    let (mut finish, mut usage, mut begun) = (Value::Null, Value::Null, false);
    let (last, frames) = frames.split_last().expect("there are frames");
    for frame in frames {
        let frame = data(frame);
        assert!(frame["error"].is_null(), "an error is the last frame: {frame}");
        let Some(choice) = frame["choices"].get(0) else {
            assert!(
                usage.is_null() && !finish.is_null(),
                "the counts come once, and last: {frame}"
            );
            usage = frame["usage"].clone();
            continue;
        };
        assert!(finish.is_null(), "a choice goes on after its finish: {frame}");
        finish = choice["finish_reason"].clone();
        let delta = choice["delta"].as_object().expect("a delta");
        assert_eq!(delta.contains_key("role"), !begun, "the role comes once, and first: {frame}");
        begun = true;
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("tool_calls", Value::Array(given)) => {
                    for call in given {
                        let mut call = call.as_object().expect("a call").clone();
                        assert_eq!(call.remove("index"), Some(calls.len().into()));
                        calls.push(Value::Object(call));
                    }
                }
                (_, Value::String(text)) => {
                    let so_far = message.entry(key.clone()).or_insert_with(|| "".into());
                    *so_far = format!("{}{text}", so_far.as_str().expect("a text")).into();
                }
                (_, Value::Array(more)) => {
                    let so_far = message.entry(key.clone()).or_insert_with(|| json!([]));
                    so_far.as_array_mut().expect("an array").extend(more.iter().cloned());
                }
                (_, Value::Null) => {}
                (_, value) => {
                    message.insert(key.clone(), value.clone());
                }
            }
        }
    }
    if *last != "data: [DONE]" {
        let last = data(last);
        assert!(last["error"].is_object(), "a stream ends with [DONE] or an error: {last}");
        return Err(last["error"].clone());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    // The role comes once, so that it was not appended to itself.
    message.retain(|_, value| *value != "");
    assert!(finish.is_string(), "a whole stream has a finish");
    let mut whole = json!({"finish": finish, "message": message, "usage": usage});
    without_ids(&mut whole);
    Ok(whole)
}

fn responses(frames: &[&str]) -> Result<Value, Value> {
    let mut items: Vec<Value> = Vec::new();
    // The open item, and its parts as far as they have come.
    let mut open: Option<(Value, Vec<(String, bool)>)> = None;
    let mut failed = None;
    for (number, frame) in frames.iter().enumerate() {
        let (kind, frame) = event(frame);
        assert_eq!(frame["sequence_number"], number, "numbers have no gaps: {frame}");
        let is_last = number + 1 == frames.len();
        if kind == "error" {
            assert_eq!(frames.len(), number + 2, "an error is followed by response.failed");
            failed = Some(frame["error"].clone());
            continue;
        }
        assert!(failed.is_none() || kind == "response.failed", "{frame}");
        let place = || {
            let (item, _) = open.as_ref().unwrap_or_else(|| panic!("no item is open: {frame}"));
            assert_eq!(frame["item_id"], item["id"], "{frame}");
            assert_eq!(frame["output_index"], items.len(), "{frame}");
        };
        match kind.as_str() {
            "response.created" => assert_eq!(number, 0),
            "response.in_progress" => assert!(number > 0),
            "response.output_item.added" => {
                assert!(open.is_none(), "items do not overlap: {frame}");
                assert_eq!(frame["output_index"], items.len());
                open = Some((frame["item"].clone(), Vec::new()));
            }
            "response.content_part.added" | "response.reasoning_summary_part.added" => {
                place();
                let (_, parts) = open.as_mut().expect("an item");
                parts.push((String::new(), true));
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                place();
                let (_, parts) = open.as_mut().expect("an item");
                parts.push((frame["delta"].as_str().expect("a text").to_owned(), true));
            }
            "response.function_call_arguments.done" => {
                place();
                let (_, parts) = open.as_ref().expect("an item");
                assert_eq!(frame["arguments"], parts.last().expect("arguments").0);
            }
            "response.output_text.delta"
            | "response.refusal.delta"
            | "response.reasoning_summary_text.delta" => {
                place();
                let (_, parts) = open.as_mut().expect("an item");
                let part = parts.last_mut().expect("a part is open");
                assert!(part.1, "the part is open: {frame}");
                part.0 += frame["delta"].as_str().expect("a text");
            }
            "response.output_text.done" | "response.reasoning_summary_text.done" => {
                place();
                let (_, parts) = open.as_mut().expect("an item");
                assert_eq!(frame["text"], parts.last().expect("a part").0);
            }
            "response.content_part.done" | "response.reasoning_summary_part.done" => {
                place();
                let (_, parts) = open.as_mut().expect("an item");
                parts.last_mut().expect("a part").1 = false;
            }
            "response.output_item.done" => {
                let (item, parts) = open.take().expect("an item");
                assert_eq!(frame["item"]["id"], item["id"]);
                assert_eq!(frame["item"]["type"], item["type"]);
                assert_eq!(frame["output_index"], items.len());
                let is_call = item["type"] == "function_call";
                assert!(is_call || parts.iter().all(|(_, is_open)| !is_open), "{frame}");
                items.push(frame["item"].clone());
            }
            "response.completed" | "response.incomplete" => {
                assert!(is_last && open.is_none(), "{frame}");
                let mut response = frame["response"].clone();
                assert_eq!(response["output"], Value::Array(items), "the output is the items");
                without_ids(&mut response);
                return Ok(response);
            }
            "response.failed" => {
                assert!(is_last, "{frame}");
                assert_eq!(frame["response"]["status"], "failed");
                return Err(failed.expect("an error comes before it"));
            }
            _ => {}
        }
    }
    panic!("the stream has no end: {frames:?}");
}

fn messages(frames: &[&str]) -> Result<Value, Value> {
    let mut message = Value::Null;
    let mut content: Vec<Value> = Vec::new();
    let (mut open, mut input) = (None, String::new());
    for (number, frame) in frames.iter().enumerate() {
        let (kind, frame) = event(frame);
        assert!(message.is_object() || matches!(&*kind, "message_start" | "ping" | "error"));
        match kind.as_str() {
            "ping" => {}
            "message_start" => {
                assert!(message.is_null(), "a message begins once");
                message = frame["message"].clone();
            }
            "content_block_start" => {
                assert!(open.is_none(), "blocks do not overlap: {frame}");
                assert_eq!(frame["index"], content.len());
                open = Some(frame["content_block"].clone());
                input.clear();
            }
            "content_block_delta" => {
                assert_eq!(frame["index"], content.len());
                let block = open.as_mut().expect("a block is open");
                let delta = &frame["delta"];
                let (key, expected) = match delta["type"].as_str().expect("a type") {
                    "text_delta" => ("text", "text"),
                    "thinking_delta" => ("thinking", "thinking"),
                    "signature_delta" => ("signature", "thinking"),
                    "input_json_delta" => ("partial_json", "_tool_use"),
                    other => panic!("{other}"),
                };
                let kind = block["type"].as_str().expect("a type");
                assert!(kind == expected || format!("_{kind}").ends_with(expected), "{frame}");
                if key == "partial_json" {
                    input += delta[key].as_str().expect("a text");
                } else {
                    let so_far = block[key].as_str().unwrap_or_default();
                    block[key] = format!("{so_far}{}", delta[key].as_str().expect("a text")).into();
                }
            }
            "content_block_stop" => {
                assert_eq!(frame["index"], content.len());
                let mut block = open.take().expect("a block is open");
                if !input.is_empty() {
                    let input = without_surrogates(&input);
                    block["input"] = serde_json::from_str(&input).expect("an input is JSON");
                }
                content.push(block);
            }
            "message_delta" => {
                assert!(open.is_none(), "every block has ended");
                for (key, value) in frame["delta"].as_object().expect("a delta") {
                    message[key] = value.clone();
                }
                message["usage"] = frame["usage"].clone();
            }
            "message_stop" => {
                assert_eq!(number + 1, frames.len(), "nothing follows the end");
                message["content"] = content.into();
                without_ids(&mut message);
                return Ok(message);
            }
            "error" => {
                assert_eq!(number + 1, frames.len(), "nothing follows an error");
                return Err(frame["error"].clone());
            }
            other => panic!("{other}"),
        }
    }
    panic!("the stream has no end: {frames:?}");
}

fn data(frame: &str) -> Value {
    let text = frame.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {frame}"));
    assert!(!text.contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']), "one line: {text}");
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn event(frame: &str) -> (String, Value) {
    let (name, rest) = frame.split_once('\n').unwrap_or_else(|| panic!("no name: {frame}"));
    let name = name.strip_prefix("event: ").expect("a name");
    let frame = data(rest);
    assert_eq!(frame["type"], name);
    (name.to_owned(), frame)
}

/// Removes what differs from answer to answer.
fn without_ids(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in ["id", "call_id", "tool_use_id", "item_id"] {
                fields.remove(key);
            }
            fields.values_mut().for_each(without_ids);
        }
        Value::Array(items) => items.iter_mut().for_each(without_ids),
        _ => {}
    }
}

/// Makes each surrogate a text of six letters: a reader of JSON that keeps texts in UTF-8 has no place for
/// half of a pair.
pub(crate) fn without_surrogates(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let escape = &rest[at..];
        let is_surrogate = escape[1..].starts_with("ud") || escape[1..].starts_with("uD");
        let is_high = escape.as_bytes().get(3).is_some_and(|byte| b"89abcdefABCDEF".contains(byte));
        out.push_str(&rest[..at]);
        out.push_str(if is_surrogate && is_high { r"\\" } else { r"\" });
        let second = escape[1..].chars().next().expect("an escape has two characters");
        out.push(second);
        rest = &escape[1 + second.len_utf8()..];
    }
    out.push_str(rest);
    out
}
