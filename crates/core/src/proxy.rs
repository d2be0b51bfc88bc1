//! The spine: the life of a request, from top to bottom.
//!
//! Every line of [`Proxy::answer`] is a room that can be opened; control goes into it, gets an
//! answer and comes straight back. There is one place where a refusal becomes a response
//! ([`Proxy::handle`]) and one loop that tries again ([`Proxy::attempt`]).

mod ask;
pub mod check;
mod live;
mod local;
mod project;
mod token;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use crate::access;
use crate::assist::call::Call;
use crate::assist::envelope::{self, Form};
use crate::assist::fault;
use crate::body::{Beginning, Events, ProxyBody};
use crate::gemini::route::{self, Framing, NoRoute, Route};
use crate::gemini::{models, rewrite, status};
use crate::intake;
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
    live: RwLock<Arc<live::Live>>,
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
            live: RwLock::new(live::Live::new(&settings)),
            base: format!("{endpoint}/{}", settings.api_version),
            login: Mutex::default(),
            tokens: Mutex::new(Tokens::new(settings.token_refresh_buffer)),
            projects: Mutex::default(),
            catalogue: Mutex::default(),
            report: Arc::new(Report::new(platform.now())),
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
        let answer = match self.answer(platform, &parts, route, body, &mut ledger).await {
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
        let client = self.live().access.admit(&parts.headers, &parts.uri, needs_key)?;
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
                Ok(passed_on(upstream, ledger))
            }
            Route::Models { page_size, page_token } => {
                self.model_list(platform, page_size, page_token.as_deref(), ledger).await
            }
            Route::Model { model } => self.model(platform, &model, ledger).await,
            Route::Root | Route::Health | Route::Options => {
                ledger.entry.counted = false;
                Ok(self.local(platform, &route, parts))
            }
            Route::HealthDetailed | Route::Metrics { .. } => {
                Err(Refusal::NotFound { what: parts.uri.path().to_owned() })
            }
        }
    }

    /// Client body to upstream call, for generateContent and its stream.
    async fn generate_call<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
        asked: &str,
        stream: Option<Framing>,
    ) -> Result<Asked, Refusal> {
        let body = self.intake(platform, parts, body, ledger).await?;
        let rewritten = rewrite::generate(&body)?;
        drop(body);
        let live = self.live();
        let model = models::resolve(asked, &live.model_aliases);
        ledger.entry.model = model.to_owned();
        let project = self.project(platform, ledger).await?;
        let prompt_id = ask::prompt_id(platform);
        let payload = envelope::wrap_generate(model, &project, &prompt_id, rewritten.request);
        let call = match stream {
            Some(_) => Call::stream(&self.base, "streamGenerateContent", payload)?,
            None => Call::post(&self.base, "generateContent", payload)?,
        };
        Ok(Asked { call, headers: marks(asked, model, &rewritten.dropped) })
    }

    /// Client body to upstream call, for countTokens: it has an envelope of its own, and no project.
    async fn count_call<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
        asked: &str,
    ) -> Result<Asked, Refusal> {
        let body = self.intake(platform, parts, body, ledger).await?;
        let live = self.live();
        let model = models::resolve(asked, &live.model_aliases);
        ledger.entry.model = model.to_owned();
        let rewritten = rewrite::count(&body, model)?;
        let call = Call::post(&self.base, "countTokens", envelope::wrap_count(rewritten.request))?;
        Ok(Asked { call, headers: marks(asked, model, &rewritten.dropped) })
    }

    async fn intake<P: Platform, B: Body<Data = Bytes>>(
        &self,
        platform: &P,
        parts: &Parts,
        body: B,
        ledger: &mut Ledger<P>,
    ) -> Result<Bytes, Refusal> {
        let begun = platform.now();
        let limit = self.settings.max_request_body_bytes;
        let body = intake::collect(platform, &parts.headers, body, limit).await?;
        ledger.entry.intake = platform.now().since(begun);
        ledger.entry.bytes_in = body.len() as u64;
        Ok(body)
    }

    /// Sends a call until there is an answer for the client. The only loop that tries again: for
    /// now, once after a 401, with a token that has been renewed.
    async fn attempt<P: Platform>(
        &self,
        platform: &P,
        call: &Call,
        ledger: &mut Ledger<P>,
    ) -> Result<Response<P::Body>, Refusal> {
        let mut reauthorized = false;
        loop {
            let bearer = self.bearer(platform, ledger).await?;
            let begun = platform.now();
            let sent = self.send(platform, call.request(&bearer.header)).await;
            ledger.entry.upstream += platform.now().since(begun);
            let ok = matches!(&sent, Ok(response) if !response.status().is_server_error());
            self.report.upstream(ok);
            let response = sent?;
            if response.status().is_success() {
                return Ok(response);
            }
            if response.status() == StatusCode::UNAUTHORIZED && !reauthorized {
                reauthorized = true;
                ledger.entry.retries += 1;
                self.tokens().condemn(&bearer);
                continue;
            }
            return Err(self.upstream_error(platform, response).await);
        }
    }

    /// Upstream's own error, passed on with everything it said; but its 401 is not the client's.
    async fn upstream_error<P: Platform>(
        &self,
        platform: &P,
        response: Response<P::Body>,
    ) -> Refusal {
        let (head, body) = response.into_parts();
        if head.status.is_redirection() || head.status.is_informational() {
            let what = format!("it answered {}, which no API call should", head.status);
            return Refusal::UpstreamMalformed { what };
        }
        let idle = self.settings.stream_idle_timeout;
        let text = ask::whole(platform, body, ask::ERROR_LIMIT, idle).await.unwrap_or_default();
        let fault = fault::read(head.status, &head.headers, &text);
        if fault.is_project_problem() {
            self.distrust_project();
        }
        fault.into()
    }

    async fn unary<P: Platform>(
        &self,
        platform: &P,
        upstream: Response<P::Body>,
        mut headers: HeaderMap,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let (head, body) = upstream.into_parts();
        let text = self.read_whole(platform, body, ledger).await?;
        let unwrapped = envelope::unwrap(&text, Form::AsWritten, None)
            .map_err(|why| Refusal::UpstreamMalformed { what: format!("no JSON: {why}") })?;
        if let Some(error) = unwrapped.error {
            return Err(fault::from_event(&error).into());
        }
        note_trace(&mut headers, &head.headers, unwrapped.trace_id.as_deref(), ledger);
        ledger.entry.usage = unwrapped.usage.unwrap_or_default();
        let response = unwrapped.response.ok_or_else(|| Refusal::UpstreamMalformed {
            what: "the answer has no `response`".to_owned(),
        })?;
        headers.insert(CONTENT_TYPE, JSON);
        Ok(Answer { status: StatusCode::OK, headers, body: Content::Whole(response) })
    }

    async fn count<P: Platform>(
        &self,
        upstream: Response<P::Body>,
        mut headers: HeaderMap,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let (head, body) = upstream.into_parts();
        let platform = ledger.platform().clone();
        let text = self.read_whole(&platform, body, ledger).await?;
        if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text).is_err() {
            let what = "the count is no JSON object".to_owned();
            return Err(Refusal::UpstreamMalformed { what });
        }
        note_trace(&mut headers, &head.headers, None, ledger);
        headers.insert(CONTENT_TYPE, JSON);
        Ok(Answer { status: StatusCode::OK, headers, body: Content::Whole(text) })
    }

    async fn stream<P: Platform>(
        &self,
        platform: &P,
        upstream: Response<P::Body>,
        framing: Framing,
        mut headers: HeaderMap,
        ledger: &mut Ledger<P>,
    ) -> Result<Answer<P>, Refusal> {
        let (head, body) = upstream.into_parts();
        let begun = platform.now();
        let (limit, idle) = (self.settings.max_event_bytes, self.settings.stream_idle_timeout);
        let mut events = Events::new(body, framing, limit, idle, ledger);
        let beginning = events.begin(ledger).await;
        ledger.entry.upstream += platform.now().since(begun);
        if let Beginning::Bad(refusal) = beginning {
            return Err(refusal);
        }
        let trace = Some(ledger.entry.trace_id.clone()).filter(|trace| !trace.is_empty());
        note_trace(&mut headers, &head.headers, trace.as_deref(), ledger);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        let kind = match framing {
            Framing::Array => JSON,
            Framing::Sse => HeaderValue::from_static("text/event-stream"),
        };
        headers.insert(CONTENT_TYPE, kind);
        Ok(Answer { status: StatusCode::OK, headers, body: Content::Events(Box::new(events)) })
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
        headers.extend(self.live().access.cors_headers(&parts.headers));
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

/// A call that is ready to be sent, and what the answer will say about it.
struct Asked {
    call: Call,
    headers: HeaderMap,
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

/// Code Assist's own answer, untouched.
fn passed_on<P: Platform>(upstream: Response<P::Body>, ledger: &mut Ledger<P>) -> Answer<P> {
    let (head, body) = upstream.into_parts();
    let mut headers = HeaderMap::new();
    for name in [CONTENT_TYPE, CACHE_CONTROL] {
        if let Some(value) = head.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    note_trace(&mut headers, &head.headers, None, ledger);
    Answer { status: head.status, headers, body: Content::PassedOn(body) }
}

/// What was changed about the request, for the client to see.
fn marks(asked: &str, model: &str, dropped: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if asked != model {
        put(&mut headers, "x-proxy-model", model);
    }
    if !dropped.is_empty() {
        put(&mut headers, "x-proxy-dropped-fields", &dropped.join(", "));
    }
    headers
}

/// Upstream's trace id, from its header or else from its body.
fn note_trace<P: Platform>(
    headers: &mut HeaderMap,
    upstream: &HeaderMap,
    in_body: Option<&str>,
    ledger: &mut Ledger<P>,
) {
    let in_header = upstream.get(TRACE_ID).and_then(|value| value.to_str().ok());
    if let Some(trace) = in_header.or(in_body) {
        put(headers, TRACE_ID, trace);
        ledger.entry.trace_id = trace.to_owned();
    }
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

const TRACE_ID: &str = "x-cloudaicompanion-trace-id";
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");
