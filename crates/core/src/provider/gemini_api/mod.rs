//! The provider Gemini API, with an API key (`docs/reference/upstreams.md` 1.1, 3.2).
//!
//! The list of edits is empty: the bytes of a body and the version in the path are the client's own.

use bytes::Bytes;
use http::request::Parts;

use super::answer::GeminiAnswer;
use super::forward;
use super::method;
use super::request::{CountedFor, UpstreamRequest, path};
use crate::dialect::ModelCall;
use crate::dialect::gemini::route::{ApiVersion, PathForm};
use crate::google::usage::TokenUsage;
use crate::payload::Payload;

/// The public Gemini API.
#[derive(Debug)]
pub(crate) struct GeminiApi;

impl GeminiApi {
    /// The request for a call of a client's.
    pub(crate) fn request(
        &self,
        call: ModelCall,
        parts: &Parts,
        form: PathForm,
        model: &str,
        body: Payload,
    ) -> UpstreamRequest {
        let version = form.known_version().unwrap_or(ApiVersion::V1Beta).as_str();
        let query = forward::query(parts.uri.query().unwrap_or_default());
        let path = path(format!("/{version}/models/{model}:{}{query}", method(call)));
        let request = UpstreamRequest::post(path, body)
            .with_headers(forward::headers(&parts.headers))
            .counted_for(CountedFor::Model(method(call)));
        match call {
            ModelCall::Stream => request.streamed(),
            ModelCall::Whole(_) => request,
        }
    }
}

/// A whole answer, as it is.
pub(crate) fn answer(text: &Bytes) -> GeminiAnswer<'_> {
    GeminiAnswer { body: text.clone(), usage: TokenUsage::default(), trace_id: None }
}
