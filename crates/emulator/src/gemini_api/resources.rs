//! Plain resources: cached contents, file search stores, webhooks.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::gemini_api::call::{Collection, GeminiCall, ResourceCall};
use crate::gemini_api::errors;
use crate::gemini_api::fields;
use crate::gemini_api::generate::checked;
use crate::gemini_api::models::page;
use crate::gemini_api::state::GeminiState;
use crate::model;
use crate::proto::Node;
use crate::reply::Reply;
use crate::request::ApiRequest;
use crate::status::ApiError;

/// The calls on a collection of plain resources.
pub(super) fn answer(
    collection: Collection,
    call: &ResourceCall,
    gemini_call: &GeminiCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    match call {
        ResourceCall::Create => create(collection, gemini_call, request, backend),
        ResourceCall::Update(name) => update(collection, name, request, backend),
        ResourceCall::List => {
            let state = backend.state();
            let prefix = format!("{}/", collection.name());
            let all = state.gemini.resources.iter();
            let mine = all.filter(|(name, _)| name.starts_with(&prefix));
            let items: Vec<Value> = mine.map(|(_, value)| value.clone()).collect();
            page(request, collection.name(), &items, 50)
        }
        ResourceCall::Get(name) => {
            let mut state = backend.state();
            expire(&mut state.gemini);
            let found = state.gemini.resources.get(name);
            found.map(Reply::ok).ok_or_else(|| missing(collection))
        }
        ResourceCall::Delete(name) => {
            let removed = backend.state().gemini.resources.remove(name);
            removed.map(|_| Reply::ok(&json!({}))).ok_or_else(|| missing(collection))
        }
        ResourceCall::Cancel(_) => Err(ApiError::not_found()),
    }
}

fn create(
    collection: Collection,
    call: &GeminiCall,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let name = format!("{}/emulator{:06}", collection.name(), request.seq);
    let body = match collection {
        Collection::CachedContents => checked(request, backend, &fields::CACHED_CONTENT)?,
        Collection::FileSearchStores => checked(request, backend, &fields::FILE_SEARCH_STORE)?,
        _ => Node::read(request.body)?,
    };
    let mut state = backend.state();
    let state = &mut state.gemini;
    let now = state.now();
    let stamp = format!("{now:.6}");
    let mut resource = match collection {
        Collection::CachedContents => cached_content(&body, call, state, now)?,
        // The secret is shown once.
        Collection::Webhooks => {
            let mut webhook = body.value();
            webhook["signingSecret"] = "whsec_emulator".into();
            webhook
        }
        _ => body.value(),
    };
    resource["name"] = name.as_str().into();
    resource["createTime"] = stamp.as_str().into();
    resource["updateTime"] = stamp.into();
    let reply = Reply::ok(&resource);
    if let Value::Object(members) = &mut resource {
        members.remove("signingSecret");
    }
    state.resources.insert(name, resource);
    Ok(reply)
}

fn cached_content(
    body: &Node<'_>,
    call: &GeminiCall,
    state: &GeminiState,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let model = body.text("model").unwrap_or_default();
    let id = model.strip_prefix("models/").unwrap_or_default();
    if !state.models.iter().any(|known| known == id) {
        return Err(errors::model_not_found(id, call));
    }
    if body.list("contents").is_empty() && body.field("system_instruction").is_none() {
        return Err(ApiError::new(400, "* CachedContent.contents: contents is not specified\n"));
    }
    let mut made = json!({
        "model": model,
        "usageMetadata": {"totalTokenCount": model::count_tokens(body)},
        "expireTime": expiry(body, now)?,
    });
    if let Some(display_name) = body.text("display_name") {
        made["displayName"] = display_name.into();
    }
    Ok(made)
}

fn update(
    collection: Collection,
    name: &str,
    request: &ApiRequest<'_>,
    backend: &Backend,
) -> Result<Reply, ApiError> {
    let body = match collection {
        Collection::CachedContents => checked(request, backend, &fields::CACHED_CONTENT)?,
        _ => Node::read(request.body)?,
    };
    let mut state = backend.state();
    let state = &mut state.gemini;
    let now = state.now();
    expire(state);
    let Some(resource) = state.resources.get_mut(name) else {
        return Err(missing(collection));
    };
    if collection == Collection::CachedContents {
        if body.field("contents").is_some() || body.field("model").is_some() {
            return Err(ApiError::new(400, "Only the expiration of CachedContent can be updated."));
        }
        resource["expireTime"] = expiry(&body, now)?.into();
    } else if let (Value::Object(members), Value::Object(new)) = (&mut *resource, body.value()) {
        members.extend(new);
    }
    resource["updateTime"] = format!("{now:.6}").into();
    Ok(Reply::ok(resource))
}

/// The time at which a cache expires: `expireTime`, or `ttl`, which is an hour unless it is given.
fn expiry(body: &Node<'_>, now: Timestamp) -> Result<String, ApiError> {
    if let Some(time) = body.text("expire_time") {
        return Ok(time.to_owned());
    }
    let ttl = body.text("ttl").unwrap_or("3600s");
    let seconds = ttl.strip_suffix('s').and_then(|seconds| seconds.parse::<f64>().ok());
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) else {
        return Err(ApiError::new(400, format!("Invalid value at 'cached_content.ttl', {ttl}")));
    };
    let ttl =
        SignedDuration::try_from_secs_f64(seconds).map_err(|_| ApiError::invalid_argument())?;
    Ok(format!("{:.6}", now.saturating_add(ttl).unwrap_or(Timestamp::MAX)))
}

/// Removes caches whose time is over.
fn expire(state: &mut GeminiState) {
    let now = state.now();
    state.resources.retain(|_, resource| {
        let time = resource["expireTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        time.is_none_or(|time| time > now)
    });
}

fn missing(collection: Collection) -> ApiError {
    if collection == Collection::CachedContents {
        errors::cached_content_not_found()
    } else {
        ApiError::not_found()
    }
}
