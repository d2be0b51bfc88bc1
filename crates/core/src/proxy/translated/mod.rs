//! The life of a request in OpenAI's or Anthropic's dialect: it is translated to a Gemini request for the
//! upstream that is asked, lives like one, and its answer is translated back (`docs/DIALECTS.md`).

mod embeddings;
mod head;
mod models;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Uri};
use http_body::Body;

use self::head::RequestHead;
use super::Proxy;
use super::choose::UPSTREAM;
use super::model_call::Incoming;
use super::prepare::{ModelRequest, ModelTarget, PreparedRequest, model_at};
use super::respond::{self, Answer, JSON};
use super::source::SourceRequest;
use crate::context::RequestContext;
use crate::dialect::TranslatedCall::{Count, Generate};
use crate::dialect::gemini::route::{Framing, PathForm, model_name};
use crate::dialect::route::{DialectCall, DialectRoute};
use crate::dialect::translate::answer::Birth;
use crate::dialect::translate::models::{is_foreign, normalized};
use crate::dialect::translate::target::{SignatureRecall, Target};
use crate::dialect::{AnswerForm, CountCall, GenerateCall, ModelCall, Operation, WholeCall};
use crate::error::{Error, Refusal, RefusalCode};
use crate::memory;
use crate::platform::{HEAVY, Platform, RequestBodyError};
use crate::policy::cache::CachedAnswer;
use crate::policy::memory::{MemoryReservation, SMALL_ANSWER};
use crate::settings::ModelAlias;
use crate::upstream::{Upstream, UpstreamList};

impl Proxy {
    /// Answers a request of OpenAI's or Anthropic's dialect.
    pub(super) async fn translated<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        route: &DialectRoute,
    ) -> Result<Answer<P>, Error> {
        let call = match &route.call {
            DialectCall::ChatCompletions => Generate(GenerateCall::ChatCompletions),
            DialectCall::Completions => Generate(GenerateCall::Completions),
            DialectCall::CountTokens => Count(CountCall::MessageTokens),
            DialectCall::InputTokens => Count(CountCall::InputTokens),
            DialectCall::Messages => Generate(GenerateCall::Messages),
            DialectCall::Responses => Generate(GenerateCall::Responses),
            DialectCall::Embeddings => {
                return self.embeddings(upstreams, parts, body, context).await;
            }
            DialectCall::Hello => return Ok(respond::hello(context)),
            DialectCall::Model { name } => {
                return self.translated_model(upstreams, parts, context, name).await;
            }
            DialectCall::Models(page) => {
                return self.translated_models(upstreams, parts, context, page).await;
            }
            call => return Err(call.error().unwrap_or(Error::Internal)),
        };
        let body = self.intake(parts, body, context).await?;
        let head = self.request_head(&body, context).await?;
        let RequestHead { model: requested, is_stream, translation_bytes } = head;
        let model = self.requested_model(&requested)?;
        let model_call = match call {
            Count(_) => ModelCall::Whole(WholeCall::CountTokens),
            Generate(_) if is_stream => ModelCall::Stream,
            Generate(_) => ModelCall::Whole(WholeCall::Generate),
        };
        let mut gemini = gemini_parts(parts);
        if let ModelCall::Stream = model_call {
            context.operation = Some(Operation::Stream);
            // Without it the Gemini API streams an array.
            gemini.uri = Uri::from_static("/?alt=sse");
        }
        let target =
            ModelTarget { upstreams, parts: &gemini, model: &model, form: PathForm::USUAL };
        let source = Box::new(SourceRequest {
            call,
            body,
            requested,
            translation: None,
            translation_bytes,
            reserved: 0,
            without_signatures: false,
            early: match model_call {
                ModelCall::Stream => self.early_place(parts, context),
                ModelCall::Whole(_) => None,
            },
        });
        let mut request = ModelRequest::new(&target, model_call, Bytes::new());
        request.source = Some(source);
        let choice = self.select(&target, context)?;
        self.translate(choice.upstream(), &mut request, context).await?;
        match model_call {
            ModelCall::Stream => {
                let incoming = Incoming::<B>::Read(choice, &mut request);
                self.stream(incoming, context, Framing::Sse).await
            }
            ModelCall::Whole(call) => {
                let incoming = Incoming::<B>::Read(choice, &mut request);
                let answer = self.whole(incoming, context, call).await?;
                self.translate_answer(answer, &request, context).await
            }
        }
    }

    /// Reads the head of a request.
    async fn request_head<P: Platform>(
        &self,
        body: &Bytes,
        context: &mut RequestContext<P>,
    ) -> Result<RequestHead, Error> {
        let dialect = context.dialect;
        if body.len() <= HEAVY {
            return RequestHead::read(body, dialect);
        }
        let (length, longest, body) = (body.len(), self.settings.queue_timeout, body.clone());
        let work = move || RequestHead::read(&body, dialect);
        Box::pin(memory::work_on(length, context, longest, work)).await?
    }

    /// Translates a whole answer into the dialect of the request.
    async fn translate_answer<P: Platform>(
        &self,
        mut answer: CachedAnswer,
        request: &ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        let Some(source) = &request.source else { return Ok(Answer::from(answer)) };
        if let Count(call) = source.call {
            answer.body = call.answer(&answer.body)?;
        } else if let Some(form) = self.answer_form(source, context) {
            let (length, longest) = (answer.body.len(), self.settings.queue_timeout);
            // Both forms are held for a moment. What every request has covers a short one.
            if length > SMALL_ANSWER {
                Box::pin(memory::grow(context, length, longest)).await?;
            }
            let text = answer.body.clone();
            let work = move || form.whole(&text);
            let (body, left_out) =
                Box::pin(memory::work_on(length, context, longest, work)).await??;
            context.note_left_out(left_out);
            answer.body = body;
        }
        answer.headers.insert(CONTENT_TYPE, JSON);
        Ok(Answer::from(answer))
    }

    /// The model that a client of another dialect means, without prefixes. Names of OpenAI's and
    /// Anthropic's models are none, unless the operator has an alias for them.
    fn requested_model(&self, requested: &str) -> Result<Arc<str>, Error> {
        let model = normalized(requested);
        let has_alias = ModelAlias::find(&self.reloadable().model_aliases, model).is_some();
        // A name becomes part of the path of a request to Google.
        let is_name = has_alias || (model_name(model).is_some() && !is_foreign(model));
        if !is_name || requested.len() > LONGEST_MODEL {
            return Err(unknown_model(requested));
        }
        Ok(model.into())
    }

    /// Translates a request for an upstream. A request in Gemini's form stays as it is.
    pub(super) async fn translate<P: Platform>(
        &self,
        upstream: &Upstream,
        request: &mut ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<(), Error> {
        let Some(source) = &request.source else { return Ok(()) };
        let reloadable = self.reloadable();
        let model = model_at(upstream, request, &reloadable.model_aliases);
        let provider = &upstream.calls.provider;
        let target = Target {
            signatures: self.signature_recall(context),
            without_signatures: source.without_signatures,
            ..Target::new(model, provider.kind())
        };
        let Some(source) = &mut request.source else { return Ok(()) };
        let (call, body) = (source.call, source.body.clone());
        let (length, longest) = (body.len(), self.settings.queue_timeout);
        let more = source.translation_bytes.saturating_sub(source.reserved);
        if more > 0 {
            let limits = self.body_limits();
            let held = context.memory.as_ref().map_or(0, MemoryReservation::bytes);
            if held.saturating_add(more) > limits.memory {
                return Err(limits.over_budget());
            }
            memory::grow(context, more, longest).await?;
            // Noted at once: another upstream may be asked after a translation that fails.
            source.reserved += more;
        }
        let work = move || call.translate(&body, &target);
        let translation = Box::pin(memory::work_on(length, context, longest, work)).await??;
        // The translated body is a second copy, and usually all that is left of the memory.
        let left = translation.written.body.len();
        if left > source.reserved {
            memory::grow(context, left - source.reserved, longest).await?;
        } else {
            context.shrink_memory_by(source.reserved - left);
        }
        source.reserved = left;
        request.body = translation.written.body.clone();
        source.translation = Some(translation);
        Ok(())
    }

    /// Prepares a request again without its signatures, which upstream has refused.
    pub(super) async fn prepare_without_signatures<P: Platform>(
        &self,
        upstream: &Upstream,
        request: &mut ModelRequest<'_>,
        context: &mut RequestContext<P>,
    ) -> Result<PreparedRequest, Error> {
        if let Some(source) = &mut request.source {
            source.without_signatures = true;
        }
        self.metrics.dialects.signature_fallback();
        self.translate(upstream, request, context).await?;
        self.prepare(upstream, request, context).await
    }

    /// The form of the answer that is about to be written; `None` before the request is translated, and for
    /// a count of tokens.
    pub(super) fn answer_form<P: Platform>(
        &self,
        source: &SourceRequest,
        context: &RequestContext<P>,
    ) -> Option<AnswerForm> {
        let plan = source.translation.as_ref()?.plan.clone()?;
        let request_id = context.id.as_str().to_owned();
        Some(AnswerForm { plan, birth: self.birth(context), request_id })
    }

    /// What a new answer begins with.
    fn birth<P: Platform>(&self, context: &RequestContext<P>) -> Birth {
        let platform = context.platform();
        let mut seed = [0; 32];
        for piece in seed.chunks_exact_mut(8) {
            piece.copy_from_slice(&platform.random().to_le_bytes());
        }
        let now = platform.wall_clock().0 / 1000;
        Birth { seed, now, signatures: self.signature_recall(context) }
    }

    fn signature_recall<P: Platform>(&self, context: &RequestContext<P>) -> SignatureRecall {
        match &self.call_signatures {
            Some(memory) => SignatureRecall::new(Arc::clone(memory), context.caller),
            None => SignatureRecall::default(),
        }
    }
}

/// The error for a model that does not exist.
fn unknown_model(requested: &str) -> Error {
    let shown: String = requested.chars().take(LONGEST_SHOWN).collect();
    let message = format!(
        "The model `{shown}` does not exist here: this proxy serves Gemini models. Name one of them (GET \
         /v1/models lists them), or have its operator add an alias, such as \
         MODEL_ALIASES=claude-*=gemini-2.5-pro."
    );
    Refusal::error(RefusalCode::ModelNotFound, "model", message)
}

/// The head of a request as the policies see it: what decides over caching, and nothing that belongs to
/// the client's dialect and would confuse Google.
fn gemini_parts(parts: &Parts) -> Parts {
    let mut gemini = parts.clone();
    gemini.uri = Uri::from_static("/");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, JSON);
    for name in [UPSTREAM, CACHE_CONTROL, SERVER_TIMEOUT, IDEMPOTENCY_KEY] {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    gemini.headers = headers;
    gemini
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const SERVER_TIMEOUT: HeaderName = HeaderName::from_static("x-server-timeout");

/// The longest name that an alias can stand for. The answer and the log repeat it.
const LONGEST_MODEL: usize = 512;

/// How much of an unknown name an error shows.
const LONGEST_SHOWN: usize = 100;
