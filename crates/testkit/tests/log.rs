//! The log of a request: its access log line, and the ids of every other line.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use code_assist_core::{Peer, Proxy, RequestIds};
use code_assist_testkit::client::{Answer, all, ask, get, later, post, with};
use code_assist_testkit::google::{google, google_but};
use code_assist_testkit::script::{Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

#[test]
fn the_access_log_line_of_a_request_has_every_key_and_no_secret() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google_but(|request| {
            request.body.contains("quota").then(|| Reply::status(429, "{}"))
        }));
        let proxy = signed_in(&script);
        for (path, body) in [
            (GENERATE, HELLO),
            (STREAM, HELLO),
            (COUNT, HELLO),
            (GENERATE, r#"{"contents":[{"parts":[{"text":"quota"}]}]}"#),
            (GENERATE, "{"),
            ("/v1beta/models/gemini-2.5-pro:embedContent", HELLO),
        ] {
            script.run(&proxy, ask(&proxy, &script, post(path, body)));
        }
        let response = script.run(&proxy, proxy.handle(&script, post(STREAM, HELLO)));
        drop(response);
        script.run(&proxy, ask(&proxy, &script, get("/health")));
    });
    let lines: Vec<&Line> = log.iter().filter(|line| line.target == "request").collect();
    assert_eq!(lines.len(), 7, "{lines:?}");
    for line in &lines {
        let names: Vec<&str> = line.fields.keys().copied().collect();
        // `timestamp` is the subscriber's.
        for key in [
            "request_id",
            "duration_ms",
            "cache_hit",
            "model",
            "status",
            "x_cache",
            "method",
            "dialect",
            "stream",
            "upstream_ms",
            "overhead_ms",
            "ttfb_ms",
            "retries",
            "trace_id",
            "google_trace_id",
            "client",
            "bytes_in",
            "bytes_out",
            "outcome",
        ] {
            assert!(names.contains(&key), "{key} is not among {names:?}");
        }
        assert!(!line.has_field_twice, "{names:?}");
    }
    assert!(!format!("{log:?}").contains("secret"), "{log:?}");
    let outcomes: Vec<&str> = lines.iter().map(|line| line.fields["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["ok", "ok", "ok", "refused", "refused", "refused", "client_gone"]);
}

#[test]
fn the_access_log_line_names_the_dialect_and_the_method_of_the_gemini_request() {
    const CHAT: &str = r#"{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"hi"}],"max_tokens":9}"#;
    let streamed = CHAT.replace("\"max_tokens\"", "\"stream\":true,\"max_tokens\"");
    let log = logged(|| {
        let script = ScriptedPlatform::new(google());
        let proxy = signed_in(&script);
        for (path, body) in [
            (GENERATE, HELLO),
            ("/v1/chat/completions", CHAT),
            ("/v1/messages", &streamed),
            ("/v1/messages/count_tokens", CHAT),
            ("/v1/chat/completions", "{"),
            ("/v1/images/generations", "{}"),
        ] {
            script.run(&proxy, ask(&proxy, &script, post(path, body)));
        }
    });
    let lines: Vec<[&str; 4]> = log
        .iter()
        .filter(|line| line.target == "request")
        .map(|line| ["dialect", "method", "model", "reason"].map(|name| &*line.fields[name]))
        .collect();
    assert_eq!(
        lines,
        [
            ["gemini", "generateContent", "gemini-2.5-flash", ""],
            ["openai", "generateContent", "gemini-2.5-flash", ""],
            ["anthropic", "streamGenerateContent", "gemini-2.5-flash", ""],
            ["anthropic", "countTokens", "gemini-2.5-flash", ""],
            ["openai", "generateContent", "", "malformed_json"],
            ["openai", "", "", "refused"],
        ]
    );
}

#[test]
fn a_failover_is_logged_with_its_request_and_in_the_access_log_line() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google_but(|request| match () {
            () if request.is("internal:generateContent") => Some(Reply::status(503, "{}")),
            () if request.is("/v1beta/models/gemini-2.5-flash:generateContent") => {
                Some(Reply::ok(r#"{"candidates":[]}"#))
            }
            () => None,
        }));
        script.write_login(login("ya29.secret-access", "1//secret-refresh", 3600));
        let proxy = proxy_with(
            &script,
            &[
                ("UPSTREAMS", "code-assist,gemini-api"),
                ("GEMINI_API_KEY", "secret-key"),
                ("FAILOVER", "on"),
                ("GEMINI_PROJECT_ID", "p"),
            ],
        );
        for (id, body) in [("req-moved", HELLO), ("req-named", HELLO)] {
            let mut request = with(post(GENERATE, body), REQUEST_ID, id);
            if id == "req-named" {
                request = with(request, "x-proxy-upstream", "gemini-api");
            }
            assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
        }
    });
    assert_eq!(requests_of(&log, "an upstream cannot serve the request"), [Some("req-moved")]);
    let field = |line: &Line, name: &str| line.fields.get(name).cloned().unwrap_or_default();
    let lines: Vec<[String; 3]> = log
        .iter()
        .filter(|line| line.target == "request")
        .map(|line| ["request_id", "upstream", "failover_from"].map(|name| field(line, name)))
        .collect();
    let expected = [["req-moved", "gemini-api", "code-assist"], ["req-named", "gemini-api", ""]];
    assert_eq!(lines, expected.map(|line| line.map(str::to_owned)));
    assert!(!format!("{log:?}").contains("secret"), "{log:?}");
}

#[test]
fn calls_that_a_client_has_not_got_are_in_the_access_log_line() {
    let calls = r#"{"functionCall":{"name":"f"}},{"functionCall":{"name":"g"}}"#;
    let content = format!(r#"{{"content":{{"parts":[{calls}]}},"finishReason":"STOP"}}"#);
    let event = format!(r#"{{"response":{{"candidates":[{content}]}}}}"#);
    let log = logged(|| {
        let script = ScriptedPlatform::new(google_but(move |request| {
            if request.line.contains(":streamGenerateContent") {
                let stream = format!("data: {event}\n\ndata: {event}\n\n");
                return Some(Reply::status(200, stream));
            }
            let is_asked = request.line.contains(":generateContent");
            is_asked.then(|| Reply::status(200, event.clone()))
        }));
        let settings = [("GEMINI_PROJECT_ID", "p"), ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.t")];
        let proxy = proxy_with(&script, &settings);
        for more in
            ["", r#","parallel_tool_calls":false"#, r#","parallel_tool_calls":false,"stream":true"#]
        {
            let body = format!(
                r#"{{"model":"gemini-2.5-pro","messages":[{{"role":"user","content":"hi"}}]{more}}}"#
            );
            let request = post("/v1/chat/completions", &body);
            assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
        }
    });
    let lines = log.iter().filter(|line| line.target == "request");
    let withheld: Vec<Option<&str>> =
        lines.map(|line| line.fields.get("withheld_calls").map(String::as_str)).collect();
    assert_eq!(withheld, [None, Some("1"), Some("3")], "{log:?}");
}

#[test]
fn a_warning_about_the_store_has_the_id_of_its_request() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google());
        let (script, proxy) = with_failing_store(&script);
        let request = with(post(GENERATE, REPEATABLE), REQUEST_ID, "req-store");
        assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
    });
    let requests = requests_of(&log, "the key-value store cannot be read");
    assert!(!requests.is_empty(), "{log:?}");
    assert!(requests.iter().all(|id| *id == Some("req-store")), "{requests:?}");
}

#[test]
fn a_panic_is_logged_with_the_id_of_its_request() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google_but(|request| {
            assert!(!request.is(":generateContent"), "the test's own bug");
            None
        }));
        let proxy = signed_in(&script);
        let request = with(post(GENERATE, HELLO), REQUEST_ID, "req-panic");
        assert_eq!(script.run(&proxy, ask(&proxy, &script, request)).status, 500);
    });
    assert_eq!(requests_of(&log, "a bug in the proxy"), [Some("req-panic")]);
}

#[test]
fn a_background_job_logs_with_the_id_of_the_request_that_started_it() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google_but(|request| {
            request.is(":loadCodeAssist").then(|| Reply::status(403, "{}"))
        }));
        let proxy = signed_in(&script);
        let request = with(post(GENERATE, HELLO), REQUEST_ID, "req-job");
        assert_ne!(script.run(&proxy, ask(&proxy, &script, request)).status, 200);
    });
    assert_eq!(requests_of(&log, "no project"), [Some("req-job")]);
}

#[test]
fn a_warning_has_its_request_id_at_the_log_level_warn_too() {
    let log = logged_at(LevelFilter::WARN, || {
        let script = ScriptedPlatform::new(google());
        let (script, proxy) = with_failing_store(&script);
        let request = with(post(GENERATE, REPEATABLE), REQUEST_ID, "req-warn");
        script.run(&proxy, ask(&proxy, &script, request));
    });
    assert!(log.iter().all(|line| line.target != "request"), "{log:?}");
    let requests = requests_of(&log, "the key-value store cannot be read");
    assert!(
        !requests.is_empty() && requests.iter().all(|id| *id == Some("req-warn")),
        "{requests:?}"
    );
}

#[test]
fn interleaved_requests_log_with_their_own_ids() {
    let log = logged(|| {
        // Each request waits, and then panics in a later poll than its first one.
        let mut tried = BTreeMap::new();
        let script = ScriptedPlatform::new(google_but(move |request| {
            if !request.is(":generateContent") {
                return None;
            }
            let count = tried.entry(request.body.contains("first")).or_insert(0);
            *count += 1;
            assert!(*count < 2, "the test's own bug");
            Some(Reply::status(429, RETRY_IN_A_SECOND))
        }));
        let (script, proxy) = with_failing_store(&script);
        let request = |id: &'static str| {
            let body = REPEATABLE.replace("Hello", id);
            ask(&proxy, &script, with(post(GENERATE, &body), REQUEST_ID, id))
        };
        let requests: Vec<Pin<Box<dyn Future<Output = Answer>>>> = vec![
            Box::pin(request("req-first")),
            Box::pin(later(&script, Duration::from_millis(500), request("req-second"))),
        ];
        let answers = script.run(&proxy, all(requests));
        assert!(answers.iter().all(|answer| answer.status == 500), "{answers:?}");
    });
    // The second request comes while the first one waits for its retry.
    let of_requests = log.iter().filter(|line| line.target != "request" && line.request.is_some());
    let mut lines: Vec<(&str, &str)> = of_requests
        .map(|line| {
            let is_bug = line.fields["message"].contains("a bug in the proxy");
            (if is_bug { "bug" } else { "store" }, line.request.as_deref().unwrap_or_default())
        })
        .collect();
    lines.dedup();
    let (first, second) = ("req-first", "req-second");
    assert_eq!(lines, [("store", first), ("store", second), ("bug", first), ("bug", second)]);
}

#[test]
fn a_request_without_an_id_of_its_own_logs_with_the_id_that_its_answer_names() {
    let mut answered = None;
    let log = logged(|| {
        let script = ScriptedPlatform::new(google());
        let (script, proxy) = with_failing_store(&script);
        answered = Some(script.run(&proxy, ask(&proxy, &script, post(GENERATE, REPEATABLE))));
    });
    let answer = answered.expect("the request was answered");
    let id = answer.header(REQUEST_ID);
    assert!(id.starts_with("req_"), "{id}");
    let requests = requests_of(&log, "the key-value store cannot be read");
    assert!(
        !requests.is_empty() && requests.iter().all(|found| *found == Some(id)),
        "{requests:?}"
    );
}

#[test]
fn refused_requests_write_ten_lines_a_second_for_each_reason_and_then_a_count() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google());
        let proxy = signed_in(&script);
        for second in 0..3 {
            for _ in 0..100 {
                script.run(&proxy, ask(&proxy, &script, get("/nothing")));
            }
            let page = with(get("/health"), "origin", "https://evil.example");
            script.run(&proxy, ask(&proxy, &script, page));
            assert!(second < 3);
            script.advance(Duration::from_secs(1));
            script.run(&proxy, proxy.tick(&script));
        }
        proxy.finish(&script);
    });
    let with_reason = |reason: &str| {
        let lines =
            log.iter().filter(move |line| line.fields.get("reason").is_some_and(|it| it == reason));
        lines.collect::<Vec<_>>()
    };
    let lines = with_reason("not_found");
    let requests = lines.iter().filter(|line| line.target == "request").count();
    assert_eq!(requests, 30);
    let counts: Vec<&str> = lines
        .iter()
        .filter(|line| line.target != "request")
        .map(|line| line.fields["count"].as_str())
        .collect();
    assert_eq!(counts, ["90", "90", "90"]);
    assert!(lines.iter().all(|line| line.target == "request" || line.request.is_none()));
    assert_eq!(with_reason("origin_not_allowed").len(), 3, "no reason hides another");
}

#[test]
fn a_request_that_the_proxy_has_refused_by_itself_logs_its_address() {
    let log = logged(|| {
        let script = ScriptedPlatform::new(google_but(|request| {
            request.body.contains("quota").then(|| Reply::status(429, "{}"))
        }));
        let proxy = signed_in(&script);
        let quota = r#"{"contents":[{"parts":[{"text":"quota"}]}]}"#;
        let address = "192.0.2.7".parse().ok();
        let peer = Peer { address, admission: None };
        for mut request in
            [get("/nothing"), post(GENERATE, "{"), post(GENERATE, HELLO), post(GENERATE, quota)]
        {
            request.extensions_mut().insert(peer.clone());
            script.run(&proxy, ask(&proxy, &script, request));
        }
    });
    let lines = log.iter().filter(|line| line.target == "request");
    let peers: Vec<Option<&str>> =
        lines.map(|line| line.fields.get("peer").map(String::as_str)).collect();
    assert_eq!(peers, [Some("192.0.2.7"), Some("192.0.2.7"), None, None]);
}

/// A line of the log.
#[derive(Debug)]
struct Line {
    target: &'static str,
    fields: BTreeMap<&'static str, String>,
    has_field_twice: bool,
    /// `request_id` of the request that the line belongs to.
    request: Option<String>,
}

/// The ids of the requests of the lines with this text.
fn requests_of<'a>(log: &'a [Line], text: &str) -> Vec<Option<&'a str>> {
    let with_text = log
        .iter()
        .filter(|line| line.fields.get("message").is_some_and(|message| message.contains(text)));
    with_text.map(|line| line.request.as_deref()).collect()
}

/// What `requests` log.
///
/// One caller at a time: `tracing` keeps for the whole process which lines a subscriber wants, and a
/// thread without a subscriber that logs at the same time can turn a line off.
fn logged(requests: impl FnOnce()) -> Vec<Line> {
    logged_at(LevelFilter::INFO, requests)
}

fn logged_at(level: LevelFilter, requests: impl FnOnce()) -> Vec<Line> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = lock(&ONE_AT_A_TIME);
    let lines = Arc::default();
    let capture = Capture { lines: Arc::clone(&lines) };
    tracing::subscriber::with_default(Registry::default().with(level).with(capture), requests);
    std::mem::take(&mut *lock(&lines))
}

/// Keeps the lines of the log.
struct Capture {
    lines: Arc<Mutex<Vec<Line>>>,
}

impl<S: Subscriber> Layer<S> for Capture {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let request = RequestIds::with_current(|ids| ids.map(|ids| ids.request_id().to_owned()));
        lock(&self.lines).push(Line {
            target: event.metadata().target(),
            fields: fields.all,
            has_field_twice: fields.has_one_twice,
            request,
        });
    }
}

/// The fields of a line.
#[derive(Default)]
struct Fields {
    all: BTreeMap<&'static str, String>,
    has_one_twice: bool,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.has_one_twice |= self.all.insert(field.name(), format!("{value:?}")).is_some();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.has_one_twice |= self.all.insert(field.name(), value.to_owned()).is_some();
    }
}

/// A proxy that shares its store with other processes. It has its token and its project, and now the
/// store fails.
fn with_failing_store(script: &ScriptedPlatform) -> (ScriptedPlatform, Proxy) {
    let script = script.another_process();
    let proxy = signed_in(&script);
    script.run(&proxy, ask(&proxy, &script, post(STREAM, HELLO)));
    script.break_store(true);
    (script, proxy)
}

fn signed_in(script: &ScriptedPlatform) -> Proxy {
    script.write_login(login("ya29.secret-access", "1//secret-refresh", 3600));
    proxy_with(script, &[])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
const REPEATABLE: &str =
    r#"{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
const RETRY_IN_A_SECOND: &str = r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED",
    "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1s"}]}}"#;
const REQUEST_ID: &str = "x-request-id";
