//! `cachedContents`: create, list, get, update, delete.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::model::count_tokens;
use crate::oauth::now_ms;
use crate::proto::{self, ListRule, Node};
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::state::State;
use crate::status::ApiError;
use crate::vertex::access::check_model;
use crate::vertex::call::{CacheCall, Place, VertexCall};
use crate::vertex::messages::CACHED_CONTENT;

/// Cached contents by name.
pub(crate) type Caches = BTreeMap<String, Value>;

/// A call on the collection.
pub(super) fn all(
    action: CacheCall,
    call: &VertexCall,
    request: &ApiRequest<'_>,
    state: &mut State,
) -> Result<Reply, ApiError> {
    let place = place(call);
    if action == CacheCall::Create {
        return create(&place, call, request, state);
    }
    let inside = format!("{place}/cachedContents/");
    let list: Vec<&Value> = state
        .caches
        .iter()
        .filter(|(name, _)| name.starts_with(&inside))
        .map(|(_, cache)| cache)
        .collect();
    if list.is_empty() {
        return Ok(Reply::ok(&json!({})));
    }
    Ok(Reply::ok(&json!({"cachedContents": list})))
}

/// A call on one of them.
pub(super) fn one(
    action: CacheCall,
    id: &str,
    call: &VertexCall,
    request: &ApiRequest<'_>,
    state: &mut State,
) -> Result<Reply, ApiError> {
    let name = format!("{}/cachedContents/{id}", place(call));
    if !state.caches.contains_key(&name) {
        return Err(ApiError::new(404, format!("Not found: cached content metadata for {name}.")));
    }
    match action {
        CacheCall::Delete => {
            state.caches.remove(&name);
            Ok(Reply::ok(&json!({})))
        }
        CacheCall::Update => {
            let body = Node::read(request.body)?;
            proto::check(&body, &CACHED_CONTENT, ListRule::OneObject)?;
            let until = expiry(&body)?;
            let Some(cache) = state.caches.get_mut(&name) else {
                return Err(ApiError::not_found());
            };
            cache["expireTime"] = until.into();
            cache["updateTime"] = now().to_string().into();
            Ok(Reply::ok(cache))
        }
        CacheCall::Create | CacheCall::Get | CacheCall::List => Ok(Reply::ok(&state.caches[&name])),
    }
}

fn create(
    place: &str,
    call: &VertexCall,
    request: &ApiRequest<'_>,
    state: &mut State,
) -> Result<Reply, ApiError> {
    let body = Node::read(request.body)?;
    proto::check(&body, &CACHED_CONTENT, ListRule::OneObject)?;
    // The model has to be a full resource name of the same place.
    let model = body.text("model").unwrap_or_default();
    let Some(id) = model.strip_prefix(&format!("{place}/publishers/google/models/")) else {
        return Err(ApiError::new(400, format!("Invalid model resource name: {model}")));
    };
    check_model(id, call, state)?;
    for content in body.list("contents") {
        if !matches!(content.text("role"), Some("user" | "model")) {
            return Err(ApiError::new(400, "Please use a valid role: user, model."));
        }
    }
    let name = format!("{place}/cachedContents/{}", request.seq);
    let now = now().to_string();
    let cache = json!({
        "name": name,
        "model": model,
        "displayName": body.text("display_name").unwrap_or_default(),
        "createTime": now,
        "updateTime": now,
        "expireTime": expiry(&body)?,
        "usageMetadata": {"totalTokenCount": count_tokens(&body)},
    });
    state.caches.insert(name, cache.clone());
    Ok(Reply::ok(&cache))
}

/// When a cache ends: after an hour unless the body says otherwise.
fn expiry(body: &Node<'_>) -> Result<String, ApiError> {
    if let Some(time) = body.text("expire_time") {
        let time: Timestamp = time.parse().map_err(|_| ApiError::invalid_argument())?;
        return Ok(time.to_string());
    }
    let seconds = match body.text("ttl") {
        None => 3600,
        Some(ttl) => ttl
            .strip_suffix('s')
            .and_then(|seconds| seconds.parse::<u32>().ok())
            .ok_or_else(ApiError::invalid_argument)?,
    };
    Ok((now() + SignedDuration::from_secs(seconds.into())).to_string())
}

fn place(call: &VertexCall) -> String {
    match &call.place {
        Place::Express => String::new(),
        Place::Project { project, location } => format!("projects/{project}/locations/{location}"),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(now_ms()).unwrap_or(Timestamp::UNIX_EPOCH)
}
