//! What cached answers may take of a server, and what is known of its memory.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::ANSWER_PREFIX;
use code_assist_harness::RedisServer;

use super::tests::{HOUR, caller, now, open, open_with, open_with_budget, parsed, until, url};
use super::*;

/// A server that drops what ends soonest, with little memory.
fn small_server() -> RedisServer {
    RedisServer::start(&["--maxmemory", "6mb", "--maxmemory-policy", "volatile-ttl"])
}

fn answer(bytes: usize) -> Bytes {
    // Random bytes, so that no compression of the server's makes them smaller.
    Bytes::from((0..bytes).map(|_| fastrand::u8(..)).collect::<Vec<_>>())
}

async fn save_answer(store: &RedisStore, number: usize, bytes: usize) {
    let key = format!("{ANSWER_PREFIX}account/{number}");
    store.save(&key, answer(bytes), Duration::from_secs(300), None).await.unwrap();
}

async fn has_answer(store: &RedisStore, number: usize) -> bool {
    store.load(&format!("{ANSWER_PREFIX}account/{number}")).await.is_some()
}

#[tokio::test]
async fn answers_push_no_count_out_of_a_server_that_is_small() {
    let server = small_server();
    let (a, b) = (open(&server).await, open(&server).await);
    let rate = Rate { limit: 5, window: Duration::from_secs(60), grain: Duration::ZERO };
    for _ in 0..5 {
        assert_eq!(a.count(&caller(), rate).await.unwrap().refused, None);
    }
    a.save("token", Bytes::from_static(b"kept"), HOUR, None).await.unwrap();
    for number in 0..200 {
        save_answer(&a, number, 100_000).await;
    }
    assert!(b.count(&caller(), rate).await.unwrap().refused.is_some(), "the sixth request");
    assert_eq!(b.load("token").await.as_deref(), Some(&b"kept"[..]));
    assert!(server.cli(&["INFO", "stats"]).contains("evicted_keys:0\r"), "nothing was evicted");
    assert!(has_answer(&b, 199).await, "the newest answer is kept");
}

#[tokio::test]
async fn the_oldest_answers_make_way_when_their_budget_is_used_up() {
    let server = RedisServer::start(&[]);
    let store = open_with_budget(&server, 1 << 20).await;
    for number in 0..30 {
        save_answer(&store, number, 100_000).await;
    }
    let mut kept = Vec::new();
    for number in 0..30 {
        if has_answer(&store, number).await {
            kept.push(number);
        }
    }
    assert_eq!(kept, (20..30).collect::<Vec<_>>(), "ten answers fit into a megabyte");
    // The same key again takes its own place.
    for _ in 0..50 {
        save_answer(&store, 29, 100_000).await;
    }
    assert!(has_answer(&store, 20).await);
    save_answer(&store, 40, 200_000).await;
    assert!(!has_answer(&store, 40).await, "an eighth of the budget is the most for one answer");
    assert!(has_answer(&store, 20).await);
    // What an operator deletes leaves the budget usable.
    assert_eq!(store.clear().await.unwrap(), 0);
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    save_answer(&store, 1, 100_000).await;
    assert!(has_answer(&store, 1).await);
}

#[tokio::test]
async fn answers_that_have_ended_take_nothing_of_the_budget() {
    let server = RedisServer::start(&[]);
    let store = open_with_budget(&server, 1 << 20).await;
    let key = |number| format!("{ANSWER_PREFIX}account/{number}");
    for number in 0..10 {
        let ttl = Duration::from_millis(20);
        store.save(&key(number), answer(100_000), ttl, None).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    for number in 10..20 {
        save_answer(&store, number, 100_000).await;
    }
    for number in 10..20 {
        assert!(has_answer(&store, number).await, "{number}");
    }
    // A total that was evicted is counted again.
    server.cli(&["DEL", "code-assist-proxy:answer-bytes"]);
    save_answer(&store, 20, 100_000).await;
    assert!(!has_answer(&store, 10).await && has_answer(&store, 11).await);
}

#[tokio::test]
async fn an_eviction_is_seen_in_the_state_of_the_server() {
    let server = small_server();
    let store = open(&server).await;
    until(|| store.stats().evicted_keys == Some(0)).await;
    assert_eq!(store.stats().memory_limit, Some(6 << 20));
    for number in 0..80 {
        let value = "x".repeat(100_000);
        server.cli(&["SET", &format!("other-{number}"), &value, "EX", "100"]);
    }
    store.refresh_stats().await;
    assert!(store.stats().evicted_keys > Some(0), "{:?}", store.stats());
    assert!(store.stats().memory_used > Some(1 << 20));
    assert!(open_with(&url(&server), now()).await.stats().evicted_keys > Some(0));
}

#[tokio::test]
async fn a_login_that_may_not_ask_for_the_state_of_the_server_works_without_it() {
    let server = RedisServer::start(&[]);
    server.cli(&[
        "ACL",
        "SETUSER",
        "proxy",
        "on",
        ">pw",
        "~code-assist-proxy:*",
        "+@all",
        "-@dangerous",
    ]);
    let url = server.url().replace("redis://", "redis://proxy:pw@");
    let store = open_with(&parsed(&url), now()).await;
    store.refresh_stats().await;
    assert_eq!(store.stats().evicted_keys, None);
    save_answer(&store, 1, 1000).await;
    assert!(store.connected() && has_answer(&store, 1).await);
}
