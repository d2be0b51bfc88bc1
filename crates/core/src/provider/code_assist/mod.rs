//! The provider Code Assist (`docs/reference/protocol.md` 2 to 7).

pub mod adapt;
pub(crate) mod answer;
pub mod envelope;
pub mod models;
pub mod pass_through;
pub mod project;
pub(crate) mod stream;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderName, Method};
use serde_json::json;

use super::request::{CountedFor, LONGEST_MODEL, UpstreamRequest, UrlError, path};
use crate::dialect::gemini::models::bare;
use crate::dialect::{ModelCall, WholeCall};
use crate::json::{Cursor, JsonError, ValueKind};
use crate::payload::Payload;
use crate::request_texts::RequestTexts;
use adapt::AdaptedRequest;
use envelope::Envelope;
use project::Onboarding;

/// Code Assist in one version of its protocol.
#[derive(Debug)]
pub(crate) struct CodeAssist {
    version: String,
    /// The paths of the two methods that nearly all requests call, built once.
    generate: Result<PathAndQuery, UrlError>,
    stream: Result<PathAndQuery, UrlError>,
}

impl CodeAssist {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            generate: path(format!("/{version}:generateContent")),
            stream: path(format!("/{version}:streamGenerateContent?alt=sse")),
        }
    }

    pub(crate) fn adapt(
        &self,
        call: ModelCall,
        body: &Bytes,
        model: &str,
    ) -> Result<AdaptedRequest, JsonError> {
        match call {
            ModelCall::Whole(WholeCall::CountTokens) => adapt::count(body, model),
            ModelCall::Stream | ModelCall::Whole(_) => adapt::generate(body),
        }
    }

    /// countTokens has an envelope of its own, and no project.
    pub(crate) fn count_tokens(&self, body: Payload) -> UpstreamRequest {
        let request = self.post(COUNT_TOKENS, envelope::wrap_count(body)).in_envelope();
        request.counted_for(CountedFor::Model(COUNT_TOKENS))
    }

    pub(crate) fn generate(
        &self,
        body: Payload,
        envelope: &Envelope<'_>,
        texts: &mut RequestTexts,
    ) -> UpstreamRequest {
        let request = UpstreamRequest::post(self.generate.clone(), envelope.wrap(body, texts));
        let request = request.in_envelope().counted_for(CountedFor::Model(GENERATE));
        request.in_project(Arc::clone(envelope.project))
    }

    pub(crate) fn stream(
        &self,
        body: Payload,
        envelope: &Envelope<'_>,
        texts: &mut RequestTexts,
    ) -> UpstreamRequest {
        let request = UpstreamRequest::post(self.stream.clone(), envelope.wrap(body, texts));
        let request = request.in_envelope().counted_for(CountedFor::Model(STREAM));
        request.in_project(Arc::clone(envelope.project)).streamed()
    }

    /// A request without its body. `suffix` begins with `:` or `/`.
    pub(crate) fn pass_through(
        &self,
        method: Method,
        suffix: &str,
        alt: Option<&str>,
    ) -> UpstreamRequest {
        let query = alt.map(|alt| format!("?alt={alt}")).unwrap_or_default();
        let path = path(format!("/{}{suffix}{query}", self.version));
        let counted_for = model_method(suffix).map_or(CountedFor::Nothing, CountedFor::Model);
        let request = UpstreamRequest::new(method, path, Payload::default()).passed_through();
        let request = request.counted_for(counted_for);
        if alt == Some("sse") { request.streamed() } else { request }
    }

    pub(crate) fn load_code_assist(&self) -> UpstreamRequest {
        self.post("loadCodeAssist", project::load_body())
    }

    pub(crate) fn onboard_user(&self, onboarding: &Onboarding) -> UpstreamRequest {
        self.post("onboardUser", onboarding.body())
    }

    pub(crate) fn poll_operation(&self, name: &str) -> UpstreamRequest {
        let path = path(format!("/{}/{name}", self.version));
        UpstreamRequest::new(Method::GET, path, Payload::default())
    }

    pub(crate) fn user_quota(&self, project: &Arc<str>) -> UpstreamRequest {
        let body = Bytes::from(json!({ "project": **project }).to_string());
        self.post("retrieveUserQuota", Payload::from(body)).in_project(Arc::clone(project))
    }

    fn post(&self, rpc: &str, body: Payload) -> UpstreamRequest {
        UpstreamRequest::post(path(format!("/{}:{rpc}", self.version)), body)
    }
}

/// The method that a client calls in Code Assist's own protocol, if it works on a model. `suffix` is
/// what follows the version in the path.
fn model_method(suffix: &str) -> Option<&'static str> {
    let called = suffix.strip_prefix(':')?;
    [COUNT_TOKENS, GENERATE, STREAM].into_iter().find(|method| *method == called)
}

/// True if the method has a model generate something.
pub(crate) fn generates(suffix: &str) -> bool {
    model_method(suffix).is_some_and(|method| method != COUNT_TOKENS)
}

/// The bare id of the model in the body of such a method: `{"model":…,"request":{…}}`, or for
/// countTokens `{"request":{"model":…}}`. `None` for other methods and for a body that is no JSON.
pub(crate) fn passed_model(suffix: &str, body: &[u8]) -> Option<String> {
    model_method(suffix)?;
    let model = model_in(body)?;
    let model = bare(&model);
    (model.len() <= LONGEST_MODEL).then(|| model.to_owned())
}

/// The bare ids of all models that the body of such a method names, the request in it included. A name that
/// is there twice counts twice: it is not known which one upstream reads. `None` for other methods.
pub(crate) fn passed_models(suffix: &str, body: &[u8]) -> Result<Option<Vec<String>>, JsonError> {
    if model_method(suffix).is_none() {
        return Ok(None);
    }
    let mut models = Vec::new();
    let mut cursor = Cursor::new(body)?;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        match (&*key.value, cursor.kind()?) {
            (b"model", _) => push_model(&mut models, &mut cursor)?,
            (b"request", ValueKind::Object) => {
                let mut members = cursor.object()?;
                while let Some(key) = cursor.key(&mut members)? {
                    match &*key.value {
                        b"model" => push_model(&mut models, &mut cursor)?,
                        _ => {
                            cursor.skip()?;
                        }
                    }
                }
            }
            _ => {
                cursor.skip()?;
            }
        }
    }
    cursor.end()?;
    Ok(Some(models))
}

/// A value that is no string is a model with no name.
fn push_model(models: &mut Vec<String>, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
    let name = cursor.string_or_skip()?.map(|name| bare(&name.into_str()).to_owned());
    models.push(name.unwrap_or_default());
    Ok(())
}

fn model_in(body: &[u8]) -> Option<Cow<'_, str>> {
    let mut cursor = Cursor::new(body).ok()?;
    let mut in_request = None;
    let mut inside = cursor.object().ok()?;
    while let Some(key) = cursor.key(&mut inside).ok()? {
        match (&*key.value, cursor.kind().ok()?) {
            (b"model", ValueKind::String) => {
                return Some(cursor.string_or_skip().ok()??.into_str());
            }
            (b"request", ValueKind::Object) => {
                let mut members = cursor.object().ok()?;
                while let Some(key) = cursor.key(&mut members).ok()? {
                    let value = cursor.string_or_skip().ok()?;
                    if *key.value == *b"model" {
                        in_request = value;
                    }
                }
            }
            _ => {
                cursor.skip().ok()?;
            }
        }
    }
    Some(in_request?.into_str())
}

const COUNT_TOKENS: &str = "countTokens";
const GENERATE: &str = "generateContent";
const STREAM: &str = "streamGenerateContent";

/// Code Assist's id for a request.
pub(crate) const TRACE_ID: HeaderName = HeaderName::from_static("x-cloudaicompanion-trace-id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_of_a_passed_on_request_is_found_where_code_assist_reads_it() {
        let long = format!(r#"{{"model":"{}"}}"#, "x".repeat(LONGEST_MODEL + 1));
        for (suffix, body, model) in [
            (":generateContent", r#"{"model":"pro","project":"p","request":{}}"#, Some("pro")),
            (
                ":streamGenerateContent",
                r#"{"request":{"model":"flash"},"model":"pro"}"#,
                Some("pro"),
            ),
            (":countTokens", r#"{"request":{"contents":[],"model":"models/pro"}}"#, Some("pro")),
            (":generateContent", r#"{"request":{"contents":[{"model":"flash"}]}}"#, None),
            (":generateContent", r#"{"model":null,"request":[]}"#, None),
            (":generateContent", "no JSON", None),
            (":generateContent", &long, None),
            (":loadCodeAssist", r#"{"model":"pro"}"#, None),
            ("/operations/1", r#"{"model":"pro"}"#, None),
        ] {
            let found = passed_model(suffix, body.as_bytes());
            assert_eq!(found.as_deref(), model, "{suffix} {body}");
        }
    }
}
