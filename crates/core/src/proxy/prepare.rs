//! The client's request on its way to upstream: its body read and adapted, then encoded for the
//! provider.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use http_body::Body;

use super::Proxy;
use super::allowed::check_model;
use super::choose::{Asked, path_error};
use super::coalesce::CacheRequest;
use super::dropped::put_dropped;
use super::respond::put;
use super::source::SourceRequest;
use crate::context::RequestContext;
use crate::dialect::gemini::route::PathForm;
use crate::dialect::{Dialect, ModelCall, WholeCall};
use crate::error::Error;
use crate::ids::PromptId;
use crate::intake::{self, AnnouncedBody, BodyLimits};
use crate::json::JsonError;
use crate::json::lenient;
use crate::memory;
use crate::payload::Payload;
use crate::platform::{HEAVY, Platform, RequestBodyError};
use crate::policy::cache::{self, CacheDirective, CacheKey, KeepRule};
use crate::policy::memory::MemoryReservation;
use crate::provider::code_assist::envelope::Envelope;
use crate::provider::edits::ServiceTier;
use crate::provider::gemini_api::GeminiApi;
use crate::provider::request::UpstreamRequest;
use crate::provider::vertex_client::VertexClientError;
use crate::settings::ModelAlias;
use crate::time::Monotonic;
use crate::upstream::{Account, Calls, CodeAssistAccount, Upstream, UpstreamList};

/// The head of a client's request to a model.
pub(super) struct ModelTarget<'a> {
    /// The upstreams that the client may use.
    pub(super) upstreams: &'a UpstreamList,
    pub(super) parts: &'a Parts,
    /// The model as the client wrote it, without prefixes.
    pub(super) model: &'a Arc<str>,
    pub(super) form: PathForm,
}

impl ModelTarget<'_> {
    /// What the request asks of an upstream.
    pub(super) fn asked<P: Platform>(&self, context: &RequestContext<P>) -> Asked<'_> {
        Asked { operation: context.operation, model: self.model }
    }
}

/// A client's request to a model.
pub(super) struct ModelRequest<'a> {
    pub(super) target: &'a ModelTarget<'a>,
    pub(super) call: ModelCall,
    /// The body in Gemini's form.
    pub(super) body: Bytes,
    /// The operator's name of the model at an upstream that stands in for another.
    pub(super) stand_in_model: Option<Arc<str>>,
    /// The request in the client's dialect, if that is another one. Boxed, since most requests have none.
    pub(super) source: Option<Box<SourceRequest>>,
}

impl<'a> ModelRequest<'a> {
    /// A request whose body is in Gemini's form as it came.
    pub(super) fn new(target: &'a ModelTarget<'a>, call: ModelCall, body: Bytes) -> Self {
        Self { target, call, body, stand_in_model: None, source: None }
    }
}

/// A body, adapted and not yet in its envelope.
#[derive(Default)]
pub(super) struct AdaptedBody {
    pub(super) text: Payload,
    /// The tier that the body asked for, where the provider takes it in a header only.
    pub(super) tier: Option<ServiceTier>,
}

/// A client's request, adapted for one upstream.
pub(super) struct PreparedRequest {
    pub(super) body: AdaptedBody,
    /// Headers that tell the client about the changes.
    pub(super) headers: HeaderMap,
    pub(super) cache: CacheRequest,
}

impl Proxy {
    /// Adapts the body of a request to a model for one upstream.
    pub(super) async fn prepare<P: Platform>(
        &self,
        upstream: &Upstream,
        request: &ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<PreparedRequest, Error> {
        let ModelRequest { target, call, body, source, .. } = request;
        let (call, requested, mode) = (*call, target.model, target.form.mode);
        let reloadable = self.reloadable();
        let model = model_at(upstream, request, &reloadable.model_aliases);
        let mut headers = HeaderMap::new();
        context.model = if *model == **requested { Arc::clone(requested) } else { model.into() };
        check_model(context, model)?;
        if *model != *source.as_ref().map_or(&**requested, |source| &source.requested) {
            put(&mut headers, MODEL, model);
        }
        let provider = &upstream.calls.provider;
        if let Account::Vertex(account) = &upstream.account
            && account.protocol.paths().is_none()
        {
            // The names in a body are compared with the project.
            let now = context.platform().now();
            let (paths, _) = Box::pin(account.paths(&upstream.calls, context, now)).await;
            paths?;
        }
        let adapted = if body.len() <= HEAVY {
            provider.adapt(call, mode, body, &context.model)
        } else {
            let (provider, body, model) =
                (Arc::clone(provider), body.clone(), context.model.clone());
            let length = body.len();
            let work = move || provider.adapt(call, mode, &body, &model);
            Box::pin(memory::work_on(length, context, self.settings.queue_timeout, work)).await?
        };
        let adapted = match adapted {
            Ok(adapted) => adapted,
            Err(VertexClientError::Json(refused)) => {
                let (provider, model) = (Arc::clone(provider), context.model.clone());
                let adapt = move |text: &Bytes| provider.adapt(call, mode, text, &model);
                let read = self.read_leniently(body, refused, adapt, context, &mut headers);
                Box::pin(read).await?
            }
            Err(refused) => return Err(refused.into()),
        };
        let source_dropped = source.as_ref().map_or(&[][..], |source| source.dropped());
        // The translation itself has named the model there.
        let adapted_dropped =
            adapted.dropped.iter().filter(|path| source.is_none() || *path != MODEL_OF_COUNT);
        put_dropped(&mut headers, source_dropped.iter().chain(adapted_dropped));
        let cache = match call {
            ModelCall::Whole(call) if self.coalescer.is_on() => {
                let key = cache::idempotency_key(&target.parts.headers);
                let repeatable = match call {
                    WholeCall::BatchEmbed | WholeCall::CountTokens | WholeCall::Embed => true,
                    WholeCall::Generate => adapted.temperature_zero || key.is_some(),
                };
                if repeatable {
                    let longest = self.settings.queue_timeout;
                    let key = cache_key(call, body.clone(), key, context, longest).await?;
                    let key = match self.answer_variant(target) {
                        Some(variant) => key.for_variant(variant.as_bytes()),
                        None => key,
                    };
                    let key = match context.dialect {
                        Dialect::Gemini => key,
                        dialect => key.for_variant(dialect.label().as_bytes()),
                    };
                    CacheRequest {
                        key: Some(key),
                        directive: CacheDirective::of(&target.parts.headers),
                        keep: match call {
                            WholeCall::BatchEmbed | WholeCall::Embed => KeepRule::Embedded,
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
        let body = AdaptedBody { text: adapted.request, tier: adapted.service_tier };
        Ok(PreparedRequest { body, headers, cache })
    }

    /// Reads a body that is no strict JSON as Google's own parser would: its strict form is made, and `read`
    /// reads that. `headers` tell the client about it. If Google's parser would refuse the body too, the
    /// client gets what the strict reading `refused`, with its place in the body as it was sent.
    #[cold]
    #[inline(never)]
    pub(super) async fn read_leniently<P: Platform, T: Send + 'static>(
        &self,
        body: &Bytes,
        refused: JsonError,
        read: impl FnOnce(&Bytes) -> Result<T, VertexClientError> + Send + 'static,
        context: &mut RequestContext<P>,
        headers: &mut HeaderMap,
    ) -> Result<T, Error> {
        let limits = self.body_limits();
        let text = body.clone();
        let measure = move || lenient::measure(&text);
        let measured = memory::work_on(body.len(), context, limits.queue_timeout, measure).await?;
        let strict_len = match measured {
            Ok((found, strict_len)) if !found.is_empty() => strict_len,
            // A body that is strict JSON was refused for another reason.
            Ok(_) | Err(_) => return Err(refused.into()),
        };
        // The strict form is a second copy.
        let held = context.memory.as_ref().map_or(0, MemoryReservation::bytes);
        limits.check(strict_len)?;
        if held.saturating_add(strict_len) > limits.memory {
            return Err(limits.over_budget());
        }
        memory::grow(context, strict_len, limits.queue_timeout).await?;
        let text = body.clone();
        let work = move || {
            let normalized = lenient::normalize(&text, strict_len).ok()?;
            Some((read(&normalized.text), normalized.found))
        };
        let normalized = memory::work_on(body.len(), context, limits.queue_timeout, work).await?;
        let (result, found) = match normalized {
            None | Some((Err(VertexClientError::Json(_)), _)) => return Err(refused.into()),
            Some((result, found)) => (result?, found),
        };
        put(headers, NORMALIZED, found.to_string());
        Ok(result)
    }

    pub(super) fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            bytes: self.settings.max_request_body_bytes,
            memory: self.memory.most_for_one(),
            queue_timeout: self.settings.queue_timeout,
        }
    }

    /// Reads the client's body once memory is reserved for it, and a large body only once the request has
    /// its concurrency permit too. So a request that waits costs no more than its connection.
    pub(super) async fn intake<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        let limits = self.body_limits();
        let announced = AnnouncedBody::of(&parts.headers, &body, &limits)?;
        memory::reserve(&self.memory, announced.memory(), limits.queue_timeout, context).await?;
        if !announced.is_small() {
            let now = context.platform().now();
            let (permitted, _) =
                Box::pin(self.upstreams.operators.primary().calls.acquire_permit(context, now))
                    .await;
            permitted?;
        }
        let body = intake::collect(context, announced, body, &limits).await?;
        context.bytes_in = body.len() as u64;
        Ok(body)
    }

    /// The request as the upstream's provider wants it, and the time. Fails without waiting if the quota is
    /// known to be exhausted, unless the client asks upstream anew, or if all breakers are open.
    pub(super) async fn encode<P: Platform>(
        &self,
        upstream: &Upstream,
        request: &ModelRequest<'_>,
        body: &mut AdaptedBody,
        context: &mut RequestContext<P>,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let calls = &upstream.calls;
        let now = context.platform().now();
        // Before the project, since a discovery would call the same endpoints.
        calls.check_breakers(calls.provider.counted_for(request.call), &context.model, now)?;
        if request.call != ModelCall::Whole(WholeCall::CountTokens) {
            let anew = || CacheDirective::of(&request.target.parts.headers) != CacheDirective::Any;
            let checked = calls.quotas.check(&context.model, anew, context.platform().wall_clock());
            context.proves_quota = checked.map_err(|error| *error)?;
        }
        let ModelTarget { parts, form, .. } = request.target;
        match &upstream.account {
            Account::CodeAssist(account) => {
                self.in_envelope(calls, account, request.call, &mut body.text, context, now).await
            }
            Account::GeminiApi(_) => {
                let text = std::mem::take(&mut body.text);
                Ok((GeminiApi.request(request.call, parts, *form, &context.model, text), now))
            }
            Account::Vertex(account) => {
                let (paths, now) = account.paths(calls, context, now).await;
                let adapted = (std::mem::take(&mut body.text), account.headers(calls, body.tier));
                let call = request.call;
                let (protocol, target) = (&account.protocol, (*parts, *form));
                let request = protocol.request(paths?, call, target, &context.model, adapted);
                let what = || format!("models/{}", context.model);
                Ok((request.map_err(|why| path_error(why, &what(), upstream))?, now))
            }
        }
    }

    /// The request in Code Assist's envelope, which needs the project unless tokens are counted.
    async fn in_envelope<P: Platform>(
        &self,
        calls: &Calls,
        account: &CodeAssistAccount,
        call: ModelCall,
        body: &mut Payload,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<(UpstreamRequest, Monotonic), Error> {
        let protocol = &account.protocol;
        if call == ModelCall::Whole(WholeCall::CountTokens) {
            return Ok((protocol.count_tokens(std::mem::take(body)), now));
        }
        let (project, now) = account.projects.project(calls, context, now).await;
        let project = project?;
        let prompt_id = PromptId::new(context.platform());
        let envelope =
            Envelope { model: &context.model, project: &project, prompt_id: prompt_id.as_str() };
        let body = std::mem::take(body);
        let request = match call {
            ModelCall::Stream => protocol.stream(body, &envelope, &mut context.texts),
            ModelCall::Whole(_) => protocol.generate(body, &envelope, &mut context.texts),
        };
        Ok((request, now))
    }
}

/// The name of the model at an upstream.
pub(super) fn model_at<'a>(
    upstream: &'a Upstream,
    request: &'a ModelRequest<'_>,
    aliases: &'a [ModelAlias],
) -> &'a str {
    let requested = request.target.model;
    match &request.stand_in_model {
        // Each request in the body names the model too.
        _ if request.call == ModelCall::Whole(WholeCall::BatchEmbed) => requested,
        Some(model) => model,
        None => upstream.model(requested, aliases),
    }
}

/// The key under which the answer to a request may be shared.
async fn cache_key<P: Platform>(
    call: WholeCall,
    body: Bytes,
    idempotency_key: Option<&[u8]>,
    context: &mut RequestContext<P>,
    longest: Duration,
) -> Result<CacheKey, Error> {
    let (client, length, body) = (context.caller.key(), body.len(), Payload::from(body));
    if length <= HEAVY {
        let tag = cache_tag(call);
        return Ok(CacheKey::new(client, tag, &context.model, &body, idempotency_key));
    }
    let (model, idempotency_key) = (context.model.clone(), idempotency_key.map(<[u8]>::to_vec));
    let work =
        move || CacheKey::new(client, cache_tag(call), &model, &body, idempotency_key.as_deref());
    Box::pin(memory::work_on(length, context, longest, work)).await
}

/// The name of an operation in cache keys. It never changes, even if logs and metrics rename the
/// operation.
fn cache_tag(call: WholeCall) -> &'static str {
    match call {
        WholeCall::BatchEmbed => "batchEmbedContents",
        WholeCall::CountTokens => "countTokens",
        WholeCall::Embed => "embedContent",
        WholeCall::Generate => "generateContent",
    }
}

/// The model in a count of tokens, which Code Assist has elsewhere.
const MODEL_OF_COUNT: &str = "generateContentRequest.model";

pub(super) const MODEL: HeaderName = HeaderName::from_static("x-proxy-model");
const NORMALIZED: HeaderName = HeaderName::from_static("x-proxy-normalized");
