//! The endpoint that is compatible with OpenAI's API (docs/reference/upstreams.md 6).

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gemini_api::call::{GeminiCall, ModelMethod, OpenAiCall};
use crate::gemini_api::generate::vector;
use crate::gemini_api::keys::Tier;
use crate::gemini_api::models;
use crate::gemini_api::state::GeminiState;
use crate::model::{self, AnswerForm, ModelAnswer, rules};
use crate::proto::Node;
use crate::reply::{Reply, StreamEvent};
use crate::request::ApiRequest;
use crate::status::ApiError;

/// Answers a call.
pub(super) fn answer(
    openai: &OpenAiCall,
    call: &GeminiCall,
    tier: Tier,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let state = backend.state();
    let gemini = &state.gemini;
    match openai {
        OpenAiCall::Models => {
            let data: Vec<Value> = gemini.models.iter().map(|id| described(id)).collect();
            Ok(Reply::ok(&json!({"object": "list", "data": data})))
        }
        OpenAiCall::Model(id) => {
            let known = gemini.models.iter().find(|known| *known == id);
            known.map(|id| Reply::ok(&described(id))).ok_or_else(|| {
                ApiError::new(404, format!("models/{id} is not found for API version v1main."))
            })
        }
        OpenAiCall::Embeddings => {
            let body = read(request)?;
            let named = model_of(&body, ModelMethod::EmbedContent, call, tier, gemini)?;
            let inputs = match &body["input"] {
                Value::String(text) => vec![text.as_str()],
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
            };
            if inputs.is_empty() {
                return Err(ApiError::new(400, "Missing required field: input."));
            }
            let data: Vec<Value> = inputs
                .iter()
                .enumerate()
                .map(|(at, text)| {
                    json!({"object": "embedding", "index": at, "embedding": vector(text, 768)})
                })
                .collect();
            Ok(Reply::ok(&json!({"object": "list", "data": data, "model": named})))
        }
        OpenAiCall::Chat => {
            let body = read(request)?;
            let named =
                model_of(&body, ModelMethod::GenerateContent, call, tier, gemini)?.to_owned();
            chat(&body, &named, request)
        }
    }
}

fn chat(body: &Value, named: &str, request: &ApiRequest<'_>) -> Result<Reply, ApiError> {
    let asked = generate_request(body)?.to_string();
    let node = Node::read(asked.as_bytes())?;
    rules::counting(AnswerForm::GeminiApi, &node)?;
    let answer = ModelAnswer::to(AnswerForm::GeminiApi, named, &node, request.seq);
    let id = &request.stamp.response_id;
    let (message, reason) = match answer.function_call() {
        Some(call) => {
            let mut called = json!({
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["args"].to_string()},
            });
            if !named.starts_with("gemini-2") {
                called["extra_content"] = json!({"google": {
                    "thought_signature": AnswerForm::GeminiApi.signature(),
                }});
            }
            (json!({"role": "assistant", "tool_calls": [called]}), "tool_calls")
        }
        None => (json!({"role": "assistant", "content": answer.text()}), "stop"),
    };
    let prompt = model::count_tokens(&node);
    let said = answer.text().chars().count().div_ceil(4);
    let usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
    });
    if body["stream"] != true {
        return Ok(Reply::ok(&json!({
            "id": id,
            "object": "chat.completion",
            "created": CREATED,
            "model": named,
            "choices": [{"index": 0, "message": message, "finish_reason": reason}],
            "usage": usage,
        })));
    }
    let chunk = |delta: Value, reason: Option<&str>| {
        let mut choice = json!({"index": 0, "delta": delta});
        if let Some(reason) = reason {
            choice["finish_reason"] = reason.into();
        }
        json!({"id": id, "object": "chat.completion.chunk", "created": CREATED, "model": named,
               "choices": [choice]})
    };
    let mut chunks = Vec::new();
    match message["content"].as_str() {
        Some(text) => {
            let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            let delta = |text: &str| json!({"role": "assistant", "content": text});
            chunks.push(chunk(delta(&text[..half]), None));
            chunks.push(chunk(delta(&text[half..]), Some(reason)));
        }
        None => chunks.push(chunk(message, Some(reason))),
    }
    if body["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!({}), None);
        last["choices"] = json!([]);
        last["usage"] = usage;
        chunks.push(last);
    }
    let mut events: Vec<StreamEvent> =
        chunks.iter().map(|chunk| StreamEvent::Raw(format!("data: {chunk}\n\n"))).collect();
    events.push(StreamEvent::Raw("data: [DONE]\n\n".to_owned()));
    Ok(Reply::events(events))
}

/// The request of the native API that a chat asks for.
fn generate_request(body: &Value) -> Result<Value, ApiError> {
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
    let Some(messages) = messages else {
        return Err(ApiError::new(400, "Missing required field: messages."));
    };
    let mut contents = Vec::new();
    for message in messages {
        let role = match message["role"].as_str() {
            Some("assistant") => "model",
            Some("system" | "developer") => continue,
            Some("user" | "tool") => "user",
            _ => return Err(ApiError::new(400, "Please use a valid role.")),
        };
        contents.push(json!({"role": role, "parts": [{"text": text_of(&message["content"])}]}));
    }
    let mut request = json!({"contents": contents});
    let functions: Vec<Value> = body["tools"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tool| {
            json!({"name": tool["function"]["name"],
                   "parametersJsonSchema": tool["function"]["parameters"]})
        })
        .collect();
    if !functions.is_empty() {
        request["tools"] = json!([{"functionDeclarations": functions}]);
    }
    Ok(request)
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

fn model_of<'a>(
    body: &'a Value,
    method: ModelMethod,
    call: &GeminiCall,
    tier: Tier,
    state: &GeminiState,
) -> Result<&'a str, ApiError> {
    let Some(named) = body["model"].as_str() else {
        return Err(ApiError::new(400, "Missing required field: model."));
    };
    let id = named.strip_prefix("models/").unwrap_or(named);
    models::check(id, method, tier, call, state)?;
    Ok(named)
}

fn read(request: &ApiRequest<'_>) -> Result<Value, ApiError> {
    let body: Value = serde_json::from_slice(request.body)
        .map_err(|_| ApiError::new(400, "Invalid JSON payload received. Unexpected token."))?;
    if let Some(name) = body
        .as_object()
        .and_then(|members| members.keys().find(|name| !MEMBERS.contains(&name.as_str())))
    {
        return Err(ApiError::new(
            400,
            format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field."),
        ));
    }
    Ok(body)
}

fn described(id: &str) -> Value {
    json!({"id": format!("models/{id}"), "object": "model", "owned_by": "google",
           "display_name": id})
}

/// The time of every answer.
const CREATED: i64 = 1_774_108_800;
const MEMBERS: [&str; 32] = [
    "audio",
    "dimensions",
    "encoding_format",
    "extra_body",
    "frequency_penalty",
    "google",
    "input",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
];
