//! The spine: the life of a request, from top to bottom.
//!
//! Every line of `Proxy::answer` is a room that can be opened; control goes into it, gets an answer
//! and comes straight back. There is one place where a refusal becomes a response (`refuse`) and one
//! loop that tries again (`Proxy::attempt`).

mod answer;
mod ask;
mod attempt;
pub mod check;
mod local;
mod page;
mod project;
mod token;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use crate::access::{self, Access};
use crate::assist::call::Call;
use crate::body::{Events, ProxyBody};
use crate::gemini::route::{self, Framing, NoRoute, Route};
use crate::gemini::status;
use crate::payload::Payload;
use crate::platform::Platform;
use crate::policy::lease::Lease;
use crate::policy::project::Projects;
use crate::policy::token::Tokens;
use crate::refusal::Refusal;
use crate::report::{Entry, Ledger, Outcome, Report};
use crate::settings::Settings;

/// Everything the proxy remembers: plain data, no connection, no file, no task.
#[derive(Debug)]
pub struct Proxy {
    settings: Settings,
    access: Access,
    /// `<endpoint>/<version>`.
    base: String,
    login: Mutex<token::Source>,
    tokens: Mutex<Tokens>,
    projects: Mutex<Projects>,
    catalogue: Mutex<Option<local::Catalogue>>,
    report: Arc<Report>,
}

/// Work that a request leaves behind for the shell to run: `proxy.tidy(platform, chore)`.
#[derive(Debug)]
pub enum Chore {
    /// Find out the account's project.
    Discover(Lease),
    /// Get the next access token.
    Renew(Lease),
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
        let endpoint = settings.endpoints.first().map_or("", String::as_str);
        Self {
            access: Access::new(&settings),
            base: format!("{endpoint}/{}", settings.api_version),
            login: Mutex::default(),
            tokens: Mutex::new(Tokens::new(settings.token_refresh_buffer)),
            projects: Mutex::default(),
            catalogue: Mutex::default(),
            report: Arc::new(Report::new(&settings.endpoints, platform.clock(), platform.now())),
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
        let id = access::forwardable_request_id(&parts.headers)
            .map_or_else(|| ask::request_id(platform), str::to_owned);
        let mut ledger = Ledger::open(platform, &self.report, Entry::new(id, platform.now()));
        let route = route::read(&parts.method, &parts.uri);
        let in_array = matches!(&route, Ok(Route::Stream { framing: Framing::Array, .. }));
        let answer = match caught(self.answer(platform, &parts, route, body, &mut ledger)).await {
            Ok(answer) => answer,
            Err(refusal) => refuse(&refusal, in_array, &mut ledger),
        };
        self.respond(platform, &parts, answer, ledger)
    }

    /// Runs what a request left behind.
    pub async fn tidy<P: Platform>(&self, platform: &P, chore: Chore) {
        match chore {
            Chore::Discover(lease) => self.discover(platform, lease).await,
            Chore::Renew(lease) => self.renew(platform, lease).await,
        }
    }

    /// The counters, for the shell's part of the story (shutdown).
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The life of a request.
    async fn answer<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        route: Result<Route, NoRoute>,
        body: B,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let needs_key = route.as_ref().map_or(true, Route::needs_key);
        let client = self.access.admit(&parts.headers, &parts.uri, needs_key)?;
        ledger.entry.client = client.label;
        let route = route?;
        ledger.entry.method = method_name(&route);
        if self.report.shutting_down() && !matches!(route, Route::Health) {
            return Err(Refusal::ShuttingDown);
        }
        match route {
            Route::Generate { model } => {
                let asked = self.generate_call(platform, parts, body, ledger, &model, None).await?;
                let upstream = self.attempt(platform, &asked.call, ledger).await?;
                self.unary(platform, upstream, asked.headers, ledger).await
            }
            Route::Stream { model, framing } => {
                ledger.entry.stream = true;
                let asked = self
                    .generate_call(platform, parts, body, ledger, &model, Some(framing))
                    .await?;
                let upstream = self.attempt(platform, &asked.call, ledger).await?;
                self.stream(platform, upstream, framing, asked.headers, ledger).await
            }
            Route::Count { model } => {
                let asked = self.count_call(platform, parts, body, ledger, &model).await?;
                let upstream = self.attempt(platform, &asked.call, ledger).await?;
                self.count(upstream, asked.headers, ledger).await
            }
            Route::Assist { suffix, alt } => {
                let body = self.intake(platform, parts, body, ledger).await?;
                let (method, alt) = (parts.method.clone(), alt.as_deref());
                ledger.entry.stream = alt == Some("sse");
                let call = Call::pass_on(method, &self.base, &suffix, alt, Payload::from(body))?;
                let upstream = self.attempt(platform, &call, ledger).await?;
                Ok(answer::passed_on(upstream, ledger))
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
        headers.extend(self.access.cors_headers(&parts.headers));
        put(&mut headers, "x-request-id", &ledger.entry.request_id);
        put(&mut headers, "server-timing", &ledger.entry.server_timing(now));
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
async fn caught<T>(life: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let mut life = pin!(life);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| life.as_mut().poll(cx))).unwrap_or_else(|panic| {
            let what = panic.downcast_ref::<&str>().copied();
            let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(
                panic = what.unwrap_or_default(),
                "a bug in the proxy: please report it"
            );
            Poll::Ready(Err(Refusal::Internal))
        })
    })
    .await
}

/// The one place where a refusal becomes an answer.
fn refuse<P: Platform>(refusal: &Refusal, in_array: bool, ledger: &mut Ledger<P>) -> Answer<P> {
    ledger.entry.reason = Some(refusal.label());
    ledger.entry.settle(Outcome::Refused);
    let mut headers = refusal.headers();
    headers.insert(CONTENT_TYPE, JSON);
    let body = refusal.body();
    let body = if in_array { status::as_array(&body) } else { body };
    Answer { status: refusal.status(), headers, body: Content::Whole(body) }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
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

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");
