//! The circuit breakers of models: what one model, one operation or one prompt fails at leaves all others
//! alone.

use code_assist_core::{Platform as _, SendError};
use code_assist_testkit::client::{Answer, all, get, post, with};
use code_assist_testkit::google::{event, sse};
use code_assist_testkit::script::{Piece, Received, Reply};

use crate::fixture::{
    COUNT, Fixture, GENERATE, HELLO, PRO, STREAM, always, error, error_body, hello, ms, page,
};

/// A model's breaker opens for a minute after three failed requests.
const THREE: [(&str, &str); 2] =
    [("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3"), ("CIRCUIT_BREAKER_TIMEOUT_MS", "60000")];

const ONCE: (&str, &str) = ("MAX_RETRY_ATTEMPTS", "0");

const PRO_STREAM: &str = "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse";
const PASSED: &str = "/v1internal:generateContent";

/// The model of [`PRO`] gives this reply, other models work.
fn pro_gives(reply: Reply) -> impl FnMut(&Received) -> Option<Reply> + Send + 'static {
    move |request| request.body.contains("gemini-2.5-pro").then(|| reply.clone())
}

fn settings(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&THREE[..], more].concat()
}

fn refused(answer: &Answer) -> (u16, String, &str) {
    (answer.status.as_u16(), answer.reason(), answer.header("retry-after"))
}

fn health(fixture: &Fixture) -> serde_json::Value {
    serde_json::from_str(&fixture.ask(get("/health/detailed")).text()).expect("JSON")
}

#[test]
fn an_overloaded_model_rests_and_every_other_model_goes_on() {
    for details in [
        "",
        r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED"}"#,
    ] {
        let fixture = Fixture::new(&settings(&[]), pro_gives(error(503, details)));
        for n in 0..3 {
            assert_eq!(fixture.ask(post(PRO, &hello(n))).status, 503);
            assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
        }
        fixture.script.advance(ms(1000));
        let calls = fixture.calls().len();
        let answer = fixture.ask(post(PRO, &hello(9)));
        assert_eq!(answer.reason(), "CIRCUIT_OPEN");
        assert!(answer.text().contains("gemini-2.5-pro has failed"), "{}", answer.text());
        assert_eq!(fixture.calls().len(), calls, "Google is not asked");
        for path in [GENERATE, STREAM, COUNT] {
            assert_eq!(fixture.ask(post(path, HELLO)).status, 200, "{path}");
        }
    }
}

#[test]
fn two_requests_with_their_retries_count_as_two_failures() {
    let fixture = Fixture::new(&[], pro_gives(error(503, "")));
    for n in 0..2 {
        assert_eq!(fixture.ask(post(PRO, &hello(n))).status, 503);
    }
    assert_eq!(fixture.calls().len(), 8, "each is tried four times");
    assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200);
    for n in 2..5 {
        assert_eq!(fixture.ask(post(PRO, &hello(n))).status, 503, "{n}");
    }
    assert_eq!(fixture.ask(post(PRO, &hello(5))).reason(), "CIRCUIT_OPEN");
}

#[test]
fn a_prompt_that_always_fails_rests_no_model() {
    let poisoned = |request: &Received| request.body.contains("poison");
    let kinds = [
        (GENERATE, error(500, "")),
        (STREAM, error(500, "")),
        (COUNT, error(500, "")),
        (STREAM, sse(&[&event("Hel")]).then([Piece::Break("reset".to_owned())])),
        (STREAM, sse(&[&event("Hel"), &error_body(500, "")])),
        (GENERATE, Reply::ok(error_body(500, ""))),
        (PASSED, error(500, "")),
    ];
    for (path, failure) in kinds {
        let reply = failure.clone();
        let fixture = Fixture::new(&settings(&[ONCE]), move |request| {
            poisoned(request).then(|| reply.clone())
        });
        for _ in 0..20 {
            fixture.ask(post(path, &HELLO.replace("Hello", "poison")));
        }
        let answer = fixture.ask(post(path, HELLO));
        assert_ne!(answer.reason(), "CIRCUIT_OPEN", "{path} {failure:?}");
        let healthy = health(&fixture)["metrics"]["circuit_breaker_state"].clone();
        assert_eq!(healthy, "closed", "{path} {failure:?}");
    }
}

#[test]
fn every_kind_of_model_failure_counts_for_its_model_and_its_operation_only() {
    let begun = || Piece::Data(format!("data: {}\r\n\r\n", event("Hel")).into());
    let fault = format!("data: {}\r\n\r\n", error_body(500, ""));
    let passed = "/v1internal:streamGenerateContent?alt=sse";
    let failures = [
        (GENERATE, error(500, "")),
        (GENERATE, error(503, "")),
        (GENERATE, error(504, "")),
        (GENERATE, Reply::ok(error_body(503, ""))),
        (GENERATE, Reply::ok("").after(ms(300_001))),
        (COUNT, error(500, "")),
        (STREAM, error(503, "")),
        (STREAM, sse(&[&error_body(503, "")])),
        (STREAM, sse(&[])),
        (STREAM, Reply::pieces([begun(), Piece::Break("reset".to_owned())])),
        (STREAM, Reply::pieces([begun(), Piece::Silence(ms(300_001))])),
        (STREAM, Reply::pieces([begun(), Piece::Data(fault.into())])),
        (passed, error(500, "")),
        (passed, Reply::pieces([begun(), Piece::Break("reset".to_owned())])),
    ];
    for (path, failure) in failures {
        let body = |n: usize| {
            if path == passed {
                let request = hello(n);
                format!(r#"{{"model":"gemini-2.5-flash","project":"p","request":{request}}}"#)
            } else {
                hello(n)
            }
        };
        let mut calls = 0;
        let reply = failure.clone();
        let fixture = Fixture::new(&settings(&[ONCE]), move |_| {
            calls += 1;
            (calls <= 3).then(|| reply.clone())
        });
        for n in 0..3 {
            let answer = fixture.ask(post(path, &body(n)));
            assert_ne!(answer.reason(), "CIRCUIT_OPEN", "{path} {failure:?}");
        }
        assert_eq!(
            fixture.ask(post(path, &body(3))).reason(),
            "CIRCUIT_OPEN",
            "{path} {failure:?}"
        );
        assert_eq!(fixture.calls().len(), 3);
        for other in [GENERATE, STREAM, COUNT].into_iter().filter(|other| *other != path) {
            if path == passed && other == STREAM {
                continue;
            }
            assert_eq!(fixture.ask(post(other, HELLO)).status, 200, "{path} {failure:?} {other}");
        }
        assert_eq!(fixture.ask(post(PRO, HELLO)).status, 200, "{path} {failure:?}");
    }
}

#[test]
fn no_answer_but_a_page_of_one_model_keeps_the_others_back() {
    let broken = |error| Reply::unreachable(error);
    let text = |status, body: &str| Reply::status(status, body.to_owned());
    let answers = [
        text(200, r#"{"error":"boom"}"#),
        text(200, r#"{"error":[]}"#),
        text(200, "{}"),
        text(200, "no JSON"),
        text(200, ""),
        text(500, "{}"),
        text(501, ""),
        text(503, r#"{"message":"overloaded"}"#),
        text(503, r#""overloaded""#),
        text(503, "The model is overloaded."),
        text(503, r#"{"error":{"code":503,"mess"#),
        text(503, ""),
        text(504, ""),
        Reply::ok("").after(ms(300_001)),
        broken(SendError::NotProcessed("refused stream".to_owned())),
        broken(SendError::StreamReset("enhance your calm".to_owned())),
        broken(SendError::Resources("too many open files".to_owned())),
        Reply::pieces([Piece::Data("{\"resp".into()), Piece::Break("reset".to_owned())]),
        sse(&["\"overloaded\""]),
        sse(&[r#"{"error":"boom"}"#]),
        sse(&[&event("Hel"), r#"{"error":"boom"}"#]),
    ];
    for answer in answers {
        let fixture = Fixture::new(&settings(&[ONCE]), pro_gives(answer.clone()));
        for n in 0..6 {
            for path in [PRO, PRO_STREAM] {
                fixture.ask(post(path, &hello(n)));
            }
        }
        for path in [GENERATE, STREAM, COUNT] {
            assert_eq!(fixture.ask(post(path, HELLO)).status, 200, "{path} {answer:?}");
        }
    }
}

#[test]
fn a_model_that_hangs_rests_also_when_its_clients_wait_longer_than_the_proxy() {
    let fixture = Fixture::new(&settings(&[]), pro_gives(Reply::ok("").after(ms(1_000_000))));
    for (seconds, rests) in [("200", false), ("600", true)] {
        for n in 0..3 {
            let answer = fixture.ask(with(post(PRO, &hello(n)), "x-server-timeout", seconds));
            assert_eq!(answer.status, 504);
        }
        let next = fixture.asking(with(post(PRO, HELLO), "x-server-timeout", "1"));
        assert_eq!(fixture.run(next).reason() == "CIRCUIT_OPEN", rests, "{seconds}");
    }
}

#[test]
fn a_client_that_waits_too_briefly_does_not_keep_a_resting_model_from_the_others() {
    let mut calls = 0;
    let fixture = Fixture::new(&settings(&[ONCE]), move |_| {
        calls += 1;
        Some(match calls {
            1..=3 => error(503, ""),
            _ => Reply::ok(r#"{"response":{"candidates":[]}}"#).after(ms(2000)),
        })
    });
    for n in 0..3 {
        fixture.ask(post(PRO, &hello(n)));
    }
    fixture.script.advance(ms(60_000));
    let hurried = fixture.ask(with(post(PRO, HELLO), "x-server-timeout", "1"));
    assert_eq!(hurried.status, 504);
    assert_eq!(fixture.ask(post(PRO, HELLO)).status, 200);
}

#[test]
fn the_name_of_a_passed_on_model_is_bounded() {
    let fixture = Fixture::new(&settings(&[ONCE]), always(error(503, "")));
    let long = "x".repeat(1 << 20);
    for n in 0..4 {
        let request = hello(n);
        let body = format!(r#"{{"model":"{long}","project":"p","request":{request}}}"#);
        let answer = fixture.ask(post(PASSED, &body));
        assert!(answer.text().len() < 1000, "{}", answer.text().len());
    }
    assert!(fixture.ask(get("/health/detailed")).text().len() < 10_000);
}

#[test]
fn a_passed_on_method_that_generates_nothing_never_counts() {
    let html = Reply::status(502, "<html>").with_header("content-type", "text/html");
    for failure in [
        error(500, ""),
        error(501, ""),
        html,
        page(503),
        Reply::ok("").after(ms(300_001)),
        Reply::unreachable(SendError::Connect("refused".to_owned())),
        Reply::unreachable(SendError::Disconnected("reset".to_owned())),
        Reply::pieces([Piece::Data("x".into()), Piece::Break("reset".to_owned())]),
    ] {
        let reply = failure.clone();
        let all = ("CODE_ASSIST_PROTOCOL", "all");
        let fixture = Fixture::new(&settings(&[ONCE, all]), move |request| {
            let generates = request.is(":generateContent");
            (!generates).then(|| reply.clone())
        });
        for n in 0..10 {
            for method in ["recordCodeAssistMetrics", "noSuchMethod", "loadCodeAssist"] {
                fixture.ask(post(&format!("/v1internal:{method}"), &hello(n)));
            }
            fixture.ask(get("/v1internal/operations/1"));
        }
        assert_eq!(fixture.ask(post(GENERATE, HELLO)).status, 200, "{failure:?}");
        let health = health(&fixture);
        assert_eq!(health["metrics"]["circuit_breaker_state"], "closed", "{failure:?}");
        assert_eq!(health["upstream_status"], "healthy", "{failure:?}");
    }
}

#[test]
fn equal_requests_in_flight_share_one_failure() {
    let zero = r#"{"contents":[{"role":"user","parts":[{"text":"x"}]}],"generationConfig":{"temperature":0}}"#;
    let fixture = Fixture::new(&settings(&[ONCE]), always(error(503, "").after(ms(10))));
    fixture.run(all((0..50).map(|_| fixture.asking(post(GENERATE, zero))).collect()));
    assert_ne!(fixture.ask(post(GENERATE, HELLO)).reason(), "CIRCUIT_OPEN");
}

#[test]
fn one_request_probes_a_resting_model_after_the_timeout() {
    let mut calls = 0;
    let fixture = Fixture::new(&settings(&[ONCE]), move |_| {
        calls += 1;
        match calls {
            1..=4 => Some(error(503, "")),
            _ => None,
        }
    });
    for n in 0..3 {
        fixture.ask(post(PRO, &hello(n)));
    }
    fixture.script.advance(ms(59_000));
    assert_eq!(refused(&fixture.ask(post(PRO, HELLO))), (503, "CIRCUIT_OPEN".to_owned(), "1"));
    fixture.script.advance(ms(1000));
    assert_eq!(fixture.ask(post(PRO, &hello(0))).status, 503, "a probe with an equal body counts");
    assert_eq!(refused(&fixture.ask(post(PRO, HELLO))), (503, "CIRCUIT_OPEN".to_owned(), "60"));
    fixture.script.advance(ms(60_000));
    assert_eq!(fixture.ask(post(PRO, HELLO)).status, 200);
    assert_eq!(fixture.ask(post(PRO, HELLO)).status, 200);
}

#[test]
fn a_model_that_rests_at_one_endpoint_is_served_by_the_other() {
    let two = ("CODE_ASSIST_ENDPOINT", "https://one.test,https://two.test");
    let fixture = Fixture::new(&settings(&[two]), |request| {
        let fails = request.line.contains("one.test") && request.body.contains("gemini-2.5-pro");
        fails.then(|| error(503, ""))
    });
    for n in 0..20 {
        assert_eq!(fixture.ask(post(PRO, &hello(n))).status, 200);
    }
    let at_one = fixture.hosts().iter().filter(|host| *host == "one.test").count();
    assert_eq!(at_one, 3);
}

#[test]
fn health_names_the_worst_breaker_and_details_and_metrics_name_the_model() {
    let fixture = Fixture::new(&settings(&[ONCE]), pro_gives(error(503, "")));
    for n in 0..3 {
        fixture.ask(post(PRO, &hello(n)));
    }
    fixture.ask(post(GENERATE, HELLO));
    fixture.script.advance(ms(18_500));
    let seen = health(&fixture);
    assert_eq!(seen["status"], "degraded");
    assert_eq!(seen["metrics"]["circuit_breaker_state"], "open");
    let model = &seen["checks"]["resting_models"][0];
    assert_eq!(model["model"], "gemini-2.5-pro");
    assert_eq!(model["method"], "generateContent");
    assert_eq!(model["endpoint"], "https://one.test");
    assert_eq!(model["breaker"], "open");
    assert_eq!(model["seconds_left"], 42, "41.5 s, rounded up");
    assert_eq!(seen["checks"]["endpoints"][0]["breaker"], "closed");
    let labels = r#"endpoint="https://one.test",model="gemini-2.5-pro",method="generateContent""#;
    assert_eq!(fixture.metric(&format!(r#"model_breaker_state{{{labels},state="open"}}"#)), 1.0);
    let until = fixture.metric(&format!("model_breaker_probe_timestamp_seconds{{{labels}}}"));
    let clock = fixture.script.wall_clock().0 as f64 / 1000.0;
    assert!((until - clock - 41.5).abs() < 0.01, "{until} {clock}");
    assert!(model["until"].as_str().unwrap().ends_with('Z'), "{model}");
    fixture.script.advance(ms(41_500));
    let seen = health(&fixture);
    assert_eq!(seen["checks"]["resting_models"][0]["breaker"], "half_open");
}

#[test]
fn labels_of_resting_models_are_bounded() {
    let fixture = Fixture::new(&settings(&[ONCE]), always(error(503, "")));
    for n in 0..300 {
        let path = format!("/v1beta/models/made-up-{n}:generateContent");
        for body in 0..3 {
            fixture.ask(post(&path, &hello(body)));
        }
    }
    let seen = health(&fixture);
    assert_eq!(seen["checks"]["resting_models"].as_array().unwrap().len(), 64);
    let metrics = fixture.ask(get("/metrics")).text();
    let lines = metrics.lines().filter(|line| line.contains("model_breaker_state{"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(r#"model="other""#), "{lines:?}");
}
