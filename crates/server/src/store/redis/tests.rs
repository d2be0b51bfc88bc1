//! The store against a real server, and what remains when that is gone.

use std::time::Instant;

use code_assist_core::KeyDigest;
use code_assist_core::settings::KvUrl;
use code_assist_harness::{RedisServer, free_port};
use code_assist_testkit::contract::{lock_contract, store_contract};

use super::*;
use crate::store::manual_clock::ManualClock;
use crate::store::{Backend, Store, settings};

#[tokio::test]
async fn the_redis_store_fulfils_the_contract() {
    let server = RedisServer::start(&[]);
    let clock = ManualClock::at(NOON);
    let store = Store::of(Backend::Redis(open_with(&url(&server), clock.clock()).await));
    // Keys of other programs in the same server are left alone.
    server.cli(&["SET", "other", "theirs"]);
    store_contract(
        &store,
        async |how_long| {
            clock.advance(how_long);
            age(&server, how_long);
        },
        Store::load,
        async |store, key, value, ttl| store.save(key, value, ttl, None).await,
        async |store: &Store| {
            let entries = store.entries().await?;
            Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
        },
        Store::clear,
    )
    .await;
    assert_eq!(server.cli(&["GET", "other"]), "theirs");
}

#[tokio::test]
async fn the_redis_store_fulfils_the_contract_of_locks() {
    let server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    lock_contract(
        (&a, &b),
        async |how_long| age_locks(&server, how_long),
        RedisStore::claim,
        RedisStore::renew,
        RedisStore::release,
    )
    .await;
}

#[tokio::test]
async fn one_process_holds_a_lock_and_a_late_holder_overwrites_nothing() {
    let server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    let late = granted(a.claim("token", Duration::from_millis(80)).await);
    assert_eq!(b.claim("token", Duration::from_millis(80)).await, LockResult::Held);
    let next = wait_for(async || match b.claim("token", HOUR).await {
        LockResult::Acquired(fence) => Some(fence),
        _ => None,
    })
    .await;
    assert!(next > late);
    b.save("token", Bytes::from_static(b"new"), HOUR, Some(next)).await.unwrap();
    a.save("token", Bytes::from_static(b"old"), HOUR, Some(late)).await.unwrap();
    assert_eq!(a.load("token").await.as_deref(), Some(&b"new"[..]));
    a.release("token", late).await;
    assert_eq!(a.claim("token", HOUR).await, LockResult::Held, "a late release frees nothing");
    b.release("token", next).await;
    assert!(granted(a.claim("token", HOUR).await) > next);
    let other = granted(a.claim("project", HOUR).await);
    assert_eq!(server.cli(&["EXISTS", "code-assist-proxy:turn:project"]), "1", "each has its own");
    a.release("project", other).await;
    assert_eq!(server.cli(&["EXISTS", "code-assist-proxy:turn:project"]), "0", "nothing is left");
    assert!(granted(a.claim("project", HOUR).await) > other);
}

#[tokio::test]
async fn a_rate_limit_holds_across_processes() {
    let server = RedisServer::start(&[]);
    let rate = Rate { limit: 100, window: Duration::from_secs(60), grain: Duration::ZERO };
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = open(&server).await;
        for _ in 0..100 {
            let store = store.clone();
            asking.spawn(async move { store.count(&caller(), rate).await.unwrap() });
        }
    }
    let standings = asking.join_all().await;
    assert_eq!(standings.iter().filter(|standing| standing.refused.is_none()).count(), 100);
    let refused: Vec<_> = standings.iter().filter_map(|standing| standing.refused).collect();
    assert!(refused.iter().all(|after| *after <= rate.window && !after.is_zero()), "{refused:?}");
    let other = open(&server).await.count(&Caller::Unknown, rate).await.unwrap();
    assert_eq!((other.refused, other.remaining, other.limit), (None, 99, 100));
}

#[tokio::test]
async fn a_window_slides_and_quick_requests_share_a_log_entry() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    let rate = Rate { limit: 2, window: Duration::from_millis(300), grain: Duration::ZERO };
    let ask = async || store.count(&caller(), rate).await.unwrap();
    assert_eq!((ask().await.remaining, ask().await.remaining), (1, 0));
    let after = ask().await.refused.expect("the third is one too many");
    assert!(after <= rate.window);
    tokio::time::sleep(after).await;
    assert_eq!(ask().await.refused, None, "exactly then the first has left the window");

    let rate = Rate { limit: 500, window: HOUR, grain: Duration::from_secs(3) };
    let caller = Caller::Key(KeyDigest::of("many"));
    for n in 0..500 {
        let standing = store.count(&caller, rate).await.unwrap();
        assert_eq!((standing.refused, standing.remaining), (None, 499 - n));
    }
    assert!(store.count(&caller, rate).await.unwrap().refused.is_some());
    let entries: u32 =
        server.cli(&["LLEN", &format!("code-assist-proxy:rate:{caller}")]).parse().unwrap();
    assert!(entries < 10, "{entries}");
    // A total that was evicted is counted again from the log.
    server.cli(&["DEL", &format!("code-assist-proxy:rate-total:{caller}")]);
    assert!(store.count(&caller, rate).await.unwrap().refused.is_some());
}

#[tokio::test]
async fn a_server_that_hangs_costs_one_timeout_and_memory_stands_in() {
    let server = RedisServer::start(&[]);
    let store = open(&server).await;
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    server.pause();
    let begun = Instant::now();
    let mut loading = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let store = store.clone();
        loading.spawn(async move { store.load("token").await });
    }
    for loaded in loading.join_all().await {
        assert_eq!(loaded.as_deref(), Some(&b"one"[..]));
    }
    assert!(begun.elapsed() < COMMAND_TIMEOUT * 3, "{:?}", begun.elapsed());
    assert!(!store.connected());
    let begun = Instant::now();
    store.save("token", Bytes::from_static(b"two"), HOUR, None).await.unwrap();
    assert_eq!(store.load("token").await.as_deref(), Some(&b"two"[..]));
    assert_eq!(store.claim("token", HOUR).await, LockResult::NotShared);
    assert_eq!(store.count(&caller(), RATE).await, None);
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    server.resume();
    until(|| store.connected()).await;
    assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "two", "it is written back");
    assert!(matches!(store.count(&caller(), RATE).await, Some(RateStanding { refused: None, .. })));
}

#[tokio::test]
async fn an_idle_process_notices_a_lost_server() {
    let mut server = RedisServer::start(&[]);
    let store = open(&server).await;
    assert!(store.describe().starts_with("Redis redis://127.0.0.1:"), "{}", store.describe());
    server.kill();
    until(|| !store.connected()).await;
    assert!(store.describe().contains("memory stands in"), "{}", store.describe());
    server.restart();
    until(|| store.connected()).await;
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_refilled_and_fences_keep_growing() {
    let mut server = RedisServer::start(&[]);
    let store = open(&server).await;
    let fence = granted(store.claim("token", HOUR).await);
    store.save("token", Bytes::from_static(b"kept"), HOUR, Some(fence)).await.unwrap();
    server.restart();
    until(|| !store.connected()).await;
    until(|| store.connected()).await;
    assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "kept");
    let ttl: u64 = server.cli(&["TTL", "code-assist-proxy:kv:token"]).parse().unwrap();
    assert!((3500..=3600).contains(&ttl), "{ttl}");
    let next = granted(store.claim("token", HOUR).await);
    assert!(next > fence, "a token from before the loss stays older");
}

#[tokio::test]
async fn of_writes_while_the_server_was_gone_the_newest_wins() {
    let mut server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    server.kill();
    until(|| !a.connected() && !b.connected()).await;
    b.save("token", Bytes::from_static(b"older"), HOUR, None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    a.save("token", Bytes::from_static(b"newer"), HOUR, None).await.unwrap();
    server.restart();
    until(|| a.connected() && b.connected()).await;
    assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "newer");
    assert_eq!(b.load("token").await.as_deref(), Some(&b"newer"[..]));
}

#[tokio::test]
async fn a_clock_that_is_ahead_does_not_block_later_writes() {
    let mut server = RedisServer::start(&[]);
    let ahead = Clock::new(|| Clock::system().now() + 2 * HOUR);
    let (a, b) = (open_with(&url(&server), ahead).await, open(&server).await);
    server.kill();
    until(|| !a.connected()).await;
    a.save("token", Bytes::from_static(b"ahead"), HOUR, None).await.unwrap();
    server.restart();
    until(|| a.connected()).await;
    // The other process may notice only now that its connection is lost.
    wait_for(async || b.load("token").await.filter(|found| found == "ahead")).await;
    until(|| b.connected()).await;
    let fence = granted(b.claim("token", HOUR).await);
    b.save("token", Bytes::from_static(b"next"), HOUR, Some(fence)).await.unwrap();
    assert_eq!(a.load("token").await.as_deref(), Some(&b"next"[..]));
}

#[tokio::test]
async fn a_server_that_refuses_writes_counts_as_gone() {
    let server = RedisServer::start(&[]);
    let break_and_repair: [([&str; 4], [&str; 4]); 2] = [
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""]),
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    ];
    for (broken, repair) in break_and_repair {
        let words = |words: [&'static str; 4]| words.into_iter().filter(|word| !word.is_empty());
        let store = open(&server).await;
        server.cli(&words(broken).collect::<Vec<_>>());
        store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
        assert!(!store.connected(), "{broken:?}");
        assert_eq!(store.load("token").await.as_deref(), Some(&b"one"[..]));
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!store.connected(), "still refuses writes: {broken:?}");
        server.cli(&words(repair).collect::<Vec<_>>());
        until(|| store.connected()).await;
        assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "one");
        server.cli(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn a_key_of_another_program_does_not_close_the_connection() {
    let server = RedisServer::start(&[]);
    server.cli(&["RPUSH", "code-assist-proxy:kv:token", "theirs"]);
    let store = open(&server).await;
    assert_eq!(store.load("token").await, None);
    assert!(store.connected());
}

#[tokio::test]
async fn user_password_database_and_prefix_come_from_the_url() {
    let server = RedisServer::start(&[]);
    let rights = ["on", ">hush-pass", "~team:*", "+@all", "-@dangerous"];
    server.cli(&[&["ACL", "SETUSER", "ada"][..], &rights].concat());
    let at = format!("127.0.0.1:{}", server.port());
    let right = parsed(&format!("redis://ada:hush-pass@{at}/2?prefix=team:"));
    let store = open_with(&right, now()).await;
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    assert!(granted(store.claim("token", HOUR).await) > FencingToken(0));
    assert!(matches!(store.count(&caller(), RATE).await, Some(RateStanding { refused: None, .. })));
    assert_eq!(store.entries().await.unwrap().len(), 1);
    assert_eq!(server.cli(&["-n", "2", "GET", "team:kv:token"]), "one");
    assert!(!store.describe().contains("hush"), "{}", store.describe());
    assert!(!format!("{store:?}").contains("hush"), "{store:?}");

    let wrong = parsed(&format!("redis://ada:hush-wrong@{at}/2?prefix=team:"));
    let (store, notice) = RedisStore::open(&wrong, None, now(), 1 << 20).await.unwrap();
    let message = notice.expect("it cannot be used").to_string();
    assert!(message.contains("goes on from its memory") && !message.contains("hush"), "{message}");
    assert!(!store.connected() && !store.describe().contains("hush"), "{}", store.describe());
    let elsewhere = parsed(&format!("redis://ada:hush-pass@{at}/2?prefix=other:"));
    let message = RedisStore::open_only(&elsewhere, None, now()).await.unwrap_err().to_string();
    assert!(message.contains("NOPERM") || message.contains("permission"), "{message}");
}

#[tokio::test]
async fn over_tls_only_a_trusted_certificate_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let mut options = vec!["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    options.extend(["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert]);
    let server = RedisServer::start(&options);
    let url = parsed(&format!("rediss://localhost:{}", server.port()));
    let pem = Some(made.cert.pem().into_bytes());
    let store = RedisStore::open_only(&url, pem.clone(), now()).await.unwrap();
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    assert_eq!(store.entries().await.unwrap().len(), 1);
    RedisStore::open_only(&url, None, now()).await.unwrap_err();
    let other_name = parsed(&format!("rediss://127.0.0.1:{}", server.port()));
    RedisStore::open_only(&other_name, pem, now()).await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_starts_later_is_used() {
    let mut server = RedisServer::start(&[]);
    let url = url(&server);
    server.kill();
    let begun = Instant::now();
    let (store, notice) = RedisStore::open(&url, None, now(), 1 << 20).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(notice.is_some() && !store.connected());
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    server.restart();
    until(|| store.connected()).await;
    assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "one");
}

#[tokio::test]
async fn after_a_failover_sentinels_name_the_new_primary() {
    let mut old = RedisServer::start(&[]);
    let new = RedisServer::start(&["--replicaof", &format!("127.0.0.1 {}", old.port())]);
    let folder = tempfile::tempdir().unwrap();
    let (port, config) = (free_port(), folder.path().join("sentinel.conf"));
    let lines = [
        format!("port {port}"),
        format!("sentinel monitor main 127.0.0.1 {} 1", old.port()),
        "sentinel down-after-milliseconds main 300".to_owned(),
        "sentinel failover-timeout main 2000".to_owned(),
    ];
    std::fs::write(&config, lines.join("\n")).unwrap();
    let mut sentinel = std::process::Command::new("redis-server");
    sentinel.arg(&config).arg("--sentinel").stdout(std::process::Stdio::null());
    let mut sentinel = sentinel.spawn().unwrap();
    let url = parsed(&format!("redis://127.0.0.1:9,127.0.0.1:{port}?sentinel=main"));
    let store = wait_for(async || RedisStore::open_only(&url, None, now()).await.ok()).await;
    drop(store);
    let store = open_with(&url, now()).await;
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    let ask = || new.cli(&["GET", "code-assist-proxy:kv:token"]);
    until(|| ask() == "one").await;
    // The Sentinel must know the replica before it can promote it.
    let replicas = || {
        let port = port.to_string();
        let words = ["-p", &port, "SENTINEL", "replicas", "main"];
        let out = std::process::Command::new("redis-cli").args(words).output().unwrap();
        String::from_utf8_lossy(&out.stdout).contains(&new.port().to_string())
    };
    wait_longer(Duration::from_secs(20), replicas).await;
    old.kill();
    until(|| !store.connected()).await;
    store.save("token", Bytes::from_static(b"two"), HOUR, None).await.unwrap();
    wait_longer(Duration::from_secs(30), || store.connected()).await;
    assert_eq!(ask(), "two");
    sentinel.kill().unwrap();
    sentinel.wait().unwrap();
}

#[tokio::test]
async fn cached_answers_are_shared_but_neither_listed_nor_kept_in_memory() {
    let mut server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    let key = format!("{ANSWER_PREFIX}1");
    a.save(&key, Bytes::from_static(b"42"), HOUR, None).await.unwrap();
    assert_eq!(b.load(&key).await.as_deref(), Some(&b"42"[..]));
    assert_eq!(a.entries().await.unwrap(), []);
    let large = Bytes::from(vec![b'x'; MAX_ANSWER + 1]);
    a.save(&format!("{ANSWER_PREFIX}2"), large, HOUR, None).await.unwrap();
    assert_eq!(b.load(&format!("{ANSWER_PREFIX}2")).await, None);
    server.kill();
    assert_eq!(b.load(&key).await, None);
}

pub(super) async fn open(server: &RedisServer) -> RedisStore {
    open_with(&url(server), now()).await
}

pub(super) async fn open_with_budget(server: &RedisServer, answer_bytes: u64) -> RedisStore {
    RedisStore::open(&url(server), None, now(), answer_bytes).await.unwrap().0
}

pub(super) async fn open_with(url: &RedisUrl, clock: Clock) -> RedisStore {
    let (store, notice) = RedisStore::open(url, None, clock, 64 << 20).await.unwrap();
    assert_eq!(notice, None);
    store
}

pub(super) fn url(server: &RedisServer) -> RedisUrl {
    parsed(&server.url())
}

pub(super) fn parsed(url: &str) -> RedisUrl {
    let settings = settings(url);
    let KvUrl::Redis(url) = settings.kv_url else { panic!("{:?}", settings.kv_url) };
    *url
}

pub(super) fn now() -> Clock {
    Clock::system()
}

pub(super) fn caller() -> Caller {
    Caller::Key(KeyDigest::of("ada"))
}

fn granted(claim: LockResult) -> FencingToken {
    let LockResult::Acquired(fence) = claim else { panic!("{claim:?}") };
    fence
}

/// Shortens the time to live of all keys in the server.
fn age(server: &RedisServer, by: Duration) {
    let script = "for _, key in ipairs(redis.call('KEYS', '*')) do
            local left = redis.call('PTTL', key)
            if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
        end";
    server.cli(&["EVAL", script, "0", &by.as_millis().to_string()]);
}

/// Ends all locks earlier. They are measured by the server's own clock.
fn age_locks(server: &RedisServer, by: Duration) {
    let script = "for _, key in ipairs(redis.call('KEYS', '*turn:*')) do
            if redis.call('HEXISTS', key, 'until') == 1 then
                redis.call('HINCRBY', key, 'until', -ARGV[1])
            end
        end";
    server.cli(&["EVAL", script, "0", &by.as_micros().to_string()]);
}

pub(super) async fn until(holds: impl Fn() -> bool) {
    wait_for(async || holds().then_some(())).await;
}

async fn wait_longer(limit: Duration, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "the condition holds in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_for<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the condition holds in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const RATE: Rate = Rate { limit: 100, window: Duration::from_secs(60), grain: Duration::ZERO };

pub(super) const HOUR: Duration = Duration::from_secs(3600);

const NOON: u64 = 1_700_000_000_000;
