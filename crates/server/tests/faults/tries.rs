//! Retries, circuit breakers and the choice of endpoints.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{COUNT, EVENT, GENERATE, HELLO, STREAM, WHOLE, answer, ok};
use code_assist_harness::{GoogleEmulator, Proxy, Response, ScriptedUpstream, TestProxy, post};
use serde_json::json;

use crate::answers::bare;
use crate::network::nowhere;

pub(crate) fn error_500_once() -> Vec<TestProxy> {
    let upstream = first(1, "500 Internal Server Error", INTERNAL);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.text()), (200, bare(WHOLE)));
    assert_eq!(upstream.received().len(), 2);
    assert_eq!(upstream.received()[0].body, upstream.received()[1].body);
    assert_eq!(proxy.last_line(1)["retries"], 1);
    vec![proxy]
}

pub(crate) fn error_500_always() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("500 Internal Server Error", "", INTERNAL);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.text().as_str()), (500, INTERNAL));
    assert_eq!(upstream.received().len(), 3);
    let none = TestProxy::for_upstream(&upstream, &[("MAX_RETRY_ATTEMPTS", "0")]);
    assert_eq!(none.post(GENERATE, HELLO).status(), 500);
    assert_eq!(upstream.received().len(), 4);
    vec![proxy, none]
}

pub(crate) fn storm_of_500s() -> Vec<TestProxy> {
    let upstream = load_balancers_500();
    let proxy = TestProxy::for_upstream(&upstream, BREAKER);
    for _ in 0..3 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 500);
    }
    let opened = Instant::now();
    for _ in 0..20 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!(answer.status_and_reason(), (503, "CIRCUIT_OPEN".into()));
        let left = 2.0 - opened.elapsed().as_secs_f64();
        let message: f64 = answer.header("retry-after").parse().expect("seconds");
        assert!((left..left + 1.2).contains(&message), "{message} with {left} left");
    }
    assert_eq!(upstream.received().len(), 3, "the threshold and no more");
    assert_eq!(proxy.breaker(), "open");
    // All clients send requests for two timeouts of the breaker.
    let end = opened + Duration::from_millis(5000);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut connection = proxy.connect();
                while Instant::now() < end {
                    let status = connection.send(post(GENERATE, &[], HELLO)).status();
                    assert!(matches!(status, 500 | 503));
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
    });
    assert_eq!(upstream.received().len(), 5, "one probe a time-out, two time-outs");
    vec![proxy]
}

pub(crate) fn recovery() -> Vec<TestProxy> {
    let down = Arc::new(AtomicUsize::new(1));
    let state = Arc::clone(&down);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        if state.load(Ordering::SeqCst) == 1 {
            connection.write(answer("500 Internal Server Error", "<html>"));
            return;
        }
        // Slow enough that all requests arrive before the probe's result.
        thread::sleep(Duration::from_millis(300));
        connection.write(ok(WHOLE));
    });
    let proxy = TestProxy::for_upstream(
        &upstream,
        &[BREAKER, &[("CIRCUIT_BREAKER_TIMEOUT_MS", "1000")]].concat(),
    );
    for _ in 0..3 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 500);
    }
    down.store(0, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(1050));
    let answers = together(&proxy, 10, HELLO);
    let good = answers.iter().filter(|answer| answer.status() == 200).count();
    assert_eq!(good, 1, "one probe, from any client");
    let rest = answers.iter().filter(|answer| answer.status() != 200);
    rest.for_each(|answer| assert_eq!(answer.status_and_reason(), (503, "CIRCUIT_OPEN".into())));
    assert_eq!(upstream.received().len(), 4);
    assert_eq!(proxy.breaker(), "closed");
    assert!(together(&proxy, 5, HELLO).iter().all(|answer| answer.status() == 200));
    vec![proxy]
}

pub(crate) fn storm_of_429s() -> Vec<TestProxy> {
    let body = throttled("RATE_LIMIT_EXCEEDED", "30s");
    let upstream = ScriptedUpstream::answering("429 Too Many Requests", "", &body);
    let proxy = TestProxy::for_upstream(&upstream, &[("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3")]);
    for _ in 0..12 {
        let answer = proxy.post(GENERATE, HELLO);
        assert_eq!((answer.status(), answer.text()), (429, body.clone()));
    }
    assert_eq!(upstream.received().len(), 12);
    assert_eq!(proxy.breaker(), "closed");
    vec![proxy]
}

pub(crate) fn retry_info_short() -> Vec<TestProxy> {
    let upstream = first(1, "429 Too Many Requests", &throttled("RATE_LIMIT_EXCEEDED", "0.400s"));
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let started = Instant::now();
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert!((400..1200).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn retry_info_long() -> Vec<TestProxy> {
    let body = throttled("RATE_LIMIT_EXCEEDED", "17.2s");
    let upstream = ScriptedUpstream::answering("429 Too Many Requests", "", &body);
    // `RETRY_MAX_DELAY_MS` is one second here.
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let started = Instant::now();
    let answer = proxy.post(GENERATE, HELLO);
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!((answer.status(), answer.text()), (429, body));
    assert_eq!(answer.header("retry-after"), "18");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn quota_exhausted() -> Vec<TestProxy> {
    let body = throttled("QUOTA_EXHAUSTED", "1.5s");
    let upstream = first(1, "429 Too Many Requests", &body);
    let proxy = TestProxy::for_upstream(&upstream, &[("RETRY_MAX_DELAY_MS", "30000")]);
    for path in [GENERATE, GENERATE, STREAM] {
        let answer = proxy.post(path, HELLO);
        assert_eq!((answer.status(), answer.text()), (429, body.clone()));
        assert!(matches!(answer.header("retry-after"), "1" | "2"));
    }
    assert_eq!(upstream.received().len(), 1);
    let other = "/v1beta/models/gemini-2.5-pro:generateContent";
    assert_eq!(proxy.post(other, HELLO).status(), 200);
    thread::sleep(Duration::from_millis(1600));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "after the reset");
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn no_capacity() -> Vec<TestProxy> {
    let body = format!(
        r#"{{"error":{{"code":503,"message":"No capacity available for model gemini-2.5-flash on the server","status":"UNAVAILABLE","details":[{}]}}}}"#,
        r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED","domain":"cloudcode-pa.googleapis.com"}"#
    );
    let upstream = ScriptedUpstream::answering("503 Service Unavailable", "", &body);
    let settings = [("MAX_RETRY_ATTEMPTS", "9"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "50")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.text()), (503, body));
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn unauthorized_once() -> Vec<TestProxy> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    proxy.google().set_state(json!({"expire_tokens": true}));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.google().count("generateContent"), 3);
    assert_eq!(proxy.google().count("token"), 1);
    vec![proxy]
}

pub(crate) fn unauthorized_always() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "generateContent"}, "times": 0, "status": 401}));
    let proxy = TestProxy::for_emulator(google, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "CREDENTIALS_REJECTED".into()));
    assert_eq!(proxy.google().count("generateContent"), 2);
    assert_eq!(proxy.google().count("token"), 1);
    vec![proxy]
}

pub(crate) fn project_gone() -> Vec<TestProxy> {
    let google = GoogleEmulator::start();
    let body = r#"{"error":{"code":403,"message":"Project 'x' not found or deleted.","status":"PERMISSION_DENIED","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"CONSUMER_INVALID","domain":"googleapis.com"}]}}"#;
    google.add_rules(json!({"match": {"rpc": "generateContent"}, "status": 403, "body": body}));
    let proxy = TestProxy::for_emulator(google, &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!((answer.status(), answer.text().as_str()), (403, body));
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.google().count("generateContent"), 2);
    assert_eq!(proxy.google().count("loadCodeAssist"), 2);
    vec![proxy]
}

pub(crate) fn client_in_a_hurry() -> Vec<TestProxy> {
    let is_first = AtomicBool::new(true);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        if is_first.swap(false, Ordering::Relaxed) {
            return connection.write(ok(WHOLE));
        }
        thread::sleep(Duration::from_millis(970));
        connection.write(answer("500 Internal Server Error", INTERNAL));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    // A cold isolate needs longer than the 30 ms that are left.
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    let answer = proxy.send(post(GENERATE, &["X-Server-Timeout: 1"], HELLO));
    assert_eq!(answer.status(), 500);
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn endpoint_down() -> Vec<TestProxy> {
    let alive = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_endpoints(&[nowhere(), alive.url()], &[]);
    let statuses: Vec<u16> = (0..15).map(|_| proxy.post(GENERATE, HELLO).status()).collect();
    let good = statuses.iter().filter(|status| **status == 200).count();
    // A Worker does not know that nothing was sent. Its breaker opens at the fifth failure.
    assert_eq!(good, if proxy.is_native() { 15 } else { 10 }, "{statuses:?}");
    assert_eq!(statuses[10..], [200; 5]);
    assert_eq!(alive.received().len(), good);
    vec![proxy]
}

/// Something before the API answers, so that the endpoint is at fault.
fn load_balancers_500() -> ScriptedUpstream {
    let page = "Content-Type: text/html\r\n";
    ScriptedUpstream::answering(
        "500 Internal Server Error",
        page,
        "<html><body>Sorry</body></html>",
    )
}

/// A request that differs from those with other numbers.
fn hello(n: usize) -> String {
    HELLO.replace("Hello", &format!("Hello {n}"))
}

pub(crate) fn model_overloaded() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|received, connection| {
        let overloaded = received.text().contains("gemini-3-pro-preview");
        connection.write(match overloaded {
            true => answer("503 Service Unavailable", NO_CAPACITY),
            false => ok(WHOLE),
        });
    });
    let proxy = TestProxy::for_upstream(&upstream, BREAKER);
    let preview = GENERATE.replace("gemini-2.5-flash", "gemini-3-pro-preview");
    for n in 0..3 {
        assert_eq!(proxy.post(&preview, hello(n)).status(), 503);
        assert!(together(&proxy, 20, HELLO).iter().all(|answer| answer.status() == 200));
    }
    let before = upstream.received().len();
    let answer = proxy.post(&preview, hello(3));
    assert_eq!(answer.status_and_reason(), (503, "CIRCUIT_OPEN".into()));
    assert!(answer.text().contains("gemini-3-pro-preview has failed"), "{}", answer.text());
    assert_eq!(upstream.received().len(), before);
    assert!(together(&proxy, 20, HELLO).iter().all(|answer| answer.status() == 200));
    assert_eq!(proxy.breaker(), "closed", "the endpoint works");
    assert_eq!(proxy.checks()["resting_models"][0]["model"], "gemini-3-pro-preview");
    vec![proxy]
}

pub(crate) fn poisoned_prompt() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|received, connection| {
        connection.write(match received.text().contains("poison") {
            true => answer("500 Internal Server Error", INTERNAL),
            false => ok(WHOLE),
        });
    });
    let settings = [("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    for _ in 0..6 {
        let answer = proxy.post(GENERATE, HELLO.replace("Hello", "poison"));
        assert_eq!((answer.status(), answer.text().as_str()), (500, INTERNAL));
    }
    assert_eq!(upstream.received().len(), 18);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.breaker(), "closed");
    vec![proxy]
}

pub(crate) fn side_methods_fail() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|received, connection| {
        connection.write(match &received.head {
            head if head.contains(":generateContent") => ok(WHOLE),
            head if head.contains(":noSuchMethod") => answer("501 Not Implemented", "{}"),
            _ => answer("500 Internal Server Error", INTERNAL),
        });
    });
    let settings = [("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3"), ("CODE_ASSIST_PROTOCOL", "all")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    for n in 0..5 {
        let metrics = proxy.post("/v1internal:recordCodeAssistMetrics", hello(n));
        assert_eq!((metrics.status(), metrics.text().as_str()), (500, INTERNAL));
        assert_eq!(proxy.post("/v1internal:noSuchMethod", hello(n)).status(), 501);
        // Counting tokens rests after three failures, and nothing else with it.
        assert!(proxy.post(COUNT, hello(n)).status() >= 500);
    }
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(proxy.post(COUNT, HELLO).status_and_reason(), (503, "CIRCUIT_OPEN".into()));
    assert_eq!(proxy.post("/v1internal:recordCodeAssistMetrics", HELLO).status(), 500);
    vec![proxy]
}

pub(crate) fn quota_is_back() -> Vec<TestProxy> {
    let body = throttled("QUOTA_EXHAUSTED", "598149s");
    let back = Arc::new(AtomicUsize::new(0));
    let state = Arc::clone(&back);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.write(match state.load(Ordering::SeqCst) {
            0 => answer("429 Too Many Requests", &body),
            _ => ok(WHOLE),
        });
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 429);
    back.store(1, Ordering::SeqCst);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 429);
    assert_eq!(proxy.get("/health").json()["status"], "degraded");
    assert_eq!(proxy.checks()["exhausted_quotas"][0]["model"], "gemini-2.5-flash");
    let anew = proxy.send(post(GENERATE, &["Cache-Control: no-cache"], HELLO));
    assert_eq!(anew.status(), 200);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn endpoint_fails() -> Vec<TestProxy> {
    let failing = load_balancers_500();
    let alive = ScriptedUpstream::answering("200 OK", "", WHOLE);
    // Another endpoint is tried without a delay: a delay would exceed this bound.
    let pauses = [("RETRY_BASE_DELAY_MS", "30000"), ("RETRY_MAX_DELAY_MS", "30000")];
    let proxy = TestProxy::for_endpoints(&[failing.url(), alive.url()], &pauses);
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(alive.received().len(), 20);
    assert!(failing.received().len() <= 5, "the breaker's threshold");
    vec![proxy]
}

pub(crate) fn endpoint_busy() -> Vec<TestProxy> {
    let streams = || {
        ScriptedUpstream::new(|received, connection| {
            if !received.head.contains("stream") {
                return connection.write(ok(WHOLE));
            }
            connection.begin_stream();
            connection.chunk(format!("data: {EVENT}\r\n\r\n"));
            connection.is_closed_within(Duration::from_secs(15));
            connection.close();
        })
    };
    let all = [streams(), streams(), streams()];
    let endpoints: Vec<String> = all.iter().map(ScriptedUpstream::url).collect();
    let proxy = TestProxy::for_endpoints(&endpoints, &[]);
    let running: Vec<_> = (0..5)
        .map(|_| {
            let mut connection = proxy.connect();
            connection.write(post(STREAM, &[], HELLO));
            assert_eq!(connection.head().status, 200);
            connection
        })
        .collect();
    let mut loads: Vec<usize> = all.iter().map(|upstream| upstream.received().len()).collect();
    let least = loads.iter().position(|load| *load == 1).expect("two, two and one");
    for _ in 0..10 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(all[least].received().len(), 11, "the endpoint with the fewest requests in flight");
    loads.sort_unstable();
    assert_eq!(loads, [1, 2, 2]);
    drop(running);
    vec![proxy]
}

/// Sends this many equal requests at the same moment.
pub(crate) fn together(proxy: &Proxy, count: usize, body: &str) -> Vec<Response> {
    let start = Barrier::new(count);
    thread::scope(|scope| {
        let requests: Vec<_> = (0..count)
            .map(|_| {
                let start = &start;
                scope.spawn(move || {
                    let mut connection = proxy.connect();
                    start.wait();
                    connection.send(post(GENERATE, &[], body))
                })
            })
            .collect();
        requests.into_iter().map(|request| request.join().expect("no panic")).collect()
    })
}

/// An upstream that answers the first requests with this status, and all later ones well.
fn first(times: usize, status: &str, body: &str) -> ScriptedUpstream {
    let (bad, left) = (answer(status, body), AtomicUsize::new(times));
    ScriptedUpstream::new(move |_, connection| {
        let more =
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        connection.write(if more.is_ok() { bad.clone() } else { ok(WHOLE) });
    })
}

fn throttled(reason: &str, delay: &str) -> String {
    format!(
        r#"{{"error":{{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"cloudcode-pa.googleapis.com"}},{{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
    )
}

pub(crate) const INTERNAL: &str =
    r#"{"error":{"code":500,"message":"Internal error encountered.","status":"INTERNAL"}}"#;

const BREAKER: &[(&str, &str)] = &[
    ("MAX_RETRY_ATTEMPTS", "0"),
    ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "3"),
    ("CIRCUIT_BREAKER_TIMEOUT_MS", "2000"),
];

const NO_CAPACITY: &str = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED"}]}}"#;
