//! The life of a request to a model.

use std::pin::pin;

use bytes::Bytes;
use http_body::Body;

use super::Proxy;
use super::coalesce::Lookup;
use super::failover::{self, Choice};
use super::prepare::{ModelRequest, ModelTarget, PreparedRequest};
use super::respond::{self, Answer};
use crate::context::{CacheUse, ChargeRule, RequestContext};
use crate::dialect::gemini::route::Framing;
use crate::dialect::{ModelCall, StreamFormat, WholeCall};
use crate::error::Error;
use crate::platform::{Platform, RequestBodyError};
use crate::policy::cache::CachedAnswer;
use crate::upstream::{FirstCopied, FirstEvent, Upstream, Whole};

/// A request to a model, as far as it has been read.
pub(super) enum Incoming<'a, 'r, 't, B> {
    /// The body has been read, and the upstream is chosen.
    Read(Choice<'a>, &'r mut ModelRequest<'t>),
    /// The body is still to be read.
    Unread(&'t ModelTarget<'t>, B),
}

impl Proxy {
    /// The life of a request whose answer comes whole: equal ones may share it. The answer is in Gemini's
    /// form.
    pub(super) async fn whole<
        'a,
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &'a self,
        incoming: Incoming<'a, '_, '_, B>,
        context: &mut RequestContext<P>,
        call: WholeCall,
    ) -> Result<CachedAnswer, Error> {
        let mut unread;
        let (mut choice, request) = match incoming {
            Incoming::Unread(target, body) => {
                let choice = self.select(target, context)?;
                let body = self.intake(target.parts, body, context).await?;
                unread = ModelRequest::new(target, ModelCall::Whole(call), body);
                (choice, &mut unread)
            }
            Incoming::Read(choice, request) => (choice, request),
        };
        let mut prepared = match self.may_begin_elsewhere(&mut choice, request) {
            None => self.prepare(choice.upstream(), request, context).await?,
            Some(several) => Box::pin(self.begin_among_others(several, request, context)).await?,
        };
        let mut leader =
            match self.coalescer.find(choice.upstream(), &prepared.cache, call, context).await? {
                Lookup::Lead(leader) => leader,
                Lookup::Found(mut answer) => {
                    self.note_giver(request.target.upstreams, &answer.headers, context);
                    answer.headers.extend(prepared.headers);
                    return Ok(answer);
                }
            };
        let is_shared = prepared.cache.key.is_some();
        let way = (&mut choice, &mut *request, &mut prepared);
        let asking = self.ask_for_whole(way, call, context);
        let mut answer = leader.while_leading(pin!(asking)).await;
        if choice.has_moved() {
            leader.keep_nothing();
        }
        if is_shared && let Ok(answer) = &mut answer {
            failover::add_shared_headers(&mut answer.headers, context);
        }
        leader.complete(answer.as_ref());
        let mut answer = answer?;
        // Not part of the shared answer: equal requests may have named the model differently.
        answer.headers.extend(prepared.headers);
        Ok(answer)
    }

    /// Asks the upstream, and after a failure the next one that may be asked. The request is prepared
    /// for the one that has answered.
    async fn ask_for_whole<'a, P: Platform>(
        &'a self,
        (choice, request, prepared): (&mut Choice<'a>, &mut ModelRequest<'_>, &mut PreparedRequest),
        call: WholeCall,
        context: &mut RequestContext<P>,
    ) -> Result<CachedAnswer, Error> {
        let rule = match call {
            WholeCall::CountTokens => ChargeRule::Nothing,
            WholeCall::BatchEmbed | WholeCall::Embed => ChargeRule::Prompt,
            WholeCall::Generate => ChargeRule::PromptAndAnswer,
        };
        if let Some(waiting) = self.reserve(rule, context.bytes_in, context) {
            waiting.await?;
        }
        loop {
            self.announce(request.target.upstreams, choice, context);
            let way = (choice.upstream(), &*request, &mut *prepared);
            let error = match self.ask_once(way, call, context).await {
                Ok(answer) => {
                    self.note_served(choice, request, context);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            *prepared = Box::pin(self.after_error(choice, request, error, context)).await?;
        }
    }

    /// Prepares the request again after an error: without its signatures, or for the next upstream. Fails
    /// with the error for the client if neither may help.
    async fn after_error<'a, P: Platform>(
        &'a self,
        choice: &mut Choice<'a>,
        request: &mut ModelRequest<'_>,
        error: Error,
        context: &mut RequestContext<P>,
    ) -> Result<PreparedRequest, Error> {
        if request.source.as_ref().is_some_and(|source| source.may_drop_signatures(&error)) {
            return self.prepare_without_signatures(choice.upstream(), request, context).await;
        }
        match self.may_fail_over(choice) {
            Some(selection) => self.after_failure(selection, request, error, context).await,
            None => Err(error),
        }
    }

    /// Asks one upstream for a whole answer.
    async fn ask_once<P: Platform>(
        &self,
        (upstream, request, prepared): (&Upstream, &ModelRequest<'_>, &mut PreparedRequest),
        call: WholeCall,
        context: &mut RequestContext<P>,
    ) -> Result<CachedAnswer, Error> {
        let (encoded, now) = self.encode(upstream, request, &mut prepared.body, context).await?;
        let want = Whole(Some((call, request.target.form.mode)));
        let calls = &upstream.calls;
        let answer = calls.call_with_retries(&encoded, want, context, now).await?;
        Ok(respond::whole(&calls.provider, answer, context))
    }

    /// The life of a request whose answer is a stream. `framing` is for clients of the Gemini API.
    pub(super) async fn stream<
        'a,
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &'a self,
        incoming: Incoming<'a, '_, '_, B>,
        context: &mut RequestContext<P>,
        framing: Framing,
    ) -> Result<Answer<P>, Error> {
        context.stream = true;
        context.cache = CacheUse::NotRepeatable;
        let mut unread;
        let (mut choice, request) = match incoming {
            Incoming::Unread(target, body) => {
                let choice = self.select(target, context)?;
                let body = self.intake(target.parts, body, context).await?;
                unread = ModelRequest::new(target, ModelCall::Stream, body);
                (choice, &mut unread)
            }
            Incoming::Read(choice, request) => (choice, request),
        };
        let mut prepared = match self.may_begin_elsewhere(&mut choice, request) {
            None => self.prepare(choice.upstream(), request, context).await?,
            Some(several) => Box::pin(self.begin_among_others(several, request, context)).await?,
        };
        if let Some(waiting) = self.reserve(ChargeRule::PromptAndAnswer, context.bytes_in, context)
        {
            waiting.await?;
        }
        loop {
            self.announce(request.target.upstreams, &mut choice, context);
            if let Some(source) = &request.source
                && let Some(early) = &source.early
                && let Some(form) = self.answer_form(source, context)
            {
                early.announce(form, &prepared.headers);
            }
            let way = (choice.upstream(), &*request, &mut prepared);
            let error = match self.ask_for_stream(way, framing, context).await {
                Ok(answer) => {
                    self.note_served(&mut choice, request, context);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let next = Box::pin(self.after_error(&mut choice, request, error, context));
            prepared = next.await?;
        }
    }

    /// Asks one upstream for a stream, until its first event has come.
    async fn ask_for_stream<P: Platform>(
        &self,
        (upstream, request, prepared): (&Upstream, &ModelRequest<'_>, &mut PreparedRequest),
        framing: Framing,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        let mode = request.target.form.mode;
        let (encoded, now) = self.encode(upstream, request, &mut prepared.body, context).await?;
        let calls = &upstream.calls;
        let source = request.source.as_deref();
        let from = match source {
            None => calls.provider.upstream_format(mode),
            Some(_) => Some(calls.provider.translated_format()),
        };
        let Some(from) = from else {
            let answer = calls.call_with_retries(&encoded, FirstCopied, context, now).await?;
            let headers = std::mem::take(&mut prepared.headers);
            return Ok(respond::copied_stream(answer, headers, context));
        };
        let form = source.and_then(|source| self.answer_form(source, context));
        let to = form.as_ref().map_or(StreamFormat::Gemini(framing), StreamFormat::Translated);
        let want = FirstEvent { from, to };
        let stream = calls.call_with_retries(&encoded, want, context, now).await?;
        let headers = std::mem::take(&mut prepared.headers);
        Ok(respond::stream(&calls.provider, stream, framing, headers, context))
    }
}
