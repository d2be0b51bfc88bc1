//! The wait queue and the rate limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use code_assist_harness::samples::{EVENT, GENERATE, HELLO, STREAM, WHOLE, ok};
use code_assist_harness::{Response, ScriptedUpstream, TestProxy, post};

pub(crate) fn one_at_a_time() -> Vec<TestProxy> {
    let active = AtomicUsize::new(0);
    let most = Arc::new(AtomicUsize::new(0));
    let highest = Arc::clone(&most);
    let all_are_queued = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&all_are_queued);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        while !gate.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        let now = active.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(now, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(10));
        active.fetch_sub(1, Ordering::SeqCst);
        connection.write(ok(WHOLE));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("MAX_CONCURRENT_REQUESTS", "1")]);
    let text = |n: usize| HELLO.replace("Hello", &format!("caller {n:02}"));
    thread::scope(|scope| {
        let mut requests = Vec::new();
        for n in 0..20 {
            let mut connection = proxy.connect();
            let body = text(n);
            requests.push(scope.spawn(move || connection.send(post(GENERATE, &[], body)).status()));
            match n {
                0 => proxy.until("upstream has the request", |_| upstream.received().len() == 1),
                _ => proxy.until("queued", |proxy| proxy.checks()["queue"]["waiting"] == n),
            }
        }
        all_are_queued.store(true, Ordering::SeqCst);
        assert!(requests.into_iter().all(|request| request.join().expect("no panic") == 200));
    });
    let order: Vec<String> =
        upstream.received().iter().map(|received| received.inner_request().to_owned()).collect();
    assert_eq!(order, (0..20).map(text).collect::<Vec<_>>());
    assert_eq!(most.load(Ordering::SeqCst), 1);
    vec![proxy]
}

pub(crate) fn queue_timeout() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {EVENT}\r\n\r\n"));
        connection.is_closed_within(Duration::from_secs(15));
        connection.close();
    });
    let settings = [("MAX_CONCURRENT_REQUESTS", "1"), ("QUEUE_TIMEOUT_MS", "200")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let mut stream = proxy.connect();
    stream.write(post(STREAM, &[], HELLO));
    assert_eq!(stream.head().status, 200);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "QUEUE_TIMEOUT".into()));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(answer.head.server_timing("queue") >= 200.0);
    assert_eq!(upstream.received().len(), 1);
    drop(stream);
    vec![proxy]
}

pub(crate) fn rate_limit() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let settings = [
        ("RATE_LIMIT_MAX_REQUESTS", "5"),
        ("RATE_LIMIT_WINDOW_MS", "1900"),
        ("PROXY_API_KEYS", "one:first-key,two:second-key"),
    ];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let ask = |key: &str| proxy.send(post(GENERATE, &[&format!("x-goog-api-key: {key}")], HELLO));
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
    // Health checks do not count.
    assert_eq!(proxy.get("/health").status(), 200);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(ask("first-key").status(), 200, "after `Retry-After`");
    assert_eq!(upstream.received().len(), 7);
    vec![proxy]
}

pub(crate) fn rate_limit_forged() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let limit = ("RATE_LIMIT_MAX_REQUESTS", "2");
    let statuses = |proxy: &TestProxy| -> Vec<u16> {
        let from = |n: usize| format!("X-Forwarded-For: 203.0.113.{n}");
        (0..4).map(|n| proxy.send(post(GENERATE, &[&from(n)], HELLO)).status()).collect()
    };
    let wary = TestProxy::for_upstream(&upstream, &[limit]);
    assert_eq!(statuses(&wary), [200, 200, 429, 429]);
    let trusting = TestProxy::for_upstream(&upstream, &[limit, ("TRUST_FORWARDED_FOR", "true")]);
    assert_eq!(statuses(&trusting), [200, 200, 200, 200]);
    assert_eq!(statuses(&trusting), [200, 200, 200, 200]);
    assert_eq!(statuses(&trusting), [429, 429, 429, 429]);
    vec![wary, trusting]
}

fn headers(answer: &Response) -> [&str; 3] {
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
        .map(|name| answer.header(name))
}
