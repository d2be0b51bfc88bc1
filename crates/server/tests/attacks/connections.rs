//! Connections that say nothing, and HTTP/2.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2Answer, Http2Connection, Http2End,
    RST_STREAM, WINDOW_UPDATE, frame, head_block, pseudo,
};
use code_assist_harness::samples::{GENERATE, HELLO, STREAM, WHOLE, ok};
use code_assist_harness::{GoogleEmulator, ProxyBuilder, ScriptedUpstream, TestProxy, get, post};

use crate::attacked::Attacked;
use crate::table::attacks;

attacks! {
    "Connections"
    both {}
    native {
        silent_connections: "300 connections without a byte, where 256 files may be open and a stream is running",
            "the next clients and `/health` get answers within a second, the stream goes on, and one line in the log says it",
            because "the runtime accepts connections";
        many_connections: "2,000 connections with a request each that stay open, at a budget of 64 MiB",
            "each is answered, the oldest idle ones are closed, less than 128 MiB are resident, and the memory is given back",
            because "the runtime accepts connections";
        unended_heads: "1,000 heads of 250 KB that do not end, at a budget of 64 MiB",
            "they are refused or closed, other clients are served, and less than 128 MiB are resident",
            because "the runtime reads heads";
        untaken_answers_of_60: "60 HTTP/2 connections with 1,024 `GET /health` each and no window, without a key, at a budget of 64 MiB",
            "streams beyond what there is memory for are refused, or their connections closed; other clients are served, and less than 128 MiB are resident",
            because "the runtime speaks HTTP/2";
        untaken_answers_of_200: "the same from 200 connections", "the same", because "the runtime speaks HTTP/2";
        nearly_untaken_answers: "the same from 60 connections with a window of one byte", "the same",
            because "the runtime speaks HTTP/2";
        untaken_metrics: "20 HTTP/2 connections with 1,024 `GET /metrics` each and no window, at a budget of 64 MiB",
            "the same", because "the runtime speaks HTTP/2";
        unread_uploads: "300 HTTP/2 uploads that wait for a permit, each with as much of its body as the window takes, at a budget of 64 MiB",
            "those for which there is no memory get 503 `OVERLOADED` or `REFUSED_STREAM`, `/health` is answered, and less than 128 MiB are resident",
            because "the runtime speaks HTTP/2";
        refused_bodies: "150 requests a second without a key on 135 connections, each with a body that never comes, where 128 have a place",
            "15 new clients with a key, one after the other, all get their answers",
            because "the runtime accepts connections";
        heads_without_a_key: "150 heads of 79 KB that do not end, at a budget of 64 MiB with a key",
            "an HTTP/2 upload of 100 KB with the key, on a new connection, is answered",
            because "the runtime reads heads";
        idle_uploads: "240 HTTP/2 connections of one key, idle after an upload of 100 KB each, at a budget of 64 MiB",
            "they hold at most a quarter of it, and an upload with another key is answered",
            because "the runtime speaks HTTP/2";
        waiting_heads: "900 HTTP/2 requests with heads of 56 KB that wait for a permit, on 300 connections of one key, at a budget of 64 MiB",
            "those for which there is no memory are refused, so that the process grows by less than 45 MiB",
            because "the runtime speaks HTTP/2";
        unread_stream: "two streams of one HTTP/2 connection, of which the client reads one",
            "the unread one is reset after `STREAM_IDLE_TIMEOUT_MS`, the other one goes on to its end",
            because "the runtime speaks HTTP/2";
    }
    proved {}
}

fn silent_connections() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        if !request.head.contains("streamGenerateContent") {
            connection.write(ok(WHOLE));
            return;
        }
        connection.begin_stream();
        for _ in 0..20 {
            connection.chunk(EVENT);
            thread::sleep(Duration::from_millis(100));
        }
        connection.chunk(LAST_EVENT);
        connection.end();
    });
    let proxy = TestProxy::start(
        ProxyBuilder::for_upstream(&upstream).open_files_limit(256),
        &[("MEMORY_BUDGET_BYTES", "64MiB")],
    );
    let mut running = proxy.connect();
    running.write(post(STREAM, &[], HELLO));
    assert_eq!(running.head().status, 200);
    let silent: Vec<TcpStream> = (0..300).map(|_| connect(proxy.address())).collect();
    assert_serves_at_once(&proxy);
    proxy.await_output("nine tenths");
    assert_eq!(proxy.stdout().matches("nine tenths of the places").count(), 1, "one line");
    let metrics = proxy.get("/metrics").text();
    assert!(metrics.contains("code_assist_proxy_connections_limit 128"), "{metrics}");
    let evicted = "code_assist_proxy_connections_closed_total{reason=\"idle_evicted\"} ";
    assert!(metrics.contains(evicted) && !metrics.contains(&format!("{evicted}0\n")), "{metrics}");
    let events = running.chunks_until("STOP");
    assert_eq!(events.matches(r#""text":"part""#).count(), 21, "{events}");
    drop((silent, running));
    vec![proxy.into()]
}

fn many_connections() -> Vec<Attacked> {
    let proxy = small();
    let before = proxy.memory("VmRSS");
    let mut open = Vec::new();
    for _ in 0..2000 {
        let mut stream = connect(proxy.address());
        let request = get("/health", &[&format!("x-padding: {}", "x".repeat(6000))]);
        stream.write_all(&request).expect("a place");
        let mut first = [0; 12];
        stream.read_exact(&mut first).expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    assert_serves_at_once(&proxy);
    assert_bounded(&proxy);
    let peak = proxy.memory("VmRSS");
    drop(open);
    let started = Instant::now();
    while proxy.memory("VmRSS") > before + (12 << 20) {
        let rest = proxy.memory("VmRSS");
        assert!(started.elapsed() < TIMEOUT, "{before} before, {peak} at the peak, {rest} after");
        thread::sleep(Duration::from_millis(50));
    }
    vec![proxy.into()]
}

fn waiting_heads() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|received, connection| {
        if received.text().contains("waits") {
            while !connection.is_closed_within(Duration::from_secs(1)) {}
        } else {
            connection.write(ok(WHOLE));
        }
    });
    let settings = [
        ("MEMORY_BUDGET_BYTES", "64MiB"),
        ("PROXY_API_KEYS", KEYS),
        ("MAX_CONCURRENT_REQUESTS", "10"),
        ("QUEUE_TIMEOUT_MS", "30000"),
    ];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let long = "y".repeat(14_000);
    let mut fields = pseudo("POST", GENERATE).to_vec();
    let body = HELLO.replace("Hello", "waits");
    let length = body.len().to_string();
    fields.extend([("x-goog-api-key", KEY), ("content-length", &*length)]);
    let mut open: Vec<_> = (0..300).map(|_| Http2Connection::open(proxy.address())).collect();
    for connection in &mut open {
        connection.head(1, &fields, false);
        connection.frame(DATA, END_STREAM, 1, body.as_bytes());
    }
    // They are admitted once some of them wait for memory.
    proxy.until("waits for memory", |proxy| {
        proxy.checks()["memory"]["used_bytes"].as_u64() > Some(24 << 20)
    });
    fields.extend(["x-a", "x-b", "x-c", "x-d"].map(|name| (name, &*long)));
    let before = proxy.memory("VmRSS");
    for connection in &mut open {
        for stream in [3, 5, 7] {
            let block = head_block(&fields);
            let (first, rest) = block.split_at(16_000);
            connection.frame(HEADERS, 0, stream, first);
            let pieces: Vec<&[u8]> = rest.chunks(16_000).collect();
            for (n, piece) in pieces.iter().enumerate() {
                let flags = if n + 1 == pieces.len() { END_HEADERS } else { 0 };
                connection.frame(CONTINUATION, flags, stream, piece);
            }
            connection.frame(DATA, END_STREAM, stream, body.as_bytes());
        }
    }
    // The proxy reads what it is willing to read.
    thread::sleep(Duration::from_secs(2));
    assert_eq!(proxy.get("/health").status(), 200);
    let grown = proxy.memory("VmHWM").saturating_sub(before);
    // The heads alone are 50 MB.
    assert!(grown < 45 << 20, "{} MiB", grown >> 20);
    drop(open);
    vec![proxy.into()]
}

fn unended_heads() -> Vec<Attacked> {
    let proxy = small();
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "y".repeat(250_000));
    let mut open = Vec::new();
    for (n, size) in (0..1000).zip([250_000, 60_000, 30_000].into_iter().cycle()) {
        let mut stream = connect(proxy.address());
        // It may close before it has read everything.
        let _ = stream.write_all(&head.as_bytes()[..size]);
        open.push(stream);
        if n % 250 == 249 {
            assert_serves_at_once(&proxy);
        }
    }
    assert_bounded(&proxy);
    // Without keys all callers share the budget, and an upload has the same rights.
    upload(&proxy, KEY);
    drop(open);
    vec![proxy.into()]
}

fn untaken_answers_of_60() -> Vec<Attacked> {
    untaken(60, "/health", 0)
}

fn untaken_answers_of_200() -> Vec<Attacked> {
    untaken(200, "/health", 0)
}

fn nearly_untaken_answers() -> Vec<Attacked> {
    untaken(60, "/health", 1)
}

fn untaken_metrics() -> Vec<Attacked> {
    untaken(20, "/metrics", 0)
}

/// Sends 1,024 requests on each connection, and takes `window` bytes of each answer.
fn untaken(connections: usize, path: &str, window: u32) -> Vec<Attacked> {
    let proxy = small();
    let block = head_block(&pseudo("GET", path));
    let requests: Vec<u8> = (0..1024)
        .flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block))
        .collect();
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = Http2Connection::open_with_window(proxy.address(), window);
        connection.write(&requests);
        open.push(connection);
    }
    assert_serves_at_once(&proxy);
    thread::sleep(Duration::from_millis(500));
    assert_serves_at_once(&proxy);
    assert_bounded(&proxy);
    let has_refused = has_counted(&proxy, "streams_reset_total")
        || has_counted(&proxy, "connections_closed_total");
    assert!(connections < 60 || has_refused, "{}", proxy.get("/metrics").text());
    drop(open);
    vec![proxy.into()]
}

fn unread_uploads() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.is_closed_within(TIMEOUT);
        connection.close();
    });
    let settings = [
        ("MEMORY_BUDGET_BYTES", "64MiB"),
        ("MAX_CONCURRENT_REQUESTS", "1"),
        ("QUEUE_TIMEOUT_MS", "60000"),
    ];
    let proxy = TestProxy::for_upstream(&upstream, &settings);
    let length = [("content-length", "10000000")];
    let head = [&pseudo("POST", GENERATE)[..], &length].concat();
    let data = frame(DATA, 0, 1, &[b' '; 16_000]).repeat(15);
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut connection = open_with_large_window(&proxy);
        connection.set_timeout(Duration::from_millis(200));
        connection.head(1, &head, false);
        connection.write(&data);
        open.push(connection);
    }
    let started = Instant::now();
    assert_eq!(proxy.get("/health").status(), 200);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_bounded(&proxy);
    let last = open.last_mut().expect("300 connections");
    last.set_timeout(TIMEOUT);
    let answer = last.answer(1);
    // What comes before its request is admitted, and has no memory, ends the whole connection.
    let is_refused = match answer.end {
        Http2End::Reset(code) => code == REFUSED_STREAM,
        Http2End::Closed => has_counted(&proxy, "connections_closed_total"),
        _ => is_overloaded(&answer),
    };
    assert!(is_refused, "{answer:?}");
    drop(open);
    vec![Attacked::without_upstream(proxy)]
}

fn refused_bodies() -> Vec<Attacked> {
    let google = GoogleEmulator::start();
    let builder = ProxyBuilder::for_emulator(&google).open_files_limit(256);
    let settings = [("MEMORY_BUDGET_BYTES", "64MiB"), ("PROXY_API_KEYS", KEYS)];
    let proxy = TestProxy::start(builder, &settings).with(google);
    let address = proxy.address().to_owned();
    let (stop, stopped) = mpsc::channel::<()>();
    let strangers = thread::spawn(move || {
        let head =
            format!("POST {GENERATE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n");
        let mut open = VecDeque::new();
        let pause = Duration::from_millis(6);
        while stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
            let mut stream = connect(&address);
            let _ = stream.write_all(head.as_bytes());
            open.push_back(stream);
            if open.len() > 135 {
                open.pop_front();
            }
        }
    });
    thread::sleep(Duration::from_secs(2));
    let key = format!("x-goog-api-key: {KEY}");
    let answered: Vec<_> = (0..15)
        .map(|_| {
            let mut client = connect(proxy.address());
            thread::sleep(Duration::from_millis(50));
            let mut head = [0; 12];
            let sent = client.write_all(&post(GENERATE, &[&key], HELLO));
            sent.and_then(|()| client.read_exact(&mut head))
                .is_ok_and(|()| &head == b"HTTP/1.1 200")
        })
        .collect();
    drop(stop);
    strangers.join().expect("the strangers stop");
    assert!(answered.iter().all(|answered| *answered), "{answered:?}");
    vec![proxy.into()]
}

fn heads_without_a_key() -> Vec<Attacked> {
    let proxy = small_with_keys();
    let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "y".repeat(79_000));
    let mut open = Vec::new();
    for _ in 0..300 {
        let mut stream = connect(proxy.address());
        let _ = stream.write_all(head.as_bytes());
        open.push(stream);
    }
    assert_eq!(proxy.get("/health").status(), 200);
    for _ in 0..5 {
        upload(&proxy, KEY);
    }
    drop(open);
    vec![proxy.into()]
}

fn idle_uploads() -> Vec<Attacked> {
    let proxy = small_with_keys();
    let open: Vec<_> = (0..240).map(|_| upload(&proxy, KEY)).collect();
    let key = format!("x-goog-api-key: {KEY}");
    let metrics = proxy.send(get("/metrics", &[&key])).text();
    let used = "code_assist_proxy_memory_budget_used_bytes ";
    let used = metrics.lines().find_map(|line| line.strip_prefix(used)).expect("a gauge");
    let used: f64 = used.parse().expect("a number");
    assert!(used <= f64::from(17 << 20), "{} MiB", used / f64::from(1 << 20));
    upload(&proxy, OTHER_KEY);
    drop(open);
    vec![proxy.into()]
}

/// Uploads 100 KB on a new HTTP/2 connection, and takes the answer.
#[track_caller]
fn upload(proxy: &TestProxy, key: &str) -> Http2Connection {
    let mut connection = open_with_large_window(proxy);
    let fields = [("content-type", "application/json"), ("x-goog-api-key", key)];
    let head = [&pseudo("POST", GENERATE)[..], &fields].concat();
    let text = HELLO.replace("Hello", &"x".repeat(100_000));
    let in_flight = |proxy: &TestProxy| proxy.checks()["queue"]["in_flight"].as_u64();
    let before = in_flight(proxy);
    connection.head(1, &head, false);
    // What comes before its request is admitted, and has no memory, ends the connection.
    proxy.until("has the request", |proxy| in_flight(proxy) > before);
    for piece in text.as_bytes().chunks(16_000) {
        connection.frame(DATA, 0, 1, piece);
    }
    connection.frame(DATA, END_STREAM, 1, &[]);
    let answer = connection.answer(1);
    assert_eq!(answer.end, Http2End::Complete);
    assert_eq!(answer.status(), 200, "{answer:?}");
    connection
}

/// Opens an HTTP/2 connection, and accepts the window that the proxy offers.
fn open_with_large_window(proxy: &TestProxy) -> Http2Connection {
    let mut connection = Http2Connection::open(proxy.address());
    let mut awaited = vec![SETTINGS, WINDOW_UPDATE];
    while !awaited.is_empty() {
        let frame = connection.read().expect("the connection is open");
        awaited.retain(|kind| *kind != frame.kind);
    }
    assert!(connection.frame(SETTINGS, ACK, 0, &[]));
    connection
}

/// True if the memory limit has been the reason for any that this metric counts.
fn has_counted(proxy: &TestProxy, name: &str) -> bool {
    let row = format!("code_assist_proxy_{name}{{reason=\"memory_limit\"}} ");
    let metrics = proxy.get("/metrics").text();
    metrics.lines().any(|line| line.strip_prefix(&row).is_some_and(|count| count != "0"))
}

fn is_overloaded(answer: &Http2Answer) -> bool {
    String::from_utf8_lossy(&answer.body).contains("OVERLOADED")
}

fn unread_stream() -> Vec<Attacked> {
    let upstream = ScriptedUpstream::new(|request, connection| {
        if !request.head.contains("streamGenerateContent") {
            connection.write(ok(WHOLE));
            return;
        }
        connection.begin_stream();
        let is_large = request.text().contains("large");
        let padding = if is_large { "x".repeat(100_000) } else { String::new() };
        for _ in 0..20 {
            connection.chunk(EVENT.replace("part", &format!("part{padding}")));
            thread::sleep(Duration::from_millis(100));
        }
        connection.chunk(LAST_EVENT);
        connection.end();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("STREAM_IDLE_TIMEOUT_MS", "800")]);
    let mut connection = Http2Connection::open(proxy.address());
    connection.post(1, STREAM, &HELLO.replace("Hello", "large"));
    // The window of the connection takes both.
    connection.frame(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes());
    connection.post(3, STREAM, HELLO);
    let (mut reset, mut events) = (None, String::new());
    while let Some(frame) = connection.read() {
        match (frame.kind, frame.stream) {
            (RST_STREAM, 1) => reset = Some(frame.error_code()),
            (DATA, 3) => events += &String::from_utf8_lossy(&frame.payload),
            _ => {}
        }
        if frame.stream == 3 && frame.kind == DATA && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(reset, Some(CANCEL));
    assert_eq!(events.matches(r#""text":"part""#).count(), 21, "{events}");
    connection.get(5, "/health");
    assert_eq!(connection.answer(5).status(), 200, "the connection goes on");
    drop(connection);
    vec![proxy.into()]
}

/// A proxy with a small budget and no keys.
fn small() -> TestProxy {
    TestProxy::for_emulator(GoogleEmulator::start(), &[("MEMORY_BUDGET_BYTES", "64MiB")])
}

/// A proxy with a small budget and two keys.
fn small_with_keys() -> TestProxy {
    let settings = [("MEMORY_BUDGET_BYTES", "64MiB"), ("PROXY_API_KEYS", KEYS)];
    TestProxy::for_emulator(GoogleEmulator::start(), &settings)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a TCP option");
    stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a TCP option");
    stream
}

/// Asserts that a new client gets answers.
#[track_caller]
fn assert_serves_at_once(proxy: &TestProxy) {
    let started = Instant::now();
    assert_eq!(proxy.get("/health").status(), 200);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    // The debug build on a busy machine; without a place it would be a minute.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[track_caller]
fn assert_bounded(proxy: &TestProxy) {
    let peak = proxy.memory("VmHWM");
    assert!(peak < 128 << 20, "{} MiB at the peak", peak >> 20);
}

const EVENT: &str = "data: {\"response\":{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"part\"}]}}]}}\r\n\r\n";
const LAST_EVENT: &str = "data: {\"response\":{\"candidates\":[{\"content\":{\"role\":\"model\",\"parts\":[{\"text\":\"part\"}]},\"finishReason\":\"STOP\"}]}}\r\n\r\n";

/// RFC 9113, section 7.
const CANCEL: u32 = 8;
const REFUSED_STREAM: u32 = 7;

/// RFC 9113, section 6.5.
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

const KEY: &str = "first-key-of-this-proxy";
const OTHER_KEY: &str = "second-key-of-this-proxy";
const KEYS: &str = "first-key-of-this-proxy,second-key-of-this-proxy";

/// Only a test that fails waits for this time.
const TIMEOUT: Duration = Duration::from_secs(20);
