//! What the key of a request allows: models, metrics, Code Assist's own protocol. Without a `[[key]]` table
//! everything is allowed that the settings allow.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::Proxy;
use crate::context::RequestContext;
use crate::dialect::CopiedKind;
use crate::dialect::gemini::models::{Model, bare};
use crate::dialect::gemini::route::{CopiedPath, Route, VertexResource};
use crate::error::Error;
use crate::keys::KeyHolder;
use crate::platform::Platform;
use crate::provider::code_assist;
use crate::provider::code_assist::pass_through::is_session_method;
use crate::settings::{AllowedProtocol, ModelAlias};
use crate::upstream::Upstream;

/// The holder of a key that may use some models only.
pub(super) fn restricted<P: Platform>(context: &RequestContext<P>) -> Option<&Arc<KeyHolder>> {
    context.holder.as_ref().filter(|holder| !holder.settings.models.is_empty())
}

/// Fails for a model that the key of the request may not use. `model` is the name that upstream knows.
pub(super) fn check_model<P: Platform>(
    context: &RequestContext<P>,
    model: &str,
) -> Result<(), Error> {
    match restricted(context) {
        Some(holder) if !holder.settings.allows_model(bare(model)) => {
            Err(Error::ModelNotAllowed { model: Some(bare(model).to_owned()) })
        }
        _ => Ok(()),
    }
}

/// Fails for metrics and detailed health, which a key with a table reads only with `admin`.
pub(super) fn check_admin<P: Platform>(
    context: &RequestContext<P>,
    route: &Route,
) -> Result<(), Error> {
    let what = match route {
        Route::HealthDetailed => "/health/detailed",
        Route::Metrics { .. } => "/metrics",
        _ => return Ok(()),
    };
    match &context.holder {
        Some(holder) if !holder.may_read_metrics() => Err(Error::AdminOnly { what }),
        _ => Ok(()),
    }
}

/// Fails for a request that is copied to the Gemini API and may use a model that the key may not. `model` is
/// the one in its path, by the name that upstream knows. Where only the body names a model, it is not read.
pub(super) fn check_copy<P: Platform>(
    context: &RequestContext<P>,
    method: &Method,
    path: &CopiedPath,
    model: &str,
) -> Result<(), Error> {
    if restricted(context).is_none() {
        return Ok(());
    }
    if !model.is_empty() {
        return check_model(context, model);
    }
    let reads = method != Method::POST && method != Method::PUT;
    let calls_no_model = match path.kind {
        CopiedKind::LiveSocket | CopiedKind::OpenAi => false,
        CopiedKind::Batches | CopiedKind::Interactions => reads || is_cancel(path.verb.as_deref()),
        CopiedKind::FileSearchStores
        | CopiedKind::Files
        | CopiedKind::Operations
        | CopiedKind::Upload => true,
        CopiedKind::CachedContents | CopiedKind::Other | CopiedKind::Predict => reads,
    };
    if calls_no_model { Ok(()) } else { Err(Error::ModelNotAllowed { model: None }) }
}

/// As [`check_copy`], for a client in Vertex mode.
pub(super) fn check_resource<P: Platform>(
    context: &RequestContext<P>,
    method: &Method,
    resource: &VertexResource,
) -> Result<(), Error> {
    if restricted(context).is_none() {
        return Ok(());
    }
    if let Some(model) = resource.model() {
        return check_model(context, model);
    }
    let (_, last) = resource.rest.rsplit_once('/').unwrap_or_default();
    let verb = last.split_once(':').map_or(last, |(_, verb)| verb);
    // The list of a publisher's models names those that the key may not use.
    let is_list = resource.rest.starts_with("publishers/");
    let reads = method != Method::POST && method != Method::PUT;
    let is_corpus = resource.rest.starts_with("ragCorpora");
    let calls_no_model = reads && !is_list || is_corpus || is_cancel(Some(verb));
    if calls_no_model { Ok(()) } else { Err(Error::ModelNotAllowed { model: None }) }
}

fn is_cancel(verb: Option<&str>) -> bool {
    verb == Some("cancel")
}

/// Fails for a request in Code Assist's own protocol whose body names a model that the key may not use, or a
/// method of which it is not known which model it uses.
pub(super) fn check_passed(holder: &KeyHolder, suffix: &str, body: &Bytes) -> Result<(), Error> {
    if !is_session_method(suffix) {
        return Err(Error::ModelNotAllowed { model: None });
    }
    let Some(models) = code_assist::passed_models(suffix, body)? else { return Ok(()) };
    if models.is_empty() {
        return Err(Error::ModelNotAllowed { model: None });
    }
    match models.into_iter().find(|model| !holder.settings.allows_model(model)) {
        Some(model) => Err(Error::ModelNotAllowed { model: Some(model) }),
        None => Ok(()),
    }
}

/// Whether the key lets a client use a model that is listed under this name.
pub(super) fn allows_listed(
    holder: &KeyHolder,
    upstream: &Upstream,
    name: &str,
    aliases: &[ModelAlias],
) -> bool {
    holder.settings.allows_model(upstream.model(bare(name), aliases))
}

/// A page of Google's list of models with those of its entries that are allowed. `list` is the member that
/// holds the entries, and `None` stands for what is no such page.
pub(super) fn only_allowed(
    page: &[u8],
    list: &str,
    is_allowed: impl Fn(&str) -> bool,
) -> Option<Bytes> {
    let mut page: Value = serde_json::from_slice(page).ok()?;
    if let Some(entries) = page.as_object_mut()?.get_mut(list) {
        let has_name = |entry: &Value| {
            let name = entry.get("name").and_then(Value::as_str);
            let name = name.map(|name| name.rsplit('/').next().unwrap_or_default());
            name.is_some_and(&is_allowed)
        };
        entries.as_array_mut()?.retain(has_name);
    }
    Some(Bytes::from(page.to_string()))
}

impl Proxy {
    /// What the key of the request may call of Code Assist's own protocol.
    pub(super) fn protocol_of<P: Platform>(&self, context: &RequestContext<P>) -> AllowedProtocol {
        let own = context.holder.as_ref().and_then(|holder| holder.settings.code_assist_protocol);
        own.unwrap_or(self.settings.code_assist_protocol)
    }

    /// The models of a list that the key of the request may use.
    pub(super) fn allowed_models<P: Platform>(
        &self,
        context: &RequestContext<P>,
        upstream: &Upstream,
        models: Arc<[Model]>,
    ) -> Arc<[Model]> {
        let Some(holder) = restricted(context) else { return models };
        let reloadable = self.reloadable();
        let is_allowed =
            |model: &&Model| allows_listed(holder, upstream, &model.id, &reloadable.model_aliases);
        models.iter().filter(is_allowed).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_models_keeps_what_is_allowed_and_all_else() {
        let page =
            br#"{"models":[{"name":"models/a","x":1},{"name":"models/b"},{}],"nextPageToken":"t"}"#;
        let left = only_allowed(page, "models", |name| name == "a").unwrap();
        let left: Value = serde_json::from_slice(&left).unwrap();
        let expected =
            serde_json::json!({"models": [{"name": "models/a", "x": 1}], "nextPageToken": "t"});
        assert_eq!(left, expected);
        assert_eq!(only_allowed(b"{}", "models", |_| true).unwrap(), "{}");
        assert_eq!(only_allowed(b"[]", "models", |_| true), None);
        assert_eq!(only_allowed(b"{\"models\":1}", "models", |_| true), None);
    }
}
