//! The provider Gemini API, with an API key (`docs/reference/upstreams.md` 1.1, 3.2).
//!
//! The list of edits is empty: the bytes of a body, the version in the path and the query are the client's
//! own. Whole answers, streams and errors pass as they come.

pub(crate) mod copied;
pub mod observer;
pub(crate) mod upload;

use bytes::Bytes;
use http::request::Parts;

use super::answer::GeminiAnswer;
use super::code_assist::envelope;
use super::forward;
use super::method;
use super::request::{CountedFor, UpstreamRequest, path};
use crate::dialect::gemini::route::{ApiVersion, ClientMode, PathForm};
use crate::dialect::{ModelCall, WholeCall};
use crate::error::Error;
use crate::google::error;
use crate::payload::Payload;

/// The public Gemini API.
#[derive(Debug)]
pub(crate) struct GeminiApi;

impl GeminiApi {
    /// The request for a call of a client's. `model` stands in the path in place of the client's own name.
    pub(crate) fn request(
        &self,
        call: ModelCall,
        parts: &Parts,
        form: PathForm,
        model: &str,
        body: Payload,
    ) -> UpstreamRequest {
        let query = forward::query(parts.uri.query().unwrap_or_default());
        let version = version(form);
        let path = path(format!("/{version}/models/{model}:{}{query}", method(call)));
        let mut headers = forward::headers(&parts.headers);
        for name in VERTEX_HEADERS {
            headers.remove(name);
        }
        let request = UpstreamRequest::post(path, body)
            .with_headers(headers)
            .with_errors_as_sent()
            .counted_for(CountedFor::Model(method(call)));
        match call {
            ModelCall::Stream => request.streamed(),
            ModelCall::Whole(WholeCall::Generate) => request,
            // What is counted or embedded twice is the same, and is not generated.
            ModelCall::Whole(_) => request.repeatable(),
        }
    }
}

/// The version of the client's path. Vertex AI's versions are others.
pub(crate) fn version(form: PathForm) -> &'static str {
    let own = form.known_version().filter(|_| form.mode == ClientMode::Gemini);
    own.unwrap_or(ApiVersion::V1Beta).as_str()
}

/// A whole answer, as it is. What the proxy cannot read passes too.
pub(crate) fn answer(text: &Bytes) -> Result<GeminiAnswer<'_>, Error> {
    let opened = envelope::open_bare(text).ok();
    if let Some(error) = opened.as_ref().and_then(|opened| opened.error.as_ref()) {
        return Err(Error::Upstream(Box::new(error::from_event(error).keeping(text))));
    }
    let usage = opened.and_then(|opened| opened.usage()).unwrap_or_default();
    Ok(GeminiAnswer { body: text.clone(), usage, trace_id: None })
}

/// Headers that only Vertex AI knows.
const VERTEX_HEADERS: [&str; 2] =
    ["x-vertex-ai-llm-request-type", "x-vertex-ai-llm-shared-request-type"];
