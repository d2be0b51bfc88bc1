//! Faults between the proxy and upstream.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::samples::{COUNT, EVENT, GENERATE, HELLO, LAST, OWN, STREAM, WHOLE, ok};
use code_assist_harness::{
    ScriptedUpstream, TestProxy, UpstreamConnection, authority, get, post, tls_upstream,
};

use crate::answers::ends_in_error;
use crate::breaks::not_sent_again;

pub(crate) fn connect_refused() -> Vec<TestProxy> {
    let proxy = TestProxy::for_endpoints(&[nowhere()], &[]);
    let answer = proxy.post(GENERATE, HELLO);
    answer.assert_upstream_failed(proxy.is_native(), (503, "UPSTREAM_UNREACHABLE"));
    let message = answer.text().contains("CODE_ASSIST_ENDPOINT");
    assert!(message || !proxy.is_native(), "{}", answer.text());
    // workerd does not say that nothing was sent.
    assert_eq!(proxy.last_line(1)["retries"], if proxy.is_native() { 2 } else { 0 });
    vec![proxy]
}

pub(crate) fn connect_stalls() -> Vec<TestProxy> {
    let silent = ScriptedUpstream::raw(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let address = silent.url().replace("http://", "https://");
    let proxy = TestProxy::for_endpoints(&[address], &[("CONNECTION_TIMEOUT_MS", "200")]);
    let started = Instant::now();
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    // The first try may use the connection that was opened at the start.
    assert!((400..3000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert!(TRIES_AND_AHEAD.contains(&silent.connections()), "{}", silent.connections());
    vec![proxy]
}

pub(crate) fn tls_to_a_plain_server() -> Vec<TestProxy> {
    let plain = ScriptedUpstream::raw(|mut stream| {
        let mut hello = [0; 5];
        let _ = stream.read_exact(&mut hello);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let proxy = TestProxy::for_endpoints(&[plain.url().replace("http://", "https://")], &[]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    assert!(TRIES_AND_AHEAD.contains(&plain.connections()), "{}", plain.connections());
    vec![proxy]
}

pub(crate) fn tls_certificate_unknown() -> Vec<TestProxy> {
    let (upstream, served) = over_tls();
    let endpoint = upstream.url().replace("http://", "https://");
    let suspicious = TestProxy::for_endpoints(std::slice::from_ref(&endpoint), &[]);
    let answer = suspicious.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    assert!(answer.text().contains("certificate"), "{}", answer.text());
    assert_eq!(served.load(Ordering::SeqCst), 0, "the token went to a stranger");
    let trusting = TestProxy::for_endpoints(&[endpoint], &[("SSL_CERT_FILE", &authority())]);
    assert_eq!(trusting.post(GENERATE, HELLO).status(), 200);
    assert_eq!(served.load(Ordering::SeqCst), 1);
    vec![suspicious, trusting]
}

pub(crate) fn corporate_proxy_refuses() -> Vec<TestProxy> {
    let corporate = ScriptedUpstream::answering("407 Proxy Authentication Required", "", "");
    let address = corporate.url().replace("http://", "http://someone:hush@");
    let endpoint = "https://code-assist.invalid".to_owned();
    let proxy = TestProxy::for_endpoints(&[endpoint], &[("HTTPS_PROXY", &address)]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    assert!(!answer.text().contains("hush"), "{}", answer.text());
    let received = corporate.received();
    assert!(TRIES_AND_AHEAD.contains(&received.len()), "{}", received.len());
    let head = received[0].head.to_ascii_lowercase();
    assert!(head.starts_with("connect code-assist.invalid:443 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: basic c29tzw9uztpodxno\r\n"), "{head}");
    vec![proxy]
}

pub(crate) fn reset_before_head() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::raw(|stream| unread(&stream));
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[GENERATE]);
    assert_eq!(upstream.connections(), 1);
    vec![proxy]
}

pub(crate) fn reset_once_before_head() -> Vec<TestProxy> {
    let first = AtomicBool::new(true);
    let upstream = ScriptedUpstream::raw(move |mut stream| {
        unread(&stream);
        if !first.swap(false, Ordering::SeqCst) {
            let _ = stream.write_all(ok(WHOLE).as_bytes());
            drain(&mut stream);
        }
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[GENERATE]);
    assert_eq!(upstream.connections(), 1);
    assert_eq!(proxy.last_line(1)["retries"], 0);
    assert_eq!(proxy.post(GENERATE, HELLO).status(), 200, "the client may send it again");
    vec![proxy]
}

pub(crate) fn closed_before_head() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| connection.close());
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[GENERATE, STREAM, COUNT, OWN]);
    assert_eq!(upstream.received().len(), 4);
    vec![proxy]
}

pub(crate) fn reset_before_first_event() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::raw(|mut stream| {
        unread(&stream);
        let _ = stream.write_all(STREAM_HEAD.as_bytes());
        thread::sleep(SETTLE);
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[STREAM]);
    assert_eq!(upstream.connections(), 1);
    vec![proxy]
}

pub(crate) fn reset_mid_event() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::raw(|mut stream| {
        unread(&stream);
        let event = format!("data: {EVENT}\r\n\r\n");
        let half = "data: {\"response\":{\"cand";
        let all =
            format!("{STREAM_HEAD}{:x}\r\n{event}\r\n{:x}\r\n{half}\r\n", event.len(), half.len());
        let _ = stream.write_all(all.as_bytes());
        thread::sleep(SETTLE);
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 1, 502, "UPSTREAM_DISCONNECTED");
    assert_eq!(upstream.connections(), 1);
    assert_eq!(proxy.last_line(1)["outcome"], "cut");
    vec![proxy]
}

pub(crate) fn half_open() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.is_closed_within(Duration::from_secs(15));
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("FIRST_BYTE_TIMEOUT_MS", "300")]);
    let started = Instant::now();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
    assert!((300..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn silent_mid_stream() -> Vec<TestProxy> {
    let (closed, upstream) = watching(|connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {EVENT}\r\n\r\n"));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("STREAM_IDLE_TIMEOUT_MS", "300")]);
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 1, 504, "UPSTREAM_TIMEOUT");
    proxy.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn silent_mid_body() -> Vec<TestProxy> {
    let (closed, upstream) = watching(|connection| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"response\":");
    });
    let proxy = TestProxy::for_upstream(&upstream, &[("STREAM_IDLE_TIMEOUT_MS", "300")]);
    let answer = proxy.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
    proxy.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn trickle() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.begin_stream();
        connection.chunk(format!("data: {EVENT}\r\n\r\n"));
        for byte in format!("data: {LAST}\r\n\r\n").as_bytes().chunks(1) {
            connection.chunk(byte);
            thread::sleep(Duration::from_millis(8));
        }
        connection.end();
    });
    let limits = [("STREAM_IDLE_TIMEOUT_MS", "400"), ("FIRST_BYTE_TIMEOUT_MS", "400")];
    let proxy = TestProxy::for_upstream(&upstream, &limits);
    let started = Instant::now();
    let answer = proxy.post(STREAM, HELLO);
    assert_eq!(answer.events().len(), 2, "{}", answer.text());
    assert!(started.elapsed() > Duration::from_millis(600), "not slower than the time-outs");
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

pub(crate) fn garbage_bytes() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.write("SSH-2.0-OpenSSH_9.7\r\n\x00\x01\x02\r\n\r\n");
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    not_sent_again(&proxy, &[GENERATE, STREAM]);
    assert_eq!(upstream.received().len(), 2);
    vec![proxy]
}

pub(crate) fn informational_heads() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.write("HTTP/1.1 100 Continue\r\n\r\n");
        connection.write("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        connection.write(ok(WHOLE));
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    for _ in 0..3 {
        assert_eq!(proxy.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(upstream.received().len(), 3);
    vec![proxy]
}

pub(crate) fn endless_header() -> Vec<TestProxy> {
    refused_in_bounds(b"x".repeat(10_000))
}

pub(crate) fn endless_headers() -> Vec<TestProxy> {
    refused_in_bounds(b"x-more: and more\r\n".repeat(600))
}

pub(crate) fn idle_connection_closed() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(|_, connection| {
        connection.write(ok(WHOLE));
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let mut connection = proxy.connect();
    for round in 0..10 {
        let answer = connection.send(post(GENERATE, &[], HELLO));
        assert_eq!(answer.status(), 200, "round {round}: {}", answer.text());
        // Long enough for the FIN to arrive.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(upstream.received().len(), 10);
    vec![proxy]
}

pub(crate) fn out_of_file_handles() -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::answering("200 OK", "", WHOLE);
    let by_name = upstream.url().replace("127.0.0.1", "localhost");
    let proxies = [upstream.url(), by_name].map(|endpoint| {
        let proxy =
            TestProxy::for_endpoints(&[endpoint], &[("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "1")]);
        let mut connection = proxy.connect();
        // The answer comes from the proxy itself, and needs a connection to the client only.
        assert_eq!(connection.send(get("/health", &[])).status(), 200);
        proxy.limit_open_files(3);
        for _ in 0..2 {
            let answer = connection.send(post(GENERATE, &[], HELLO));
            assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
            assert!(answer.text().contains("LimitNOFILE"), "{}", answer.text());
        }
        assert_eq!(proxy.last_line(2)["retries"], 2);
        proxy.limit_open_files(1000);
        assert_eq!(proxy.breaker(), "closed");
        assert_eq!(connection.send(post(GENERATE, &[], HELLO)).status(), 200);
        proxy
    });
    assert_eq!(upstream.received().len(), 2);
    proxies.into()
}

/// An address on which no process listens.
pub(crate) fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// Waits for the first byte without reading it: a connection that is dropped then is reset.
pub(crate) fn unread(stream: &TcpStream) {
    let _ = stream.peek(&mut [0]);
    thread::sleep(Duration::from_millis(5));
}

/// An upstream that begins an answer, and counts the connections that the proxy closes after that.
pub(crate) fn watching(
    begin: impl Fn(&mut UpstreamConnection) + Send + Sync + 'static,
) -> (Arc<AtomicUsize>, ScriptedUpstream) {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        begin(connection);
        if connection.is_closed_within(Duration::from_secs(15)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        connection.close();
    });
    (closed, upstream)
}

/// Writes a head that never ends, and asserts that the proxy refuses it in bounded memory.
fn refused_in_bounds(piece: Vec<u8>) -> Vec<TestProxy> {
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.write("HTTP/1.1 200 OK\r\nx-endless: ");
        connection.write_until_blocked(&piece, 20_000, Duration::from_secs(2));
        connection.close();
    });
    let proxy = TestProxy::for_upstream(&upstream, &[]);
    let before = proxy.memory("VmHWM");
    let answer = proxy.post(GENERATE, HELLO);
    assert!(matches!(answer.status(), 502 | 503), "{}", answer.text());
    let grown = proxy.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{} MiB for headers", grown >> 20);
    assert_eq!(upstream.received().len(), 1);
    vec![proxy]
}

/// Reads until the peer has closed.
fn drain(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// An upstream over TLS, and how many requests it has answered.
fn over_tls() -> (ScriptedUpstream, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let upstream = tls_upstream(&[], move |mut stream| {
        let mut buffer = [0; 16 * 1024];
        if matches!(stream.read(&mut buffer), Ok(1..)) {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(ok(WHOLE).as_bytes());
            while matches!(stream.read(&mut buffer), Ok(1..)) {}
        }
    });
    (upstream, served)
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                           Transfer-Encoding: chunked\r\n\r\n";

/// Time for the proxy to read what was written, before the reset discards it.
pub(crate) const SETTLE: Duration = Duration::from_millis(50);

/// The connections of a request with two retries; it may also use one that was opened ahead.
const TRIES_AND_AHEAD: RangeInclusive<usize> = 3..=4;
