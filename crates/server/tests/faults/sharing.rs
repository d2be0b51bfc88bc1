//! Coalescing of equal requests, and the response cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use code_assist_harness::samples::{GENERATE, HELLO, WHOLE, answer, ok};
use code_assist_harness::{Response, ScriptedUpstream, TestProxy, post};

use crate::answers::bare;
use crate::tries::{INTERNAL, together};

pub(crate) fn equal_questions() -> Vec<TestProxy> {
    let upstream = slow();
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answers = together(&proxy, 20, CERTAIN);
    assert!(answers.iter().all(|answer| answer.status() == 200 && answer.text() == bare(WHOLE)));
    let count = |what: &str| answers.iter().filter(|answer| x_cache(answer) == what).count();
    assert_eq!((count("MISS"), count("COALESCED")), (1, 19));
    assert_eq!(upstream.received().len(), 1);
    // With both windows at zero nothing is coalesced or cached.
    let alone = [("REQUEST_DEDUP_WINDOW_MS", "0"), ("RESPONSE_CACHE_TTL_SECONDS", "0")];
    let alone = TestProxy::for_upstream(&upstream, &alone);
    for _ in 0..2 {
        assert_eq!(alone.post(GENERATE, CERTAIN).status(), 200);
    }
    assert_eq!(upstream.received().len(), 3);
    vec![proxy, alone]
}

pub(crate) fn equal_streams() -> Vec<TestProxy> {
    let upstream = slow();
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answers = together(&proxy, 10, HELLO);
    assert!(answers.iter().all(|answer| answer.status() == 200 && x_cache(answer) == "BYPASS"));
    assert_eq!(upstream.received().len(), 10, "two equal prompts are two questions");
    vec![proxy]
}

pub(crate) fn leader_gone() -> Vec<TestProxy> {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let turn = AtomicUsize::new(0);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        if turn.fetch_add(1, Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(100));
            return connection.write(ok(WHOLE));
        }
        if connection.is_closed_within(Duration::from_millis(1500)) {
            count.fetch_add(1, Ordering::SeqCst);
            connection.close();
        } else {
            connection.write(ok(WHOLE));
        }
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut leader = proxy.connect();
    leader.write(post(GENERATE, &[], CERTAIN));
    proxy.until("upstream has the request", |_| upstream.received().len() == 1);
    thread::scope(|scope| {
        let followers: Vec<_> =
            (0..5).map(|_| scope.spawn(|| proxy.post(GENERATE, CERTAIN).status())).collect();
        thread::sleep(Duration::from_millis(100));
        drop(leader);
        let served =
            followers.into_iter().all(|follower| follower.join().expect("no panic") == 200);
        assert!(served);
    });
    assert_eq!(upstream.received().len(), 1 + closed.load(Ordering::SeqCst));
    vec![proxy]
}

pub(crate) fn leader_fails() -> Vec<TestProxy> {
    let turn = AtomicUsize::new(0);
    let upstream =
        ScriptedUpstream::new(move |_, connection| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => connection.write(answer("500 Internal Server Error", INTERNAL)),
            _ => connection.write(ok(WHOLE)),
        });
    let proxy = TestProxy::for_upstream(&upstream, &[("MAX_RETRY_ATTEMPTS", "0")]);
    assert_eq!(proxy.post(GENERATE, CERTAIN).status(), 500);
    let next = proxy.post(GENERATE, CERTAIN);
    assert_eq!((next.status(), x_cache(&next)), (200, "MISS"));
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn idempotency_key_reused() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let key = ["Idempotency-Key: 0f8c"];
    let first = proxy.send(post(GENERATE, &key, HELLO));
    assert_eq!((first.status(), x_cache(&first)), (200, "MISS"));
    let again = proxy.send(post(GENERATE, &key, HELLO));
    assert_eq!((again.status(), again.body), (200, first.body));
    let other = proxy.send(post(GENERATE, &key, CERTAIN));
    assert_eq!(other.status(), 409);
    assert_eq!(other.error()["status"], "ABORTED");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn cached_answer() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let settings = [("RESPONSE_CACHE_TTL_SECONDS", "2"), ("REQUEST_DEDUP_WINDOW_MS", "0")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let ask = |headers: &[&str], output: &str, sent: usize| {
        let answer = proxy.send(post(GENERATE, headers, CERTAIN));
        assert_eq!((answer.status(), x_cache(&answer)), (200, output), "{headers:?}");
        assert_eq!(upstream.received().len(), sent, "{headers:?}");
    };
    ask(&["Cache-Control: no-store"], "BYPASS", 1);
    ask(&[], "MISS", 2);
    ask(&[], "HIT", 2);
    ask(&["Cache-Control: no-cache"], "BYPASS", 3);
    ask(&["Cache-Control: no-store"], "BYPASS", 4);
    ask(&[], "HIT", 4);
    thread::sleep(Duration::from_millis(2100));
    ask(&[], "MISS", 5);
    vec![proxy]
}

pub(crate) fn bad_answer_not_kept() -> Vec<TestProxy> {
    let cut = WHOLE.replace("STOP", "MAX_TOKENS");
    let turn = AtomicUsize::new(0);
    let upstream =
        ScriptedUpstream::new(move |_, connection| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => connection.write(ok(&cut)),
            1 => connection.write(ok(r#"{"response":{}}"#)),
            _ => connection.write(ok(WHOLE)),
        });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let x_caches = [(); 4].map(|()| x_cache(&proxy.post(GENERATE, CERTAIN)).to_owned());
    assert_eq!(x_caches, ["MISS", "MISS", "MISS", "HIT"]);
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn cached_while_open() -> Vec<TestProxy> {
    let turn = AtomicUsize::new(0);
    let upstream =
        ScriptedUpstream::new(move |_, connection| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => connection.write(ok(WHOLE)),
            _ => connection.write(answer("500 Internal Server Error", INTERNAL)),
        });
    let settings = [("MAX_RETRY_ATTEMPTS", "0"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    assert_eq!(proxy.post(GENERATE, CERTAIN).status(), 200);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 500);
    assert_eq!(proxy.post(GENERATE, HELLO).status_and_reason(), (503, "CIRCUIT_OPEN".into()));
    let kept = proxy.post(GENERATE, CERTAIN);
    assert_eq!((kept.status(), kept.text()), (200, bare(WHOLE)));
    assert!(matches!(x_cache(&kept), "HIT" | "COALESCED"), "{}", x_cache(&kept));
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn cache_full() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let settings = [("RESPONSE_CACHE_MAX_BYTES", "50"), ("REQUEST_DEDUP_WINDOW_MS", "0")];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    for _ in 0..4 {
        let answer = proxy.post(GENERATE, CERTAIN);
        assert_eq!((answer.status(), x_cache(&answer)), (200, "MISS"));
    }
    assert_eq!(upstream.received().len(), 4);
    vec![proxy]
}

/// An upstream so slow that equal requests overlap.
fn slow() -> ScriptedUpstream {
    ScriptedUpstream::new(|_, connection| {
        thread::sleep(Duration::from_millis(300));
        connection.write(ok(WHOLE));
    })
}

fn x_cache(answer: &Response) -> &str {
    answer.header("x-cache")
}

const CERTAIN: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
