//! One answer for equal questions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use code_assist_harness::{Response, ScriptedUpstream, post};

use crate::answers::{GENERATE, HELLO, WHOLE, bare, ok};
use crate::bench::Bench;
use crate::tries::{INTERNAL, answer, together};

pub(crate) fn equal_questions() -> Vec<Bench> {
    let upstream = slow();
    let bench = Bench::at(&upstream, &[]);
    let answers = together(&bench, 20, CERTAIN);
    assert!(answers.iter().all(|answer| answer.status() == 200 && answer.text() == bare(WHOLE)));
    let said = |what: &str| answers.iter().filter(|answer| x_cache(answer) == what).count();
    assert_eq!((said("MISS"), said("COALESCED")), (1, 19));
    assert_eq!(upstream.received().len(), 1);
    // With both windows at zero nothing is shared or kept.
    let alone = [("REQUEST_DEDUP_WINDOW_MS", "0"), ("RESPONSE_CACHE_TTL_SECONDS", "0")];
    let alone = Bench::at(&upstream, &alone);
    for _ in 0..2 {
        assert_eq!(alone.post(GENERATE, CERTAIN).status(), 200);
    }
    assert_eq!(upstream.received().len(), 3);
    vec![bench, alone]
}

pub(crate) fn equal_streams() -> Vec<Bench> {
    let upstream = slow();
    let bench = Bench::at(&upstream, &[]);
    let answers = together(&bench, 10, HELLO);
    assert!(answers.iter().all(|answer| answer.status() == 200 && x_cache(answer) == "BYPASS"));
    assert_eq!(upstream.received().len(), 10, "two equal prompts are two questions");
    vec![bench]
}

pub(crate) fn leader_gone() -> Vec<Bench> {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let turn = AtomicUsize::new(0);
    let upstream = ScriptedUpstream::new(move |_, wire| {
        if turn.fetch_add(1, Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(100));
            return wire.write(ok(WHOLE));
        }
        if wire.is_closed_within(Duration::from_millis(1500)) {
            count.fetch_add(1, Ordering::SeqCst);
            wire.close();
        } else {
            wire.write(ok(WHOLE));
        }
    });
    let bench = Bench::at(&upstream, &[]);
    let mut leader = bench.connect();
    leader.write(post(GENERATE, &[], CERTAIN));
    bench.until("asked upstream", |_| upstream.received().len() == 1);
    thread::scope(|scope| {
        let followers: Vec<_> =
            (0..5).map(|_| scope.spawn(|| bench.post(GENERATE, CERTAIN).status())).collect();
        thread::sleep(Duration::from_millis(100));
        drop(leader);
        let served = followers.into_iter().all(|asked| asked.join().expect("no panic") == 200);
        assert!(served);
    });
    assert_eq!(upstream.received().len(), 1 + closed.load(Ordering::SeqCst));
    vec![bench]
}

pub(crate) fn leader_fails() -> Vec<Bench> {
    let turn = AtomicUsize::new(0);
    let upstream =
        ScriptedUpstream::new(move |_, wire| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => wire.write(answer("500 Internal Server Error", INTERNAL)),
            _ => wire.write(ok(WHOLE)),
        });
    let bench = Bench::at(&upstream, &[("MAX_RETRY_ATTEMPTS", "0")]);
    assert_eq!(bench.post(GENERATE, CERTAIN).status(), 500);
    let next = bench.post(GENERATE, CERTAIN);
    assert_eq!((next.status(), x_cache(&next)), (200, "MISS"));
    assert_eq!(upstream.received().len(), 2);
    vec![bench]
}

pub(crate) fn idempotency_key_reused() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let bench = Bench::at(&upstream, &[]);
    let key = ["Idempotency-Key: 0f8c"];
    let first = bench.send(post(GENERATE, &key, HELLO));
    assert_eq!((first.status(), x_cache(&first)), (200, "MISS"));
    let again = bench.send(post(GENERATE, &key, HELLO));
    assert_eq!((again.status(), again.body), (200, first.body));
    let other = bench.send(post(GENERATE, &key, CERTAIN));
    assert_eq!(other.status(), 409);
    assert_eq!(other.error()["status"], "ABORTED");
    assert_eq!(upstream.received().len(), 1);
    vec![bench]
}

pub(crate) fn cached_answer() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let settings = [("RESPONSE_CACHE_TTL_SECONDS", "2"), ("REQUEST_DEDUP_WINDOW_MS", "0")];
    let bench = Bench::at(&upstream, &settings);
    let ask = |headers: &[&str], said: &str, sent: usize| {
        let answer = bench.send(post(GENERATE, headers, CERTAIN));
        assert_eq!((answer.status(), x_cache(&answer)), (200, said), "{headers:?}");
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
    vec![bench]
}

pub(crate) fn cached_while_open() -> Vec<Bench> {
    let turn = AtomicUsize::new(0);
    let upstream =
        ScriptedUpstream::new(move |_, wire| match turn.fetch_add(1, Ordering::SeqCst) {
            0 => wire.write(ok(WHOLE)),
            _ => wire.write(answer("500 Internal Server Error", INTERNAL)),
        });
    let settings = [("MAX_RETRY_ATTEMPTS", "0"), ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")];
    let bench = Bench::at(&upstream, &settings);
    assert_eq!(bench.post(GENERATE, CERTAIN).status(), 200);
    assert_eq!(bench.post(GENERATE, HELLO).status(), 500);
    assert_eq!(bench.post(GENERATE, HELLO).status_and_reason(), (503, "CIRCUIT_OPEN".into()));
    let kept = bench.post(GENERATE, CERTAIN);
    assert_eq!((kept.status(), kept.text()), (200, bare(WHOLE)));
    assert!(matches!(x_cache(&kept), "HIT" | "COALESCED"), "{}", x_cache(&kept));
    assert_eq!(upstream.received().len(), 2);
    vec![bench]
}

pub(crate) fn cache_full() -> Vec<Bench> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let settings = [("RESPONSE_CACHE_MAX_BYTES", "50"), ("REQUEST_DEDUP_WINDOW_MS", "0")];
    let bench = Bench::at(&upstream, &settings);
    for _ in 0..4 {
        let answer = bench.post(GENERATE, CERTAIN);
        assert_eq!((answer.status(), x_cache(&answer)), (200, "MISS"));
    }
    assert_eq!(upstream.received().len(), 4);
    vec![bench]
}

/// An upstream that takes long enough for equal requests to meet.
fn slow() -> ScriptedUpstream {
    ScriptedUpstream::new(|_, wire| {
        thread::sleep(Duration::from_millis(300));
        wire.write(ok(WHOLE));
    })
}

fn x_cache(answer: &Response) -> &str {
    answer.header("x-cache")
}

const CERTAIN: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
