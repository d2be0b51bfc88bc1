//! Many requests of several keys at once, whatever becomes of them: what `/usage` says is what upstream has
//! counted, to the token, also after a stop and after a kill.

mod client;
mod plan;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Proxy, ProxyBuilder, ScriptedUpstream, get};
use serde_json::Value;

use client::{Dialect, run, secret};
use plan::{Counted, Fate, Plan};
use upstream::{Book, CODE_ASSIST, GEMINI_API};

#[test]
fn usage_is_what_upstream_has_counted_through_cancels_cuts_failover_a_stop_and_a_kill() {
    let book = Arc::<Book>::default();
    let code_assist = upstream::start(CODE_ASSIST, &book);
    let gemini_api = upstream::start(GEMINI_API, &book);
    let builder = builder(&code_assist, &gemini_api);

    let mut proxy = builder.start();
    storm(&proxy, &book, 1000);
    assert_usage(&proxy, &book);

    // The streams in flight end after the signal.
    let dialects = [Dialect::Gemini, Dialect::OpenAi, Dialect::Anthropic];
    thread::scope(|scope| {
        let mut held = Vec::new();
        for (id, dialect) in (2000..).zip(dialects) {
            let plan = Plan { key: "plain", id, fate: Fate::Hold, stream: true };
            let (proxy, book) = (&proxy, &book);
            held.push((plan, scope.spawn(move || run(proxy, book, dialect, plan))));
            book.await_request(id);
        }
        proxy.signal("TERM");
        proxy.await_output("shutting down");
        book.release();
        for (plan, held) in held {
            let (status, text) = held.join().unwrap();
            assert!(status == 200 && text.contains(&plan.text(plan.events())), "{plan} {text}");
        }
    });
    assert!(proxy.wait_for_exit(Duration::from_secs(20)).success());
    let proxy = builder.start();
    assert_usage(&proxy, &book);

    storm(&proxy, &book, 3000);
    assert_usage(&proxy, &book);
    let before = book.counted();
    let settled = ask_for(&proxy, &book, Duration::from_millis(3500));
    let killed_at = Instant::now();
    proxy.kill();
    let proxy = builder.start();
    let kept = usage(&proxy);
    let mut least = before["bob"];
    for (_, counted) in settled.iter().filter(|(at, _)| *at + MAY_BE_LOST < killed_at) {
        least.add(*counted);
    }
    assert!(least.requests > before["bob"].requests, "the traffic lasts longer than that");
    let (all, of_bob) = (book.counted()["bob"], kept["bob"].0);
    assert!(
        (least.tokens()..=all.tokens()).contains(&of_bob.tokens()),
        "{} tokens are kept; {} of {} must be",
        of_bob.tokens(),
        least.tokens(),
        all.tokens()
    );
    for (key, counted) in before.into_iter().filter(|(key, _)| *key != "bob") {
        assert_eq!(kept[key], (counted, counted.cost()), "{key}");
    }
}

/// Sends requests of all kinds from several clients at once, until all have ended.
fn storm(proxy: &Proxy, book: &Book, first: u64) {
    thread::scope(|scope| {
        for (client, key) in (0..).zip(["ada", "ada", "ada", "bob", "bob", "plain", "leaver"]) {
            scope.spawn(move || {
                for number in 0..ROUNDS {
                    let id = first + client * 100 + number;
                    one(proxy, book, key, id);
                }
            });
        }
    });
}

/// Goes through one request of the storm, which its number chooses.
fn one(proxy: &Proxy, book: &Book, key: &'static str, id: u64) {
    // Steps without a common divisor meet all combinations.
    let dialect = [Dialect::Gemini, Dialect::OpenAi, Dialect::Anthropic][id as usize % 3];
    let either = id.is_multiple_of(2);
    let (fate, stream) = match id * 7 % 13 {
        _ if key == "leaver" => (Fate::LeaveEarly, either),
        0 if dialect != Dialect::OpenAi => (Fate::Count, false),
        0 | 1 => (Fate::Usual, true),
        2 => (Fate::Cut, true),
        3..=5 => (Fate::Leave, true),
        6 => (Fate::Empty, true),
        7 => (Fate::Failover, either),
        8 => (Fate::Retry(500), either),
        9 => (Fate::Retry(503), either),
        10 => (Fate::Refused, either),
        11 => (Fate::Shared, false),
        _ => (Fate::Usual, false),
    };
    let plan = Plan { key, id, fate, stream };
    if fate == Fate::Shared {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| assert_eq!(run(proxy, book, dialect, plan).0, 200));
            }
        });
        assert_eq!(run(proxy, book, dialect, plan).0, 200);
        return assert_eq!(book.tries(id).len(), 1, "one answer serves all");
    }
    let (status, text) = run(proxy, book, dialect, plan);
    let expected = match fate {
        Fate::LeaveEarly => 0,
        Fate::Refused => 400,
        _ => 200,
    };
    assert_eq!(status, expected, "{plan} {dialect:?}: {text}");
    let tries = book.tries(id);
    match fate {
        Fate::Failover => assert!(tries.contains(&CODE_ASSIST) && tries.contains(&GEMINI_API)),
        Fate::Empty | Fate::Retry(_) => assert_eq!(tries.len(), 2, "{plan}"),
        _ => assert_eq!(tries.len(), 1, "{plan}"),
    }
}

/// Asks as one key for this time, and returns when each answer had ended, with what it says of itself.
fn ask_for(proxy: &Proxy, book: &Book, time: Duration) -> Vec<(Instant, Counted)> {
    let began = Instant::now();
    let mut settled = Vec::new();
    for id in 5000.. {
        if began.elapsed() > time {
            break;
        }
        let plan = Plan { key: "bob", id, fate: Fate::Usual, stream: false };
        let (status, text) = run(proxy, book, Dialect::Gemini, plan);
        assert_eq!(status, 200, "{text}");
        let (start, end) = (text.find('{').expect("JSON"), text.rfind('}').expect("JSON"));
        let json = &text[start..=end];
        let answer: Value = serde_json::from_str(json).expect("JSON");
        let mut counted = Counted::of_usage_metadata(&answer["usageMetadata"]);
        counted.requests = 1;
        settled.push((Instant::now(), counted));
    }
    settled
}

/// Asserts that the proxy has counted what upstream has counted. It may learn a moment later that a client has
/// left.
#[track_caller]
fn assert_usage(proxy: &Proxy, book: &Book) {
    let began = Instant::now();
    loop {
        let (said, counted) = (usage(proxy), book.counted());
        let expected: BTreeMap<String, (Counted, u64)> = counted
            .into_iter()
            .map(|(key, counted)| (key.to_owned(), (counted, counted.cost())))
            .collect();
        if said == expected {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "\n{said:#?}\nis not\n{expected:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What `/usage` says of each key, with the cost in billionths.
fn usage(proxy: &Proxy) -> BTreeMap<String, (Counted, u64)> {
    let admin = format!("x-goog-api-key: {}", secret("admin"));
    let answer = proxy.send(get("/usage?by=key", &[&admin])).json();
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("{answer}"));
    rows.iter()
        .map(|row| {
            let count = |name: &str| row[name].as_u64().unwrap_or_else(|| panic!("{name}: {row}"));
            let counted = Counted {
                requests: count("requests"),
                prompt: count("prompt_tokens"),
                cached: count("cached_tokens"),
                output: count("output_tokens"),
                thoughts: count("thought_tokens"),
            };
            let cost = (row["cost"].as_f64().expect("a number") * 1e9).round() as u64;
            (row["key"].as_str().expect("a name").to_owned(), (counted, cost))
        })
        .collect()
}

fn builder(code_assist: &ScriptedUpstream, gemini_api: &ScriptedUpstream) -> ProxyBuilder {
    let builder = ProxyBuilder::for_upstream(code_assist)
        .env("UPSTREAMS", "code-assist,gemini-api")
        .env("FAILOVER", "on")
        .env("GEMINI_API_KEY", "operators-own-key-0123456789")
        .env("GEMINI_API_ENDPOINT", gemini_api.url())
        .env("RETRY_BASE_DELAY_MS", "1")
        .env("RETRY_MAX_DELAY_MS", "5")
        .env("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "100")
        .env("PROXY_API_KEYS", format!("plain:{}", secret("plain")))
        .env("KV_URL", "file:kv.redb")
        .env("CODE_ASSIST_PROXY_CONFIG", "keys.toml");
    builder.write("keys.toml", TABLES);
    builder
}

const TABLES: &str = r#"
[[key]]
id = "ada"
key = "cap_secret-of-the-key-of-ada"
tokens_per_day = 100000000
cost_per_month = 100000
max_concurrent = 2
[[key]]
id = "bob"
key = "cap_secret-of-the-key-of-bob"
upstreams = ["gemini-api", "code-assist"]
[[key]]
id = "leaver"
key = "cap_secret-of-the-key-of-leaver"
tokens_per_month = 100000000
[[key]]
id = "admin"
key = "cap_secret-of-the-key-of-admin"
admin = true
[[price]]
model = "*"
input = 1
cached = 0.25
output = 8
"#;

/// Requests of each client.
const ROUNDS: u64 = 39;

/// A second of counting, and the time that the flush takes on a slow machine.
const MAY_BE_LOST: Duration = Duration::from_millis(2000);
