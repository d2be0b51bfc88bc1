//! The life of a request, from top to bottom.
//!
//! [`Proxy::handle`] opens the request's context, calls [`Proxy::answer`], and turns an error into a
//! response. A step of `answer` that is longer than a few lines is a module of its own.

mod admit;
mod allowed;
mod budget;
pub mod check;
mod choose;
mod coalesce;
mod copy;
mod dropped;
pub mod early;
mod failover;
mod limit;
mod local;
mod model_call;
mod models;
mod page;
mod prepare;
mod probes;
mod protocol;
mod reload;
mod respond;
mod root;
mod source;
mod translated;
mod usage;

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response, Version};
use http_body::Body;

use crate::access;
use crate::body::ProxyBody;
use crate::caller::KeyDigest;
use crate::context::RequestContext;
use crate::dialect::gemini::route::{self, Framing, Route, RouteError};
use crate::dialect::route::DialectRoute;
use crate::dialect::{self, Dialect, WholeCall};
use crate::error::Error;
use crate::google::ProviderKind;
use crate::intake;
use crate::job::{BackgroundJob, Job};
use crate::keys::Keys;
use crate::metrics::Metrics;
use crate::platform::{Peer, Platform, RequestBodyError};
use crate::policy::budget::ProcessId;
use crate::policy::call_signatures::CallSignatures;
use crate::policy::key_guesses::SharedKeyGuesses;
use crate::policy::memory::{MemoryBudget, REQUEST_BASE};
use crate::request_ids::{self, RequestIds};
use crate::settings::Settings;
use crate::shards::{Published, Replica, Replicas};
use crate::upstream::{Upstream, Upstreams};

use coalesce::Coalescer;
pub use early::EarlyHead;
use limit::CallerLimits;
use model_call::Incoming::Unread;
use prepare::ModelTarget;
use reload::ReloadableSettings;
use respond::Answer;

/// Everything the proxy remembers: plain data, no connection, no file, no task.
#[derive(Debug)]
pub struct Proxy {
    settings: Arc<Settings>,
    /// Read once a request, replaced as a whole by [`Proxy::reload`].
    reloadable: Published<Replica<ReloadableSettings>>,
    /// What the holders of keys have used.
    keys: Keys,
    limits: CallerLimits,
    guesses: SharedKeyGuesses,
    coalescer: Coalescer,
    upstreams: Upstreams,
    memory: Arc<MemoryBudget>,
    metrics: Arc<Metrics>,
    /// For the contexts of requests.
    metrics_replicas: Replicas<Metrics>,
    /// `None` if `SIGNATURE_CACHE_BYTES` is 0.
    call_signatures: Option<Arc<CallSignatures>>,
}

impl Proxy {
    /// A proxy that knows its settings and nothing else yet.
    pub fn new<P: Platform>(settings: Settings, platform: &P) -> Self {
        let settings = Arc::new(settings);
        let (clock, now) = (platform.wall_clock(), platform.now());
        let operators = settings.upstreams.iter().map(|it| (&it.name, &*it.endpoints));
        let metrics = Arc::new(Metrics::new(operators, clock, now));
        let memory = MemoryBudget::new(settings.memory_budget_bytes);
        memory.set_keys(settings.number_of_keys());
        let keys = Keys::new(ProcessId(platform.random()));
        let upstreams = Upstreams::new(&settings, &metrics);
        Self {
            reloadable: ReloadableSettings::new(&settings, &keys, &upstreams).published(),
            keys,
            limits: CallerLimits::new(&settings),
            guesses: SharedKeyGuesses::default(),
            coalescer: Coalescer::new(&settings, &metrics),
            upstreams,
            memory,
            metrics_replicas: Replicas::of(&metrics),
            metrics,
            call_signatures: Some(settings.signature_cache_bytes)
                .filter(|bytes| *bytes > 0)
                .map(|bytes| Arc::new(CallSignatures::new(bytes))),
            settings,
        }
    }

    /// Accepts one more key, which may read `/usage` of all keys and nothing else. It is for commands on the
    /// machine of the proxy, and is in no list of keys.
    #[must_use]
    pub fn with_operator_key(mut self, digest: KeyDigest) -> Self {
        self.keys.set_operator(digest);
        let reloadable = ReloadableSettings::new(&self.settings, &self.keys, &self.upstreams);
        self.reloadable = reloadable.published();
        self
    }

    /// Answers one request of a client of whom the shell knows nothing more.
    pub fn handle<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        platform: &P,
        request: Request<B>,
    ) -> impl Future<Output = Response<ProxyBody<P>>> {
        self.handle_from(Peer::default(), platform, request)
    }

    /// Answers one request. Dropping the future, or the answer's body, is the client going away.
    pub fn handle_from<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        peer: Peer,
        platform: &P,
        request: Request<B>,
    ) -> impl Future<Output = Response<ProxyBody<P>>> {
        // Taken apart here: the future would have a place for the request and one for its parts.
        let (parts, body) = request.into_parts();
        self.handle_parts(peer, platform, parts, body)
    }

    async fn handle_parts<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        peer: Peer,
        platform: &P,
        parts: Parts,
        body: B,
    ) -> Response<ProxyBody<P>> {
        let mut body = pin!(body);
        let metrics = self.metrics_replicas.own();
        let mut context = RequestContext::new(platform, metrics, &parts.headers, platform.now());
        let ids = Some(context.ids());
        let route = self.route(&parts, &mut context);
        let in_array = matches!(&route, Ok(Route::Stream { framing: Framing::Array, .. }));
        let answered =
            caught(ids, pin!(self.answer(&peer, &parts, route, body.as_mut(), &mut context))).await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                // The client may read the error slowly, and its body is not held any more.
                context.release_permit();
                context.shrink_memory(REQUEST_BASE);
                if !context.admitted
                    && let Some(shell) = &peer.admission
                {
                    shell.refused();
                }
                if parts.version < Version::HTTP_2 {
                    intake::drain(platform, &parts.headers, body).await;
                }
                match early::error(&parts, &error, &mut context) {
                    Some(event) => event,
                    None => respond::error(&error, in_array, &mut context),
                }
            }
        };
        let answer = self.with_memory(answer, &mut context);
        self.respond(&parts, answer, context)
    }

    /// Refuses a request that the shell cannot accept.
    pub async fn refuse<P: Platform, B: Body<Data = Bytes>>(
        &self,
        address: Option<IpAddr>,
        platform: &P,
        request: Request<B>,
        error: &Error,
    ) -> Response<ProxyBody<P>> {
        let (parts, body) = request.into_parts();
        let metrics = self.metrics_replicas.own();
        let mut context = RequestContext::new(platform, metrics, &parts.headers, platform.now());
        let trusted = self.settings.trust_forwarded_for;
        context.peer = access::address(&parts.headers, address, trusted);
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
        request_ids::within(job.ids, pin!(self.run(platform, job.job))).await;
    }

    async fn run<P: Platform>(&self, platform: &P, job: Job) {
        let (Job::DiscoverProject(id, _)
        | Job::ListModels(id, _)
        | Job::LookAfter(id)
        | Job::PublishAnswer { upstream: id, .. }
        | Job::PublishQuotas(id)
        | Job::RefreshToken(id, _)) = &job;
        let Some(upstream) = self.upstreams.get(*id) else { return };
        match job {
            Job::DiscoverProject(_, lease) => upstream.discover_project(platform, lease).await,
            Job::ListModels(_, lease) => upstream.list_models(platform, lease).await,
            Job::LookAfter(_) => upstream.look_after(platform).await,
            Job::PublishAnswer { key, answer, lock, .. } => {
                self.coalescer.publish(platform, &upstream.calls.auth, &key, answer, lock).await;
            }
            Job::PublishQuotas(_) => upstream.publish_quotas(platform).await,
            Job::RefreshToken(_, lease) => upstream.refresh_token(platform, lease).await,
        }
    }

    /// Looks after the usage of keys, tokens, credential files and what other processes have found out. A shell
    /// calls it about once a second.
    pub async fn tick<P: Platform>(&self, platform: &P) {
        self.metrics.log_left_out(false, platform.now());
        self.keys.flush(platform).await;
        self.keys.load(platform).await;
        self.upstreams.tick(platform).await;
        self.keys.remove_old_usage(platform, self.settings.usage_retention_days).await;
    }

    /// True if the usage of keys is counted: there are tables.
    pub fn counts_usage(&self) -> bool {
        !self.keys.are_none()
    }

    /// Sends what keys have used since the last time to the store, and what their requests in flight have
    /// reserved. A shell without regular ticks calls it while requests run, and after them. True if the store then
    /// has all that was used.
    pub async fn send_usage<P: Platform>(&self, platform: &P) -> bool {
        self.keys.flush(platform).await;
        self.keys.is_all_sent()
    }

    /// Stores what keys have used. The shell calls it when it stops, once no request is left.
    pub async fn flush_usage<P: Platform>(&self, platform: &P) {
        self.keys.flush_all(platform).await;
    }

    /// Writes the log lines that are held back. The shell calls it when it stops.
    pub fn finish<P: Platform>(&self, platform: &P) {
        self.metrics.log_left_out(true, platform.now());
    }

    /// `EARLY_HEARTBEAT_MS`: after how long a shell asks [`EarlyHead::begin`]; `None` is never.
    pub fn early_heartbeat(&self) -> Option<Duration> {
        self.settings.early_heartbeat
    }

    /// The counters, for the shell's shutdown.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reads the route, and whose dialect it is. The usual path of the Gemini API is looked at once.
    fn route<P: Platform>(
        &self,
        parts: &Parts,
        context: &mut RequestContext<P>,
    ) -> Result<Route, RouteError> {
        let Parts { method, uri, headers, .. } = parts;
        if !route::is_usual(uri)
            && let Some(found) = dialect::route::read(method, uri, headers)
            && self.serves(&found)
        {
            context.dialect = found.dialect;
            context.prompt_field = found.call.prompt_field();
            return match (found.operation(), found.call.error()) {
                (Some(operation), _) => Ok(Route::Translated(Box::new(found), operation)),
                (None, error) => {
                    Err(RouteError::Refused(Box::new(error.unwrap_or(Error::Internal))))
                }
            };
        }
        let route = route::read(method, uri);
        match &route {
            Ok(route) if !self.settings.dialects.gemini && route.operation().asks_upstream() => {
                Err(route::not_found(method, uri))
            }
            _ => route,
        }
    }

    /// Whether a route of OpenAI's or Anthropic's dialect is translated here. Some paths are Google's own
    /// where an upstream has the whole Gemini API.
    fn serves(&self, route: &DialectRoute) -> bool {
        let dialects = self.settings.dialects;
        let is_on = match route.dialect {
            Dialect::Anthropic => dialects.anthropic,
            Dialect::Gemini => false,
            Dialect::OpenAi => dialects.openai,
        };
        let is_gemini_api =
            |upstream: &Upstream| upstream.calls.provider.kind() == ProviderKind::GeminiApi;
        let is_copied = dialects.gemini
            && route.is_in_gemini_api()
            && self.upstreams.operators.iter().any(is_gemini_api);
        is_on && !is_copied
    }

    /// The life of a request.
    async fn answer<P: Platform, B: Body<Data = Bytes, Error: Into<RequestBodyError>>>(
        &self,
        peer: &Peer,
        parts: &Parts,
        route: Result<Route, RouteError>,
        body: B,
        context: &mut RequestContext<P>,
    ) -> Result<Answer<P>, Error> {
        let (route, upstreams) = self.admit(peer, parts, route, context).await?;
        // A reload may remove the key, and the request keeps its upstreams to its end.
        let upstreams = upstreams.as_deref().unwrap_or(&self.upstreams.operators);
        match route {
            Route::Count { model, form } => {
                let target = ModelTarget { upstreams, parts, model: &model, form };
                self.whole(Unread(&target, body), context, WholeCall::CountTokens)
                    .await
                    .map(Answer::from)
            }
            Route::Embed { model, form, batch } => {
                let target = ModelTarget { upstreams, parts, model: &model, form };
                let call = if batch { WholeCall::BatchEmbed } else { WholeCall::Embed };
                self.whole(Unread(&target, body), context, call).await.map(Answer::from)
            }
            Route::Generate { model, form } => {
                let target = ModelTarget { upstreams, parts, model: &model, form };
                self.whole(Unread(&target, body), context, WholeCall::Generate)
                    .await
                    .map(Answer::from)
            }
            // Boxed, so that the future of a usual request has no room for them.
            Route::Copy(path) => Box::pin(self.copy(upstreams, parts, body, context, &path)).await,
            Route::Stream { model, framing, form } => {
                let target = ModelTarget { upstreams, parts, model: &model, form };
                self.stream(Unread(&target, body), context, framing).await
            }
            Route::PassThrough { suffix, alt } => {
                let passed = (suffix.as_ref(), alt.as_deref());
                Box::pin(self.pass_through(upstreams, parts, body, context, passed)).await
            }
            Route::Models { form, .. } | Route::Model { form, .. } => {
                Box::pin(self.answer_models(upstreams, parts, context, &route, form)).await
            }
            Route::Translated(call, _) => {
                Box::pin(self.translated(upstreams, parts, body, context, &call)).await
            }
            Route::Usage => Box::pin(self.usage(parts, context)).await,
            Route::VertexResource(resource) => {
                Box::pin(self.vertex_resource(upstreams, parts, body, context, &resource)).await
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
}

/// Polls with the request's ids, so that every log line carries them. A panic is a bug
/// of the proxy: it costs its own request and no other.
async fn caught<T>(
    mut ids: Option<RequestIds>,
    mut life: Pin<&mut impl Future<Output = Result<T, Error>>>,
) -> Result<T, Error> {
    poll_fn(|cx| {
        let _entered = request_ids::enter(&mut ids);
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
