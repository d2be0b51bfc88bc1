//! The life of a request, from top to bottom.
//!
//! [`Proxy::handle`] opens the request's context, calls [`Proxy::answer`], and turns an error into a
//! response. A step of `answer` that is longer than a few lines is a module of its own.

pub mod check;
mod choose;
mod coalesce;
mod copy;
mod failover;
mod limit;
mod local;
mod models;
mod page;
mod prepare;
mod probes;
mod protocol;
mod reload;
mod respond;
mod root;
mod vertex;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, RwLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, Version};
use http_body::Body;
use tracing::{Instrument, Span};

use crate::access::{self, Attempt, Needs};
use crate::body::ProxyBody;
use crate::caller::Caller;
use crate::context::{CacheUse, Deadline, RequestContext};
use crate::dialect::gemini::route::{self, Framing, Route, RouteError};
use crate::dialect::{ModelCall, StreamFormat, WholeCall};
use crate::error::Error;
use crate::ids::RequestId;
use crate::intake;
use crate::job::{BackgroundJob, Job};
use crate::memory;
use crate::metrics::Metrics;
use crate::platform::{Admission, Platform, RequestBodyError};
use crate::policy::cache::CachedAnswer;
use crate::policy::key_guesses::KeyGuesses;
use crate::policy::memory::{MemoryBudget, REQUEST_BASE};
use crate::provider::code_assist;
use crate::settings::Settings;
use crate::upstream::{FirstCopied, FirstEvent, Head, Upstream, Upstreams, Whole};

use coalesce::{Coalescer, Lookup};
use failover::Choice;
use limit::CallerLimits;
use prepare::{ModelRequest, ModelTarget, PreparedRequest};
use reload::ReloadableSettings;
use respond::Answer;

/// Everything the proxy remembers: plain data, no connection, no file, no task.
#[derive(Debug)]
pub struct Proxy {
    settings: Arc<Settings>,
    /// Read once a request, replaced as a whole by [`Proxy::reload`].
    reloadable: RwLock<Arc<ReloadableSettings>>,
    limits: CallerLimits,
    guesses: Mutex<KeyGuesses>,
    coalescer: Coalescer,
    upstreams: Upstreams,
    memory: Arc<MemoryBudget>,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// A proxy that knows its settings and nothing else yet.
    pub fn new<P: Platform>(settings: Settings, platform: &P) -> Self {
        let settings = Arc::new(settings);
        let (clock, now) = (platform.wall_clock(), platform.now());
        let upstreams = settings.upstreams.iter().map(|it| (&it.name, &*it.endpoints));
        let metrics = Arc::new(Metrics::new(upstreams, clock, now));
        let memory = MemoryBudget::new(settings.memory_budget_bytes);
        memory.set_keys(settings.api_keys.len());
        Self {
            reloadable: RwLock::new(ReloadableSettings::new(&settings)),
            limits: CallerLimits::new(&settings),
            guesses: Mutex::default(),
            coalescer: Coalescer::new(&settings, &metrics),
            upstreams: Upstreams::new(&settings, &metrics),
            memory,
            metrics,
            settings,
        }
    }

    /// Answers one request. Dropping the future, or the answer's body, is the client going away.
    pub async fn handle<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        platform: &P,
        request: Request<B>,
    ) -> Response<ProxyBody<P>> {
        let (parts, body) = request.into_parts();
        let mut body = pin!(body);
        let id = RequestId::of(platform, &parts.headers);
        // At error level, so that the span, and with it the id, is kept at every `LOG_LEVEL`.
        let span = tracing::error_span!("request", request_id = id.as_str());
        let mut context = RequestContext::new(platform, &self.metrics, id, platform.now());
        let route = route::read(&parts.method, &parts.uri);
        let in_array = matches!(&route, Ok(Route::Stream { framing: Framing::Array, .. }));
        let answered =
            caught(&span, pin!(self.answer(&parts, route, body.as_mut(), &mut context))).await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                // The client may read the error slowly, and its body is not held any more.
                context.release_permit();
                context.shrink_memory(REQUEST_BASE);
                if !context.admitted
                    && let Some(Admission(shell)) = parts.extensions.get()
                {
                    shell.refused();
                }
                if parts.version < Version::HTTP_2 {
                    intake::drain(platform, &parts.headers, body).await;
                }
                respond::error(&error, in_array, &mut context)
            }
        };
        let answer = self.with_memory(answer, &mut context);
        self.respond(&parts, answer, context)
    }

    /// Refuses a request that the shell cannot accept.
    pub async fn refuse<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        request: Request<B>,
        error: &Error,
    ) -> Response<ProxyBody<P>> {
        let (parts, body) = request.into_parts();
        let id = RequestId::of(platform, &parts.headers);
        let mut context = RequestContext::new(platform, &self.metrics, id, platform.now());
        context.peer = access::address(&parts, self.settings.trust_forwarded_for);
        // What is left for probes is needed again at once.
        let is_spare = matches!(error, Error::ConnectionsExhausted);
        if parts.version < Version::HTTP_2 && !is_spare {
            intake::drain(platform, &parts.headers, pin!(body)).await;
        }
        let answer = respond::error(error, false, &mut context);
        self.respond(&parts, answer, context)
    }

    /// The memory budget, from which a shell reserves what its connections hold.
    pub fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// Runs what a request has left for the background.
    pub async fn run_job<P: Platform>(&self, platform: &P, job: BackgroundJob) {
        // Shutdown waits for it: a refresh that is cut off could lose the refresh token that Google
        // has just rotated.
        let _in_flight = RequestContext::own(platform, &self.metrics, platform.now());
        self.run(platform, job.job).instrument(job.span).await;
    }

    async fn run<P: Platform>(&self, platform: &P, job: Job) {
        match job {
            Job::DiscoverProject(upstream, lease) => {
                self.upstreams.get(upstream).discover_project(platform, lease).await;
            }
            Job::ListModels(upstream, lease) => {
                self.upstreams.get(upstream).list_models(platform, lease).await;
            }
            Job::PublishAnswer { upstream, key, answer, lock } => {
                let auth = &self.upstreams.get(upstream).calls.auth;
                self.coalescer.publish(platform, auth, &key, answer, lock).await;
            }
            Job::PublishQuotas(upstream) => {
                self.upstreams.get(upstream).publish_quotas(platform).await;
            }
            Job::RefreshToken(upstream, lease) => {
                self.upstreams.get(upstream).refresh_token(platform, lease).await;
            }
        }
    }

    /// Looks after tokens, credential files and what other processes have found out. A shell calls it
    /// about once a second.
    pub async fn tick<P: Platform>(&self, platform: &P) {
        self.metrics.log_left_out(false, platform.now());
        self.upstreams.tick(platform).await;
    }

    /// Writes the log lines that are held back. The shell calls it when it stops.
    pub fn finish<P: Platform>(&self, platform: &P) {
        self.metrics.log_left_out(true, platform.now());
    }

    /// The counters, for the shell's shutdown.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The life of a request.
    async fn answer<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        parts: &Parts,
        route: Result<Route, RouteError>,
        body: B,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        let route = self.admit(parts, route, context).await?;
        match route {
            Route::Count { model, form } => {
                let target = ModelTarget { parts, model: &model, form };
                self.whole(&target, body, context, WholeCall::CountTokens).await
            }
            Route::Embed { model, form, batch } => {
                let target = ModelTarget { parts, model: &model, form };
                let call = if batch { WholeCall::BatchEmbed } else { WholeCall::Embed };
                self.whole(&target, body, context, call).await
            }
            Route::Generate { model, form } => {
                let target = ModelTarget { parts, model: &model, form };
                self.whole(&target, body, context, WholeCall::Generate).await
            }
            // Boxed, so that the future of a usual request has no room for them.
            Route::Copy(path) => Box::pin(self.copy(parts, body, context, &path)).await,
            Route::Stream { model, framing, form } => {
                let target = ModelTarget { parts, model: &model, form };
                self.stream(&target, body, context, framing).await
            }
            Route::PassThrough { suffix, alt } => {
                Box::pin(self.pass_through(parts, body, context, &suffix, alt.as_deref())).await
            }
            Route::Models { form, .. } | Route::Model { form, .. } => {
                Box::pin(self.answer_models(parts, context, &route, form)).await
            }
            Route::VertexResource(resource) => {
                Box::pin(self.vertex_resource(parts, body, context, &resource)).await
            }
            Route::Root
            | Route::Health
            | Route::HealthDetailed
            | Route::Live
            | Route::Metrics { .. }
            | Route::Options
            | Route::Ready => {
                context.set_aside();
                Ok(self.local(context.platform(), &route, parts))
            }
        }
    }

    /// Refuses strangers, unknown routes, and callers beyond their rate limit. Requests that are refused
    /// here do not count in the statistics of served requests.
    async fn admit<P: Platform>(
        &self,
        parts: &Parts,
        route: Result<Route, RouteError>,
        context: &mut RequestContext<P>,
    ) -> Result<Route, Error> {
        let route = self.with_copies(route, parts);
        let needs = match &route {
            Ok(Route::Root) => Needs::Nothing,
            Ok(Route::Copy(path)) if self.is_issued_upload(path, parts) => Needs::NoKey,
            Ok(route) if !route.operation().needs_key() => Needs::NoKey,
            _ => Needs::Key,
        };
        let address = access::address(parts, self.settings.trust_forwarded_for);
        context.peer = address;
        let from = Caller::new(None, address);
        let attempt = Attempt { guesses: &self.guesses, from, now: context.received };
        let access = &self.reloadable().access;
        let client = access.admit(&parts.headers, &parts.uri, needs, &attempt)?;
        context.caller = client.key.map_or(from, Caller::Key);
        context.client = client.label;
        let route = route.map_err(|error| self.route_error(error, parts.uri.path()))?;
        let route = self.on_port(route, parts)?;
        let operation = route.operation();
        context.operation = Some(operation);
        self.check_protocol(&route)?;
        if self.metrics.refuses_requests() && !operation.is_answered_while_stopping() {
            return Err(Error::ShuttingDown);
        }
        if operation.asks_upstream() {
            context.deadline = Deadline::of(&parts.headers, context.received);
            self.limits.admit(context).await?;
        }
        if operation.asks_upstream()
            && let Some(Admission(shell)) = parts.extensions.get()
            && !shell.admitted(context.caller)
        {
            return Err(Error::Overloaded { after: MEMORY_RETRY_AFTER });
        }
        context.admitted = true;
        Ok(route)
    }

    /// The life of a request whose answer comes whole: equal ones may share it.
    async fn whole<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
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
        let found = self.coalescer.find(choice.upstream(), &prepared.cache, call, context).await?;
        let mut answer = match found {
            Lookup::Found(answer) => {
                self.note_giver(&answer.headers, context);
                answer
            }
            Lookup::Lead(mut leader) => {
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
                answer?
            }
        };
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
        let want = Whole(Some((call, request.target.form.mode)));
        loop {
            self.announce(choice, context);
            let upstream = choice.upstream();
            let answer = match self.encode(upstream, request, &mut prepared.body, context).await {
                Ok((encoded, now)) => {
                    upstream.calls.call_with_retries(&encoded, want, context, now).await
                }
                Err(error) => Err(error),
            };
            let error = match answer {
                Ok(answer) => {
                    self.note_served(choice, request, context);
                    return Ok(respond::whole(&upstream.calls.provider, answer, context));
                }
                Err(error) => error,
            };
            let Some(selection) = self.may_fail_over(choice) else { return Err(error) };
            let next = Box::pin(self.after_failure(selection, request, error, context));
            *prepared = next.await?;
        }
    }

    /// The life of a request whose answer is a stream.
    async fn stream<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
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

    /// The life of a request in Code Assist's own protocol.
    async fn pass_through<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        parts: &Parts,
        body: B,
        context: &mut RequestContext<P>,
        suffix: &str,
        alt: Option<&str>,
    ) -> Result<Answer<P>, Error> {
        let Some((upstream, account)) = self.upstreams.code_assist() else {
            return Err(route::not_found(&parts.method, &parts.uri).into());
        };
        self.use_upstream(upstream, context);
        let body = self.intake(parts, body, context).await?;
        context.stream = alt == Some("sse");
        let (owned_suffix, text) = (suffix.to_owned(), body.clone());
        let search = move || code_assist::passed_model(&owned_suffix, &text).unwrap_or_default();
        let longest = self.settings.queue_timeout;
        context.model = memory::work_on(body.len(), context, longest, search).await?.into();
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
}

/// Polls inside the request's span, so that every log line carries the request's id. A panic is a bug
/// of the proxy: it costs its own request and no other.
async fn caught<T>(
    span: &Span,
    mut life: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    poll_fn(|cx| {
        let _entered = span.enter();
        catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(cx))).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().copied();
            let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(
                panic = what.unwrap_or_default(),
                "a bug in the proxy: please report it"
            );
            Poll::Ready(Err(Error::Internal))
        })
    })
    .await
}

/// When a client should try again for whose body its connection has no memory.
const MEMORY_RETRY_AFTER: Duration = Duration::from_secs(1);
