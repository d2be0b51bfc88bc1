//! The endpoint that is compatible with OpenAI. Its streams are OpenAI's, its errors Google's.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::reply::{Reply, StreamEvent};
use crate::request::ApiRequest;
use crate::status::ApiError;
use crate::vertex::access::check_model;
use crate::vertex::call::VertexCall;
use crate::vertex::generate;

/// `POST …/endpoints/openapi/chat/completions`.
pub(super) fn answer(
    call: &VertexCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body: Value =
        serde_json::from_slice(request.body).map_err(|_| ApiError::invalid_argument())?;
    let name = body["model"].as_str().unwrap_or_default();
    let Some(model) = name.strip_prefix("google/") else {
        return Err(ApiError::new(
            400,
            format!(
                "Malformed publisher model (`{name}`) for the `openapi` endpoint. Please use the \
                 form `publisher/model`."
            ),
        ));
    };
    check_model(model, call, &backend.state())?;
    let said = body["messages"]
        .as_array()
        .and_then(|messages| messages.last())
        .and_then(|last| last["content"].as_str())
        .ok_or_else(ApiError::invalid_argument)?;
    let text = format!("You said: {said}");
    let usage = json!({
        "prompt_tokens": said.chars().count().div_ceil(4),
        "completion_tokens": text.chars().count().div_ceil(4),
        "total_tokens": said.chars().count().div_ceil(4) + text.chars().count().div_ceil(4),
        "extra_properties": {"google": {"traffic_type": generate::tier(request)}},
    });
    let answer = |object: &str, choice: Value| {
        json!({
            "id": request.stamp.response_id,
            "object": object,
            "created": 1_764_000_000,
            "model": name,
            "choices": [choice],
        })
    };
    if body["stream"] != true {
        let message = json!({"role": "assistant", "content": text});
        let choice = json!({"index": 0, "finish_reason": "stop", "message": message});
        let mut whole = answer("chat.completion", choice);
        whole["usage"] = usage;
        return Ok(Reply::ok(&whole));
    }
    let delta = json!({"role": "assistant", "content": text});
    let first = answer("chat.completion.chunk", json!({"index": 0, "delta": delta}));
    let mut last =
        answer("chat.completion.chunk", json!({"index": 0, "delta": {}, "finish_reason": "stop"}));
    last["usage"] = usage;
    let event = |data: &str| StreamEvent::Raw(format!("data: {data}\n\n"));
    Ok(Reply::events(vec![event(&first.to_string()), event(&last.to_string()), event("[DONE]")]))
}
