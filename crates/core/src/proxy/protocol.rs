//! The life of a request in Code Assist's own protocol, and what clients may call of it:
//! `CODE_ASSIST_PROTOCOL` (`docs/ACCESS.md`).

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body::Body;

use super::Proxy;
use super::allowed::{check_passed, restricted};
use super::choose::Asked;
use super::respond::{self, Answer};
use crate::context::{ChargeRule, RequestContext};
use crate::dialect::gemini::route::{self, Route, RouteError};
use crate::error::Error;
use crate::memory;
use crate::payload::Payload;
use crate::platform::{Platform, RequestBodyError};
use crate::provider::ProviderKind;
use crate::provider::code_assist::{self, pass_through};
use crate::provider::vertex;
use crate::settings::AllowedProtocol;
use crate::time::Monotonic;
use crate::upstream::{Account, CodeAssistAccount, Head, Upstream, UpstreamList};

impl Proxy {
    /// The error for a request without a route. A protocol that is off has no paths.
    pub(super) fn route_error<P: Platform>(
        &self,
        error: RouteError,
        path: &str,
        context: &RequestContext<P>,
    ) -> Error {
        let is_off = self.protocol_of(context) == AllowedProtocol::Off;
        if is_off && matches!(error, RouteError::WrongMethod { .. }) && route::is_own_path(path) {
            return protocol_is_off();
        }
        match error {
            // The public API is no stranger to an operator with several upstreams.
            RouteError::NotOffered { what, model }
                if !self.upstreams.operators.is_code_assist_alone() =>
            {
                let primary = self.upstreams.operators.primary();
                let (upstream, others) = (primary.name.to_string(), Vec::new());
                if primary.calls.provider.is_express() && vertex::copied::has_in_project(&what) {
                    return Error::NeedsProject { what, upstream, others };
                }
                let provider = Some(ProviderKind::GeminiApi.word());
                Error::NotOffered { what, model, upstream: Some(upstream), others, provider }
            }
            error => error.into(),
        }
    }

    /// Fails for a request of the provider's own protocol that clients may not send.
    pub(super) fn check_protocol<P: Platform>(
        &self,
        route: &Route,
        context: &RequestContext<P>,
    ) -> Result<(), Error> {
        let Route::PassThrough { suffix, .. } = route else { return Ok(()) };
        match self.protocol_of(context) {
            AllowedProtocol::All => Ok(()),
            AllowedProtocol::Off => Err(protocol_is_off()),
            AllowedProtocol::Generate if pass_through::is_session_method(suffix) => Ok(()),
            AllowedProtocol::Generate => {
                let rpc = suffix.trim_start_matches([':', '/']).to_owned();
                Err(Error::RpcNotAllowed { rpc })
            }
        }
    }

    /// The life of a request in Code Assist's own protocol.
    pub(super) async fn pass_through<
        P: Platform,
        B: Body<Data = Bytes, Error: Into<RequestBodyError>>,
    >(
        &self,
        upstreams: &UpstreamList,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        (suffix, alt): (&str, Option<&str>),
    ) -> Result<Answer<P>, Error> {
        if upstreams.code_assist().is_none() {
            return Err(route::not_found(&parts.method, &parts.uri).into());
        }
        let asked = Asked { operation: context.operation, model: "" };
        let (upstream, _) = self.candidates(upstreams, parts, asked)?;
        let Account::CodeAssist(account) = &upstream.account else { return Err(Error::Internal) };
        self.use_upstream(upstreams, upstream, context);
        let body = self.intake(parts, body, context).await?;
        context.stream = alt == Some("sse");
        let (owned_suffix, text) = (suffix.to_owned(), body.clone());
        let search = move || code_assist::passed_model(&owned_suffix, &text).unwrap_or_default();
        let longest = self.settings.queue_timeout;
        context.model = memory::work_on(body.len(), context, longest, search).await?.into();
        if let Some(holder) = restricted(context).cloned() {
            let (owned_suffix, text) = (suffix.to_owned(), body.clone());
            let check = move || check_passed(&holder, &owned_suffix, &text);
            memory::work_on(body.len(), context, longest, check).await??;
        }
        let rule = match code_assist::generates(suffix) {
            true => ChargeRule::PromptAndAnswer,
            false => ChargeRule::Nothing,
        };
        if let Some(waiting) = self.reserve(rule, context.bytes_in, context) {
            waiting.await?;
        }
        let request = account.protocol.pass_through(parts.method.clone(), suffix, alt);
        let now = context.platform().now();
        // Before the body, which may have to wait for the project: a discovery calls the same endpoints.
        upstream.calls.check_breakers(request.counts_for(), &context.model, now)?;
        let mut headers = HeaderMap::new();
        let (body, now) =
            self.passed_body((upstream, account), body, &mut headers, context, now).await?;
        let request = request.with_body(body);
        let answer = upstream.calls.call_with_retries(&request, Head, context, now).await?;
        let mut answer = respond::passed_through(&upstream.calls.provider, answer, context);
        answer.headers.extend(headers);
        Ok(answer)
    }

    /// The body of a request of the provider's own protocol as it is sent on: with the operator's
    /// project in place of any other, unless clients may send everything. `headers` tell the client
    /// about other changes. Returns the time too.
    async fn passed_body<P: Platform>(
        &self,
        (upstream, account): (&Upstream, &CodeAssistAccount),
        body: Bytes,
        headers: &mut HeaderMap,
        context: &mut RequestContext<P>,
        now: Monotonic,
    ) -> Result<(Payload, Monotonic), Error> {
        if self.protocol_of(context) == AllowedProtocol::All {
            return Ok((Payload::from(body), now));
        }
        let text = body.clone();
        let search = move || pass_through::named_projects(&text);
        let longest = self.settings.queue_timeout;
        let named = memory::work_on(body.len(), context, longest, search).await?;
        let (body, named) = match named {
            Ok(named) => (body, named),
            Err(refused) => {
                let search = |text: &Bytes| Ok((text.clone(), pass_through::named_projects(text)?));
                Box::pin(self.read_leniently(&body, refused, search, context, headers)).await?
            }
        };
        if named.is_empty() {
            return Ok((Payload::from(body), now));
        }
        let (project, now) = account.projects.project(&upstream.calls, context, now).await;
        Ok((pass_through::in_project(&body, named, &project?), now))
    }
}

fn protocol_is_off() -> Error {
    Error::NotFound { what: "Code Assist's own protocol (CODE_ASSIST_PROTOCOL is off)".to_owned() }
}
