//! The life of a request to a model.

use std::pin::pin;

use bytes::Bytes;
use http_body::Body;

use super::Proxy;
use super::coalesce::Lookup;
use super::failover::{self, Choice};
use super::prepare::{ModelRequest, ModelTarget, PreparedRequest};
use super::respond::{self, Answer};
use crate::context::{CacheUse, RequestContext};
use crate::dialect::gemini::route::Framing;
use crate::dialect::{ModelCall, StreamFormat, WholeCall};
use crate::error::Error;
use crate::platform::{Platform, RequestBodyError};
use crate::policy::cache::CachedAnswer;
use crate::upstream::{FirstCopied, FirstEvent, Upstream, Whole};

impl Proxy {
    /// The life of a request whose answer comes whole: equal ones may share it.
    pub(super) async fn whole<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        target: &ModelTarget<'_>,
        body: B,
        context: &mut RequestContext<P>,
        call: WholeCall,
    ) -> Result<Answer<P>, Error> {
        let mut choice = self.select(target, context)?;
        let body = self.intake(target.parts, body, context).await?;
        let mut request = ModelRequest::new(target, ModelCall::Whole(call), body);
        let mut prepared = match self.may_begin_elsewhere(&mut choice, &request.body) {
            None => self.prepare(choice.upstream(), &request, context).await?,
            Some(several) => {
                Box::pin(self.begin_among_others(several, &mut request, context)).await?
            }
        };
        let mut leader =
            match self.coalescer.find(choice.upstream(), &prepared.cache, call, context).await? {
                Lookup::Lead(leader) => leader,
                Lookup::Found(mut answer) => {
                    self.note_giver(&answer.headers, context);
                    answer.headers.extend(prepared.headers);
                    return Ok(Answer::from(answer));
                }
            };
        let is_shared = prepared.cache.key.is_some();
        let way = (&mut choice, &mut request, &mut prepared);
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
        Ok(Answer::from(answer))
    }

    /// Asks the upstream, and after a failure the next one that may be asked. The request is prepared
    /// for the one that has answered.
    async fn ask_for_whole<'a, P: Platform>(
        &'a self,
        (choice, request, prepared): (&mut Choice<'a>, &mut ModelRequest<'_>, &mut PreparedRequest),
        call: WholeCall,
        context: &mut RequestContext<P>,
    ) -> Result<CachedAnswer, Error> {
        loop {
            self.announce(choice, context);
            let way = (choice.upstream(), &*request, &mut *prepared);
            let error = match self.ask_once(way, call, context).await {
                Ok(answer) => {
                    self.note_served(choice, request, context);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let Some(selection) = self.may_fail_over(choice) else { return Err(error) };
            let next = Box::pin(self.after_failure(selection, request, error, context));
            *prepared = next.await?;
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

    /// The life of a request whose answer is a stream.
    pub(super) async fn stream<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        target: &ModelTarget<'_>,
        body: B,
        context: &mut RequestContext<P>,
        framing: Framing,
    ) -> Result<Answer<P>, Error> {
        context.stream = true;
        context.cache = CacheUse::NotRepeatable;
        let mut choice = self.select(target, context)?;
        let body = self.intake(target.parts, body, context).await?;
        let mut request = ModelRequest::new(target, ModelCall::Stream, body);
        let mut prepared = match self.may_begin_elsewhere(&mut choice, &request.body) {
            None => self.prepare(choice.upstream(), &request, context).await?,
            Some(several) => {
                Box::pin(self.begin_among_others(several, &mut request, context)).await?
            }
        };
        loop {
            self.announce(&mut choice, context);
            let way = (choice.upstream(), &request, &mut prepared);
            let error = match self.ask_for_stream(way, framing, context).await {
                Ok(answer) => {
                    self.note_served(&mut choice, &request, context);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let Some(selection) = self.may_fail_over(&mut choice) else { return Err(error) };
            let next = Box::pin(self.after_failure(selection, &mut request, error, context));
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
        let Some(from) = calls.provider.upstream_format(mode) else {
            let answer = calls.call_with_retries(&encoded, FirstCopied, context, now).await?;
            let headers = std::mem::take(&mut prepared.headers);
            return Ok(respond::copied_stream(answer, headers, context));
        };
        let want = FirstEvent { from, to: StreamFormat::Gemini(framing) };
        let stream = calls.call_with_retries(&encoded, want, context, now).await?;
        let headers = std::mem::take(&mut prepared.headers);
        Ok(respond::stream(&calls.provider, stream, framing, headers, context))
    }
}
