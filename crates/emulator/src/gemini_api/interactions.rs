//! The Interactions API, a dialect of its own: snake case, events with names, error codes that are
//! strings (docs/reference/upstreams.md 5.5).

use http::StatusCode;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gemini_api::call::InteractionCall;
use crate::model::{AnswerForm, ModelAnswer};
use crate::proto::Node;
use crate::reply::{Reply, StreamEvent};
use crate::request::ApiRequest;
use crate::status::ApiError;

/// An interaction that the service keeps.
#[derive(Debug)]
pub(crate) struct StoredInteraction {
    resource: Value,
    text: String,
    /// How many requests still see it in progress.
    polls: u32,
}

/// Answers a call.
pub(super) fn answer(
    call: &InteractionCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let mut state = backend.state();
    let stored = &mut state.gemini.interactions;
    match call {
        InteractionCall::Create => {
            drop(state);
            create(request, backend)
        }
        InteractionCall::Delete(id) => {
            stored.remove(id).map(|_| Reply::ok(&json!({}))).ok_or_else(|| missing(id))
        }
        InteractionCall::Cancel(id) => {
            let interaction = stored.get_mut(id).ok_or_else(|| missing(id))?;
            if interaction.resource["status"] == "in_progress" {
                interaction.resource["status"] = "cancelled".into();
                interaction.polls = 0;
            }
            Ok(Reply::ok(&interaction.resource))
        }
        InteractionCall::Get(id) => {
            let interaction = stored.get_mut(id).ok_or_else(|| missing(id))?;
            if interaction.resource["status"] == "in_progress" {
                interaction.polls = interaction.polls.saturating_sub(1);
                if interaction.polls == 0 {
                    interaction.resource["status"] = "completed".into();
                }
            }
            if request.query("stream").is_some_and(|stream| stream == "true") {
                let events = events(&interaction.resource, &interaction.text);
                return Ok(streamed(&events, request.query("last_event_id").as_deref()));
            }
            Ok(Reply::ok(&interaction.resource))
        }
    }
}

fn create(request: &ApiRequest<'_>, backend: &Backend) -> Result<Reply, ApiError> {
    let body: Value = serde_json::from_slice(request.body)
        .map_err(|_| ApiError::new(400, "Request body is not valid JSON."))?;
    let Some(members) = body.as_object() else {
        return Err(ApiError::new(400, "Request body is not a JSON object."));
    };
    if let Some(name) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(ApiError::new(400, format!("Unknown parameter: {name}.")));
    }
    let mut state = backend.state();
    let model = body["model"].as_str().or_else(|| body["agent"].as_str()).unwrap_or_default();
    let is_agent = body["agent"].is_string();
    if model.is_empty() || body["input"].is_null() {
        return Err(ApiError::new(400, "model (or agent) and input are required."));
    }
    let id = model.strip_prefix("models/").unwrap_or(model);
    if !is_agent && !state.gemini.models.iter().any(|known| known == id) {
        return Err(ApiError::new(404, format!("Model {model} not found.")));
    }
    if let Some(previous) = body["previous_interaction_id"].as_str()
        && !state.gemini.interactions.contains_key(previous)
    {
        return Err(missing(previous));
    }
    let asked = json!({"contents": [{"role": "user", "parts": [{"text": input(&body["input"])}]}]});
    let asked = asked.to_string();
    let node = Node::read(asked.as_bytes())?;
    let answer = ModelAnswer::to(AnswerForm::GeminiApi, id, &node, request.seq);
    let text = answer.text();
    let polls = if body["background"] == true { state.gemini.job_polls } else { 0 };
    let resource = json!({
        "id": format!("v1_emulator{:06}", request.seq),
        "object": "interaction",
        "model": model,
        "role": "model",
        "status": if polls > 0 { "in_progress" } else { "completed" },
        "created": request.stamp.create_time,
        "updated": request.stamp.create_time,
        "service_tier": "standard",
        "steps": [{"type": "model_output", "content": [{"type": "text", "text": text}]}],
        "usage": {"total_input_tokens": 4, "total_output_tokens": 4, "total_tokens": 8},
    });
    let reply = if body["stream"] == true {
        streamed(&events(&resource, &text), None)
    } else {
        Reply::ok(&resource)
    };
    // The service keeps it unless the client forbids that.
    if body["store"] != false {
        let id = resource["id"].as_str().unwrap_or_default().to_owned();
        state.gemini.interactions.insert(id, StoredInteraction { resource, text, polls });
    }
    Ok(reply)
}

/// The text of an input: a string, or a list of parts or of steps.
fn input(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(input).collect(),
        Value::Object(part) => match (part.get("text"), part.get("content")) {
            (Some(Value::String(text)), _) => text.clone(),
            (_, Some(content)) => input(content),
            _ => String::new(),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// The events of an interaction: their names and payloads.
fn events(resource: &Value, text: &str) -> Vec<(&'static str, Value)> {
    let started = json!({
        "id": resource["id"],
        "status": "in_progress",
        "object": "interaction",
        "model": resource["model"],
    });
    let mut completed = resource.clone();
    completed["status"] = "completed".into();
    let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    let delta = |text: &str| json!({"index": 0, "delta": {"type": "text", "text": text}});
    let mut events = vec![
        ("interaction.created", json!({"interaction": started})),
        (
            "interaction.status_update",
            json!({"interaction_id": resource["id"], "status": "in_progress"}),
        ),
        ("step.start", json!({"index": 0, "step": {"type": "model_output"}})),
        ("step.delta", delta(&text[..half])),
        ("step.delta", delta(&text[half..])),
        (
            "step.delta",
            json!({"index": 0, "delta": {"type": "thought_signature",
                                         "signature": AnswerForm::GeminiApi.signature()}}),
        ),
        ("step.stop", json!({"index": 0})),
        ("interaction.completed", json!({"interaction": completed})),
    ];
    for (at, (name, payload)) in events.iter_mut().enumerate() {
        payload["event_type"] = (*name).into();
        payload["event_id"] = format!("evt_{at}").into();
    }
    events
}

/// The events after `last_event_id`, and the end.
fn streamed(events: &[(&'static str, Value)], last: Option<&str>) -> Reply {
    let seen = last.and_then(|last| events.iter().position(|(_, event)| event["event_id"] == last));
    let first = seen.map_or(0, |seen| seen + 1);
    let mut written: Vec<StreamEvent> = events[first..]
        .iter()
        .map(|(name, event)| StreamEvent::Raw(format!("event: {name}\ndata: {event}\n\n")))
        .collect();
    written.push(StreamEvent::Raw("event: done\ndata: [DONE]\n\n".to_owned()));
    Reply::events(written)
}

fn missing(id: &str) -> ApiError {
    ApiError::new(404, format!("Failed to get completed interaction: {id}: Result not found."))
}

/// An error in the form of this API: `code` is a string, and there is no `status`.
pub(super) fn error_reply(error: &ApiError) -> Reply {
    let code = match error.code() {
        400 => "invalid_request",
        401 => "unauthenticated",
        402 => "payment_required",
        403 => "permission_denied",
        404 => "not_found",
        429 => "rate_limit_exceeded",
        503 => "overloaded",
        _ => "internal_error",
    };
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = Reply::ok(&json!({"error": {"code": code, "message": error.message()}}));
    reply.status = status;
    reply
}

const MEMBERS: [&str; 22] = [
    "agent",
    "agent_config",
    "background",
    "cached_content",
    "environment",
    "generation_config",
    "input",
    "labels",
    "model",
    "presence_penalty",
    "previous_interaction_id",
    "response_format",
    "response_mime_type",
    "response_modalities",
    "safety_settings",
    "service_tier",
    "store",
    "stream",
    "system_instruction",
    "tool_choice",
    "tools",
    "webhook_config",
];
