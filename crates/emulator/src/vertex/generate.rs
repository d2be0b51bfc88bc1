//! `generateContent`, `streamGenerateContent` and `countTokens`.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::model::{self, AnswerForm, ModelAnswer};
use crate::proto::Node;
use crate::reply::{Reply, StreamEvent};
use crate::request::ApiRequest;
use crate::status::{self, ApiError};
use crate::vertex::call::{Place, VertexCall};
use crate::vertex::{rules, wire};

/// `generateContent`.
pub(super) fn unary(
    call: &VertexCall,
    model: &str,
    body: &mut Node<'_>,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let answered = answered(call, model, body, request, backend)?;
    Ok(Reply::ok(&answered.whole(request)))
}

/// `streamGenerateContent`.
pub(super) fn stream(
    call: &VertexCall,
    model: &str,
    body: &mut Node<'_>,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let answered = answered(call, model, body, request, backend)?;
    let events = answered.pieces(request, backend.state().stream_events);
    if request.wants_events() {
        let events = events.iter().map(|event| StreamEvent::Payload(wire::line(event)));
        Ok(Reply::events(events.collect()).header("content-disposition", "attachment"))
    } else {
        let pretty = events.iter().map(|event| StreamEvent::Payload(status::pretty(event)));
        Ok(Reply::array(pretty.collect()))
    }
}

/// `countTokens`.
pub(super) fn count_tokens(model: &str, body: &mut Node<'_>) -> Result<Reply, ApiError> {
    rules::counting(model, body)?;
    let tokens = model::count_tokens(body);
    let parts = body.list("contents").iter().flat_map(|content| content.list("parts"));
    let characters = parts
        .filter_map(|part| part.text("text"))
        .flat_map(str::chars)
        .filter(|letter| !letter.is_whitespace())
        .count();
    Ok(Reply::ok(&json!({
        "totalTokens": tokens,
        "totalBillableCharacters": characters,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens}],
    })))
}

/// What answers a generate call.
pub(super) enum Answered {
    /// Model Armor, which blocked the prompt.
    Armor {
        model: String,
        tier: &'static str,
    },
    Model {
        answer: ModelAnswer,
        tier: &'static str,
        without_ids: bool,
    },
}

impl Answered {
    fn whole(&self, request: &ApiRequest<'_>) -> Value {
        match self {
            Self::Armor { .. } => self.blocked(request),
            Self::Model { answer, .. } => self.marked(answer.whole(&request.stamp)),
        }
    }

    /// The events of a stream. The last one has the usage of the whole answer.
    fn pieces(&self, request: &ApiRequest<'_>, pieces: usize) -> Vec<Value> {
        match self {
            Self::Armor { .. } => vec![self.blocked(request)],
            Self::Model { answer, .. } => answer
                .pieces(pieces, &request.stamp)
                .into_iter()
                .map(|piece| self.marked(piece))
                .collect(),
        }
    }

    fn marked(&self, mut response: Value) -> Value {
        let (Self::Armor { tier, .. } | Self::Model { tier, .. }) = self;
        response["usageMetadata"]["trafficType"] = (*tier).into();
        if matches!(self, Self::Model { without_ids: true, .. }) {
            let parts = response.pointer_mut("/candidates/0/content/parts");
            for part in parts.and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(call) = part.get_mut("functionCall").and_then(Value::as_object_mut) {
                    call.remove("id");
                }
            }
        }
        response
    }

    fn blocked(&self, request: &ApiRequest<'_>) -> Value {
        let model = match self {
            Self::Armor { model, .. } => model.as_str(),
            Self::Model { .. } => "",
        };
        self.marked(json!({
            "promptFeedback": {
                "blockReason": "MODEL_ARMOR",
                "blockReasonMessage":
                    "The prompt violated Prompt Injection and Jailbreak filters.",
            },
            "usageMetadata": {},
            "modelVersion": model,
            "createTime": request.stamp.create_time,
            "responseId": request.stamp.response_id,
        }))
    }
}

/// The answer to a body that the proto parser accepted, unless a rule refuses it.
fn answered(
    call: &VertexCall,
    model: &str,
    body: &mut Node<'_>,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Answered, ApiError> {
    check_cache(call, model, body, backend)?;
    let armored = body.field("model_armor_config").is_some();
    rules::generation(model, body)?;
    let tier = tier(request);
    if armored && backend.state().vertex.model_armor_blocks {
        return Ok(Answered::Armor { model: model.to_owned(), tier });
    }
    Ok(Answered::Model {
        answer: ModelAnswer::to(AnswerForm::Vertex, model, body, request.seq),
        tier,
        without_ids: call.version == super::call::ApiVersion::V1,
    })
}

/// Refuses cached content that is not there, is another location's or was made for another model.
fn check_cache(
    call: &VertexCall,
    model: &str,
    body: &Node<'_>,
    backend: &Backend,
) -> Result<(), ApiError> {
    let Some(name) = body.text("cached_content") else {
        return Ok(());
    };
    let Place::Project { project, location } = &call.place else {
        return Err(ApiError::invalid_argument());
    };
    let place = format!("projects/{project}/locations/{location}/");
    if !name.starts_with(&format!("{place}cachedContents/")) {
        return Err(ApiError::new(400, format!("Invalid cached content name: {name}")));
    }
    let state = backend.state();
    let Some(cache) = state.caches.get(name) else {
        return Err(ApiError::new(404, format!("Not found: cached content metadata for {name}.")));
    };
    if cache["model"] == format!("{place}publishers/google/models/{model}") {
        Ok(())
    } else {
        Err(ApiError::new(
            400,
            "Model used by GenerateContent request and CachedContent has to be the same.",
        ))
    }
}

/// How the request is served. Only the header decides it; the body's `serviceTier` is ignored.
pub(super) fn tier(request: &ApiRequest<'_>) -> &'static str {
    let asked = request.headers.get("x-vertex-ai-llm-shared-request-type");
    match asked.map(http::HeaderValue::as_bytes) {
        Some(b"flex") => "ON_DEMAND_FLEX",
        Some(b"priority") => "ON_DEMAND_PRIORITY",
        _ => "ON_DEMAND",
    }
}
