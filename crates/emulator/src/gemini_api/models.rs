//! The models: what `models.list` and `models.get` say of them, and which call each takes.

use serde_json::{Value, json};

use crate::gemini_api::call::{GeminiCall, ModelMethod};
use crate::gemini_api::errors;
use crate::gemini_api::keys::Tier;
use crate::gemini_api::state::GeminiState;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

/// Refuses a model that does not exist, does not take the method, or is not in the tier.
pub(super) fn check(
    model: &str,
    method: ModelMethod,
    tier: Tier,
    call: &GeminiCall,
    state: &GeminiState,
) -> Result<(), ApiError> {
    let takes = methods(model).contains(&method.name());
    if !state.models.iter().any(|known| known == model) || !takes {
        return Err(errors::model_not_found(model, call));
    }
    if tier == Tier::Free && state.paid_models.iter().any(|paid| paid == model) {
        return Err(errors::not_in_tier(model));
    }
    Ok(())
}

/// `models.get`.
pub(super) fn get(name: &str, call: &GeminiCall, state: &GeminiState) -> Result<Reply, ApiError> {
    let id = name.strip_prefix("models/").unwrap_or(name);
    if state.models.iter().any(|known| known == id) {
        Ok(Reply::ok(&described(id)))
    } else {
        Err(errors::model_not_found(id, call))
    }
}

/// `models.list`.
pub(super) fn list(request: &ApiRequest<'_>, state: &GeminiState) -> Result<Reply, ApiError> {
    let all: Vec<Value> = state.models.iter().map(|id| described(id)).collect();
    page(request, "models", &all, 50)
}

/// A page of a list. The token of a page is the place of its first item.
pub(super) fn page(
    request: &ApiRequest<'_>,
    member: &str,
    items: &[Value],
    usual: usize,
) -> Result<Reply, ApiError> {
    let parameter = |camel, snake| request.query(camel).or_else(|| request.query(snake));
    let size = match parameter("pageSize", "page_size") {
        Some(text) => text.parse().map_err(|_| ApiError::invalid_argument())?,
        None => 0,
    };
    let size: usize = if size == 0 { usual } else { size.min(1000) };
    let start = match parameter("pageToken", "page_token").filter(|token| !token.is_empty()) {
        Some(token) => token
            .strip_prefix("emulator-page-")
            .and_then(|place| place.parse().ok())
            .filter(|place| *place < items.len())
            .ok_or_else(|| ApiError::new(400, "Invalid page token."))?,
        None => 0,
    };
    let end = (start + size).min(items.len());
    let mut body = json!({});
    if start < end {
        body[member] = items[start..end].to_vec().into();
    }
    if end < items.len() {
        body["nextPageToken"] = format!("emulator-page-{end}").into();
    }
    Ok(Reply::ok(&body))
}

/// The ids of the models that exist at the start.
pub(super) fn ids() -> Vec<String> {
    [
        "gemini-2.5-flash",
        "gemini-2.5-flash-lite",
        "gemini-2.5-pro",
        "gemini-3-flash-preview",
        "gemini-3-pro-preview",
        "gemini-3.1-flash-lite",
        "gemini-3.1-pro-preview",
        "gemini-3.5-flash",
        "gemini-flash-latest",
        "gemini-pro-latest",
        "gemini-2.5-flash-native-audio-preview",
        "gemini-embedding-001",
        "imagen-4.0-generate-001",
        "veo-3.1-generate-preview",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn methods(id: &str) -> &'static [&'static str] {
    if id.contains("embedding") {
        &["embedContent", "batchEmbedContents", "countTokens", "asyncBatchEmbedContent"]
    } else if id.starts_with("imagen") {
        &["predict"]
    } else if id.starts_with("veo") {
        &["predictLongRunning"]
    } else if id.contains("native-audio") {
        &["countTokens", "bidiGenerateContent"]
    } else {
        &[
            "generateContent",
            "streamGenerateContent",
            "countTokens",
            "createCachedContent",
            "batchGenerateContent",
        ]
    }
}

fn described(id: &str) -> Value {
    let methods: Vec<&str> =
        methods(id).iter().copied().filter(|name| *name != "streamGenerateContent").collect();
    json!({
        "name": format!("models/{id}"),
        "version": "001",
        "displayName": id.replace('-', " "),
        "description": "A model of the emulator",
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": methods,
        "temperature": 1,
        "topP": 0.95,
        "topK": 64,
        "maxTemperature": 2,
        "thinking": true,
    })
}
