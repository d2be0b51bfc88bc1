//! The provider Gemini API, with an API key (`docs/reference/upstreams.md` 1.1, 3.2).
//!
//! The list of edits is empty: the bytes of a body and the version in the path are the client's own.

use bytes::Bytes;
use http::request::Parts;

use super::answer::GeminiAnswer;
use super::code_assist::adapt::{self, AdaptedRequest};
use super::forward;
use super::method;
use super::request::{CountedFor, UpstreamRequest, path};
use crate::dialect::ModelCall;
use crate::google::usage::TokenUsage;
use crate::payload::Payload;

/// The public Gemini API.
#[derive(Debug)]
pub(crate) struct GeminiApi;

impl GeminiApi {
    /// The body as it is, with what the response cache needs to know of it.
    pub(crate) fn adapt(&self, call: ModelCall, body: &Bytes) -> AdaptedRequest {
        let request = Payload::from(body.clone());
        let read = match call {
            ModelCall::Whole(_) => adapt::generate(body).ok(),
            ModelCall::Stream => None,
        };
        let (temperature_zero, looks_outside) =
            read.map_or((false, true), |read| (read.temperature_zero, read.looks_outside));
        AdaptedRequest {
            request,
            dropped: Vec::new(),
            temperature_zero,
            looks_outside,
            service_tier: None,
        }
    }

    /// The request for a call of a client's.
    pub(crate) fn request(
        &self,
        call: ModelCall,
        parts: &Parts,
        model: &str,
        body: Payload,
    ) -> UpstreamRequest {
        let version = version(parts.uri.path());
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

/// The version in a client's path. Paths without one get `v1beta`.
fn version(path: &str) -> &'static str {
    let first = path.split('/').find(|segment| !segment.is_empty());
    let known = VERSIONS.into_iter().find(|version| Some(*version) == first);
    known.unwrap_or("v1beta")
}

const VERSIONS: [&str; 3] = ["v1", "v1beta", "v1alpha"];
