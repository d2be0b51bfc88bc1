//! Bytes that are held for clients, and work that takes long.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{GENERATE, HELLO, STREAM};
use code_assist_harness::{Connection, GoogleEmulator, ScriptedUpstream, TestProxy, get, post};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Memory and heavy work"
    both {
        small_gzip_bombs: "102 KB of gzip that unpack to 100 MB",
            "413: at most a mebibyte or 100 times its length is unpacked";
        gzip_members: "17 members of gzip in a body, and an empty one", "400: at most 16 members, and none is empty";
    }
    native {
        gzip_bombs: "40 gzip bodies at once of 102 KB that unpack to 100 MB, and 40 of 300 KB that unpack to 28 MB",
            "413 and 503 `OVERLOADED`; with a budget of 64 MiB less than 128 MiB are resident, and another key is served",
            because "an isolate has a budget of its own";
        large_bodies: "50 bodies of 100 MB at once, and 50 of 12 MB",
            "413 and 503 `OVERLOADED`; with a budget of 64 MiB less than 128 MiB are resident, and another key is served",
            because "an isolate has a budget of its own";
        bodies_without_a_length: "20 bodies in chunks that never end",
            "413 or 503 `OVERLOADED` when the share of the key is reached", because "the runtime reads bodies";
        slow_large_bodies: "10 clients that send 20 MB at once and then a byte a second",
            "one has its memory, the others get 503 `OVERLOADED`; another key is served", because "the runtime reads bodies";
        unread_streams: "400 streams whose clients do not read",
            "as many as there is memory for, then 503 `OVERLOADED`; each holds less than it has reserved",
            because "the runtime holds what is not read";
        unread_large_events: "10 streams of one event of 8 MiB, whose clients do not read",
            "each event stays reserved until its client has it",
            because "the runtime holds what is not read";
        heavy_bodies: "95 MB of empty gzip members, and 4 bodies of 700,000 empty parts to scan, at once",
            "`/health` answers meanwhile: the threads that serve do not work on them", because "an isolate has one thread";
    }
    proved {
        slow_bodies: "99 MB at once, then a byte each 20 s", "408 a minute later: the floor of 2 KiB/s holds over each minute",
            by "crates/core/src/intake/pace.rs::a_burst_counts_for_no_more_than_a_minute";
        large_answers: "a request whose answer does not fit into the budget", "503 `OVERLOADED`, and no breaker counts it",
            by "crates/testkit/tests/resilience/memory.rs::an_answer_for_which_there_is_no_memory_is_refused_and_no_breaker_counts_it";
        large_events: "a stream whose event does not fit into the budget", "the stream ends with the error `OVERLOADED`",
            by "crates/testkit/tests/resilience/memory.rs::a_stream_whose_event_gets_no_memory_ends_with_an_error_event";
        wait_for_an_equal_request: "many large equal requests", "they give their permits back while they wait for the first",
            by "crates/testkit/tests/resilience/memory.rs::a_large_request_that_waits_for_an_equal_one_gives_its_permit_back";
    }
}

fn small_gzip_bombs() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let answer = proxy.send(post(GENERATE, &["Content-Encoding: gzip"], bomb()));
    assert_eq!(answer.status_and_reason(), (413, "BODY_TOO_LARGE".to_owned()), "{}", answer.text());
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn gzip_members() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let hello = gzip(HELLO.as_bytes());
    for member in [gzip(b" ").repeat(16), gzip(b"")] {
        let body = [&*hello, &*member].concat();
        let answer = proxy.send(post(GENERATE, &["Content-Encoding: gzip"], body));
        assert_eq!(answer.status_and_reason(), (400, "UNSUPPORTED_ENCODING".to_owned()));
    }
    vec![proxy.into()]
}

fn gzip_bombs() -> Vec<Attacked> {
    let proxy = with_64_mib();
    let bomb = bomb();
    let answers = flood(&proxy, 40, |connection| {
        connection.try_write(post(GENERATE, &[MALLORY, "Content-Encoding: gzip"], &bomb));
    });
    assert!(answers.iter().all(|status| [413, 503].contains(status)), "{answers:?}");
    let text = body_of(28 << 20);
    let packed = gzip(text.as_bytes());
    let filler = "A".repeat(300_000_usize.saturating_sub(packed.len()));
    // Stored bytes bring the ratio below 100.
    let mut honest = GzEncoder::new(Vec::new(), Compression::none());
    write!(honest, r#"{{"contents":[{{"role":"user","parts":[{{"text":"{filler}"#)
        .expect("a vector takes all");
    let rest = text.split_once(r#""text":""#).expect("a text").1;
    let both = [honest.finish().expect("a vector takes all"), gzip(rest.as_bytes())].concat();
    let answers = flood(&proxy, 40, |connection| {
        connection.try_write(post(GENERATE, &[MALLORY, "Content-Encoding: gzip"], &both));
    });
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.contains(&503), "{answers:?}");
    vec![proxy.into()]
}

fn large_bodies() -> Vec<Attacked> {
    let proxy = with_64_mib();
    for (length, expected) in [(100_000_000, [413, 413]), (12 << 20, [200, 503])] {
        let body = body_of(length);
        let answers = flood(&proxy, 50, |connection| {
            connection.try_write(post(GENERATE, &[MALLORY], &body));
        });
        assert!(answers.iter().all(|status| expected.contains(status)), "{length}: {answers:?}");
        assert!(answers.contains(&expected[0]), "{length}: {answers:?}");
    }
    vec![proxy.into()]
}

fn bodies_without_a_length() -> Vec<Attacked> {
    let proxy = with_64_mib();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
    let answers = flood(&proxy, 20, |connection| {
        let head = format!("POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{MALLORY}\r\n");
        connection.try_write(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
        for _ in 0..2000 {
            if !connection.try_write(&chunk) {
                break;
            }
        }
    });
    assert!(answers.iter().all(|status| [0, 413, 503].contains(status)), "{answers:?}");
    vec![proxy.into()]
}

fn slow_large_bodies() -> Vec<Attacked> {
    let proxy = with_64_mib();
    let body = body_of(20 << 20);
    let answers = flood(&proxy, 10, |connection| {
        let head = format!("POST {GENERATE} HTTP/1.1\r\nHost: localhost\r\n{MALLORY}\r\n");
        connection.try_write(format!("{head}Content-Length: {}\r\n\r\n", body.len() + 1000));
        connection.try_write(&body);
        for _ in 0..6 {
            thread::sleep(Duration::from_millis(500));
            connection.try_write(" ");
        }
        // Leaves without the rest.
        connection.end_writing();
    });
    assert_eq!(answers.iter().filter(|status| **status == 503).count(), 9, "{answers:?}");
    vec![proxy.into()]
}

fn unread_streams() -> Vec<Attacked> {
    const READERS: usize = 400;
    let event = format!(
        "data: {{\"response\":{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{}\"}}]}}}}]}}}}\r\n\r\n",
        "x".repeat(4000)
    );
    let upstream = ScriptedUpstream::new(move |request, connection| {
        connection.begin_stream();
        if request.text().contains("honest") {
            connection.chunk(&event);
            return connection.end();
        }
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        connection.write_until_blocked(chunk.as_bytes(), 5000, Duration::from_secs(2));
        while !connection.is_closed_within(Duration::from_secs(1)) {}
    });
    let settings = [
        ("MEMORY_BUDGET_BYTES", "32MiB"),
        ("MAX_CONCURRENT_REQUESTS", "2000"),
        ("QUEUE_TIMEOUT_MS", "1000"),
        ("PROXY_API_KEYS", KEYS),
    ];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let before = proxy.memory("VmRSS");
    let mut connections: Vec<Connection> = (0..READERS).map(|_| proxy.connect()).collect();
    for connection in &mut connections {
        connection.write(post(STREAM, &[MALLORY], HELLO));
    }
    // Some connections are closed without an answer, since so many are more than the budget allows.
    proxy.until("has refused those for which there is no memory", |proxy| {
        refused_for_memory(proxy) >= READERS as u64 / 2
    });
    thread::sleep(Duration::from_secs(3));
    let used = proxy.checks()["memory"]["used_bytes"].as_u64().expect("a number");
    let grown = proxy.memory("VmRSS").saturating_sub(before);
    assert!(used > 14 << 20, "{used} bytes are reserved: the key's share is used");
    // What is not read costs less than what is reserved, besides the connections of those refused.
    let connections_cost = READERS as u64 * (32 << 10);
    assert!(grown < used + connections_cost, "{} KiB for {} KiB", grown >> 10, used >> 10);
    let honest = proxy.honest(STREAM, &HELLO.replace("Hello", "honest"));
    assert_eq!(honest.status(), 200, "another key is served");
    let refused: Vec<_> = connections
        .iter_mut()
        .filter_map(|connection| {
            let head = connection.try_head()?;
            (head.status != 200).then(|| (head.status, text_of(&connection.body(&head))))
        })
        .collect();
    assert!(!refused.is_empty());
    assert!(
        refused.iter().all(|(status, text)| *status == 503 && text.contains("OVERLOADED")),
        "{refused:?}"
    );
    drop(connections);
    vec![Attacked::without_upstream(proxy)]
}

fn unread_large_events() -> Vec<Attacked> {
    const READERS: usize = 10;
    const LENGTH: usize = 8 << 20;
    let event = format!(
        "data: {{\"response\":{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{}\"}}]}}}}]}}}}\r\n\r\n",
        "x".repeat(LENGTH)
    );
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.begin_stream();
        connection.chunk(&event);
        while !connection.is_closed_within(Duration::from_secs(1)) {}
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("MEMORY_BUDGET_BYTES", "512MiB")]);
    let before = proxy.memory("VmRSS");
    let mut connections: Vec<Connection> = (0..READERS).map(|_| proxy.connect()).collect();
    for connection in &mut connections {
        connection.write(post(STREAM, &[], HELLO));
        assert_eq!(connection.head().status, 200);
    }
    thread::sleep(Duration::from_secs(1));
    let used = proxy.checks()["memory"]["used_bytes"].as_u64().expect("a number");
    let grown = proxy.memory("VmRSS").saturating_sub(before);
    assert!(used > (READERS * LENGTH) as u64, "{used} bytes are reserved");
    // The allocator keeps some of what was read for the next event.
    assert!(grown < used + (32 << 20), "{} KiB for {} KiB", grown >> 10, used >> 10);
    drop(connections);
    vec![Attacked::without_upstream(proxy)]
}

/// How many requests were refused since there was no memory for them.
fn refused_for_memory(proxy: &TestProxy) -> u64 {
    const SAMPLE: &str = r#"code_assist_proxy_refusals_total{reason="overloaded"} "#;
    let metrics = proxy.send(get("/metrics", &[ADA])).text();
    let number = metrics.lines().find_map(|line| line.strip_prefix(SAMPLE));
    number.map_or(0, |number| number.parse().expect("a number"))
}

fn text_of(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn heavy_bodies() -> Vec<Attacked> {
    let settings = [("MAX_REQUEST_BODY_BYTES", "104857600"), ("PROXY_API_KEYS", KEYS)];
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &settings);
    let members = gzip(b"").repeat(95_000_000 / gzip(b"").len());
    // Each is scanned to its end, strictly and leniently, and refused.
    let part = r#"{"text":""},"#;
    let body = HELLO.replace(r#"{"text":"Hello"}"#, &format!("{}{{}}", part.repeat(700_000))) + "}";
    let slowest = thread::scope(|scope| {
        let mut attackers = vec![scope.spawn(|| {
            let answer = proxy.send(post(GENERATE, &[MALLORY, "Content-Encoding: gzip"], &members));
            assert_eq!(answer.status(), 400, "{}", answer.text());
        })];
        attackers.extend((0..4).map(|_| {
            scope.spawn(|| {
                let answer = proxy.send(post(GENERATE, &[MALLORY], &body));
                assert_eq!(answer.status(), 400, "{}", answer.text());
            })
        }));
        let mut slowest = Duration::ZERO;
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            let began = Instant::now();
            assert_eq!(proxy.get("/health").status(), 200);
            slowest = slowest.max(began.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        slowest
    });
    assert!(slowest < Duration::from_secs(2), "/health took {slowest:?}");
    vec![proxy.into()]
}

/// A proxy with two keys and a budget of 64 MiB, half of which is one key's.
fn with_64_mib() -> TestProxy {
    let settings =
        [("MEMORY_BUDGET_BYTES", "64MiB"), ("QUEUE_TIMEOUT_MS", "1000"), ("PROXY_API_KEYS", KEYS)];
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &settings);
    assert_eq!(proxy.honest(GENERATE, HELLO).status(), 200);
    proxy.reset_peak_memory();
    proxy
}

/// Lets many clients send at once. Returns the statuses of their answers, 0 for none. Meanwhile another
/// key is served, and the process stays below 128 MiB.
fn flood(proxy: &TestProxy, count: usize, send: impl Fn(&mut Connection) + Sync) -> Vec<u16> {
    let statuses = thread::scope(|scope| {
        let clients: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = proxy.connect();
                    send(&mut connection);
                    connection.try_head().map_or(0, |head| head.status)
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            let answer = proxy.honest(GENERATE, HELLO);
            assert_eq!(answer.status(), 200, "{}", answer.text());
            thread::sleep(Duration::from_millis(20));
        }
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    let peak = proxy.memory("VmHWM");
    assert!(peak < 128 << 20, "{} MiB were resident", peak >> 20);
    statuses
}

/// A request of this length.
fn body_of(length: usize) -> String {
    HELLO.replace("Hello", &"x".repeat(length - HELLO.len() + "Hello".len()))
}

/// 102 KB that unpack to 100 MB.
fn bomb() -> Vec<u8> {
    gzip(body_of(100_000_000).as_bytes())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

/// The key with which an honest request comes, and the attacker's.
const KEYS: &str = "ada:key-of-ada-0123456789,mallory:key-of-mallory-0123456789";
const ADA: &str = "x-goog-api-key: key-of-ada-0123456789";
const MALLORY: &str = "x-goog-api-key: key-of-mallory-0123456789";
