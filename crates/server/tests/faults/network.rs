//! The way upstream.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{ScriptedUpstream, UpstreamConnection, post};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::answers::{EVENT, GENERATE, HELLO, LAST, STREAM, WHOLE, ends_in_error, ok};
use crate::bench::Bench;

pub(crate) fn connect_refused() -> Vec<Bench> {
    let bench = Bench::before(&[nowhere()], &[]);
    let answer = bench.post(GENERATE, HELLO);
    answer.assert_upstream_failed(bench.is_native(), (503, "UPSTREAM_UNREACHABLE"));
    let told = answer.text().contains("CODE_ASSIST_ENDPOINT");
    assert!(told || !bench.is_native(), "{}", answer.text());
    assert_eq!(bench.last_line(1)["retries"], 2);
    vec![bench]
}

pub(crate) fn connect_stalls() -> Vec<Bench> {
    let silent = ScriptedUpstream::raw(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let address = silent.url().replace("http://", "https://");
    let bench = Bench::before(&[address], &[("CONNECTION_TIMEOUT_MS", "200")]);
    let begun = Instant::now();
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    // The first try may join the connection that was begun at the start.
    assert!((400..3000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert!(TRIES_AND_AHEAD.contains(&silent.connections()), "{}", silent.connections());
    vec![bench]
}

pub(crate) fn tls_to_a_plain_server() -> Vec<Bench> {
    let plain = ScriptedUpstream::raw(|mut stream| {
        let mut hello = [0; 5];
        let _ = stream.read_exact(&mut hello);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    });
    let bench = Bench::before(&[plain.url().replace("http://", "https://")], &[]);
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    assert!(TRIES_AND_AHEAD.contains(&plain.connections()), "{}", plain.connections());
    vec![bench]
}

pub(crate) fn tls_certificate_unknown() -> Vec<Bench> {
    let (upstream, served) = over_tls();
    let endpoint = upstream.url().replace("http://", "https://");
    let suspicious = Bench::before(std::slice::from_ref(&endpoint), &[]);
    let answer = suspicious.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    assert!(answer.text().contains("certificate"), "{}", answer.text());
    assert_eq!(served.load(Ordering::SeqCst), 0, "the token went to a stranger");
    let authority = tls("authority.pem");
    let trusting = Bench::before(&[endpoint], &[("SSL_CERT_FILE", &authority)]);
    assert_eq!(trusting.post(GENERATE, HELLO).status(), 200);
    assert_eq!(served.load(Ordering::SeqCst), 1);
    vec![suspicious, trusting]
}

pub(crate) fn corporate_proxy_refuses() -> Vec<Bench> {
    let corporate = ScriptedUpstream::answering("407 Proxy Authentication Required", "", "");
    let address = corporate.url().replace("http://", "http://someone:hush@");
    let endpoint = "https://code-assist.invalid".to_owned();
    let bench = Bench::before(&[endpoint], &[("HTTPS_PROXY", &address)]);
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (503, "UPSTREAM_UNREACHABLE".into()));
    assert!(!answer.text().contains("hush"), "{}", answer.text());
    let received = corporate.received();
    assert!(TRIES_AND_AHEAD.contains(&received.len()), "{}", received.len());
    let head = received[0].head.to_ascii_lowercase();
    assert!(head.starts_with("connect code-assist.invalid:443 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nproxy-authorization: basic c29tzw9uztpodxno\r\n"), "{head}");
    vec![bench]
}

pub(crate) fn reset_before_head() -> Vec<Bench> {
    let upstream = ScriptedUpstream::raw(|stream| unread(&stream));
    let bench = Bench::at(&upstream, &[]);
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()));
    assert_eq!(upstream.connections(), 3);
    vec![bench]
}

pub(crate) fn reset_once_before_head() -> Vec<Bench> {
    let first = AtomicBool::new(true);
    let upstream = ScriptedUpstream::raw(move |mut stream| {
        unread(&stream);
        if !first.swap(false, Ordering::SeqCst) {
            let _ = stream.write_all(ok(WHOLE).as_bytes());
            drain(&mut stream);
        }
    });
    let bench = Bench::at(&upstream, &[]);
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(upstream.connections(), 2);
    assert_eq!(bench.last_line(1)["retries"], 1);
    vec![bench]
}

pub(crate) fn closed_before_head() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| wire.close());
    let bench = Bench::at(&upstream, &[]);
    for (path, tries) in [(GENERATE, 3), (STREAM, 6)] {
        let answer = bench.post(path, HELLO);
        // The breaker opens at the fifth failure, in the middle of the second request.
        assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()));
        assert!(upstream.received().len() <= tries);
    }
    assert_eq!(upstream.received().len(), 5, "the breaker stops the sixth");
    vec![bench]
}

pub(crate) fn reset_before_first_event() -> Vec<Bench> {
    let upstream = ScriptedUpstream::raw(|mut stream| {
        unread(&stream);
        let _ = stream.write_all(STREAM_HEAD.as_bytes());
        thread::sleep(SETTLE);
    });
    let bench = Bench::at(&upstream, &[]);
    let answer = bench.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (502, "UPSTREAM_DISCONNECTED".into()));
    assert_eq!(upstream.connections(), 3);
    vec![bench]
}

pub(crate) fn reset_mid_event() -> Vec<Bench> {
    let upstream = ScriptedUpstream::raw(|mut stream| {
        unread(&stream);
        let event = format!("data: {EVENT}\r\n\r\n");
        let half = "data: {\"response\":{\"cand";
        let all =
            format!("{STREAM_HEAD}{:x}\r\n{event}\r\n{:x}\r\n{half}\r\n", event.len(), half.len());
        let _ = stream.write_all(all.as_bytes());
        thread::sleep(SETTLE);
    });
    let bench = Bench::at(&upstream, &[]);
    let answer = bench.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 1, 502, "UPSTREAM_DISCONNECTED");
    assert_eq!(upstream.connections(), 1);
    assert_eq!(bench.last_line(1)["outcome"], "cut");
    vec![bench]
}

pub(crate) fn half_open() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        wire.is_closed_within(Duration::from_secs(15));
        wire.close();
    });
    let bench = Bench::at(&upstream, &[("FIRST_BYTE_TIMEOUT_MS", "300")]);
    let begun = Instant::now();
    let answer = bench.post(STREAM, HELLO);
    assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
    assert!((300..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!(upstream.received().len(), 1);
    vec![bench]
}

pub(crate) fn silent_mid_stream() -> Vec<Bench> {
    let (closed, upstream) = watching(|wire| {
        wire.begin_stream();
        wire.chunk(format!("data: {EVENT}\r\n\r\n"));
    });
    let bench = Bench::at(&upstream, &[("STREAM_IDLE_TIMEOUT_MS", "300")]);
    let answer = bench.post(STREAM, HELLO);
    assert_eq!(answer.status(), 200);
    ends_in_error(&answer.text(), 1, 504, "UPSTREAM_TIMEOUT");
    bench.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert_eq!(upstream.received().len(), 1);
    vec![bench]
}

pub(crate) fn silent_mid_body() -> Vec<Bench> {
    let (closed, upstream) = watching(|wire| {
        wire.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"response\":");
    });
    let bench = Bench::at(&upstream, &[("STREAM_IDLE_TIMEOUT_MS", "300")]);
    let answer = bench.post(GENERATE, HELLO);
    assert_eq!(answer.status_and_reason(), (504, "UPSTREAM_TIMEOUT".into()));
    bench.until("closed upstream", |_| closed.load(Ordering::SeqCst) == 1);
    assert_eq!(upstream.received().len(), 1);
    vec![bench]
}

pub(crate) fn trickle() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        wire.begin_stream();
        for byte in format!("data: {EVENT}\r\n\r\ndata: {LAST}\r\n\r\n").as_bytes().chunks(1) {
            wire.chunk(byte);
            thread::sleep(Duration::from_millis(4));
        }
        wire.end();
    });
    let limits = [("STREAM_IDLE_TIMEOUT_MS", "400"), ("FIRST_BYTE_TIMEOUT_MS", "400")];
    let bench = Bench::at(&upstream, &limits);
    let begun = Instant::now();
    let answer = bench.post(STREAM, HELLO);
    assert_eq!(answer.events().len(), 2, "{}", answer.text());
    assert!(begun.elapsed() > Duration::from_millis(600), "not slower than the time-outs");
    assert_eq!(upstream.received().len(), 1);
    vec![bench]
}

pub(crate) fn garbage_bytes() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        wire.write("SSH-2.0-OpenSSH_9.7\r\n\x00\x01\x02\r\n\r\n");
        wire.close();
    });
    let bench = Bench::at(&upstream, &[]);
    let answer = bench.post(GENERATE, HELLO);
    let told = answer.status();
    assert!(told == 502 || told == 503 && !bench.is_native(), "{}", answer.text());
    assert_eq!(upstream.received().len(), 3);
    vec![bench]
}

pub(crate) fn informational_heads() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        wire.write("HTTP/1.1 100 Continue\r\n\r\n");
        wire.write("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
        wire.write(ok(WHOLE));
    });
    let bench = Bench::at(&upstream, &[]);
    for _ in 0..3 {
        assert_eq!(bench.post(GENERATE, HELLO).status(), 200);
    }
    assert_eq!(upstream.received().len(), 3);
    vec![bench]
}

pub(crate) fn endless_header() -> Vec<Bench> {
    refused_in_bounds(b"x".repeat(10_000))
}

pub(crate) fn endless_headers() -> Vec<Bench> {
    refused_in_bounds(b"x-more: and more\r\n".repeat(600))
}

pub(crate) fn idle_connection_closed() -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(|_, wire| {
        wire.write(ok(WHOLE));
        wire.close();
    });
    let bench = Bench::at(&upstream, &[]);
    let mut connection = bench.connect();
    for round in 0..10 {
        let answer = connection.send(post(GENERATE, &[], HELLO));
        assert_eq!(answer.status(), 200, "round {round}: {}", answer.text());
        // Long enough for the FIN to have come.
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(upstream.received().len(), 10);
    vec![bench]
}

/// An address where nobody listens.
pub(crate) fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// Waits for the first byte without reading it: dropped now, the connection is reset.
pub(crate) fn unread(stream: &TcpStream) {
    let _ = stream.peek(&mut [0]);
    thread::sleep(Duration::from_millis(5));
}

/// An upstream that begins an answer and then counts when the proxy closes.
pub(crate) fn watching(
    begin: impl Fn(&mut UpstreamConnection) + Send + Sync + 'static,
) -> (Arc<AtomicUsize>, ScriptedUpstream) {
    let closed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&closed);
    let upstream = ScriptedUpstream::new(move |_, wire| {
        begin(wire);
        if wire.is_closed_within(Duration::from_secs(15)) {
            count.fetch_add(1, Ordering::SeqCst);
        }
        wire.close();
    });
    (closed, upstream)
}

/// Writes a head that never ends, and looks at how the proxy takes it.
fn refused_in_bounds(piece: Vec<u8>) -> Vec<Bench> {
    let upstream = ScriptedUpstream::new(move |_, wire| {
        wire.write("HTTP/1.1 200 OK\r\nx-endless: ");
        wire.write_until_blocked(&piece, 20_000, Duration::from_secs(2));
        wire.close();
    });
    let bench = Bench::at(&upstream, &[]);
    let before = bench.memory("VmHWM");
    let answer = bench.post(GENERATE, HELLO);
    assert!(matches!(answer.status(), 502 | 503), "{}", answer.text());
    let grown = bench.memory("VmHWM") - before;
    assert!(grown < 16 << 20, "{} MiB for headers", grown >> 20);
    assert!(upstream.received().len() <= 3);
    vec![bench]
}

/// Reads until the peer has closed.
fn drain(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// An upstream over TLS, and how many requests it has answered.
fn over_tls() -> (ScriptedUpstream, Arc<AtomicUsize>) {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(tls("server.pem")).expect("a file of ours");
    let chain = chain.map(|certificate| certificate.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_file(tls("server.key")).expect("a file of ours");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the defaults")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key that fits");
    let config = Arc::new(config);
    let upstream = ScriptedUpstream::raw(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a config");
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let mut buffer = [0; 16 * 1024];
        if matches!(stream.read(&mut buffer), Ok(1..)) {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(ok(WHOLE).as_bytes());
            while matches!(stream.read(&mut buffer), Ok(1..)) {}
        }
    });
    (upstream, served)
}

fn tls(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/tls");
    folder.join(name).to_string_lossy().into_owned()
}

const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                           Transfer-Encoding: chunked\r\n\r\n";

/// So that what was written is read before the reset discards it.
const SETTLE: Duration = Duration::from_millis(50);

/// The connections of a request with two retries, and one opened ahead of it, which it may join.
const TRIES_AND_AHEAD: RangeInclusive<usize> = 3..=4;
