//! Requests and answers of each dialect, as the vendors' SDKs write and read them.

use code_assist_harness::Response;
use serde_json::{Value, json};

/// A dialect, with the call that asks a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Gemini,
    Chat,
    Responses,
    Messages,
}

impl Api {
    /// The dialects that are translated.
    pub(super) const ALL: [Self; 3] = [Self::Chat, Self::Responses, Self::Messages];
    /// The same with the one that is not.
    pub(super) const WITH_GEMINI: [Self; 4] =
        [Self::Gemini, Self::Chat, Self::Responses, Self::Messages];

    /// The path of a call for a whole answer; in the translated dialects also of one for a stream.
    pub(super) fn path(self, model: &str) -> String {
        match self {
            Self::Gemini => format!("/v1beta/models/{model}:generateContent"),
            Self::Chat => "/v1/chat/completions".to_owned(),
            Self::Responses => "/v1/responses".to_owned(),
            Self::Messages => "/v1/messages".to_owned(),
        }
    }

    /// A request with one short text, and more members.
    #[expect(clippy::needless_pass_by_value, reason = "reads better with json!")]
    pub(super) fn hello(self, model: &str, more: Value) -> String {
        let mut body = match self {
            Self::Gemini => json!({"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
            _ => self.request(model, &[self.user("Hello")]),
        };
        let members = body.as_object_mut().expect("an object");
        members.extend(more.as_object().expect("an object").clone());
        body.to_string()
    }

    /// A message of the user.
    pub(super) fn user(self, text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    /// A request with these messages or items.
    pub(super) fn request(self, model: &str, items: &[Value]) -> Value {
        match self {
            Self::Gemini => panic!("its requests are contents"),
            Self::Chat => json!({"model": model, "messages": items}),
            Self::Responses => json!({"model": model, "input": items, "store": false}),
            Self::Messages => json!({"model": model, "max_tokens": 1000, "messages": items}),
        }
    }

    /// The declaration of a function with one number.
    pub(super) fn tool(self, name: &str) -> Value {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        match self {
            Self::Gemini => panic!("its tools are declarations"),
            Self::Chat => {
                json!({"type": "function", "function": {"name": name, "parameters": schema}})
            }
            Self::Responses => json!({"type": "function", "name": name, "parameters": schema}),
            Self::Messages => json!({"name": name, "input_schema": schema}),
        }
    }

    /// The text of a whole answer.
    pub(super) fn text(self, answer: &Value) -> String {
        let text = match self {
            Self::Gemini => &answer["candidates"][0]["content"]["parts"][0]["text"],
            Self::Chat => &answer["choices"][0]["message"]["content"],
            Self::Responses => &of_type(&answer["output"], "message")["content"][0]["text"],
            Self::Messages => &of_type(&answer["content"], "text")["text"],
        };
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What the SDK adds to the history when an answer has come.
    pub(super) fn history(self, answer: &Value) -> Vec<Value> {
        match self {
            Self::Gemini => panic!("its history is contents"),
            Self::Chat => vec![answer["choices"][0]["message"].clone()],
            Self::Responses => answer["output"].as_array().expect("items").clone(),
            Self::Messages => vec![json!({"role": "assistant", "content": answer["content"]})],
        }
    }

    /// The ids of the calls in an answer.
    pub(super) fn call_ids(self, answer: &Value) -> Vec<String> {
        let (list, member) = match self {
            Self::Gemini => panic!("its calls need no id"),
            Self::Chat => (&answer["choices"][0]["message"]["tool_calls"], "id"),
            Self::Responses => (&answer["output"], "call_id"),
            Self::Messages => (&answer["content"], "id"),
        };
        let ids = list.as_array().into_iter().flatten().filter_map(|call| call[member].as_str());
        ids.map(str::to_owned).collect()
    }

    /// The results of calls: pairs of an id and a text.
    pub(super) fn results(self, results: &[(&str, String)]) -> Vec<Value> {
        let each = results.iter();
        match self {
            Self::Gemini => panic!("its results are contents"),
            Self::Chat => each
                .map(|(id, text)| json!({"role": "tool", "tool_call_id": id, "content": text}))
                .collect(),
            Self::Responses => each
                .map(|(id, text)| {
                    json!({"type": "function_call_output", "call_id": id, "output": text})
                })
                .collect(),
            Self::Messages => {
                let blocks: Vec<Value> = each
                    .map(|(id, text)| {
                        json!({"type": "tool_result", "tool_use_id": id, "content": text})
                    })
                    .collect();
                vec![json!({"role": "user", "content": blocks})]
            }
        }
    }

    /// The same history from a client that keeps only the fields that the vendor documents, and no
    /// reasoning.
    pub(super) fn without_unknown_fields(self, history: Vec<Value>) -> Vec<Value> {
        let kept = history.into_iter().filter(|item| item["type"] != "reasoning");
        kept.map(|mut item| {
            for list in ["tool_calls", "content"] {
                for call in item[list].as_array_mut().into_iter().flatten() {
                    call.as_object_mut().expect("an object").remove("extra_content");
                }
                if let Some(blocks) = item[list].as_array_mut() {
                    blocks.retain(|block| block["type"] != "thinking");
                }
            }
            item.as_object_mut().expect("an object").remove("extra_content");
            item.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
            item
        })
        .collect()
    }

    /// The whole answer that the SDK's helper puts together from a stream.
    #[track_caller]
    pub(super) fn put_together(self, stream: &str) -> Value {
        let frames = frames(stream);
        match self {
            Self::Gemini => panic!("its events are answers"),
            Self::Chat => put_chat_together(&frames),
            Self::Responses => put_response_together(&frames),
            Self::Messages => put_message_together(&frames),
        }
    }

    /// The whole answer in a response, streamed or not.
    #[track_caller]
    pub(super) fn answer(self, response: &Response) -> Value {
        assert_eq!(response.status(), 200, "{self:?}: {}", response.text());
        if response.header("content-type") == "text/event-stream" {
            self.put_together(&response.text())
        } else {
            response.json()
        }
    }
}

/// The first member of a list with this `type`.
fn of_type<'a>(list: &'a Value, kind: &str) -> &'a Value {
    let found = list.as_array().into_iter().flatten().find(|item| item["type"] == kind);
    found.unwrap_or(&Value::Null)
}

/// The name and the data of each event; the data is null for `[DONE]`. Comments are left out.
#[track_caller]
pub(super) fn frames(stream: &str) -> Vec<(String, Value)> {
    let Some(blocks) = stream.strip_suffix("\n\n") else { panic!("no event stream: {stream:?}") };
    let events = blocks.split("\n\n").filter(|block| !block.starts_with(':'));
    let parsed = events.map(|block| {
        let (name, data) = match block.strip_prefix("event: ") {
            Some(rest) => rest.split_once('\n').expect("data after the name"),
            None => ("", block),
        };
        let Some(data) = data.strip_prefix("data: ") else { panic!("no event: {block:?}") };
        let read = || serde_json::from_str(data).unwrap_or_else(|why| panic!("{why}: {data}"));
        (name.to_owned(), if data == "[DONE]" { Value::Null } else { read() })
    });
    parsed.collect()
}

/// Adds the strings of a delta to the strings of a message.
fn add_text(message: &mut Value, delta: &Value, name: &str) {
    if let Some(more) = delta[name].as_str() {
        let text = message[name].as_str().unwrap_or_default().to_owned() + more;
        message[name] = text.into();
    }
}

fn put_chat_together(frames: &[(String, Value)]) -> Value {
    let (last, frames) = frames.split_last().expect("frames");
    assert!(last.1.is_null(), "the last frame is [DONE]: {last:?}");
    let mut answer = frames[0].1.clone();
    let mut message = json!({"content": null});
    let mut calls: Vec<Value> = Vec::new();
    for (name, chunk) in frames {
        assert_eq!((&**name, &chunk["object"]), ("", &json!("chat.completion.chunk")), "{chunk}");
        assert_eq!(chunk["id"], answer["id"]);
        if chunk["usage"].is_object() {
            answer["usage"] = chunk["usage"].clone();
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(role) = delta["role"].as_str() {
            assert!(message["role"].is_null(), "the role is there once");
            message["role"] = role.into();
        }
        for name in ["content", "reasoning_content"] {
            add_text(&mut message, delta, name);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            assert_eq!(call["index"], calls.len(), "calls are whole: {call}");
            let mut call = call.clone();
            call.as_object_mut().expect("an object").remove("index");
            calls.push(call);
        }
        if choice["finish_reason"].is_string() {
            answer["choices"][0]["finish_reason"] = choice["finish_reason"].clone();
        }
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    answer["choices"][0]["message"] = message;
    answer
}

fn put_response_together(frames: &[(String, Value)]) -> Value {
    for (number, (name, event)) in frames.iter().enumerate() {
        assert_eq!(event["type"], **name);
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let done = frames.iter().filter(|(name, _)| name == "response.output_item.done");
    let items: Vec<Value> = done.map(|(_, event)| event["item"].clone()).collect();
    let last = &frames.last().expect("frames").1;
    assert_eq!(last["response"]["output"], json!(items), "the items and the whole answer differ");
    last["response"].clone()
}

fn put_message_together(frames: &[(String, Value)]) -> Value {
    let mut message = frames[0].1["message"].clone();
    let mut blocks: Vec<Value> = Vec::new();
    let mut input = String::new();
    for (name, event) in frames {
        assert_eq!(event["type"], **name);
        if name.starts_with("content_block") {
            let is_start = name == "content_block_start";
            let open = blocks.len() - usize::from(!is_start);
            assert_eq!(event["index"], open, "blocks do not overlap: {event}");
        }
        match &**name {
            "content_block_start" => {
                input.clear();
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = blocks.last_mut().expect("an open block");
                for name in ["text", "thinking", "signature"] {
                    add_text(block, &event["delta"], name);
                }
                input += event["delta"]["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !input.is_empty() => {
                let block = blocks.last_mut().expect("an open block");
                block["input"] = serde_json::from_str(&input).expect("the input is JSON");
                input.clear();
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    assert_eq!(frames.last().expect("frames").0, "message_stop");
    message["content"] = blocks.into();
    message
}
