//! The spine: the life of a request, from top to bottom.
//!
//! Every line of `Proxy::answer` is a room that can be opened; control goes into it, gets an answer
//! and comes straight back. There is one place where a refusal becomes a response (`refuse`) and one
//! loop that tries again (`Proxy::attempt`).

mod answer;
mod ask;
mod attempt;
pub mod check;
mod live;
mod local;
mod page;
mod project;
mod share;
mod token;
mod turn;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;

use self::ask::Asked;
use self::attempt::Want;
use self::share::Found;
use crate::access;
use crate::body::{Events, ProxyBody};
use crate::caller::Caller;
use crate::dialect::gemini::route::{self, Framing, Route, RouteError};
use crate::error::Error;
use crate::google::status;
use crate::intake;
use crate::job::BackgroundJob;
use crate::metrics::{CacheResult, Entry, Ledger, Metrics, Outcome};
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::cache::{self, Operation, ResponseCache};
use crate::policy::endpoint::Endpoints;
use crate::policy::project::Projects;
use crate::policy::quota::Quotas;
use crate::policy::rate_limit::RateLimiter;
use crate::policy::retry;
use crate::policy::token::Tokens;
use crate::provider::request::{Base, Call, Paths, UrlError};
use crate::settings::Settings;

/// Everything the proxy remembers: plain data, no connection, no file, no task.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    live: RwLock<Arc<live::Live>>,
    endpoints: Arc<Mutex<Endpoints>>,
    /// The base URLs of the endpoints, in order.
    bases: Vec<Result<Base, UrlError>>,
    paths: Paths,
    retries: retry::Limits,
    quotas: Mutex<Quotas>,
    limiter: Option<Mutex<RateLimiter>>,
    repeats: Arc<Mutex<ResponseCache>>,
    login: Mutex<token::Source>,
    tokens: Mutex<Tokens>,
    projects: Mutex<Projects>,
    catalogue: Mutex<local::Catalogue>,
    report: Arc<Metrics>,
}

/// What a request is answered with, before the marks that every answer carries.
struct Answer<P: Platform> {
    status: StatusCode,
    headers: HeaderMap,
    body: Content<P>,
}

enum Content<P: Platform> {
    Events(Box<Events<P>>),
    PassedOn(P::Body),
    Whole(Bytes),
}

impl Proxy {
    /// A proxy that knows its settings and nothing else yet.
    pub fn new<P: Platform>(settings: Settings, platform: &P) -> Self {
        let endpoints = settings.endpoints.iter().map(String::as_str);
        Self {
            live: RwLock::new(live::Live::new(&settings)),
            endpoints: Arc::new(Mutex::new(Endpoints::new(
                endpoints,
                settings.breaker_threshold,
                settings.breaker_timeout,
            ))),
            bases: settings.endpoints.iter().map(|url| Base::new(url)).collect(),
            paths: Paths::new(&settings.api_version),
            retries: retry::Limits {
                max_retries: settings.max_retries,
                base: settings.retry_base_delay,
                max: settings.retry_max_delay,
            },
            quotas: Mutex::default(),
            limiter: RateLimiter::new(settings.rate_limit, settings.rate_limit_window)
                .map(Mutex::new),
            repeats: Arc::new(Mutex::new(ResponseCache::new(cache::Limits {
                window: settings.dedup_window,
                ttl: settings.response_cache_ttl,
                bytes: settings.response_cache_max_bytes,
                lease: LONGEST_LEAD,
            }))),
            login: Mutex::default(),
            tokens: Mutex::new(Tokens::new(settings.token_refresh_buffer)),
            projects: Mutex::default(),
            catalogue: Mutex::default(),
            report: Arc::new(Metrics::new(
                &settings.endpoints,
                platform.wall_clock(),
                platform.now(),
            )),
            settings,
        }
    }

    /// Answers one request. Dropping the future, or the answer's body, is the client going away.
    pub async fn handle<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        request: Request<B>,
    ) -> Response<ProxyBody<P>> {
        let (parts, body) = request.into_parts();
        let mut body = pin!(body);
        let id = access::forwardable_request_id(&parts.headers)
            .map_or_else(|| ask::request_id(platform), str::to_owned);
        let mut ledger = Ledger::open(platform, &self.report, Entry::new(id, platform.now()));
        let route = route::read(&parts.method, &parts.uri);
        let in_array = matches!(&route, Ok(Route::Stream { framing: Framing::Array, .. }));
        let answered =
            caught(pin!(self.answer(platform, &parts, route, body.as_mut(), &mut ledger))).await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(refusal) => {
                if parts.version < Version::HTTP_2 {
                    intake::drain(platform, &parts.headers, body).await;
                }
                refuse(&refusal, in_array, &mut ledger)
            }
        };
        self.respond(platform, &parts, answer, ledger)
    }

    /// Runs what a request left behind.
    pub async fn run_job<P: Platform>(&self, platform: &P, chore: BackgroundJob) {
        // A renewal that is cut off at shutdown could cost the login, if Google has rotated it.
        let _in_flight = self.own_ledger(platform);
        match chore {
            BackgroundJob::DiscoverProject(lease) => self.discover(platform, lease).await,
            BackgroundJob::ListModels(lease) => self.list(platform, lease).await,
            BackgroundJob::RefreshToken(lease) => self.renew(platform, lease).await,
            BackgroundJob::PublishAnswer { question, answer, turn } => {
                self.share(platform, &question, answer, turn).await;
            }
            BackgroundJob::PublishQuotas => self.warn_others(platform).await,
        }
    }

    /// The counters, for the shell's part of the story (shutdown).
    pub fn report(&self) -> &Metrics {
        &self.report
    }

    /// The life of a request.
    async fn answer<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        route: Result<Route, RouteError>,
        body: B,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Error> {
        let needs_key = route.as_ref().map_or(true, Route::needs_key);
        let client = self.live().access.admit(&parts.headers, &parts.uri, needs_key)?;
        ledger.entry.client = client.label;
        let route = route?;
        ledger.entry.method = method_name(&route);
        if self.report.shutting_down() && !matches!(route, Route::Health) {
            return Err(Error::ShuttingDown);
        }
        if route.asks_upstream() {
            ledger.entry.deadline = retry::client_patience(&parts.headers)
                .map(|patience| ledger.entry.received + patience);
            if let Some(limiter) = &self.limiter {
                self.limit(platform, limiter, parts, ledger).await?;
            }
        }
        match route {
            Route::Generate { model } => {
                self.whole(platform, parts, body, ledger, model, Operation::Generate).await
            }
            Route::Count { model } => {
                self.whole(platform, parts, body, ledger, model, Operation::Count).await
            }
            Route::Stream { model, framing } => {
                ledger.entry.stream = true;
                ledger.x_cache = Some(CacheResult::Bypass.header());
                let operation = Operation::Stream;
                let mut asked = self.read(platform, parts, body, ledger, model, operation).await?;
                let headers = std::mem::take(&mut asked.headers);
                let call = self.call(platform, asked, operation, ledger).await?;
                let want = Want::Events(framing);
                let arrived = self.attempt(platform, &call, want, ledger).await?;
                Ok(answer::stream(arrived, framing, headers, ledger))
            }
            Route::Assist { suffix, alt } => {
                let body = self.intake(platform, parts, body, ledger).await?;
                let (method, alt) = (parts.method.clone(), alt.as_deref());
                ledger.entry.stream = alt == Some("sse");
                let version = &self.settings.api_version;
                let call = Call::pass_on(method, version, &suffix, alt, Payload::from(body));
                let arrived = self.attempt(platform, &call, Want::Head, ledger).await?;
                Ok(answer::passed_on(arrived, ledger))
            }
            Route::Models { page_size, page_token } => {
                self.model_list(platform, page_size, page_token.as_deref(), ledger).await
            }
            Route::Model { model } => self.model(platform, &model, ledger).await,
            Route::Root
            | Route::Health
            | Route::HealthDetailed
            | Route::Metrics { .. }
            | Route::Options => {
                ledger.set_aside();
                Ok(self.local(platform, &route, parts))
            }
        }
    }

    /// The life of a request whose answer comes whole: equal ones may share it.
    async fn whole<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
        model: String,
        operation: Operation,
    ) -> Result<Answer<P>, Error> {
        let mut asked = self.read(platform, parts, body, ledger, model, operation).await?;
        // Equal questions may have named the model differently.
        let marks = std::mem::take(&mut asked.headers);
        let mut answer = match self.find(platform, &asked, ledger).await? {
            Found::Answer(answer) => answer,
            Found::Nothing(leading) => {
                let answer = self.ask_upstream(platform, asked, operation, ledger).await;
                leading.tell(answer.as_ref());
                answer?
            }
        };
        if !marks.is_empty() {
            answer.headers.extend(marks);
        }
        Ok(answer)
    }

    async fn ask_upstream<P: Platform>(
        &self,
        platform: &P,
        asked: Asked,
        operation: Operation,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Error> {
        let call = self.call(platform, asked, operation, ledger).await?;
        let arrived = self.attempt(platform, &call, Want::Whole, ledger).await?;
        ledger.leave_line();
        let Content::Whole(text) = arrived.content else { return Err(Error::Internal) };
        match operation {
            Operation::Count => answer::count(&arrived.head, text, ledger),
            Operation::Generate | Operation::Stream => answer::unary(&arrived.head, &text, ledger),
        }
    }

    /// The proxy's own limit. Where the store is shared its count holds; this process's own goes
    /// along with it, for when the store is gone.
    async fn limit<P: Platform>(
        &self,
        platform: &P,
        limiter: &Mutex<RateLimiter>,
        parts: &Parts,
        ledger: &mut Ledger<P>,
    ) -> Result<(), Error> {
        let address = access::address(parts, self.settings.trust_forwarded_for);
        let caller = Caller::new(ledger.entry.client.clone(), address);
        let of_all = if platform.shares() {
            let rate = lock(limiter).rate();
            // Boxed, so that it takes no room in the requests of a process alone.
            Box::pin(platform.count(&caller, rate)).await
        } else {
            None
        };
        let standing = match of_all {
            Some(standing) if standing.refused.is_some() => standing,
            of_all => {
                let own = lock(limiter).ask(&caller, platform.now());
                of_all.unwrap_or(own)
            }
        };
        ledger.headers.extend(standing.headers());
        match standing.refused {
            Some(after) => Err(Error::RateLimited { after }),
            None => Ok(()),
        }
    }

    /// Adds what every answer carries, and hands the ledger to the body.
    fn respond<P: Platform>(
        &self,
        platform: &P,
        parts: &Parts,
        answer: Answer<P>,
        mut ledger: Ledger<P>,
    ) -> Response<ProxyBody<P>> {
        let now = platform.now();
        ledger.entry.answered = Some(now);
        ledger.entry.status = answer.status.as_u16();
        let mut headers = answer.headers;
        headers.reserve(MARKS);
        if !ledger.headers.is_empty() {
            headers.extend(std::mem::take(&mut ledger.headers));
        }
        if let Some(x_cache) = ledger.x_cache {
            headers.insert(X_CACHE, HeaderValue::from_static(x_cache));
        }
        if parts.method != http::Method::OPTIONS {
            self.live().access.add_cors_headers(&parts.headers, &mut headers);
        }
        if parts.method == http::Method::HEAD {
            // Nobody will ask for the body.
            ledger.entry.settle(Outcome::Ok);
        }
        put(&mut headers, REQUEST_ID, ledger.entry.request_id.as_str());
        headers.insert(SERVER_TIMING, ledger.entry.server_timing(now));
        let body = match answer.body {
            Content::Events(events) => ProxyBody::events(events, ledger),
            Content::PassedOn(upstream) => {
                ProxyBody::passed_on(upstream, ledger, self.settings.stream_idle_timeout)
            }
            Content::Whole(bytes) => ProxyBody::whole(bytes, ledger),
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = headers;
        response
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        lock(&self.tokens)
    }
}

/// A panic is a bug of ours: it costs its own request and no other.
async fn caught<T>(mut life: Pin<&mut impl Future<Output = Result<T, Error>>>) -> Result<T, Error> {
    poll_fn(|cx| {
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

/// The one place where a refusal becomes an answer.
fn refuse<P: Platform>(refusal: &Error, in_array: bool, ledger: &mut Ledger<P>) -> Answer<P> {
    ledger.entry.reason = Some(refusal.label());
    ledger.entry.settle(Outcome::Refused);
    let mut headers = refusal.headers();
    headers.insert(CONTENT_TYPE, JSON);
    let body = refusal.body();
    let body = if in_array { status::as_array(&body) } else { body };
    Answer { status: refusal.status(), headers, body: Content::Whole(body) }
}

/// Adds a header; a value that none may have is left out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}

fn method_name(route: &Route) -> &'static str {
    match route {
        Route::Assist { .. } => "v1internal",
        Route::Count { .. } => "countTokens",
        Route::Generate { .. } => "generateContent",
        Route::Health => "health",
        Route::HealthDetailed => "health/detailed",
        Route::Metrics { .. } => "metrics",
        Route::Model { .. } => "models.get",
        Route::Models { .. } => "models.list",
        Route::Options => "options",
        Route::Root => "root",
        Route::Stream { .. } => "streamGenerateContent",
    }
}

/// A panic elsewhere must not take the lock's data with it: it is plain data, and still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// How many headers an answer gets on its way out, CORS left aside.
const MARKS: usize = 4;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// Longer than an answer may take with all its tries; after that the next who waits asks upstream.
const LONGEST_LEAD: Duration = Duration::from_secs(900);
