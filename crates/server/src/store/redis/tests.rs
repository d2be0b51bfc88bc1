//! Against a real server: what it promises, and what is left when it is gone.

use std::time::Instant;

use code_assist_core::settings::KvUrl;
use code_assist_harness::{RedisServer, free_port};
use code_assist_testkit::contract::store_contract;

use super::*;
use crate::store::hand::Hand;
use crate::store::{Back, Store, settings};

#[tokio::test]
async fn a_redis_keeps_the_contract() {
    let server = RedisServer::start(&[]);
    let hand = Hand::at(NOON);
    let store = Store::of(Back::Redis(open_with(&url(&server), hand.clock()).await));
    // What is others' in the same server is none of ours.
    server.cli(&["SET", "other", "theirs"]);
    store_contract(
        &store,
        async |how_long| {
            hand.advance(how_long);
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
async fn there_is_one_turn_at_a_time_among_all_and_a_late_holder_undoes_nothing() {
    let server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    let late = granted(a.claim("token", Duration::from_millis(80)).await);
    assert_eq!(b.claim("token", Duration::from_millis(80)).await, Claim::Held);
    let next = wait_for(async || match b.claim("token", HOUR).await {
        Claim::Granted(fence) => Some(fence),
        _ => None,
    })
    .await;
    assert!(next > late);
    b.save("token", Bytes::from_static(b"new"), HOUR, Some(next)).await.unwrap();
    a.save("token", Bytes::from_static(b"old"), HOUR, Some(late)).await.unwrap();
    assert_eq!(a.load("token").await.as_deref(), Some(&b"new"[..]));
    a.release("token", late).await;
    assert_eq!(a.claim("token", HOUR).await, Claim::Held, "a late release frees nothing");
    b.release("token", next).await;
    assert!(granted(a.claim("token", HOUR).await) > next);
    let other = granted(a.claim("project", HOUR).await);
    assert_eq!(server.cli(&["EXISTS", "code-assist-proxy:turn:project"]), "1", "each has its own");
    a.release("project", other).await;
    assert_eq!(server.cli(&["EXISTS", "code-assist-proxy:turn:project"]), "0", "nothing is left");
    assert!(granted(a.claim("project", HOUR).await) > other);
}

#[tokio::test]
async fn a_hundred_is_a_hundred_however_many_processes_ask() {
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
    let other = open(&server).await.count(&Caller::Anybody, rate).await.unwrap();
    assert_eq!((other.refused, other.remaining, other.limit), (None, 99, 100));
}

#[tokio::test]
async fn a_window_slides_and_many_quick_requests_share_an_entry() {
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
    let caller = Caller::Key("many".into());
    for n in 0..500 {
        let standing = store.count(&caller, rate).await.unwrap();
        assert_eq!((standing.refused, standing.remaining), (None, 499 - n));
    }
    assert!(store.count(&caller, rate).await.unwrap().refused.is_some());
    let entries: u32 = server.cli(&["LLEN", "code-assist-proxy:rate:key many"]).parse().unwrap();
    assert!(entries < 10, "{entries}");
    // What an eviction has taken is counted anew.
    server.cli(&["DEL", "code-assist-proxy:rate-total:key many"]);
    assert!(store.count(&caller, rate).await.unwrap().refused.is_some());
}

#[tokio::test]
async fn a_server_that_hangs_costs_one_short_wait_and_memory_stands_in() {
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
    assert!(begun.elapsed() < PATIENCE * 3, "{:?}", begun.elapsed());
    assert!(!store.connected());
    let begun = Instant::now();
    store.save("token", Bytes::from_static(b"two"), HOUR, None).await.unwrap();
    assert_eq!(store.load("token").await.as_deref(), Some(&b"two"[..]));
    assert_eq!(store.claim("token", HOUR).await, Claim::Alone);
    assert_eq!(store.count(&caller(), RATE).await, None);
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    server.resume();
    until(|| store.connected()).await;
    assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "two", "it is written back");
    assert!(matches!(store.count(&caller(), RATE).await, Some(Standing { refused: None, .. })));
}

#[tokio::test]
async fn an_idle_process_notices_too() {
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
async fn a_server_that_lost_everything_gets_its_facts_back_and_fences_go_on() {
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
    assert!(next > fence, "the one of the time before is still an old one");
}

#[tokio::test]
async fn of_what_several_wrote_without_the_server_the_newest_stays() {
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
async fn a_clock_that_is_ahead_keeps_nobody_from_writing_afterwards() {
    let mut server = RedisServer::start(&[]);
    let ahead = Clock::new(|| Clock::system().now() + 2 * HOUR);
    let (a, b) = (open_with(&url(&server), ahead).await, open(&server).await);
    server.kill();
    until(|| !a.connected()).await;
    a.save("token", Bytes::from_static(b"ahead"), HOUR, None).await.unwrap();
    server.restart();
    until(|| a.connected()).await;
    // The other one may find out only now that its connection is gone.
    wait_for(async || b.load("token").await.filter(|found| found == "ahead")).await;
    until(|| b.connected()).await;
    let fence = granted(b.claim("token", HOUR).await);
    b.save("token", Bytes::from_static(b"next"), HOUR, Some(fence)).await.unwrap();
    assert_eq!(a.load("token").await.as_deref(), Some(&b"next"[..]));
}

#[tokio::test]
async fn a_server_that_may_not_be_written_to_is_as_good_as_gone() {
    let server = RedisServer::start(&[]);
    let spoil_and_mend: [([&str; 4], [&str; 4]); 2] = [
        (["REPLICAOF", "127.0.0.1", "1", ""], ["REPLICAOF", "NO", "ONE", ""]),
        (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    ];
    for (spoil, mend) in spoil_and_mend {
        let words = |words: [&'static str; 4]| words.into_iter().filter(|word| !word.is_empty());
        let store = open(&server).await;
        server.cli(&words(spoil).collect::<Vec<_>>());
        store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
        assert!(!store.connected(), "{spoil:?}");
        assert_eq!(store.load("token").await.as_deref(), Some(&b"one"[..]));
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!store.connected(), "it still may not: {spoil:?}");
        server.cli(&words(mend).collect::<Vec<_>>());
        until(|| store.connected()).await;
        assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "one");
        server.cli(&["FLUSHALL"]);
    }
}

#[tokio::test]
async fn a_key_of_another_program_costs_nothing_but_itself() {
    let server = RedisServer::start(&[]);
    server.cli(&["RPUSH", "code-assist-proxy:kv:token", "theirs"]);
    let store = open(&server).await;
    assert_eq!(store.load("token").await, None);
    assert!(store.connected());
}

#[tokio::test]
async fn user_password_database_and_prefix_are_the_urls() {
    let server = RedisServer::start(&[]);
    let rights = ["on", ">hush-pass", "~team:*", "+@all", "-@dangerous"];
    server.cli(&[&["ACL", "SETUSER", "ada"][..], &rights].concat());
    let at = format!("127.0.0.1:{}", server.port());
    let right = parsed(&format!("redis://ada:hush-pass@{at}/2?prefix=team:"));
    let store = open_with(&right, now()).await;
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    assert!(granted(store.claim("token", HOUR).await) > Fence(0));
    assert!(matches!(store.count(&caller(), RATE).await, Some(Standing { refused: None, .. })));
    assert_eq!(store.entries().await.unwrap().len(), 1);
    assert_eq!(server.cli(&["-n", "2", "GET", "team:kv:token"]), "one");
    assert!(!store.describe().contains("hush"), "{}", store.describe());
    assert!(!format!("{store:?}").contains("hush"), "{store:?}");

    let wrong = parsed(&format!("redis://ada:hush-wrong@{at}/2?prefix=team:"));
    let (store, notice) = RedisStore::open(&wrong, None, now()).await.unwrap();
    let told = notice.expect("it cannot be used").to_string();
    assert!(told.contains("goes on from its memory") && !told.contains("hush"), "{told}");
    assert!(!store.connected() && !store.describe().contains("hush"), "{}", store.describe());
    let elsewhere = parsed(&format!("redis://ada:hush-pass@{at}/2?prefix=other:"));
    let told = RedisStore::open_only(&elsewhere, None, now()).await.unwrap_err().to_string();
    assert!(told.contains("NOPERM") || told.contains("permission"), "{told}");
}

#[tokio::test]
async fn over_tls_only_a_certificate_that_is_trusted_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let ours = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(file("cert.pem"), ours.cert.pem()).unwrap();
    std::fs::write(file("key.pem"), ours.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let mut options = vec!["--port", "0", "--tls-port", "{port}", "--tls-auth-clients", "no"];
    options.extend(["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert]);
    let server = RedisServer::start(&options);
    let url = parsed(&format!("rediss://localhost:{}", server.port()));
    let pem = Some(ours.cert.pem().into_bytes());
    let store = RedisStore::open_only(&url, pem.clone(), now()).await.unwrap();
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    assert_eq!(store.entries().await.unwrap().len(), 1);
    RedisStore::open_only(&url, None, now()).await.unwrap_err();
    let other_name = parsed(&format!("rediss://127.0.0.1:{}", server.port()));
    RedisStore::open_only(&other_name, pem, now()).await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_comes_later_is_taken_up() {
    let mut server = RedisServer::start(&[]);
    let url = url(&server);
    server.kill();
    let begun = Instant::now();
    let (store, notice) = RedisStore::open(&url, None, now()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(notice.is_some() && !store.connected());
    store.save("token", Bytes::from_static(b"one"), HOUR, None).await.unwrap();
    server.restart();
    until(|| store.connected()).await;
    assert_eq!(server.cli(&["GET", "code-assist-proxy:kv:token"]), "one");
}

#[tokio::test]
async fn after_a_failover_sentinels_lead_to_the_new_primary() {
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
    // It has to know of the replica before it can make anything of it.
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
async fn answers_are_shared_but_neither_listed_nor_kept_near() {
    let mut server = RedisServer::start(&[]);
    let (a, b) = (open(&server).await, open(&server).await);
    let key = format!("{ANSWERS}1");
    a.save(&key, Bytes::from_static(b"42"), HOUR, None).await.unwrap();
    assert_eq!(b.load(&key).await.as_deref(), Some(&b"42"[..]));
    assert_eq!(a.entries().await.unwrap(), []);
    let large = Bytes::from(vec![b'x'; LARGEST_ANSWER + 1]);
    a.save(&format!("{ANSWERS}2"), large, HOUR, None).await.unwrap();
    assert_eq!(b.load(&format!("{ANSWERS}2")).await, None);
    server.kill();
    assert_eq!(b.load(&key).await, None);
}

async fn open(server: &RedisServer) -> RedisStore {
    open_with(&url(server), now()).await
}

async fn open_with(url: &RedisUrl, clock: Clock) -> RedisStore {
    let (store, notice) = RedisStore::open(url, None, clock).await.unwrap();
    assert_eq!(notice, None);
    store
}

fn url(server: &RedisServer) -> RedisUrl {
    parsed(&server.url())
}

fn parsed(url: &str) -> RedisUrl {
    let settings = settings(url);
    let KvUrl::Redis(url) = settings.kv_url else { panic!("{:?}", settings.kv_url) };
    *url
}

fn now() -> Clock {
    Clock::system()
}

fn caller() -> Caller {
    Caller::Key("ada".into())
}

fn granted(claim: Claim) -> Fence {
    let Claim::Granted(fence) = claim else { panic!("{claim:?}") };
    fence
}

/// Lets time pass for what is in the server, as far as it is a matter of times to live.
fn age(server: &RedisServer, by: Duration) {
    let script = "for _, key in ipairs(redis.call('KEYS', '*')) do
            local left = redis.call('PTTL', key)
            if left >= 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
        end";
    server.cli(&["EVAL", script, "0", &by.as_millis().to_string()]);
}

async fn until(holds: impl Fn() -> bool) {
    wait_for(async || holds().then_some(())).await;
}

async fn wait_longer(limit: Duration, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < limit, "it never came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn wait_for<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

const RATE: Rate = Rate { limit: 100, window: Duration::from_secs(60), grain: Duration::ZERO };

const HOUR: Duration = Duration::from_secs(3600);

const NOON: u64 = 1_700_000_000_000;
