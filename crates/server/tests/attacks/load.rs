//! Too much of what is allowed.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use code_assist_harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2Connection, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, head_block, pseudo,
};
use code_assist_harness::samples::{COUNT, EVENT, GENERATE, HELLO, STREAM, WHOLE, ok};
use code_assist_harness::{GoogleEmulator, ScriptedUpstream, TestProxy, get, post};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Too much"
    both {
        models_without_end: "requests for 300 models, all of which answer",
            "`/metrics` names a bounded number of them, and stays small";
        forwarded_addresses: "one address in sixteen spellings of `X-Forwarded-For`, behind a trusted proxy, with a limit of three requests",
            "three requests in all; the rest is 429 `RATE_LIMITED`";
        impatient_clients: "`X-Server-Timeout` of 0.01, -1, NaN, infinity, 1e18, text; clients that leave before the answer and in a stream",
            "200 or 504; the breakers stay closed";
    }
    native {
        http2_rapid_resets: "20,000 HTTP/2 requests that are reset at once, GET and POST", "the connection is ended after a few hundred",
            because "the runtime speaks HTTP/2";
        http2_continuations: "a head that goes on for ever, in CONTINUATION frames of 16 KB and in empty ones",
            "the connection is ended", because "the runtime speaks HTTP/2";
        http2_answers_unread: "SETTINGS and PING without end, and no answer to them is read",
            "the proxy stops reading, or ends the connection", because "the runtime speaks HTTP/2";
        http2_idle_frames: "200,000 WINDOW_UPDATE and PRIORITY frames", "other clients are served meanwhile; memory does not grow",
            because "the runtime speaks HTTP/2";
        http2_empty_data: "100,000 empty DATA frames in a request, and resets of streams that were never opened",
            "the connection is ended", because "the runtime speaks HTTP/2";
        counts_without_end: "5,000 different `countTokens` whose answers are kept, with a cache of 2 MiB",
            "memory grows by the size of the cache, not by the read buffers that the answers came in",
            because "the runtime controls memory";
        pipelined_unread: "two million pipelined requests, and no answer is read",
            "the proxy stops reading once the sockets' buffers are full", because "the runtime reads requests";
    }
    proved {
        heads_slowly: "a head that never ends, from a hundred connections", "other clients are served; closed after a minute",
            by "crates/server/tests/faults/callers.rs::client_sends_head_slowly";
        bodies_slowly: "a body that stops in the middle", "408 `REQUEST_TIMEOUT` after 30 s",
            by "crates/server/tests/faults/callers.rs::client_sends_body_slowly";
        streams_unread: "a stream that the client does not read", "upstream is slowed down; memory does not grow",
            by "crates/server/tests/serve/memory.rs::a_client_that_does_not_read_stops_upstream_and_takes_no_memory";
        clients_that_vanish: "1,000 open streams whose clients disconnect at random", "gauges, files and memory as before",
            by "crates/server/tests/faults/crowd.rs::a_thousand_vanish";
        answers_kept: "ever new questions whose answers are kept", "the cache stays within `RESPONSE_CACHE_MAX_BYTES`",
            by "crates/testkit/tests/resilience/cache.rs::cached_answers_stay_within_the_byte_limit";
        model_breakers: "ever new models that fail", "the breakers that are kept, and their labels, are bounded",
            by "crates/testkit/tests/resilience/models.rs::labels_of_resting_models_are_bounded";
    }
}

fn models_without_end() -> Vec<Attacked> {
    let upstream = answering();
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    for number in 0..300 {
        let path = format!("/v1beta/models/gemini-{number}-invented:generateContent");
        assert_eq!(connection.send(post(&path, &[], HELLO)).status(), 200);
    }
    let metrics = proxy.get("/metrics").text();
    let mut models: Vec<&str> = metrics
        .split("model=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|model| model.contains("invented"))
        .collect();
    models.sort_unstable();
    models.dedup();
    assert!(models.len() <= 30, "{} models", models.len());
    assert!(metrics.len() < 128 * 1024, "{} bytes", metrics.len());
    vec![proxy.into()]
}

fn forwarded_addresses() -> Vec<Attacked> {
    let upstream = answering();
    let limit = [("RATE_LIMIT_MAX_REQUESTS", "3"), ("TRUST_FORWARDED_FOR", "true")];
    let proxy = TestProxy::for_upstream(&upstream, &limit);
    let mut allowed = 0;
    for spelling in [
        "192.0.2.1",
        "192.0.2.1:4711",
        " 192.0.2.1 ",
        "198.51.100.7, 192.0.2.1",
        "198.51.100.8,192.0.2.1:80",
        "garbage, 192.0.2.1",
        ",192.0.2.1",
        "::ffff:192.0.2.1",
        "[::ffff:192.0.2.1]",
        "[::ffff:192.0.2.1]:4711",
        "::FFFF:C000:0201",
        "0:0:0:0:0:ffff:192.0.2.1",
    ] {
        let header = format!("X-Forwarded-For: {spelling}");
        let answer = proxy.send(post(GENERATE, &[&header], HELLO));
        match answer.status() {
            200 => allowed += 1,
            status => assert_eq!((status, answer.reason()), (429, "RATE_LIMITED".into())),
        }
    }
    assert_eq!(allowed, 3);
    // Of IPv6 the network counts, since a host may have a whole one.
    let mut allowed = 0;
    for host in ["2001:db8:0:1::1", "2001:DB8:0:1::2", "2001:db8:0:1:1::", "[2001:db8:0:1:f::f]:80"]
    {
        let header = format!("X-Forwarded-For: {host}");
        let answer = proxy.send(post(GENERATE, &[&header], HELLO));
        allowed += u32::from(answer.status() == 200);
    }
    assert_eq!(allowed, 3);
    vec![Attacked::without_upstream(proxy)]
}

fn impatient_clients() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        if request.text().contains("stream") {
            connection.begin_stream();
            connection.chunk(format!("data: {EVENT}\r\n\r\n"));
            connection.is_closed_within(Duration::from_secs(2));
            connection.close();
        } else {
            std::thread::sleep(Duration::from_millis(50));
            connection.write(ok(WHOLE));
        }
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "2")]);
    for timeout in ["0.01", "0", "-1", "nan", "inf", "-inf", "1e18", "1e-18", "soon", "0x1", ""] {
        let header = format!("X-Server-Timeout: {timeout}");
        let answer = proxy.send(post(GENERATE, &[&header], HELLO));
        assert!(matches!(answer.status(), 200 | 400 | 504), "{timeout}: {}", answer.text());
    }
    for _ in 0..8 {
        let mut gone = proxy.connect();
        gone.write(post(GENERATE, &[], HELLO));
        drop(gone);
        let mut gone = proxy.connect();
        gone.write(post(STREAM, &[], HELLO.replace("Hello", "stream")));
        assert_eq!(gone.head().status, 200);
        drop(gone);
    }
    assert_eq!(proxy.breaker(), "closed");
    vec![proxy.into()]
}

fn http2_rapid_resets() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for (method, path) in [("GET", "/health"), ("POST", GENERATE)] {
        let block = head_block(&pseudo(method, path));
        let connection = Http2Connection::open(proxy.address());
        let flags = if method == "GET" { END_HEADERS | END_STREAM } else { END_HEADERS };
        let resets: Vec<u8> = (0..20_000)
            .flat_map(|number| {
                let stream = 2 * number + 1;
                let request = frame(HEADERS, flags, stream, &block);
                [request, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            })
            .collect();
        assert_ended(connection, &resets, 1);
    }
    assert!(proxy.google().count("generateContent") < 1000);
    vec![proxy.into()]
}

fn http2_continuations() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let long = head_block(&[("x-long", &"x".repeat(16_000))]);
    let large = frame(CONTINUATION, 0, 1, &long);
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(100);
    for (frames, times) in [(large, 1000), (empty, 1000)] {
        let mut connection = Http2Connection::open(proxy.address());
        assert!(connection.frame(HEADERS, 0, 1, &head_block(&pseudo("GET", "/health"))));
        assert_ended(connection, &frames, times);
    }
    vec![proxy.into()]
}

fn http2_answers_unread() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for flood in [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[7; 8])] {
        let mut connection = Http2Connection::open(proxy.address());
        connection.set_timeout(Duration::from_millis(500));
        let many = flood.repeat(1000);
        let taken = (0..10_000).take_while(|_| connection.write(&many)).count();
        assert!(taken < 10_000, "{} bytes, and none of the answers was read", taken * many.len());
    }
    vec![proxy.into()]
}

fn http2_idle_frames() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for flood in
        [frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])]
    {
        let mut connection = Http2Connection::open(proxy.address());
        let many = flood.repeat(1000);
        let mut slowest = Duration::ZERO;
        for number in 0..100 {
            // The proxy may end the connection.
            if !connection.write(&many) {
                break;
            }
            if number % 20 == 0 {
                let started = Instant::now();
                assert_eq!(proxy.get("/health").status(), 200);
                slowest = slowest.max(started.elapsed());
            }
        }
        assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    }
    vec![proxy.into()]
}

fn http2_empty_data() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let mut connection = Http2Connection::open(proxy.address());
    assert!(connection.head(1, &pseudo("POST", GENERATE), false));
    assert_ended(connection, &frame(DATA, 0, 1, &[]).repeat(100), 1000);
    let idle = frame(RST_STREAM, 0, 7, &8_u32.to_be_bytes());
    assert_ended(Http2Connection::open(proxy.address()), &idle, 1);
    assert_eq!(proxy.google().count("generateContent"), 0);
    vec![proxy.into()]
}

fn pipelined_unread() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    let mut stream = TcpStream::connect(proxy.address()).expect("the proxy listens");
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a TCP option");
    let many = get("/health", &[]).repeat(1000);
    let taken = (0..2000).take_while(|_| stream.write_all(&many).is_ok()).count();
    assert!(taken < 2000, "{taken},000 requests, and none of the answers was read");
    vec![proxy.into()]
}

fn counts_without_end() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|received, connection| {
        let counts = received.head.contains(":countTokens");
        connection.write(ok(if counts { r#"{"totalTokens":7}"# } else { WHOLE }));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("RESPONSE_CACHE_MAX_BYTES", "2097152")]);
    let mut connection = proxy.connect();
    let mut count = |number| {
        let body = HELLO.replace("Hello", &format!("Hello {number}"));
        assert_eq!(connection.send(post(COUNT, &[], body)).status(), 200);
    };
    (0..50).for_each(&mut count);
    let before = proxy.memory("VmRSS");
    (50..5_000).for_each(&mut count);
    let grown = proxy.memory("VmRSS").saturating_sub(before);
    assert!(grown < 6 << 20, "{} KiB", grown >> 10);
    vec![proxy.into()]
}

fn answering() -> ScriptedUpstream {
    ScriptedUpstream::new(|_, connection| connection.write(ok(WHOLE)))
}

/// Asserts that the proxy ends a connection on which these bytes are repeated.
#[track_caller]
fn assert_ended(mut connection: Http2Connection, bytes: &[u8], times: usize) {
    let _ = (0..times).take_while(|_| connection.write(bytes)).count();
    while connection.read().is_some() {}
}
