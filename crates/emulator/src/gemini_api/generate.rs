//! `generateContent`, `streamGenerateContent`, `countTokens` and the embeddings.

use serde_json::json;

use crate::backend::Backend;
use crate::gemini_api::errors;
use crate::gemini_api::fields;
use crate::gemini_api::json::event_json;
use crate::gemini_api::state::GeminiState;
use crate::model::{self, AnswerForm, ModelAnswer, rules};
use crate::proto::{self, ListRule, Node};
use crate::reply::{Reply, StreamEvent};
use crate::request::ApiRequest;
use crate::status::{self, ApiError};

/// The answer of the model, unless a check refuses the request.
pub(super) fn model_answer(
    model: &str,
    body: &Node<'_>,
    request: &ApiRequest<'_>,
    state: &GeminiState,
) -> Result<ModelAnswer, ApiError> {
    if body.text("cached_content").is_none() || body.field("contents").is_some() {
        rules::generation(AnswerForm::GeminiApi, model, body)?;
    }
    if AnswerForm::GeminiApi.foreign_signature(body).is_some() {
        return Err(ApiError::new(400, "Corrupted thought signature."));
    }
    check_resources(model, body, state)?;
    Ok(ModelAnswer::to(AnswerForm::GeminiApi, model, body, request.seq))
}

/// `generateContent`.
pub(super) fn unary(
    model: &str,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body = generate_request(request, backend)?;
    let state = backend.state();
    let answer = model_answer(model, &body, request, &state.gemini)?;
    Ok(tiered(Reply::ok(&answer.whole(&request.stamp)), &body))
}

/// `streamGenerateContent`.
pub(super) fn stream(
    model: &str,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body = generate_request(request, backend)?;
    let state = backend.state();
    let answer = model_answer(model, &body, request, &state.gemini)?;
    let chunks = answer.pieces(state.pacing().events, &request.stamp);
    let reply = if request.wants_events() {
        let events = chunks.iter().map(|chunk| StreamEvent::Payload(event_json(chunk)));
        Reply::events(events.collect()).header("content-disposition", "attachment")
    } else {
        let pretty = chunks.iter().map(|chunk| StreamEvent::Payload(status::pretty(chunk)));
        Reply::array(pretty.collect())
    };
    Ok(tiered(reply, &body))
}

/// `countTokens` in either of its forms.
pub(super) fn count_tokens(
    model: &str,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body = checked(request, backend, &fields::COUNT_TOKENS)?;
    let counted = match (body.field("generate_content_request"), body.field("contents")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::new(
                400,
                "generate_content_request and contents are mutually exclusive.",
            ));
        }
        (Some(inner), None) => {
            let named = inner.text("model").unwrap_or_default();
            if named != format!("models/{model}") {
                let message = "* CountTokensRequest.generate_content_request.model: unexpected \
                               model name format\n";
                return Err(ApiError::new(400, message));
            }
            rules::generation(AnswerForm::GeminiApi, model, inner)?;
            inner
        }
        (None, _) => {
            rules::counting(AnswerForm::GeminiApi, &body)?;
            &body
        }
    };
    let total = model::count_tokens(counted);
    Ok(Reply::ok(&json!({
        "totalTokens": total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}],
    })))
}

/// `embedContent`.
pub(super) fn embed(request: &ApiRequest<'_>, backend: &Backend) -> Result<Reply, ApiError> {
    let body = checked(request, backend, &fields::EMBED)?;
    Ok(Reply::ok(&json!({"embedding": {"values": embedding(&body)?}})))
}

/// `batchEmbedContents`. Each of its requests names the model of the path.
pub(super) fn batch_embed(
    model: &str,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body = checked(request, backend, &fields::BATCH_EMBED)?;
    let requests = body.list("requests");
    if requests.is_empty() {
        let message = "* BatchEmbedContentsRequest.requests: requests is not specified\n";
        return Err(ApiError::new(400, message));
    }
    let mut embeddings = Vec::new();
    for (at, one) in requests.iter().enumerate() {
        if one.text("model") != Some(&format!("models/{model}")) {
            return Err(ApiError::new(
                400,
                format!(
                    "* BatchEmbedContentsRequest.requests[{at}].model: model must match the \
                     model of the batch request\n"
                ),
            ));
        }
        embeddings.push(json!({"values": embedding(one)?}));
    }
    Ok(Reply::ok(&json!({"embeddings": embeddings})))
}

/// `predict`, with which Imagen makes images.
pub(super) fn predict(request: &ApiRequest<'_>, backend: &Backend) -> Result<Reply, ApiError> {
    let body = checked(request, backend, &fields::PREDICT)?;
    if body.list("instances").is_empty() {
        return Err(ApiError::invalid_argument());
    }
    let image = json!({"mimeType": "image/png", "bytesBase64Encoded": PIXEL});
    Ok(Reply::ok(&json!({"predictions": [image]})))
}

/// Reads a body, and checks it against its message.
pub(super) fn checked<'a>(
    request: &ApiRequest<'a>,
    backend: &Backend,
    message: &'static proto::fields::MessageSpec,
) -> Result<Node<'a>, ApiError> {
    let body = Node::read(request.body)?;
    if backend.state().strict {
        proto::check(&body, message, ListRule::OneObject)?;
    }
    Ok(body)
}

fn generate_request<'a>(request: &ApiRequest<'a>, backend: &Backend) -> Result<Node<'a>, ApiError> {
    checked(request, backend, &fields::GENERATE)
}

/// Refuses a cache or a file that does not exist, or a cache of another model.
fn check_resources(model: &str, body: &Node<'_>, state: &GeminiState) -> Result<(), ApiError> {
    if let Some(name) = body.text("cached_content") {
        let cache = state.resources.get(name).filter(|_| name.starts_with("cachedContents/"));
        let Some(cache) = cache else {
            return Err(errors::cached_content_not_found());
        };
        let cached = cache["model"].as_str().unwrap_or_default();
        if cached != format!("models/{model}") {
            return Err(ApiError::new(
                400,
                format!(
                    "Model used by GenerateContent request (models/{model}) and CachedContent \
                     ({cached}) has to be the same."
                ),
            ));
        }
    }
    let parts = body.list("contents").iter().flat_map(|content| content.list("parts"));
    for uri in parts.filter_map(|part| part.field("file_data")?.text("file_uri")) {
        let Some(path) = uri.strip_prefix("https://generativelanguage.googleapis.com/") else {
            continue;
        };
        let name = path.split_once('/').map_or("", |(_, name)| name);
        if state.file(name).is_none() {
            return Err(errors::file_not_found(name));
        }
    }
    Ok(())
}

/// Names the tier that served the request.
fn tiered(reply: Reply, body: &Node<'_>) -> Reply {
    let tier = body.text("service_tier").filter(|tier| *tier != "unspecified");
    reply.header("x-gemini-service-tier", tier.unwrap_or("standard"))
}

/// A vector that depends on the text and on nothing else.
fn embedding(request: &Node<'_>) -> Result<Vec<f64>, ApiError> {
    let Some(content) = request.field("content") else {
        return Err(ApiError::new(
            400,
            "* EmbedContentRequest.content: content is not specified\n",
        ));
    };
    let text: String = content.list("parts").iter().filter_map(|part| part.text("text")).collect();
    if text.is_empty() {
        return Err(ApiError::new(400, "* EmbedContentRequest.content: contains no content\n"));
    }
    let size = request.integer("output_dimensionality").and_then(|size| usize::try_from(size).ok());
    Ok(vector(&text, size.unwrap_or(DIMENSIONS)))
}

/// `size` numbers between -1 and 1 that are made from a text.
pub(super) fn vector(text: &str, size: usize) -> Vec<f64> {
    let bytes = text.as_bytes();
    let place = |at: usize| bytes.get(at % bytes.len().max(1)).copied().unwrap_or_default();
    (0..size.clamp(1, DIMENSIONS)).map(|at| f64::from(place(at)) / 128.0 - 1.0).collect()
}

const DIMENSIONS: usize = 3072;
/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
