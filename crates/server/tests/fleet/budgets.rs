//! Keys whose budgets and usage several processes share, and what is left of both when a process is killed.

use std::sync::{MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{
    Connection, GoogleEmulator, Proxy, ProxyBuilder, RedisServer, Response, get, post,
};
use serde_json::{Value, json};

use crate::{GENERATE, HELLO, ONE_AT_A_TIME};

#[test]
fn a_budget_for_ten_requests_is_one_for_ten_through_two_processes_and_outlives_them() {
    let google = GoogleEmulator::start();
    let one = tokens_of_an_answer(&google);
    google.add_rules(json!({"match": {"rpc": "generateContent"}, "delay_ms": 50, "times": 1000}));
    let tables = format!("[[key]]\nid = \"ada\"\nkey = \"{ADA}\"\ntokens_per_day = {}\n", one * 10);
    let mut team = Team::start(&google, &tables);
    let asking: Vec<_> = (0..30)
        .map(|n| {
            let address = team.proxies[n % 2].address().to_owned();
            thread::spawn(move || Connection::open(&address).send(keyed(ADA)))
        })
        .collect();
    let answers: Vec<Response> = asking.into_iter().map(|it| it.join().expect("one")).collect();
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|it| it.status() == 200);
    assert_eq!((served.len(), refused.len()), (10, 20));
    for answer in refused {
        assert_eq!(answer.status_and_reason(), (429, "BUDGET_EXHAUSTED".to_owned()));
    }
    let used: u64 = served.iter().map(|answer| tokens(&answer.json())).sum();
    assert_eq!(used, one * 10);
    team.await_usage(1, "ada", (10, used));

    // Processes that start now know it too.
    for index in 0..2 {
        team.proxies[index].signal("TERM");
        team.proxies[index].wait_for_exit(Duration::from_secs(10));
        team.proxies[index] = team.setups[index].start();
    }
    for proxy in &team.proxies {
        let answer = proxy.send(keyed(ADA));
        assert_eq!(answer.status_and_reason(), (429, "BUDGET_EXHAUSTED".to_owned()));
    }
    assert_eq!(team.usage(0, "ada"), (10, used));
}

#[test]
fn a_killed_process_loses_a_second_of_counting_and_holds_reservations_for_ten() {
    let google = GoogleEmulator::start();
    let hangs =
        json!({"match": {"rpc": "generateContent", "body_contains": "hang"}, "delay_ms": 90_000});
    let tables = format!(
        "[[key]]\nid = \"ada\"\nkey = \"{ADA}\"\n\
         [[key]]\nid = \"bob\"\nkey = \"{BOB}\"\nmax_concurrent = 1\n"
    );
    let team = Team::start(&google, &tables);
    google.add_rules(hangs);
    let mut held = Connection::open(team.proxies[0].address());
    held.write(post(GENERATE, &[&header(BOB)], HELLO.replace("Hello", "hang")));
    google.await_call("generateContent", |_| true);
    google.clear_rules();
    let waiting = {
        let address = team.proxies[1].address().to_owned();
        thread::spawn(move || {
            let answer = Connection::open(&address).send(keyed(BOB));
            (answer.status(), Instant::now())
        })
    };

    let mut answered = Vec::new();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        assert_eq!(team.proxies[0].send(keyed(ADA)).status(), 200);
        answered.push(Instant::now());
    }
    team.proxies[0].signal("KILL");
    let killed = Instant::now();
    let (status, at) = waiting.join().expect("an answer");
    assert_eq!(status, 200);
    assert!(at > killed, "the other process's request is in flight");
    let waited = at - killed;
    assert!(waited < Duration::from_secs(12), "{waited:?}");
    // The batches are a second and the time of their sending apart.
    let surely = answered.iter().filter(|at| killed - **at > Duration::from_millis(1500)).count();
    let (requests, _) = team.usage(1, "ada");
    let all = answered.len() as u64;
    assert!((surely as u64..=all).contains(&requests), "{requests} of {surely} to {all}");
    assert!(surely > 10, "{surely}");
}

#[test]
fn while_redis_is_gone_processes_count_for_themselves_and_add_it_once_when_it_is_back() {
    let google = GoogleEmulator::start();
    let tables = format!("[[key]]\nid = \"ada\"\nkey = \"{ADA}\"\ntokens_per_day = 1000000\n");
    let team = Team::start(&google, &tables);
    let mut used = 0;
    let mut ask = |count: usize| {
        for n in 0..count {
            let answer = team.proxies[n % 2].send(keyed(ADA));
            assert_eq!(answer.status(), 200, "{}", answer.text());
            used += tokens(&answer.json());
        }
        used
    };
    ask(6);
    team.await_usage(0, "ada", (6, ask(0)));
    ask(4);
    team.redis.pause();
    ask(10);
    thread::sleep(Duration::from_secs(3));
    team.redis.resume();
    team.await_usage(0, "ada", (20, ask(0)));
    // What came twice counted once, and nothing more comes.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(team.usage(1, "ada"), (20, ask(0)));
}

#[test]
fn a_file_keeps_usage_over_a_stop_and_a_kill() {
    let google = GoogleEmulator::start();
    let one = tokens_of_an_answer(&google);
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials(&google.credentials())
        .env("KV_URL", "file:kv.redb")
        .env("CODE_ASSIST_PROXY_CONFIG", "config.toml");
    setup.write(
        "config.toml",
        with_admin(&format!(
            "[[key]]\nid = \"ada\"\nkey = \"{ADA}\"\ntokens_per_day = {}\n",
            one * 5
        )),
    );
    let mut proxy = setup.start();
    for _ in 0..2 {
        assert_eq!(proxy.send(keyed(ADA)).status(), 200);
    }
    // It is written when the process stops, if not before.
    proxy.signal("TERM");
    proxy.wait_for_exit(Duration::from_secs(10));
    let mut proxy = setup.start();
    assert_eq!(usage(&proxy, "ada"), (2, one * 2));
    for _ in 0..2 {
        assert_eq!(proxy.send(keyed(ADA)).status(), 200);
    }
    thread::sleep(Duration::from_secs(2));
    proxy.signal("KILL");
    proxy.wait_for_exit(Duration::from_secs(10));
    let proxy = setup.start();
    assert_eq!(usage(&proxy, "ada"), (4, one * 4));
    assert_eq!(proxy.send(keyed(ADA)).status(), 200);
    let answer = proxy.send(keyed(ADA));
    assert_eq!(answer.status_and_reason(), (429, "BUDGET_EXHAUSTED".to_owned()));
}

#[test]
fn a_disk_that_is_full_fails_no_request_and_budgets_hold_in_memory() {
    let google = GoogleEmulator::start();
    let one = tokens_of_an_answer(&google);
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials(&google.credentials())
        .env("KV_URL", "file:kv.redb")
        .env("CODE_ASSIST_PROXY_CONFIG", "config.toml")
        .file_size_limit(4);
    let table = format!("[[key]]\nid = \"ada\"\nkey = \"{ADA}\"\ntokens_per_day = {}\n", one * 2);
    setup.write("config.toml", with_admin(&table));
    let proxy = setup.start();
    for _ in 0..2 {
        assert_eq!(proxy.send(keyed(ADA)).status(), 200);
    }
    let answer = proxy.send(keyed(ADA));
    assert_eq!(answer.status_and_reason(), (429, "BUDGET_EXHAUSTED".to_owned()));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(usage(&proxy, "ada"), (2, one * 2));
    assert_eq!(proxy.get("/health").status(), 200);
}

/// Two processes with the same keys on one Redis.
struct Team {
    proxies: Vec<Proxy>,
    setups: Vec<ProxyBuilder>,
    redis: RedisServer,
    _alone: MutexGuard<'static, ()>,
}

impl Team {
    fn start(google: &GoogleEmulator, tables: &str) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let redis = RedisServer::start(&[]);
        let setups: Vec<ProxyBuilder> = (0..2)
            .map(|_| {
                let setup = ProxyBuilder::for_emulator(google)
                    .credentials(&google.credentials())
                    .env("KV_URL", redis.url())
                    .env("QUEUE_TIMEOUT_MS", "30000")
                    .env("CODE_ASSIST_PROXY_CONFIG", "config.toml");
                setup.write("config.toml", with_admin(tables));
                setup
            })
            .collect();
        let proxies = setups.iter().map(ProxyBuilder::start).collect();
        Self { proxies, setups, redis, _alone: alone }
    }

    /// What one process says of a key.
    fn usage(&self, process: usize, key: &str) -> (u64, u64) {
        usage(&self.proxies[process], key)
    }

    /// Waits until the usage of a key is this.
    #[track_caller]
    fn await_usage(&self, process: usize, key: &str, expected: (u64, u64)) {
        let started = Instant::now();
        loop {
            let answer = self.proxies[process].send(get(USAGE, &[&header(ADMIN)]));
            if answer.status() == 200 && of_key(&answer.json(), key) == expected {
                return;
            }
            let text = answer.text();
            assert!(started.elapsed() < Duration::from_secs(8), "{expected:?} is not in {text}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The tables, and one of a key that may read all usage.
fn with_admin(tables: &str) -> String {
    format!("{tables}[[key]]\nid = \"root\"\nkey = \"{ADMIN}\"\nadmin = true\n")
}

/// Requests and tokens of a key.
fn usage(proxy: &Proxy, key: &str) -> (u64, u64) {
    let answer = proxy.send(get(USAGE, &[&header(ADMIN)]));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    of_key(&answer.json(), key)
}

fn of_key(report: &Value, key: &str) -> (u64, u64) {
    let rows = report["rows"].as_array().expect("rows").iter().filter(|row| row["key"] == key);
    rows.fold((0, 0), |(requests, tokens), row| {
        let number = |name: &str| row[name].as_u64().unwrap_or_default();
        let used = number("prompt_tokens") + number("output_tokens") + number("thought_tokens");
        (requests + number("requests"), tokens + used)
    })
}

/// What an answer has used, as Google counts it.
fn tokens(answer: &Value) -> u64 {
    let number = |name: &str| answer["usageMetadata"][name].as_u64().unwrap_or_default();
    number("promptTokenCount") + number("candidatesTokenCount") + number("thoughtsTokenCount")
}

fn tokens_of_an_answer(google: &GoogleEmulator) -> u64 {
    let proxy = ProxyBuilder::for_emulator(google).credentials(&google.credentials()).start();
    let used = tokens(&proxy.post(GENERATE, HELLO).json());
    assert!(used > 0);
    used
}

fn keyed(key: &str) -> Vec<u8> {
    post(GENERATE, &[&header(key)], HELLO)
}

fn header(key: &str) -> String {
    format!("x-goog-api-key: {key}")
}

const USAGE: &str = "/usage?by=key";
const ADA: &str = "the-key-of-ada-0123456789";
const BOB: &str = "the-key-of-bob-0123456789";
const ADMIN: &str = "the-key-of-root-0123456789";
