//! Embeddings, images and videos: `embedContent`, `predict`, and long-running predictions.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::proto::Node;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::ApiError;
use crate::vertex::call::{Place, VertexCall};

/// The long-running predictions by name.
pub(crate) type Operations = HashMap<String, PredictOperation>;

/// A prediction that is done after some polls.
#[derive(Debug)]
pub(crate) struct PredictOperation {
    polls_left: u32,
}

/// `embedContent`, which only `gemini-*` models have (docs/reference/upstreams.md 5.1).
pub(super) fn embed(model: &str, body: &Node<'_>) -> Result<Reply, ApiError> {
    if !model.starts_with("gemini-embedding") {
        return Err(unsupported(model, "embedContent"));
    }
    let Some(content) = body.field("content") else {
        return Err(ApiError::invalid_argument());
    };
    let texts: String = content.list("parts").iter().filter_map(|part| part.text("text")).collect();
    if texts.is_empty() {
        return Err(ApiError::invalid_argument());
    }
    Ok(Reply::ok(&json!({
        "embedding": {"values": vector(&texts, body.integer("output_dimensionality"))},
        "usageMetadata": {"promptTokenCount": tokens(&texts), "totalTokenCount": tokens(&texts)},
        "truncated": false,
    })))
}

/// `predict`: embeddings and images.
pub(super) fn predict(model: &str, body: &Node<'_>) -> Result<Reply, ApiError> {
    let (instances, parameters) = instances(body)?;
    if model.contains("embedding") {
        check_members(&parameters, &["outputDimensionality", "autoTruncate"])?;
        let size = parameters["outputDimensionality"].as_i64();
        let mut predictions = Vec::new();
        for instance in &instances {
            check_members(instance, &["content", "task_type", "title"])?;
            let Some(text) = instance["content"].as_str() else {
                return Err(ApiError::invalid_argument());
            };
            predictions.push(json!({"embeddings": {
                "values": vector(text, size),
                "statistics": {"token_count": tokens(text), "truncated": false},
            }}));
        }
        return Ok(Reply::ok(&json!({"predictions": predictions})));
    }
    if !model.starts_with("imagen-") {
        return Err(unsupported(model, "predict"));
    }
    if instances.iter().any(|instance| !instance["prompt"].is_string()) {
        return Err(ApiError::invalid_argument());
    }
    let count = parameters["sampleCount"].as_u64().unwrap_or(1);
    if !(1..=4).contains(&count) {
        return Err(ApiError::new(400, "sampleCount must be from 1 to 4."));
    }
    let image = json!({"mimeType": "image/png", "bytesBase64Encoded": PIXEL});
    let images = vec![image; usize::try_from(count).unwrap_or(1)];
    Ok(Reply::ok(&json!({"predictions": images})))
}

/// `predictLongRunning`: a video.
pub(super) fn start(
    call: &VertexCall,
    model: &str,
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    state: &mut State,
) -> Result<Reply, ApiError> {
    let (instances, _) = instances(body)?;
    if !model.starts_with("veo-") {
        return Err(unsupported(model, "predictLongRunning"));
    }
    let Place::Project { project, location } = &call.place else {
        return Err(ApiError::invalid_argument());
    };
    if instances.iter().any(|one| !one["prompt"].is_string() && !one["image"].is_object()) {
        return Err(ApiError::invalid_argument());
    }
    let name = format!(
        "projects/{project}/locations/{location}/publishers/google/models/{model}/operations/\
         emulator-{:06}",
        request.seq
    );
    let operation = PredictOperation { polls_left: state.vertex.operation_polls };
    state.predictions.insert(name.clone(), operation);
    Ok(Reply::ok(&json!({"name": name})))
}

/// `fetchPredictOperation`: one poll of a video.
pub(super) fn fetch(body: &Node<'_>, state: &mut State) -> Result<Reply, ApiError> {
    let name = body.text("operation_name").unwrap_or_default();
    let Some(operation) = state.predictions.get_mut(name) else {
        return Err(ApiError::new(404, format!("Operation {name} is not found.")));
    };
    if operation.polls_left > 0 {
        operation.polls_left -= 1;
        return Ok(Reply::ok(&json!({"name": name})));
    }
    Ok(Reply::ok(&json!({
        "name": name,
        "done": true,
        "response": {
            "@type": "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse",
            "raiMediaFilteredCount": 0,
            "videos": [{"bytesBase64Encoded": PIXEL, "mimeType": "video/mp4"}],
        },
    })))
}

/// The instances, of which there is at least one, and the parameters.
fn instances(body: &Node<'_>) -> Result<(Vec<Value>, Value), ApiError> {
    let instances = body.field("instances").map(Node::value);
    let parameters = body.field("parameters").map_or(Value::Null, Node::value);
    match instances {
        Some(Value::Array(instances))
            if !instances.is_empty() && instances.iter().all(Value::is_object) =>
        {
            Ok((instances, parameters))
        }
        _ => Err(ApiError::new(400, "Empty instances.")),
    }
}

fn check_members(object: &Value, known: &[&str]) -> Result<(), ApiError> {
    let unknown = object
        .as_object()
        .and_then(|members| members.keys().find(|name| !known.contains(&name.as_str())));
    match unknown {
        Some(name) => Err(ApiError::new(400, format!("Unknown member of an instance: {name}"))),
        None => Ok(()),
    }
}

/// A vector of the wanted size that depends on the text only.
fn vector(text: &str, size: Option<i64>) -> Vec<f64> {
    let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(8).clamp(1, 3072);
    let sum: u32 = text.bytes().map(u32::from).sum();
    (0..size).map(|at| f64::from((sum + at as u32 * 7) % 100) / 100.0).collect()
}

fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

fn unsupported(model: &str, method: &str) -> ApiError {
    ApiError::new(400, format!("{model} is not supported in the {method} API."))
}

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
