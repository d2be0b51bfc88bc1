//! Embeddings for clients of OpenAI's dialect, with one call for each batch of texts.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body::Body;

use super::gemini_parts;
use crate::context::{ChargeRule, RequestContext};
use crate::dialect::gemini::route::PathForm;
use crate::dialect::openai::embeddings::{self, EmbeddingsMethod, EmbeddingsWriter};
use crate::dialect::{ModelCall, Operation, WholeCall};
use crate::error::Error;
use crate::google::usage::TokenUsage;
use crate::memory;
use crate::payload::Payload;
use crate::platform::{Platform, RequestBodyError};
use crate::provider::request::UpstreamRequest;
use crate::proxy::Proxy;
use crate::proxy::allowed::check_model;
use crate::proxy::choose::{Asked, path_error};
use crate::proxy::dropped::put_dropped;
use crate::proxy::model_call::Incoming;
use crate::proxy::prepare::{MODEL, ModelRequest, ModelTarget};
use crate::proxy::respond::{self, Answer, put};
use crate::upstream::{Account, Upstream, UpstreamList, VertexAccount, Whole};

/// True if the texts of a refused call are sent one by one. Some models at Vertex AI take one text a call,
/// and Google says so in no fixed words.
fn may_take_fewer(error: &Error, batch: &Range<usize>) -> bool {
    let is_refused =
        || matches!(error, Error::Upstream(error) if error.http == StatusCode::BAD_REQUEST);
    (2..=MOST_SINGLE_CALLS).contains(&batch.len()) && is_refused()
}

/// How many calls are made one after the other for a request whose model takes one text a call.
const MOST_SINGLE_CALLS: usize = 100;

impl Proxy {
    /// Answers a request for embeddings, at the first upstream that has them.
    pub(super) async fn embeddings<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        let body = self.intake(parts, body, context).await?;
        let head = self.request_head(&body, context).await?;
        memory::grow(context, head.translation_bytes, self.settings.queue_timeout).await?;
        let request = embeddings::read(&body)?;
        let model = self.requested_model(&request.model)?;
        context.operation = Some(Operation::Embed);
        let asked = Asked { operation: context.operation, model: &model };
        let (upstream, _) = self.candidates(upstreams, parts, asked)?;
        let parts = gemini_parts(parts);
        let target = ModelTarget { upstreams, parts: &parts, model: &model, form: PathForm::USUAL };
        let mut writer = EmbeddingsWriter::new(&request);
        let mut headers = HeaderMap::new();
        put_dropped(&mut headers, request.dropped.iter());
        let resolved = upstream.model(&model, &self.reloadable().model_aliases).to_owned();
        check_model(context, &resolved)?;
        if *resolved != *request.model {
            put(&mut headers, MODEL, &*resolved);
        }
        let method = EmbeddingsMethod::of(upstream.calls.provider.kind()).ok_or(Error::Internal)?;
        let mut batches = VecDeque::from(request.batches(method));
        let mut usage = TokenUsage::default();
        while let Some(batch) = batches.pop_front() {
            context.usage = TokenUsage::default();
            let body = request.body(method, &resolved, batch.clone());
            let answer = match &upstream.account {
                Account::Vertex(account) => {
                    self.predict(upstreams, (upstream, account), &resolved, body, context).await
                }
                _ => self.embed_batch::<P, B>(&target, body, context).await,
            };
            // The batches of a request are charged together.
            usage += std::mem::take(&mut context.usage);
            context.usage = usage;
            match answer {
                Ok(answer) => writer.answer(method, &answer, batch.len())?,
                Err(error)
                    if method == EmbeddingsMethod::Predict && may_take_fewer(&error, &batch) =>
                {
                    batches = batch.map(|at| at..at + 1).collect();
                }
                Err(error) => return Err(error),
            }
        }
        if method == EmbeddingsMethod::Predict {
            context.usage.prompt = writer.tokens();
        }
        Ok(respond::json(headers, writer.finish(&request.model)))
    }

    /// Embeds a batch at the Gemini API, as a request in Gemini's dialect would.
    async fn embed_batch<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        target: &ModelTarget<'_>,
        body: Bytes,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        context.operation = Some(Operation::BatchEmbed);
        let call = WholeCall::BatchEmbed;
        let mut request = ModelRequest::new(target, ModelCall::Whole(call), body);
        let choice = self.select(target, context)?;
        let incoming = Incoming::<B>::Read(choice, &mut request);
        let answer = self.whole(incoming, context, call).await?;
        Ok(answer.body)
    }

    /// Embeds a batch at Vertex AI, which has another method for it than the Gemini API.
    async fn predict<P: Platform>(
        &self,
        upstreams: &UpstreamList,
        (upstream, account): (&Upstream, &VertexAccount),
        model: &str,
        body: Bytes,
        context: &mut RequestContext<P>,
    ) -> Result<Bytes, Error> {
        self.use_upstream(upstreams, upstream, context);
        context.model = model.into();
        if let Some(waiting) = self.reserve(ChargeRule::Prompt, context.bytes_in, context) {
            waiting.await?;
        }
        let calls = &upstream.calls;
        let now = context.platform().now();
        let counted_for = calls.provider.counted_for(ModelCall::Whole(WholeCall::Embed));
        calls.check_breakers(counted_for, model, now)?;
        let (paths, now) = account.paths(calls, context, now).await;
        let path = paths?.method(None, model, EmbeddingsMethod::Predict.verb(), None);
        let path = path.map_err(|why| path_error(why, &format!("models/{model}"), upstream))?;
        let request = UpstreamRequest::post(Ok(path), Payload::from(body))
            .with_headers(account.headers(calls, None))
            .counted_for(counted_for)
            .repeatable();
        let answer = calls.call_with_retries(&request, Whole(None), context, now).await?;
        Ok(answer.body)
    }
}
