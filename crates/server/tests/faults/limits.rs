//! The waiting line and the rate limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use code_assist_harness::{Response, ScriptedUpstream, post};

use crate::answers::{GENERATE, HELLO, STREAM, WHOLE, ok};
use crate::bench::Bench;

pub(crate) fn one_at_a_time() -> Vec<Bench> {
    let active = AtomicUsize::new(0);
    let most = Arc::new(AtomicUsize::new(0));
    let highest = Arc::clone(&most);
    let everybody_is_here = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&everybody_is_here);
    let upstream = ScriptedUpstream::new(move |_, wire| {
        while !gate.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        let now = active.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(10));
        active.fetch_sub(1, Ordering::SeqCst);
        wire.write(ok(WHOLE));
    });
    let bench = Bench::at(&upstream, &[("MAX_CONCURRENT_REQUESTS", "1")]);
    let text = |n: usize| HELLO.replace("Hello", &format!("caller {n:02}"));
    thread::scope(|scope| {
        let mut asked = Vec::new();
        for n in 0..20 {
            let mut connection = bench.connect();
            let body = text(n);
            asked.push(scope.spawn(move || connection.send(post(GENERATE, &[], body)).status()));
            match n {
                0 => bench.until("asked upstream", |_| upstream.received().len() == 1),
                _ => bench.until("in line", |bench| bench.checks()["queue"]["waiting"] == n),
            }
        }
        everybody_is_here.store(true, Ordering::SeqCst);
        assert!(asked.into_iter().all(|asked| asked.join().expect("no panic") == 200));
    });
    let order: Vec<String> =
        upstream.received().iter().map(|received| received.inner_request().to_owned()).collect();
    assert_eq!(order, (0..20).map(text).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1);
    vec![bench]
}

pub(crate) fn queue_timeout() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        wire.begin_stream();
        wire.chunk("data: {\"response\":{}}\r\n\r\n");
        wire.is_closed_within(Duration::from_secs(15));
        wire.close();
    });
    let settings = [("MAX_CONCURRENT_REQUESTS", "1"), ("QUEUE_TIMEOUT_MS", "200")];
    let bench = Bench::at(&upstream, &settings);
    let mut stream = bench.connect();
    stream.write(post(STREAM, &[], HELLO));
    assert_eq!(stream.head().status, 200);
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "QUEUE_TIMEOUT".into()));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.head.server_timing("queue") >= 200.0);
    assert_eq!(upstream.received().len(), 1);
    drop(stream);
    vec![bench]
}

pub(crate) fn rate_limit() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let settings = [
        ("RATE_LIMIT_MAX_REQUESTS", "5"),
        ("RATE_LIMIT_WINDOW_MS", "1900"),
        ("PROXY_API_KEYS", "one:first-key,two:second-key"),
    ];
    let bench = Bench::at(&upstream, &settings);
    let ask = |key: &str| bench.send(post(GENERATE, &[&format!("x-goog-api-key: {key}")], HELLO));
    for left in (0..5).rev() {
        let answer = ask("first-key");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(headers(&answer), ["5", &left.to_string(), "2"]);
    }
    let refused = ask("first-key");
    assert_eq!(refused.status_and_reason(), (429, "RATE_LIMITED".into()));
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(headers(&refused), ["5", "0", "2"]);
    assert_eq!(ask("second-key").status(), 200, "another key has its own");
    // Health is nobody's quota.
    assert_eq!(bench.get("/health").status(), 200);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(ask("first-key").status(), 200, "after `Retry-After`");
    assert_eq!(upstream.received().len(), 7);
    vec![bench]
}

pub(crate) fn rate_limit_forged() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let limit = ("RATE_LIMIT_MAX_REQUESTS", "2");
    let statuses = |bench: &Bench| -> Vec<u16> {
        let from = |n: usize| format!("X-Forwarded-For: 203.0.113.{n}");
        (0..4).map(|n| bench.send(post(GENERATE, &[&from(n)], HELLO)).status()).collect()
    };
    let wary = Bench::at(&upstream, &[limit]);
    assert_eq!(statuses(&wary), [200, 200, 429, 429]);
    let trusting = Bench::at(&upstream, &[limit, ("TRUST_FORWARDED_FOR", "true")]);
    assert_eq!(statuses(&trusting), [200, 200, 200, 200]);
    assert_eq!(statuses(&trusting), [200, 200, 200, 200]);
    assert_eq!(statuses(&trusting), [429, 429, 429, 429]);
    vec![wary, trusting]
}

fn headers(answer: &Response) -> [&str; 3] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
        .map(|name| answer.header(name))
}
