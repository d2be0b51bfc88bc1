//! One client with a key against the others.

use std::time::{Duration, Instant};

use code_assist_harness::samples::{EVENT, GENERATE, HELLO, STREAM, WHOLE, ok};
use code_assist_harness::{
    Connection, GoogleEmulator, ProxyBuilder, RedisServer, ScriptedUpstream, TestProxy, get, post,
    request,
};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Other callers"
    both {
        foreign_projects: "`/v1internal` with another's project: at each place, twice, with an escape, in single quotes",
            "Google gets the operator's project at each of them, and every other byte";
        account_methods: "`/v1internal` methods that change the account, and polls of its operations",
            "403 `RPC_NOT_ALLOWED`, and nothing goes upstream";
        methods_by_get: "GET and HEAD of `/v1internal` methods, as images of a web page send them",
            "405, and nothing goes upstream";
    }
    native {
        a_caller_that_reads_nothing: "120 streams and 30 bodies of one key, of which nothing is read and sent on",
            "no request of another key is refused, and its p99 stays below ten times the usual one",
            because "each of its isolates has a queue of its own, and one that waits polls";
        new_holder_of_a_name: "a reload that gives the name of a key to another one, then what the old one asked",
            "no cached answer, no 409 for its idempotency key, no count of the old one",
            because "it reads its settings once";
        counts_lost: "a Redis that is filled until it evicts the counts, then emptied, with a limit of 5",
            "no sixth request passes", because "it has no Redis";
    }
    proved {
        equal_names_in_one_store: "two gateways with one Redis that give one name to different keys",
            "neither answers nor idempotency keys nor counts are shared",
            by "crates/testkit/tests/fleet/identity.rs::two_gateways_that_give_one_name_to_different_keys_share_nothing_of_a_caller";
        planted_answers: "an answer in the store under the key of another request",
            "it is not used", by "crates/testkit/tests/fleet/identity.rs::an_answer_stored_under_the_key_of_another_request_is_not_used";
        answers_that_fill_a_store: "cached answers of more bytes than the shared Redis has",
            "they make way for each other, and nothing else is evicted",
            by "crates/server/src/store/redis/budget_tests.rs::answers_push_no_count_out_of_a_server_that_is_small";
        many_requests_at_once: "any order of requests, of any number of callers, that come, wait and leave",
            "callers get places in turn, and none more than its share",
            by "crates/testkit/tests/policy_properties/wait_queue.rs::permits_are_never_too_many_never_idle_and_given_to_callers_in_turn";
    }
}

const KEYS: (&str, &str) =
    ("PROXY_API_KEYS", "ada:key-of-ada-0123456789,mallory:key-of-mallory-0123456");
const ADA: &str = "x-goog-api-key: key-of-ada-0123456789";
const MALLORY: &str = "x-goog-api-key: key-of-mallory-0123456";

fn foreign_projects() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let operators = r#""emulator-project""#;
    for (method, body) in [
        (
            "generateContent",
            r#"{"model":"gemini-2.5-flash","project":FOREIGN,"request":{"contents":[{"role":"user","parts":[{"text":"project"}]}]}}"#,
        ),
        (
            "loadCodeAssist",
            r#"{"cloudaicompanionProject":FOREIGN,"metadata":{"duetProject":FOREIGN}}"#,
        ),
        ("retrieveUserQuota", r#"{"project":FOREIGN,"project":FOREIGN}"#),
        ("fetchAdminControls", r#" {"pro\u006aect" : FOREIGN } "#),
        (
            "listExperiments",
            r#"{"project":FOREIGN,"metadata":{"pluginType":"GEMINI","duetProject":FOREIGN}}"#,
        ),
    ] {
        for foreign in [
            r#""foreign-project""#,
            r#""\u0066oreign-project""#,
            "'foreign-project'",
            "[\"foreign-project\"]",
        ] {
            proxy.post(&format!("/v1internal:{method}"), body.replace("FOREIGN", foreign));
            let sent = proxy.google().received(method).pop().expect("it was sent");
            assert_eq!(sent["body"], body.replace("FOREIGN", operators), "{foreign}");
        }
    }
    vec![proxy.into()]
}

fn account_methods() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let calls = calls_of_clients(&proxy);
    for method in [
        "setCodeAssistGlobalUserSetting",
        "onboardUser",
        "fetchAvailableModels",
        "GenerateContent",
        "generateContentX",
        "internalAdmin",
    ] {
        for path in [format!("/v1internal:{method}"), format!("//v1internal%3A{method}/")] {
            let answer = proxy.post(&path, r#"{"freeTierDataCollectionOptin":true}"#);
            assert_eq!(answer.status_and_reason(), (403, "RPC_NOT_ALLOWED".into()), "{path}");
        }
    }
    for path in ["/v1internal/operations/1", "/v1internal/projects/p/operations/x"] {
        let answer = proxy.get(path);
        assert_eq!(answer.status_and_reason(), (403, "RPC_NOT_ALLOWED".into()), "{path}");
    }
    assert_eq!(calls_of_clients(&proxy), calls);
    vec![proxy.into()]
}

fn methods_by_get() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let calls = calls_of_clients(&proxy);
    for method in ["loadCodeAssist", "generateContent", "streamGenerateContent", "onboardUser"] {
        let path = format!("/v1internal:{method}?alt=sse&project=foreign-project");
        for verb in ["GET", "PUT", "DELETE"] {
            let answer = proxy.send(request(verb, &path, &[], b""));
            assert_eq!((answer.status(), answer.header("allow")), (405, "POST"), "{verb} {path}");
        }
    }
    assert_eq!(calls_of_clients(&proxy), calls);
    vec![proxy.into()]
}

/// The calls that Google has got, without those that the proxy makes at any time for itself.
fn calls_of_clients(proxy: &TestProxy) -> usize {
    let of_the_proxy = |path: &str| path.contains("token") || path.ends_with(":loadCodeAssist");
    let log = proxy.google().log();
    log.iter().filter(|record| !of_the_proxy(record["path"].as_str().unwrap_or_default())).count()
}

fn a_caller_that_reads_nothing() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|received, connection| {
        if received.head.contains(":streamGenerateContent") {
            connection.begin_stream();
            connection.chunk(format!("data: {EVENT}\r\n\r\n"));
            // The attacker reads none of it; it ends with the attacker's connection.
            connection.is_closed_within(Duration::from_secs(60));
            connection.close();
        } else {
            connection.write(ok(WHOLE));
        }
    });
    let proxy = TestProxy::for_upstream(&upstream, &[KEYS, ("QUEUE_TIMEOUT_MS", "30000")]);
    let usual = worst_of_a_hundred(&proxy);
    let mut held: Vec<Connection> = Vec::new();
    for _ in 0..120 {
        let mut connection = proxy.connect();
        connection.write(post(STREAM, &[MALLORY], HELLO));
        held.push(connection);
    }
    for _ in 0..30 {
        let mut connection = proxy.connect();
        connection.write(format!(
            "POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{MALLORY}\r\nContent-Length: 5000\r\n\r\n{{"
        ));
        held.push(connection);
    }
    proxy.until("a caller at its share", |proxy| {
        let queue = &proxy.checks()["queue"];
        queue["in_use"] == 50 && queue["waiting"].as_u64() >= Some(70)
    });
    let attacked = worst_of_a_hundred(&proxy);
    let bound = (usual * 10).max(Duration::from_millis(50));
    assert!(attacked < bound, "{attacked:?}, usually {usual:?}");
    drop(held);
    vec![proxy.into()]
}

/// The 99th of a hundred times of Ada's, none of whose requests is refused.
fn worst_of_a_hundred(proxy: &TestProxy) -> Duration {
    let mut connection = proxy.connect();
    let mut times: Vec<Duration> = (0..100)
        .map(|_| {
            let began = Instant::now();
            let answer = connection.send(post(GENERATE, &[ADA], HELLO));
            assert_eq!(answer.status(), 200, "{}", answer.text());
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[98]
}

fn new_holder_of_a_name() -> Vec<Attacked> {
    let google = GoogleEmulator::start();
    let setup = ProxyBuilder::for_emulator(&google);
    let keys =
        |key: &str| format!("proxy_api_keys = [\"team:{key}\", \"ada:key-of-ada-0123456789\"]\n");
    setup.write("proxy.toml", keys("the-old-key-012345"));
    let path = setup.path("proxy.toml").display().to_string();
    let limit = ("RATE_LIMIT_MAX_REQUESTS", "3");
    let setup = setup.argument("--config").argument(&path);
    let proxy = TestProxy::start(setup, &[limit]).with(google).with_key("key-of-ada-0123456789");
    let asked = |key: &str, body: &str| {
        let headers = [&*format!("x-goog-api-key: {key}"), "Idempotency-Key: job-1"];
        proxy.send(post(GENERATE, &headers, body))
    };
    let other = HELLO.replace("Hello", "Bye");
    assert_eq!(asked("the-old-key-012345", HELLO).header("x-cache"), "MISS");
    assert_eq!(asked("the-old-key-012345", HELLO).header("x-cache"), "HIT");
    assert_eq!(asked("the-old-key-012345", &other).status(), 409);
    assert_eq!(asked("the-old-key-012345", HELLO).status(), 429);

    std::fs::write(&path, keys("the-new-key-012345")).expect("the file is the test's");
    proxy.signal("HUP");
    proxy.await_output("settings read again");
    assert_eq!(asked("the-old-key-012345", HELLO).status(), 401);
    assert_eq!(asked("the-new-key-012345", &other).header("x-cache"), "MISS");
    let answer = proxy.send(post(GENERATE, &["x-goog-api-key: the-new-key-012345"], HELLO));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    vec![proxy.into()]
}

fn counts_lost() -> Vec<Attacked> {
    let redis = RedisServer::start(&["--maxmemory", "6mb", "--maxmemory-policy", "volatile-ttl"]);
    let google = GoogleEmulator::start();
    let settings = [KEYS, ("KV_URL", &*redis.url()), ("RATE_LIMIT_MAX_REQUESTS", "5")];
    let proxy = TestProxy::for_emulator(google, &settings);
    let passed = || {
        let asked = (0..10).map(|_| proxy.send(post(GENERATE, &[MALLORY], HELLO)));
        asked.filter(|answer| answer.status() == 200).count()
    };
    assert_eq!(passed(), 5);
    let entry = "x".repeat(100_000);
    for number in 0..80 {
        redis.cli(&["SET", &format!("other:{number}"), &entry, "EX", "3000"]);
    }
    assert_eq!(redis.cli(&["KEYS", "code-assist-proxy:rate:*"]), "", "the server has dropped it");
    assert_eq!(passed(), 0, "after an eviction");
    redis.cli(&["FLUSHALL"]);
    assert_eq!(passed(), 0, "after a loss of everything");
    let page = proxy.send(get("/metrics", &[ADA])).text();
    assert!(page.contains("code_assist_proxy_store_evicted_keys"), "{page}");
    vec![proxy.into()]
}
