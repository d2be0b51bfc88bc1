//! Four real processes behind a real load balancer, sharing a real Redis: the promises of
//! `docs/SCALING.md`, also while processes are killed.
//!
//! Needs `redis-server` and `haproxy`.

mod balancer;
mod budgets;
mod load;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{
    Connection, GoogleEmulator, Proxy, ProxyBuilder, RedisServer, free_port, get, post,
    proxy_binary,
};
use serde_json::{Value, json};

use crate::balancer::Balancer;
use crate::load::Load;

#[test]
fn four_hundred_cold_requests_are_one_refresh_and_one_discovery() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_delay_ms": 500}));
    let fleet = Fleet::start(4, &google, &google.expired_credentials(), &[]);
    let requests: Vec<_> = (0..400)
        .map(|n| {
            let address = fleet.balancer.address();
            thread::spawn(move || Connection::open(&address).send(post(GENERATE, &[], hello(n))))
        })
        .collect();
    for request in requests {
        let answer = request.join().expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    assert_eq!((google.count("token"), google.count("loadCodeAssist")), (1, 1));
    assert_eq!(google.count("generateContent"), 400);
    for proxy in &fleet.proxies {
        let served = proxy.get("/health").json()["metrics"]["requests_processed"].as_u64();
        assert!(served.is_some_and(|served| served >= 80), "an even share: {served:?}");
    }
}

#[test]
fn a_process_killed_during_a_refresh_delays_the_others_by_one_lock_lifetime_at_most() {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "token"}, "delay_ms": 60_000}));
    let fleet = Fleet::start_staged(4, &google, &google.expired_credentials(), || {
        google.await_call("token", |_| true);
    });
    fleet.others_answer_after_a_kill("token", &google);
}

#[test]
fn a_process_killed_during_a_first_discovery_delays_the_others_by_one_lock_lifetime_at_most() {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "loadCodeAssist"}, "delay_ms": 60_000}));
    let fleet = Fleet::start(4, &google, &google.credentials(), &[]);
    let mut victim = Connection::open(fleet.proxies[0].address());
    victim.write(post(GENERATE, &[], HELLO));
    google.await_call("loadCodeAssist", |_| true);
    fleet.others_answer_after_a_kill("loadCodeAssist", &google);
}

#[test]
fn a_refresh_slower_than_a_lock_lifetime_is_waited_for() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"token_delay_ms": 8_000}));
    let fleet = Fleet::start(4, &google, &google.expired_credentials(), &[]);
    assert_eq!(fleet.send(HELLO).0, 200);
    assert_eq!(google.received("token").len(), 1);
    // The response cache's lock is renewed too.
    google.add_rules(json!({"match": {"rpc": "generateContent"}, "delay_ms": 8_000}));
    let equal: Vec<_> = fleet.proxies.iter().map(|proxy| proxy.address().to_owned()).collect();
    let equal: Vec<_> = equal
        .into_iter()
        .map(|address| thread::spawn(move || Connection::open(&address).send(keyed(SAME))))
        .collect();
    for request in equal {
        assert_eq!(request.join().expect("an answer").status(), 200);
    }
    assert_eq!(google.count("generateContent"), 2, "one for each body");
}

#[test]
fn a_process_killed_during_a_renewal_delays_no_request_while_the_old_token_is_valid() {
    let google = GoogleEmulator::start();
    // The token is due for renewal from the start (TOKEN_REFRESH_BUFFER_MINUTES): every process tries.
    google.set_state(json!({"token_lifetime_ms": 120_000}));
    google.add_rules(json!({"match": {"rpc": "token"}, "delay_ms": 60_000}));
    let fleet = Fleet::start_staged(4, &google, &google.credentials(), || {
        google.await_call("token", |_| true);
    });
    let refreshes = || google.received("token").len();
    google.set_state(json!({"token_lifetime_ms": 3_599_000}));
    let loads: Vec<_> =
        fleet.proxies[1..].iter().map(|proxy| Load::on(proxy.address(), 2)).collect();
    thread::sleep(Duration::from_millis(300));
    fleet.proxies[0].signal("KILL");
    let started = Instant::now();
    while refreshes() == 1 {
        assert!(started.elapsed() < LOCK_LIFETIME + Duration::from_secs(2), "no refresh any more");
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_secs(2));
    let served: usize = loads.into_iter().map(Load::stop).sum();
    assert!(served > 100, "{served}");
    assert_eq!(refreshes(), 2, "the killed process's refresh, and one more");
    let sent = google.received("generateContent");
    let slowest = fleet.proxies[1..].iter().flat_map(Proxy::request_lines);
    let slowest = slowest.filter_map(|line| line["overhead_ms"].as_f64()).fold(0.0, f64::max);
    assert!(slowest < 1000.0, "a request waited {slowest} ms for a token");
    let tokens: BTreeSet<_> =
        sent.iter().map(|record| record["headers"]["authorization"].to_string()).collect();
    assert_eq!(tokens.len(), 2, "first all with the old one, then all with the new one");
}

#[test]
fn a_rolling_restart_under_load_costs_no_request_and_no_stream() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"stream_events": 5, "stream_interval_ms": 150}));
    // The balancer notices within 400 ms.
    let delay = [("SHUTDOWN_DELAY_MS", "1500")];
    let mut fleet = Fleet::start(4, &google, &google.credentials(), &delay);
    let load = Load::on(&fleet.balancer.address(), 8);
    thread::sleep(Duration::from_millis(500));
    for index in 0..4 {
        fleet.proxies[index].signal("TERM");
        let status = fleet.proxies[index].wait_for_exit(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0));
        fleet.proxies[index] = fleet.setups[index].start();
        fleet.balancer.await_up(4);
    }
    thread::sleep(Duration::from_millis(500));
    let served = load.stop();
    assert!(served > 50, "{served}");
    assert_eq!(google.count("token"), 0);
}

#[test]
fn a_process_that_is_stopped_refuses_nothing_while_the_balancer_still_sends_to_it() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"stream_events": 5, "stream_interval_ms": 250}));
    // A refusal is faster than this, so that a process that refuses has the fewest connections.
    let slow = json!({"match": {"rpc": "generateContent"}, "delay_ms": 50, "times": 100_000});
    google.add_rules(slow);
    let fleet = Fleet::start(2, &google, &google.credentials(), &[("SHUTDOWN_DELAY_MS", "1000")]);
    // It keeps the process from ending, and the balancer does not count it.
    let mut running = Connection::open(fleet.proxies[0].address());
    running.write(post(STREAM, &[], HELLO));
    let head = running.head();
    let (address, started) = (fleet.balancer.address(), Instant::now());
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let address = address.clone();
            thread::spawn(move || {
                while started.elapsed() < Duration::from_secs(1) {
                    let answer = Connection::open(&address).send(post(GENERATE, &[], hello(n)));
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    fleet.proxies[0].signal("TERM");
    for client in clients {
        assert!(client.join().is_ok(), "a request failed: see above");
    }
    let text = running.body(&head);
    assert!(String::from_utf8_lossy(&text).contains("\"finishReason\":\"STOP\""));
}

#[test]
fn an_overloaded_google_is_called_no_more_often_through_the_balancer() {
    let google = GoogleEmulator::start();
    google.add_rules(json!({"match": {"rpc": "generateContent"}, "status": 503, "times": 50}));
    let fleet = Fleet::start(4, &google, &google.credentials(), &[("MAX_RETRY_ATTEMPTS", "2")]);
    let answer = Connection::open(&fleet.balancer.address()).send(keyed(HELLO));
    assert_eq!(answer.status(), 503);
    assert_eq!(google.count("generateContent"), 3, "the tries of one proxy");
}

#[test]
fn the_balancers_log_has_paths_and_no_keys() {
    let google = GoogleEmulator::start();
    let keys = [("PROXY_API_KEYS", "team:sesame-in-a-query")];
    let fleet = Fleet::start(2, &google, &google.credentials(), &keys);
    let mut connection = Connection::open(&fleet.balancer.address());
    let queried = format!("{GENERATE}?key=sesame-in-a-query");
    assert_eq!(connection.send(post(&queried, &[], HELLO)).status(), 200);
    assert_eq!(connection.send(get("/v1beta/models?key=sesame-and-wrong", &[])).status(), 401);
    // A request line that HAProxy itself refuses.
    connection.write(b"GET /?key=sesame-in-a-query\x01 HTTP/1.1\r\n\r\n");
    assert_eq!(connection.response().status(), 400);
    let started = Instant::now();
    while fleet.balancer.log().lines().filter(|line| line.contains(" fleet/")).count() < 2
        || !fleet.balancer.log().contains("BADREQ")
    {
        assert!(started.elapsed() < Duration::from_secs(5), "{}", fleet.balancer.log());
        thread::sleep(Duration::from_millis(20));
    }
    let log = fleet.balancer.log();
    assert!(log.contains(&format!("POST {GENERATE} HTTP/1.1")), "{log}");
    assert!(!log.contains("sesame"), "{log}");
}

#[test]
fn a_redis_outage_fails_no_request_and_health_reports_it_until_it_ends() {
    let google = GoogleEmulator::start();
    let keys = [("PROXY_API_KEYS", "team:sesame"), ("RATE_LIMIT_MAX_REQUESTS", "1000000")];
    let mut fleet = Fleet::start(4, &google, &google.expired_credentials(), &keys);
    assert_eq!(fleet.send(HELLO).0, 200);
    let load = Load::on(&fleet.balancer.address(), 8);
    thread::sleep(Duration::from_millis(500));

    fleet.redis.pause();
    fleet.await_health("disconnected", "degraded");
    thread::sleep(outage());
    let started = Instant::now();
    assert_eq!(fleet.send(HELLO).0, 200);
    assert!(started.elapsed() < Duration::from_millis(400), "no request waits");
    fleet.redis.resume();
    fleet.await_health("connected", "healthy");

    fleet.redis.kill();
    fleet.await_health("disconnected", "degraded");
    thread::sleep(outage());
    fleet.redis.restart();
    fleet.await_health("connected", "healthy");
    let served = load.stop();
    assert!(served > 100, "{served}");
    assert_eq!(google.count("token"), 1, "it came back empty, and was given the token again");
    assert_eq!(fleet.redis.cli(&["EXISTS", "code-assist-proxy:kv:oauth_token_cache"]), "1");

    // The processes share their state again.
    let answers = (0..4).map(|n| fleet.proxies[n].send(keyed(SAME)));
    let caches: Vec<String> = answers.map(|answer| answer.header("x-cache").to_owned()).collect();
    assert_eq!(caches, ["MISS", "HIT", "HIT", "HIT"]);
}

#[test]
fn a_limit_of_a_hundred_is_a_hundred_through_four_processes() {
    let google = GoogleEmulator::start();
    let keys = [("PROXY_API_KEYS", "team:sesame"), ("RATE_LIMIT_MAX_REQUESTS", "100")];
    let fleet = Fleet::start(4, &google, &google.credentials(), &keys);
    let requests: Vec<_> = (0..40)
        .map(|_| {
            let address = fleet.balancer.address();
            thread::spawn(move || {
                let answer = |_| Connection::open(&address).send(keyed(HELLO));
                (0..10).map(answer).map(|answer| (answer.status(), answer)).collect::<Vec<_>>()
            })
        })
        .collect();
    let answers: Vec<_> =
        requests.into_iter().flat_map(|request| request.join().expect("answers")).collect();
    let of = |status| answers.iter().filter(|(it, _)| *it == status).count();
    assert_eq!((of(200), of(429), answers.len()), (100, 300, 400));
    assert_eq!(google.count("generateContent"), 100);
    let refused = answers.iter().find(|(status, _)| *status == 429).expect("some are");
    assert_eq!(refused.1.reason(), "RATE_LIMITED");
    let after: u64 = refused.1.header("retry-after").parse().expect("seconds");
    assert!((40..=60).contains(&after), "{after}");
}

#[test]
fn a_rotated_refresh_token_is_shared_by_all_processes() {
    let google = GoogleEmulator::start();
    google.set_state(json!({"rotate_refresh": true}));
    let fleet = Fleet::start(2, &google, &google.expired_credentials(), &[]);
    assert_eq!(fleet.proxies[0].post(GENERATE, HELLO).status(), 200);
    // A third process starts later with the first refresh token, which is invalid by now.
    fleet.redis.cli(&["DEL", "code-assist-proxy:kv:oauth_token_cache"]);
    let late = fleet.setups[1].same_home_with_env("PORT", "0").start();
    assert_eq!(late.post(GENERATE, HELLO).status(), 200);
    assert_eq!(google.count("token"), 2);
}

#[test]
fn the_kv_commands_work_on_redis_too() {
    let redis = RedisServer::start(&[]);
    let url = redis.url();
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google)
        .credentials(&google.expired_credentials())
        .env("KV_URL", &url)
        .env("KV_ENCRYPTION_KEY", "0f".repeat(32));
    let proxy = setup.start();
    assert_eq!(proxy.post(GENERATE, SAME).status(), 200);
    let file = setup.path("all.json").display().to_string();
    let kv = |words: &[&str]| {
        let mut kv = Command::new(proxy_binary());
        kv.env_clear().env("HOME", setup.path(".")).env("KV_URL", &url);
        let output = kv.arg("kv").args(words).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let started = Instant::now();
    while !kv(&["list"]).1.contains("project_id_cache") {
        assert!(started.elapsed() < Duration::from_secs(5), "{}", kv(&["list"]).1);
    }
    let (_, listed) = kv(&["list"]);
    assert!(listed.contains("oauth_token_cache") && !listed.contains("answer/"), "{listed}");
    assert!(kv(&["export", &file]).0);
    let sealed = redis.cli(&["GET", "code-assist-proxy:kv:oauth_token_cache"]);
    assert!(!sealed.contains("ya29"), "it is sealed there");
    assert!(kv(&["clear"]).0);
    // The proxy still runs, and reads the exhausted quotas once a second.
    assert_eq!(redis.cli(&["EXISTS", "code-assist-proxy:kv:oauth_token_cache"]), "0");
    assert!(kv(&["import", &file]).0);
    assert_eq!(kv(&["list"]).1.lines().count(), listed.lines().count());
    drop(proxy);
    assert_eq!(setup.start().post(GENERATE, SAME).status(), 200);
    assert_eq!(google.count("token"), 1, "what was restored is what was there");

    drop(redis);
    let (done, message) = kv(&["list"]);
    assert!(!done && message.contains("cannot be used"), "{message}");
}

/// Processes that share a Redis, behind a load balancer.
struct Fleet {
    balancer: Balancer,
    proxies: Vec<Proxy>,
    setups: Vec<ProxyBuilder>,
    redis: RedisServer,
    _alone: MutexGuard<'static, ()>,
}

impl Fleet {
    fn start(count: usize, google: &GoogleEmulator, login: &str, more: &[(&str, &str)]) -> Self {
        let fleet = Self::with(count, google, login, more, || {});
        fleet.balancer.await_up(count);
        fleet
    }

    /// Starts the first process, calls `then`, and starts the others. None has to be ready.
    fn start_staged(
        count: usize,
        google: &GoogleEmulator,
        login: &str,
        then: impl FnMut(),
    ) -> Self {
        Self::with(count, google, login, &[], then)
    }

    fn with(
        count: usize,
        google: &GoogleEmulator,
        login: &str,
        more: &[(&str, &str)],
        mut then: impl FnMut(),
    ) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let redis = RedisServer::start(&[]);
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let setups: Vec<ProxyBuilder> = ports
            .iter()
            .map(|port| {
                let setup = ProxyBuilder::for_emulator(google)
                    .credentials(login)
                    .env("PORT", port.to_string())
                    .env("KV_URL", redis.url())
                    .env("VALIDATE_TOKENS_BEFORE_USE", "false");
                more.iter().fold(setup, |setup, (name, value)| setup.env(name, *value))
            })
            .collect();
        let mut proxies = vec![setups[0].start()];
        then();
        proxies.extend(setups[1..].iter().map(ProxyBuilder::start));
        let balancer = Balancer::before(&ports);
        Self { balancer, proxies, setups, redis, _alone: alone }
    }

    /// Sends one request through the balancer.
    fn send(&self, body: &str) -> (u16, Value) {
        let answer = Connection::open(&self.balancer.address()).send(keyed(body));
        (answer.status(), answer.json())
    }

    /// Kills the first process, which Google keeps waiting for its answer to `rpc`. The others are answered
    /// in time, and one of them repeats the call.
    fn others_answer_after_a_kill(&self, rpc: &str, google: &GoogleEmulator) {
        let waiting: Vec<_> = self.proxies[1..]
            .iter()
            .map(|proxy| {
                let address = proxy.address().to_owned();
                thread::spawn(move || Connection::open(&address).send(post(GENERATE, &[], HELLO)))
            })
            .collect();
        // Longer than a lock lives that is not renewed.
        thread::sleep(LOCK_LIFETIME + Duration::from_secs(1));
        assert_eq!(google.received(rpc).len(), 1, "the others wait");
        self.proxies[0].signal("KILL");
        let killed = Instant::now();
        for request in waiting {
            let answer = request.join().expect("an answer");
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
        let waited = killed.elapsed();
        assert!(waited < LOCK_LIFETIME + Duration::from_secs(2), "{waited:?}");
        assert_eq!(google.received(rpc).len(), 2, "the killed process's call, and one more");
    }

    /// Waits until every process reports this status of its store and of itself.
    #[track_caller]
    fn await_health(&self, kv_status: &str, status: &str) {
        let started = Instant::now();
        for proxy in &self.proxies {
            loop {
                let answer = proxy.send(get("/health", &[]));
                assert_eq!(answer.status(), 200);
                let health = answer.json();
                if health["kv_status"] == kv_status && health["status"] == status {
                    break;
                }
                assert!(started.elapsed() < Duration::from_secs(8), "{health}");
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn hello(n: usize) -> String {
    HELLO.replace("Hello", &format!("Hello {n}"))
}

fn keyed(body: &str) -> Vec<u8> {
    post(GENERATE, &["x-goog-api-key: sesame"], body)
}

/// How long the outage of Redis lasts; `FLEET_OUTAGE_SECONDS` makes it longer.
fn outage() -> Duration {
    let seconds = std::env::var("FLEET_OUTAGE_SECONDS").ok().and_then(|it| it.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// A fleet has nine processes; several fleets at once would be slowed by the machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// For this long a process that was killed keeps its locks.
const LOCK_LIFETIME: Duration = Duration::from_secs(5);

const GENERATE: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const HELLO: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
const SAME: &str = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}],"generationConfig":{"temperature":0}}"#;
