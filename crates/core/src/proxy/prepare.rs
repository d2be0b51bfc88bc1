//! The client's request on its way to upstream: its body read and adapted, then encoded for the
//! provider.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use http_body::Body;

use super::Proxy;
use super::coalesce::CacheRequest;
use super::respond::put;
use crate::context::RequestContext;
use crate::dialect::{ModelCall, WholeCall};
use crate::error::Error;
use crate::ids::PromptId;
use crate::intake;
use crate::json::JsonError;
use crate::json::lenient::{self, NormalizeError};
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::cache::{self, CacheDirective, CacheKey, KeepRule};
use crate::provider::code_assist::adapt::AdaptedRequest;
use crate::provider::code_assist::envelope::Envelope;
use crate::provider::code_assist::models;
use crate::provider::request::UpstreamRequest;
use crate::time::Monotonic;

/// A client's request, read and adapted for the provider.
pub(super) struct PreparedRequest {
    /// The body, adapted and not yet in its envelope.
    pub(super) body: Payload,
    /// Headers that tell the client about the changes.
    pub(super) headers: HeaderMap,
    pub(super) cache: CacheRequest,
}

impl Proxy {
    /// Reads the body of a request to a model, and adapts it.
    pub(super) async fn prepare<P: Platform, B: Body<Data = Bytes>>(
        &self,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        requested: String,
        call: ModelCall,
    ) -> Result<PreparedRequest, Error> {
        let body = self.intake(parts, body, context).await?;
        let reloadable = self.reloadable();
        let model = models::resolve(&requested, &reloadable.model_aliases);
        let mut headers = HeaderMap::new();
        if model == requested {
            context.model = requested;
        } else {
            context.model = model.to_owned();
            put(&mut headers, MODEL, model);
        }
        let model = &context.model;
        let adapted = match self.upstream.calls.provider.adapt(call, &body, model) {
            Ok(adapted) => adapted,
            Err(refused) => self.adapt_leniently(call, &body, model, refused, &mut headers)?,
        };
        if !adapted.dropped.is_empty() {
            put(&mut headers, DROPPED_FIELDS, adapted.dropped.join(", "));
        }
        let cache = match call {
            ModelCall::Whole(call) if self.coalescer.is_on() => {
                let key = cache::idempotency_key(&parts.headers);
                let repeatable = match call {
                    WholeCall::CountTokens => true,
                    WholeCall::Generate => adapted.temperature_zero || key.is_some(),
                };
                if repeatable {
                    let client = context.caller.key();
                    let body = Payload::from(body);
                    CacheRequest {
                        key: Some(CacheKey::new(client, cache_tag(call), model, &body, key)),
                        directive: CacheDirective::of(&parts.headers),
                        keep: match call {
                            WholeCall::CountTokens => KeepRule::Counted,
                            WholeCall::Generate if adapted.looks_outside => KeepRule::Never,
                            WholeCall::Generate => KeepRule::Finished,
                        },
                    }
                } else {
                    CacheRequest::NONE
                }
            }
            ModelCall::Stream | ModelCall::Whole(_) => CacheRequest::NONE,
        };
        Ok(PreparedRequest { body: adapted.request, headers, cache })
    }

    /// Adapts a body that is no strict JSON, if Google's own parser would take it. If not, the client
    /// gets what the strict reading refused, with its place in the body as it was sent.
    #[cold]
    #[inline(never)]
    fn adapt_leniently(
        &self,
        call: ModelCall,
        body: &Bytes,
        model: &str,
        refused: JsonError,
        headers: &mut HeaderMap,
    ) -> Result<AdaptedRequest, Error> {
        let limit = self.settings.max_request_body_bytes;
        let normalized = match lenient::normalize(body, limit) {
            Ok(normalized) if !normalized.found.is_empty() => normalized,
            Err(NormalizeError::TooLarge) => return Err(Error::BodyTooLarge { limit }),
            // A body that is strict JSON was refused for another reason.
            Ok(_) | Err(NormalizeError::Malformed(_)) => return Err(refused.into()),
        };
        let adapted = self.upstream.calls.provider.adapt(call, &normalized.text, model);
        let adapted = adapted.map_err(|_| refused)?;
        put(headers, NORMALIZED, normalized.found.to_string());
        Ok(adapted)
    }

    /// Reads the client's body.
    pub(super) async fn intake<P: Platform, B: Body<Data = Bytes>>(
        &self,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        let platform = context.platform();
        let began = platform.now();
        let limit = self.settings.max_request_body_bytes;
        let (body, ended) = intake::collect(platform, &parts.headers, body, limit, began).await?;
        context.timings.intake = ended.since(began);
        context.bytes_in = body.len() as u64;
        Ok(body)
    }

    /// The request that counts tokens, and the time.
    pub(super) fn count_request<P: Platform>(
        &self,
        body: Payload,
        context: &RequestContext<P>,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let now = context.platform().now();
        let request = self.upstream.calls.provider.count_tokens(body);
        self.upstream.calls.check_breakers(request.counts_for(), &context.model, now)?;
        Ok((request, now))
    }

    /// The request that generates a whole answer, and the time.
    pub(super) async fn generate_request<P: Platform>(
        &self,
        headers: &HeaderMap,
        body: Payload,
        context: &mut RequestContext<P>,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let (project, prompt_id, now) =
            self.envelope_parts(headers, ModelCall::Whole(WholeCall::Generate), context).await?;
        let envelope =
            Envelope { model: &context.model, project: &project, prompt_id: prompt_id.as_str() };
        Ok((self.upstream.calls.provider.generate(body, &envelope), now))
    }

    /// The request that generates a stream, and the time.
    pub(super) async fn stream_request<P: Platform>(
        &self,
        headers: &HeaderMap,
        body: Payload,
        context: &mut RequestContext<P>,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let (project, prompt_id, now) =
            self.envelope_parts(headers, ModelCall::Stream, context).await?;
        let envelope =
            Envelope { model: &context.model, project: &project, prompt_id: prompt_id.as_str() };
        Ok((self.upstream.calls.provider.stream(body, &envelope), now))
    }

    /// Returns the project and a new prompt id. Fails without waiting if the quota is known to be
    /// exhausted, unless the client's `headers` ask upstream anew, or if all breakers are open.
    async fn envelope_parts<P: Platform>(
        &self,
        headers: &HeaderMap,
        call: ModelCall,
        context: &mut RequestContext<P>,
    ) -> Result<(std::sync::Arc<str>, PromptId, Monotonic), Error> {
        let platform = context.platform().clone();
        let calls = &self.upstream.calls;
        let now = platform.now();
        // Before the project, since a discovery would call the same endpoints.
        calls.check_breakers(calls.provider.counted_for(call), &context.model, now)?;
        let anew = || CacheDirective::of(headers) != CacheDirective::Any;
        let checked = calls.quotas.check(&context.model, anew, platform.wall_clock());
        context.proves_quota = checked.map_err(|error| *error)?;
        let (project, now) = self.upstream.projects.project(calls, context, now).await;
        Ok((project?, PromptId::new(&platform), now))
    }
}

/// The name of an operation in cache keys. It never changes, even if logs and metrics rename the
/// operation.
fn cache_tag(call: WholeCall) -> &'static str {
    match call {
        WholeCall::CountTokens => "countTokens",
        WholeCall::Generate => "generateContent",
    }
}

pub(super) const MODEL: HeaderName = HeaderName::from_static("x-proxy-model");
pub(super) const NORMALIZED: HeaderName = HeaderName::from_static("x-proxy-normalized");
const DROPPED_FIELDS: HeaderName = HeaderName::from_static("x-proxy-dropped-fields");
