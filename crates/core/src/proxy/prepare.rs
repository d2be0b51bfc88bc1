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
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::cache::{self, CacheDirective, CacheKey, KeepRule};
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
        let adapted = self.upstream.calls.provider.adapt(call, &body, model)?;
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
                    let client = context.caller.as_deref();
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
        self.upstream.calls.check_breakers(now)?;
        Ok((self.upstream.calls.provider.count_tokens(body), now))
    }

    /// The request that generates a whole answer, and the time.
    pub(super) async fn generate_request<P: Platform>(
        &self,
        body: Payload,
        context: &mut RequestContext<P>,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let (project, prompt_id, now) = self.envelope_parts(context).await?;
        let envelope =
            Envelope { model: &context.model, project: &project, prompt_id: prompt_id.as_str() };
        Ok((self.upstream.calls.provider.generate(body, &envelope), now))
    }

    /// The request that generates a stream, and the time.
    pub(super) async fn stream_request<P: Platform>(
        &self,
        body: Payload,
        context: &mut RequestContext<P>,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let (project, prompt_id, now) = self.envelope_parts(context).await?;
        let envelope =
            Envelope { model: &context.model, project: &project, prompt_id: prompt_id.as_str() };
        Ok((self.upstream.calls.provider.stream(body, &envelope), now))
    }

    /// Returns the project and a new prompt id. Fails without waiting if the quota is known to be
    /// exhausted or all breakers are open.
    async fn envelope_parts<P: Platform>(
        &self,
        context: &mut RequestContext<P>,
    ) -> Result<(std::sync::Arc<str>, PromptId, Monotonic), Error> {
        let platform = context.platform().clone();
        let calls = &self.upstream.calls;
        calls.quotas.check(&context.model, platform.wall_clock()).map_err(|error| *error)?;
        let now = platform.now();
        // Before the project, since a discovery would call the same endpoints.
        calls.check_breakers(now)?;
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
const DROPPED_FIELDS: HeaderName = HeaderName::from_static("x-proxy-dropped-fields");
