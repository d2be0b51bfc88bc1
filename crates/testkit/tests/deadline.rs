//! The client's deadline, `X-Server-Timeout`: it bounds the waits of a request until its answer begins.
//! An answer that has not come by then is a 504 with the reason `UPSTREAM_TIMEOUT`.

use std::pin::Pin;
use std::time::Duration;

use code_assist_core::{Payload, Platform as _, Proxy};
use code_assist_testkit::client::{Answer, all, ask, get, later, post, with};
use code_assist_testkit::google::{google, google_but, last_event, sse};
use code_assist_testkit::script::{Piece, Received, Reply, ScriptedPlatform};
use code_assist_testkit::subject::{login, proxy_with};
use http::Request;

#[test]
fn the_deadline_bounds_the_wait_for_an_access_token() {
    let slow_refresh = || Scene::signed_in(-10, PROJECT, slow("/token"));
    slow_refresh().times_out(post(GENERATE, HELLO));
    slow_refresh().answers_late(post(GENERATE, HELLO));
}

#[test]
fn the_deadline_bounds_the_wait_for_another_access_token_after_a_401() {
    let rejected = || {
        Scene::new(|request| {
            if request.is("/token") {
                return Some(google()(request).after(SLOW));
            }
            let old =
                request.headers.get("authorization").is_some_and(|it| it == "Bearer ya29.old");
            old.then(|| Reply::status(401, "{}"))
        })
    };
    rejected().times_out(post(GENERATE, HELLO));
    rejected().answers_late(post(GENERATE, HELLO));
}

#[test]
fn the_deadline_bounds_the_wait_for_the_projects_discovery() {
    let slow_discovery = || Scene::signed_in(3000, &[], slow(":loadCodeAssist"));
    slow_discovery().times_out(post(GENERATE, HELLO));
    slow_discovery().answers_late(post(GENERATE, HELLO));
}

#[test]
fn the_deadline_bounds_the_wait_for_a_concurrency_permit() {
    let full = || {
        let scene = Scene::new(slow(":generateContent"));
        scene.script.set_permits(1);
        scene.while_another_runs(post(GENERATE, HELLO))
    };
    full().times_out(post(COUNT, HELLO));
    full().answers_late(post(COUNT, HELLO));
}

#[test]
fn the_deadline_bounds_the_wait_for_an_equal_request_in_flight() {
    let in_flight =
        || Scene::new(slow(":generateContent")).while_another_runs(post(GENERATE, REPEATABLE));
    let answered = in_flight().times_out(post(GENERATE, REPEATABLE));
    assert_eq!(answered.script.received(":generateContent").len(), 1);
    let answered = in_flight().answers_late(post(GENERATE, REPEATABLE));
    assert_eq!(answered.script.received(":generateContent").len(), 1);
}

#[test]
fn the_deadline_bounds_the_wait_for_an_equal_request_in_another_process() {
    for (deadline, status, at) in [(Some("1"), 504, LIMIT), (None, 200, SLOW)] {
        let scene = Scene::new(slow(":generateContent"));
        let script = scene.script.another_process();
        let proxy = proxy_with(&script, &[PROJECT, BASE].concat());
        let began = script.now();
        let first = Box::pin(async {
            (ask(&scene.proxy, &scene.script, post(GENERATE, REPEATABLE)).await, SLOW)
        });
        let second = async {
            let answer = ask(&proxy, &script, within(deadline, post(GENERATE, REPEATABLE))).await;
            (answer, script.now().since(began))
        };
        let second = Box::pin(later(&script, MOMENT, second));
        let both: Vec<Timed<'_>> = vec![first, second];
        let fleet = [(&scene.script, &scene.proxy), (&script, &proxy)];
        let (answer, took) = script.run_fleet(&fleet, all(both)).pop().unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(took >= at && took < at + POLLS, "{took:?}");
        assert_eq!(script.received(":generateContent").len(), 1);
    }
}

#[test]
fn the_deadline_bounds_the_wait_for_upstreams_first_byte() {
    for (path, call) in [
        (GENERATE, ":generateContent"),
        (STREAM, "?alt=sse"),
        (COUNT, ":countTokens"),
        ("/v1internal:generateContent", ":generateContent"),
    ] {
        let silent = || Scene::new(slow(call));
        let answered = silent().times_out(post(path, HELLO));
        assert_eq!(answered.script.exchanges(), 0, "the call to upstream is given up");
        assert_eq!(answered.script.queued(), 0);
        silent().answers_late(post(path, HELLO));
    }
}

#[test]
fn the_deadline_bounds_the_wait_for_the_first_event_of_a_stream() {
    let silent = || {
        Scene::new(|request| {
            let event = format!("data: {}\r\n\r\n", last_event("Hello"));
            let pieces = [Piece::Silence(SLOW), Piece::Data(event.into())];
            request.is("?alt=sse").then(|| Reply::pieces(pieces))
        })
    };
    let answered = silent().times_out(post(STREAM, HELLO));
    assert_eq!(answered.script.exchanges(), 0, "the call to upstream is given up");
    silent().answers_late(post(STREAM, HELLO));
}

#[test]
fn the_deadline_does_not_end_a_stream_that_has_begun() {
    let scene = Scene::new(|request| {
        let event = format!("data: {}\r\n\r\n", last_event("Hello"));
        let (first, last) = (Piece::Data(event.clone().into()), Piece::Data(event.into()));
        request.is("?alt=sse").then(|| Reply::pieces([first, Piece::Silence(SLOW), last]))
    });
    let (answer, took) = scene.answer(with(post(STREAM, HELLO), DEADLINE, "1"));
    assert_eq!(answer.pieces.len(), 2, "{}", answer.text());
    assert_eq!(took, SLOW);
}

#[test]
fn the_deadline_bounds_the_rest_of_a_whole_answer() {
    let halting = || {
        Scene::new(|request| {
            let head = r#"{"response":{"candidates":[]}"#;
            let rest = r#","traceId":"t1"}"#;
            let pieces = [Piece::Data(head.into()), Piece::Silence(SLOW), Piece::Data(rest.into())];
            request.is(":generateContent").then(|| Reply::pieces(pieces))
        })
    };
    let answered = halting().times_out(post(GENERATE, HELLO));
    assert_eq!(answered.script.exchanges(), 0, "the call to upstream is given up");
    halting().answers_late(post(GENERATE, HELLO));
}

#[test]
fn the_deadline_bounds_the_wait_for_the_body_of_an_error() {
    let halting = || {
        Scene::new(|request| {
            request.is(":generateContent").then(|| {
                Reply::status(400, "{").then([Piece::Silence(SLOW), Piece::Data("}".into())])
            })
        })
    };
    let (answer, took) = halting().answer(with(post(GENERATE, HELLO), DEADLINE, "1"));
    // Upstream's status has come in time, so it is the answer.
    assert_eq!((answer.status.as_u16(), took), (400, LIMIT), "{}", answer.text());
    let (answer, took) = halting().answer(post(GENERATE, HELLO));
    assert_eq!((answer.status.as_u16(), took), (400, SLOW), "{}", answer.text());
}

#[test]
fn the_deadline_counts_from_the_requests_arrival_over_all_waits_together() {
    let waits = |pause| {
        Scene::signed_in(-10, &[], move |request: &Received| {
            Some(google()(request).after(Duration::from_millis(pause)))
        })
    };
    // A refresh, a discovery and the call itself, one after the other.
    waits(600).times_out(post(GENERATE, HELLO));
    let (answer, _) = waits(300).answer(with(post(GENERATE, HELLO), DEADLINE, "1"));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_retry_pause_that_outlasts_the_deadline_is_not_begun() {
    let busy_at_first = || {
        let mut busy = true;
        Scene::new(move |request| {
            (request.is(":generateContent") && std::mem::take(&mut busy))
                .then(|| Reply::status(429, RETRY_IN_5_SECONDS))
        })
    };
    let scene = busy_at_first();
    let (answer, took) = scene.answer(with(post(GENERATE, HELLO), DEADLINE, "1"));
    assert_eq!(answer.status, 429, "the earlier failure is the answer: {}", answer.text());
    assert_eq!(took, Duration::ZERO);
    assert_eq!(scene.script.received(":generateContent").len(), 1);

    let (answer, took) = busy_at_first().answer(with(post(GENERATE, HELLO), DEADLINE, "6"));
    assert_eq!((answer.status.as_u16(), took), (200, SLOW), "{}", answer.text());
    busy_at_first().answers_late(post(GENERATE, HELLO));
}

#[test]
fn the_deadline_bounds_the_wait_for_a_model_list_that_is_not_known_yet() {
    for path in ["/v1beta/models?pageSize=1000", "/v1beta/models/gemini-2.5-flash"] {
        let cold = || {
            Scene::new(|request| {
                let asked = request.is(":retrieveUserQuota");
                asked.then(|| google()(request).after(Duration::from_secs(4)))
            })
        };
        cold().times_out(get(path));
        let (answer, took) = cold().answer(get(path));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(4) + POLLS);
    }
}

#[test]
fn a_client_that_waits_longer_than_the_proxys_own_limit_gets_the_late_answer() {
    let late = Duration::from_secs(310);
    let scenes = [
        (GENERATE, Reply::ok(r#"{"response":{"candidates":[]}}"#).after(late)),
        (
            GENERATE,
            Reply::pieces([
                Piece::Silence(late),
                Piece::Data(r#"{"response":{"candidates":[]}}"#.into()),
            ]),
        ),
        (STREAM, sse(&[&last_event("Hello")]).after(late)),
        (
            STREAM,
            Reply::pieces([Piece::Silence(late)])
                .then([Piece::Data(format!("data: {}\r\n\r\n", last_event("Hello")).into())]),
        ),
        ("/v1internal:generateContent", Reply::ok("{}").after(late)),
    ];
    for (path, reply) in scenes {
        let scene = || {
            let reply = reply.clone();
            Scene::new(move |request| {
                let generates = request.line.contains("enerateContent");
                generates.then(|| reply.clone())
            })
        };
        let (answer, took) = scene().answer(with(post(path, HELLO), DEADLINE, "600"));
        assert_eq!((answer.status.as_u16(), took), (200, late), "{path} {}", answer.text());
        let (answer, took) = scene().answer(with(post(path, HELLO), DEADLINE, "305"));
        assert_eq!((answer.status.as_u16(), took), (504, Duration::from_secs(305)), "{path}");
        let (answer, took) = scene().answer(post(path, HELLO));
        assert_eq!((answer.status.as_u16(), took), (504, Duration::from_secs(300)), "{path}");
    }
}

#[test]
fn a_client_that_waits_for_ever_is_answered_after_an_hour() {
    let scene = Scene::new(|request| {
        let generates = request.is(":generateContent");
        generates.then(|| Reply::ok("").after(Duration::from_secs(100_000)))
    });
    let (answer, took) = scene.answer(with(post(GENERATE, HELLO), DEADLINE, "86400"));
    assert_eq!((answer.status.as_u16(), took), (504, Duration::from_secs(3600)));
}

#[test]
fn an_expired_client_deadline_does_not_count_against_the_models_breaker() {
    let slow_five_times = |settings| {
        let mut calls = 0;
        Scene::signed_in(3000, settings, move |request| {
            let is_slow = request.is(":generateContent") && {
                calls += 1;
                calls <= 5
            };
            is_slow.then(|| google()(request).after(SLOW))
        })
    };
    let scene = slow_five_times(PROJECT);
    for _ in 0..5 {
        let (answer, _) = scene.answer(with(post(GENERATE, HELLO), DEADLINE, "1"));
        assert_eq!(answer.status, 504);
    }
    let (answer, _) = scene.answer(post(GENERATE, HELLO));
    assert_eq!(answer.status, 200, "{}", answer.text());

    // The same failures within the proxy's own time limit open the breaker.
    let scene = slow_five_times(&[("GEMINI_PROJECT_ID", "p"), ("FIRST_BYTE_TIMEOUT_MS", "1000")]);
    for n in 0..5 {
        // Equal bodies would count once.
        let body = HELLO.replace("Hello", &format!("Hello {n}"));
        let (answer, _) = scene.answer(post(GENERATE, &body));
        assert_eq!(answer.status, 504);
    }
    let (answer, _) = scene.answer(post(GENERATE, HELLO));
    assert_eq!(answer.reason(), "CIRCUIT_OPEN", "{}", answer.text());
}

/// An answer to come, and how long the client waits for it.
type Timed<'a> = Pin<Box<dyn Future<Output = (Answer, Duration)> + 'a>>;

/// A proxy, and another client's request that begins before the one under test.
struct Scene {
    script: ScriptedPlatform,
    proxy: Proxy,
    other: Option<Request<Payload>>,
}

impl Scene {
    /// The proxy has a token and a project. Upstream is Google, except for what `special` answers.
    fn new(special: impl FnMut(&Received) -> Option<Reply> + Send + 'static) -> Self {
        let scene = Self::signed_in(3000, PROJECT, special);
        scene.script.run(&scene.proxy, scene.proxy.tick(&scene.script));
        scene
    }

    /// The access token expires after `seconds`.
    fn signed_in(
        seconds: i64,
        settings: &[(&str, &str)],
        special: impl FnMut(&Received) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let script = ScriptedPlatform::new(google_but(special));
        script.write_login(login("ya29.old", "1//refresh", seconds));
        let proxy = proxy_with(&script, &[settings, BASE].concat());
        Self { script, proxy, other: None }
    }

    fn while_another_runs(mut self, request: Request<Payload>) -> Self {
        self.other = Some(request);
        self
    }

    /// With a deadline of one second, the answer to the request is a 504 after exactly one second.
    fn times_out(mut self, request: Request<Payload>) -> Self {
        let (answer, took) = self.answer_beside_other(with(request, DEADLINE, "1"));
        let got = (answer.status.as_u16(), answer.reason());
        assert_eq!(got, (504, "UPSTREAM_TIMEOUT".to_owned()), "{}", answer.text());
        assert_eq!(took, LIMIT);
        self
    }

    /// Without a deadline, the request is answered when the slow part is done.
    fn answers_late(mut self, request: Request<Payload>) -> Self {
        let (answer, took) = self.answer_beside_other(request);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(took + MOMENT >= SLOW && took < SLOW + POLLS, "{took:?}");
        self
    }

    /// The answer to the request, and how long the client waited for it.
    fn answer(&self, request: Request<Payload>) -> (Answer, Duration) {
        self.script.run(&self.proxy, self.timed(request))
    }

    fn answer_beside_other(&mut self, request: Request<Payload>) -> (Answer, Duration) {
        let Some(other) = self.other.take() else { return self.answer(request) };
        let under_test = later(&self.script, MOMENT, self.timed(request));
        let both: Vec<Timed<'_>> = vec![Box::pin(self.timed(other)), Box::pin(under_test)];
        self.script.run(&self.proxy, all(both)).pop().expect("two requests have two answers")
    }

    async fn timed(&self, request: Request<Payload>) -> (Answer, Duration) {
        let began = self.script.now();
        let answer = ask(&self.proxy, &self.script, request).await;
        (answer, self.script.now().since(began))
    }
}

/// Google, whose answers to these calls take [`SLOW`].
fn slow(call: &'static str) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    move |request| request.is(call).then(|| google()(request).after(SLOW))
}

fn within(deadline: Option<&str>, request: Request<Payload>) -> Request<Payload> {
    match deadline {
        Some(seconds) => with(request, DEADLINE, seconds),
        None => request,
    }
}

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const COUNT: &str = "/v1beta/models/gemini-2.5-flash:countTokens";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
const REPEATABLE: &str =
    r#"{"contents":[{"parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
const RETRY_IN_5_SECONDS: &str = r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED",
    "details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"5s"}]}}"#;

const DEADLINE: &str = "x-server-timeout";
/// The deadline of `x-server-timeout: 1`.
const LIMIT: Duration = Duration::from_secs(1);
/// Longer than the deadline, and shorter than every time limit of the proxy's own.
const SLOW: Duration = Duration::from_secs(5);
/// How much earlier the other client's request begins.
const MOMENT: Duration = Duration::from_millis(10);
/// The longest pause of a request that waits for work of another one.
const POLLS: Duration = Duration::from_millis(600);

const BASE: &[(&str, &str)] = &[("VALIDATE_TOKENS_BEFORE_USE", "false")];
const PROJECT: &[(&str, &str)] = &[("GEMINI_PROJECT_ID", "p")];
