//! The cases: each names a hot path, makes its input, and runs it once.

use std::future::poll_fn;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use code_assist_core::internals::access::{Access, Attempt, Needs};
use code_assist_core::internals::dialect::gemini::route;
use code_assist_core::internals::policy::breaker::{CallOutcomes, ModelOperation};
use code_assist_core::internals::policy::cache::CacheKey;
use code_assist_core::internals::policy::endpoint::{BreakerScope, Endpoints, Tries};
use code_assist_core::internals::policy::in_flight::{InFlightGuard, SharedEndpoints};
use code_assist_core::internals::policy::key_guesses::SharedKeyGuesses;
use code_assist_core::internals::policy::quota::QuotaMemory;
use code_assist_core::internals::policy::rate_limit::RateLimiter;
use code_assist_core::internals::policy::token::{self, IssuedToken, TokenState};
use code_assist_core::internals::provider::code_assist::adapt;
use code_assist_core::internals::provider::code_assist::envelope::{self, Envelope};
use code_assist_core::internals::provider::code_assist::models;
use code_assist_core::internals::request_texts::RequestTexts;
use code_assist_core::internals::sizes;
use code_assist_core::settings::{Layer, Settings, Source};
use code_assist_core::{Caller, Monotonic, Payload, Proxy, ProxyBody};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body::Body;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::dialect_texts;
use crate::dialects;
use crate::line::JsonLine;
use crate::null_platform::{self, NullPlatform, Pieces, START};
use crate::texts;

/// One hot path.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) set_up: fn() -> Rounds,
}

/// A hot path with its input, to be run again and again: what makes the input of one round is not
/// what is counted.
pub(crate) struct Rounds(pub(crate) Box<dyn FnMut() -> Box<dyn FnOnce()>>);

/// How large a value is that lives as long as a request.
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) bytes: fn() -> usize,
}

impl Rounds {
    pub(crate) fn next(&mut self) -> Box<dyn FnOnce()> {
        (self.0)()
    }

    /// The same work each time, with nothing to prepare.
    fn again(mut work: impl FnMut() + Clone + 'static) -> Self {
        Self(Box::new(move || {
            work();
            Box::new(work.clone())
        }))
    }

    /// The same work each time on something shared.
    pub(crate) fn on<T: 'static>(shared: T, work: fn(&T)) -> Self {
        let shared = Arc::new(shared);
        Self::again(move || work(&shared))
    }
}

/// All of them, in the order of a request's life.
pub(crate) const CASES: &[Case] = &[
    Case { name: "route", what: "the route of a stream's path and query", set_up: routing },
    Case { name: "model", what: "a model's name resolved", set_up: resolving },
    Case { name: "admit", what: "host and origin looked at, no keys set", set_up: admitting },
    Case { name: "admit_key", what: "a key recognised among ten", set_up: admitting_key },
    Case { name: "wrap_1k", what: "a body of 1 KiB adapted and wrapped", set_up: wrap_1k },
    Case { name: "wrap_100k", what: "the same, 100 KiB in 120 turns", set_up: wrap_100k },
    Case { name: "wrap_10m", what: "the same, an image of 10 MiB", set_up: wrap_10m },
    Case { name: "cache_key_1k", what: "the cache key of a body of 1 KiB", set_up: naming },
    Case { name: "token", what: "the access token asked for, one at hand", set_up: asking_token },
    Case { name: "limit", what: "a caller's request counted", set_up: limiting },
    Case { name: "quota", what: "a quota that nothing is known against", set_up: asking_quota },
    Case { name: "endpoint", what: "a call to an endpoint, and its end", set_up: calling_endpoint },
    Case { name: "unwrap_event", what: "one event unwrapped", set_up: unwrapping },
    Case { name: "unwrap_event_id", what: "the same, a responseId put in", set_up: unwrapping_id },
    Case { name: "stream_1000", what: "a body of 1,000 events read to its end", set_up: streaming },
    Case { name: "stream_1000_id", what: "the same, each with a new id", set_up: streaming_id },
    Case { name: "unary", what: "a whole request, 1 KiB, no log", set_up: unary },
    Case { name: "unary_log", what: "the same with its log line", set_up: unary_log },
    Case { name: "unary_miss", what: "the same, repeatable, asked upstream", set_up: miss },
    Case { name: "unary_hit", what: "the same, answered from the cache", set_up: hit },
    Case { name: "unary_100k", what: "a whole request of 100 KiB", set_up: unary_100k },
    Case { name: "streamed", what: "a whole streamed request, 20 events", set_up: streamed },
    Case { name: "streamed_log", what: "the same with its log line", set_up: streamed_log },
    Case { name: "unary_key", what: "a whole request of a key without limits", set_up: of_key },
    Case { name: "unary_budget", what: "the same with a budget of a day", set_up: of_budget },
    Case { name: "unary_budgets", what: "the same with every limit", set_up: of_budgets },
    Case { name: "refused", what: "a path that does not exist", set_up: refused },
    Case { name: "chat_1k", what: "a chat request of 1 KiB translated", set_up: dialects::chat },
    Case {
        name: "responses_39k",
        what: "a first request of Codex translated, 39 kB",
        set_up: dialects::responses,
    },
    Case {
        name: "messages_48k",
        what: "a first request of Claude Code translated, 48 kB",
        set_up: dialects::messages,
    },
    Case { name: "chat_text", what: "one event with text for a chat", set_up: dialects::chat_text },
    Case {
        name: "responses_text",
        what: "the same for Responses",
        set_up: dialects::responses_text,
    },
    Case { name: "messages_text", what: "the same for Messages", set_up: dialects::messages_text },
    Case {
        name: "chat_call",
        what: "one event with a call for a chat",
        set_up: dialects::chat_call,
    },
    Case {
        name: "responses_call",
        what: "the same for Responses",
        set_up: dialects::responses_call,
    },
    Case { name: "messages_call", what: "the same for Messages", set_up: dialects::messages_call },
    Case { name: "chat_whole", what: "a whole answer for a chat", set_up: dialects::chat_whole },
    Case {
        name: "responses_whole",
        what: "the same for Responses",
        set_up: dialects::responses_whole,
    },
    Case {
        name: "messages_whole",
        what: "the same for Messages",
        set_up: dialects::messages_whole,
    },
    Case { name: "unary_chat", what: "a whole chat request, 1 KiB, no log", set_up: unary_chat },
    Case {
        name: "streamed_messages",
        what: "a whole request of Claude Code, 48 kB, 20 events",
        set_up: streamed_messages,
    },
];

/// Sizes, with the smallest platform there can be: the shell's own types come on top.
pub(crate) const SIZES: &[Size] = &[
    Size { name: "future", what: "the future of `Proxy::handle`", bytes: future_size },
    Size { name: "body", what: "the answer's body", bytes: size_of::<ProxyBody<NullPlatform>> },
    Size {
        name: "events",
        what: "a stream's part of it, boxed",
        bytes: sizes::events::<NullPlatform>,
    },
    Size {
        name: "context",
        what: "the request's context in it",
        bytes: sizes::context::<NullPlatform>,
    },
];

fn routing() -> Rounds {
    let uri = Uri::from_static("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    Rounds::on(uri, |uri| {
        let _ = black_box(route::read(&Method::POST, uri));
    })
}

fn resolving() -> Rounds {
    Rounds::on((), |()| {
        black_box(models::resolve(black_box("gemini-2.5-flash"), &[]));
    })
}

fn admitting() -> Rounds {
    let access = Access::new(&settings(&[]), &[]);
    Rounds::on(
        (access, request_to("/"), SharedKeyGuesses::default()),
        |(access, request, guesses)| {
            assert!(admit(access, request, guesses));
        },
    )
}

fn admitting_key() -> Rounds {
    let keys: Vec<String> = (0..10).map(|n| format!("sk-{n}-secret-of-a-client")).collect();
    let mut request = request_to("/");
    request.headers_mut().insert("x-goog-api-key", HeaderValue::from_static(KEY));
    let access = Access::new(&settings(&[("PROXY_API_KEYS", &keys.join(","))]), &[]);
    Rounds::on((access, request, SharedKeyGuesses::default()), |(access, request, guesses)| {
        assert!(admit(access, request, guesses));
    })
}

fn admit<B>(access: &Access, request: &Request<B>, guesses: &SharedKeyGuesses) -> bool {
    let attempt = Attempt { guesses, from: Caller::Unknown, now: Monotonic(0) };
    black_box(access.admit(request.headers(), request.uri(), Needs::Key, &attempt)).is_ok()
}

fn wrap_1k() -> Rounds {
    wrapping(texts::chat(1))
}

fn wrap_100k() -> Rounds {
    wrapping(texts::chat(120))
}

fn wrap_10m() -> Rounds {
    wrapping(texts::image(10 << 20))
}

fn wrapping(body: Bytes) -> Rounds {
    let project: Arc<str> = Arc::from("p-1");
    Rounds::on((body, project), |(body, project)| {
        let adapted = adapt::generate(body).expect("the body is JSON");
        let envelope = Envelope { model: MODEL, project, prompt_id: PROMPT_ID };
        black_box(envelope.wrap(adapted.request, &mut RequestTexts::default()));
    })
}

fn naming() -> Rounds {
    Rounds::on(Payload::from(texts::chat(1)), |body| {
        black_box(CacheKey::new(None, "generateContent", MODEL, body, None));
    })
}

fn asking_token() -> Rounds {
    let mut tokens = TokenState::<()>::new(Duration::from_secs(300));
    let token::TokenVerdict::Refresh(lease) = tokens.ask(START, Monotonic(0)) else {
        unreachable!("there is no token at the start")
    };
    let hour = Duration::from_secs(3600);
    let token = IssuedToken {
        header: HeaderValue::from_static("Bearer ya29.costs"),
        expires_at: Some(START + hour),
        lifetime: Some(hour),
        longest_ahead: None,
    };
    let got = token::FetchOutcome::Got { token, renewable: true };
    tokens.settle(lease, got, START, Monotonic(0));
    Rounds::on(Mutex::new(tokens), |tokens| {
        let mut tokens = tokens.lock().expect("nothing panics");
        let _ = black_box(tokens.ask(START, Monotonic(1)));
    })
}

fn limiting() -> Rounds {
    let limiter = RateLimiter::new(1000, Duration::from_secs(60)).expect("a limit above zero");
    Rounds::on(Mutex::new(limiter), |limiter| {
        let caller = Caller::new(None, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        let standing = limiter.lock().expect("nothing panics").ask(&caller, Monotonic(1));
        black_box(standing.headers());
    })
}

fn asking_quota() -> Rounds {
    Rounds::on(Mutex::new(QuotaMemory::<()>::default()), |quotas| {
        let _ = black_box(quotas.lock().expect("nothing panics").ask(MODEL, false, START));
    })
}

fn calling_endpoint() -> Rounds {
    let endpoints = Endpoints::new(1, 5, Duration::from_secs(30));
    Rounds::on(Arc::new(Arc::new(SharedEndpoints::new(endpoints))), |endpoints| {
        let scope =
            BreakerScope::Model(ModelOperation { model: MODEL, operation: "generateContent" });
        let tries = Tries::default();
        let call = InFlightGuard::begin(endpoints, scope, &tries, Monotonic(1));
        let call = call.expect("a closed breaker");
        black_box(call.alive(scope, Monotonic(2)));
        black_box(call.end(scope, CallOutcomes::SUCCESS, 0, &tries, Monotonic(3)));
    })
}

fn unwrapping() -> Rounds {
    unwrapping_one(texts::event(1, true, false))
}

fn unwrapping_id() -> Rounds {
    unwrapping_one(texts::event(1, false, false))
}

fn unwrapping_one(event: Bytes) -> Rounds {
    // One buffer for all events, as in a stream.
    let buffer = Mutex::new(BytesMut::with_capacity(8192));
    Rounds::on((event, buffer), |(event, buffer)| {
        let mut buffer = buffer.lock().expect("nothing panics");
        let opened = envelope::open(event, Some(TRACE)).expect("an envelope");
        opened.response.expect("a response").write_line(&mut buffer);
        black_box(buffer.split().freeze());
    })
}

fn streaming() -> Rounds {
    streaming_of(true)
}

fn streaming_id() -> Rounds {
    streaming_of(false)
}

fn streaming_of(with_id: bool) -> Rounds {
    let subject = Subject::new();
    Rounds(Box::new(move || {
        subject.platform.set_answer(answer("text/event-stream", texts::stream(1000, with_id)));
        let request = post(STREAM, texts::chat(1));
        let response =
            subject.platform.run(&subject.proxy, subject.proxy.handle(&subject.platform, request));
        assert_eq!(response.status(), 200, "another answer than what is to be counted");
        let subject = subject.clone();
        Box::new(move || subject.read(response.into_body()))
    }))
}

fn unary() -> Rounds {
    asking(UNARY, texts::chat(1), unary_answer)
}

fn unary_log() -> Rounds {
    log();
    unary()
}

fn miss() -> Rounds {
    let mut fresh = request_to(UNARY);
    fresh.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache"));
    let headers = fresh.headers().clone();
    asking_with(UNARY, headers, texts::repeatable_chat(), unary_answer, 200)
}

fn hit() -> Rounds {
    asking(UNARY, texts::repeatable_chat(), unary_answer)
}

fn unary_100k() -> Rounds {
    asking(UNARY, texts::chat(120), unary_answer)
}

fn streamed() -> Rounds {
    asking(STREAM, texts::chat(1), || answer("text/event-stream", texts::stream(20, true)))
}

fn streamed_log() -> Rounds {
    log();
    streamed()
}

fn of_key() -> Rounds {
    of_table("")
}

fn of_budget() -> Rounds {
    of_table(r#","tokens_per_day":4000000000"#)
}

fn of_budgets() -> Rounds {
    of_table(
        r#","requests_per_minute":1000000,"tokens_per_minute":4000000000,"tokens_per_day":4000000000,"tokens_per_month":40000000000,"cost_per_month":50,"max_concurrent":10"#,
    )
}

/// Whole requests of a key with this table.
fn of_table(limits: &str) -> Rounds {
    let price = r#"{"model":"*","input":1.25,"output":10}"#;
    let tables = format!(r#"{{"key":[{{"id":"ada","key":"{KEY}"{limits}}}],"price":[{price}]}}"#);
    let headers = request_to(UNARY).headers().clone();
    let subject = Subject::with(&[("PROXY_KEYS_JSON", &tables)]);
    asking_of(subject, UNARY, headers, texts::chat(1), unary_answer, 200)
}

fn refused() -> Rounds {
    let path = "/v1beta/nowhere";
    let headers = request_to(path).headers().clone();
    asking_with(path, headers, Bytes::new(), unary_answer, 404)
}

fn asking(path: &'static str, body: Bytes, upstream: fn() -> Response<Pieces>) -> Rounds {
    asking_with(path, request_to(path).headers().clone(), body, upstream, 200)
}

/// Whole requests through [`Proxy::handle`], their answers read to the end.
fn asking_with(
    path: &'static str,
    headers: HeaderMap,
    body: Bytes,
    upstream: fn() -> Response<Pieces>,
    status: u16,
) -> Rounds {
    asking_of(Subject::new(), path, headers, body, upstream, status)
}

fn asking_of(
    subject: Subject,
    path: &'static str,
    headers: HeaderMap,
    body: Bytes,
    upstream: fn() -> Response<Pieces>,
    status: u16,
) -> Rounds {
    Rounds(Box::new(move || {
        subject.platform.set_answer(upstream());
        let mut request = post(path, body.clone());
        request.headers_mut().clone_from(&headers);
        let subject = subject.clone();
        Box::new(move || subject.ask(request, status))
    }))
}

fn unary_chat() -> Rounds {
    asking("/v1/chat/completions", dialect_texts::chat(), unary_answer)
}

fn streamed_messages() -> Rounds {
    let body = dialect_texts::claude_code("gemini-2.5-flash");
    asking("/v1/messages?beta=true", body, || answer("text/event-stream", texts::stream(20, true)))
}

fn future_size() -> usize {
    let subject = Subject::new();
    size_of_val(&subject.proxy.handle(&subject.platform, post(UNARY, Bytes::new())))
}

/// A proxy on a platform that costs nothing.
#[derive(Clone)]
struct Subject {
    proxy: Arc<Proxy>,
    platform: NullPlatform,
}

impl Subject {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(more: &[(&str, &str)]) -> Self {
        let platform = NullPlatform::default();
        let subject = Self { proxy: Arc::new(Proxy::new(settings(more), &platform)), platform };
        // The first look gets the access token, as it does when the shell starts.
        subject.platform.run(&subject.proxy, subject.proxy.tick(&subject.platform));
        subject
    }

    /// Asks and reads the answer to its end.
    fn ask(&self, request: Request<Payload>, status: u16) {
        let response = self.platform.run(&self.proxy, self.proxy.handle(&self.platform, request));
        assert_eq!(response.status(), status, "another answer than what is to be counted");
        self.read(response.into_body());
    }

    fn read(&self, mut body: ProxyBody<NullPlatform>) {
        loop {
            let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            let Some(frame) = self.platform.run(&self.proxy, next) else { return };
            black_box(frame.is_ok());
        }
    }
}

/// The shell's log (`crates/server/src/telemetry.rs`), written to nowhere.
fn log() {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::sink);
    let lines = lines.event_format(JsonLine { wall_clock: SystemTime::now });
    let quiet = ["hyper", "hyper_util", "h2", "rustls", "tower"];
    let filter = Targets::new().with_default(Level::INFO);
    let filter = filter.with_targets(quiet.map(|library| (library, Level::WARN)));
    let (filter, _) = tracing_subscriber::reload::Layer::new(filter);
    tracing_subscriber::registry().with(filter).with(lines).init();
    null_platform::log_requests();
}

fn settings(more: &[(&str, &str)]) -> Settings {
    let ours = [("HOME", "/home/costs"), ("CODE_ASSIST_ENDPOINT", ENDPOINT)];
    let ours = ours.iter().chain(&[("OAUTH_TOKENINFO_URL", "http://127.0.0.1:1/tokeninfo")]);
    let lookup = |name: &str| {
        let found = more.iter().chain(ours.clone()).find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let layers = [Layer { source: Source::Env, lookup: &lookup }];
    let (settings, _) = Settings::read(&layers).expect("these settings are good");
    settings
}

/// A request with the headers that Google's own SDK sends.
fn request_to(path: &'static str) -> Request<()> {
    Request::post(path)
        .header("host", "127.0.0.1:8787")
        .header("user-agent", "google-genai-sdk/1.50.0 gl-node/v22.0.0")
        .header("x-goog-api-client", "google-genai-sdk/1.50.0 gl-node/v22.0.0")
        .header("x-goog-api-key", KEY)
        .header("content-type", "application/json")
        .header("accept", "*/*")
        .header("accept-encoding", "gzip, deflate")
        .header("content-length", "1024")
        .body(())
        .expect("a good request")
}

fn post(path: &'static str, body: Bytes) -> Request<Payload> {
    request_to(path).map(|()| Payload::from(body))
}

fn unary_answer() -> Response<Pieces> {
    answer("application/json; charset=UTF-8", [texts::event(1, true, true)])
}

/// An answer with the headers that Google's front end sends.
fn answer(kind: &'static str, pieces: impl IntoIterator<Item = Bytes>) -> Response<Pieces> {
    Response::builder()
        .header("content-type", kind)
        .header("vary", "Origin, X-Origin, Referer")
        .header("date", "Sun, 15 Jun 2025 15:06:40 GMT")
        .header("server", "ESF")
        .header("x-xss-protection", "0")
        .header("x-frame-options", "SAMEORIGIN")
        .header("x-content-type-options", "nosniff")
        .header("server-timing", "gfet4t7; dur=512")
        .header("x-cloudaicompanion-trace-id", TRACE)
        .body(Pieces::of(pieces))
        .expect("a good response")
}

const UNARY: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const MODEL: &str = "gemini-2.5-flash";
const ENDPOINT: &str = "http://127.0.0.1:1";
const PROMPT_ID: &str = "01234567-89ab-4def-8123-456789abcdef";
const TRACE: &str = "5565a1b2c3d4e5f6";
const KEY: &str = "sk-7-secret-of-a-client";
