//! Uploads and downloads that are copied: large ones, slow ones, and those that break off.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails its test")]

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use code_assist_emulator::{GEMINI_API_KEY, Options, Played};
use code_assist_harness::{
    Connection, GoogleEmulator, Proxy, ProxyBuilder, ScriptedUpstream, get, post,
};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::http2_upstream::acceptor;

#[test]
fn a_large_upload_takes_little_memory_and_arrives_whole() {
    let google = gemini_api();
    let proxy = in_front_of(&google.url()).start();
    let target = begin_upload(&proxy);
    let before = at_rest(&proxy);
    let answer = upload(&proxy, &target, size());
    let file = answer.json()["file"].clone();
    assert_eq!(file["sizeBytes"], size().to_string(), "{}", answer.text());
    assert_little_memory(&proxy, before);
}

#[test]
fn a_large_download_takes_little_memory_and_arrives_whole() {
    let upstream = ScriptedUpstream::new(|request, connection| {
        if !request.head.contains(":download") {
            return connection.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        }
        connection.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", size()));
        let pattern = pattern();
        let mut sent = 0;
        while sent < size() && connection.is_open() {
            let (at, length) = ((sent % PERIOD) as usize, (size() - sent).min(256 << 10));
            connection.write(&pattern[at..at + length as usize]);
            sent += length;
        }
    });
    let proxy = in_front_of(&upstream.url()).start();
    let before = at_rest(&proxy);
    download(&proxy, size());
    assert_little_memory(&proxy, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_uploads_and_downloads_over_http2_take_little_memory_too() {
    let upstream = Http2Google::start().await;
    let url = format!("https://localhost:{}", upstream.port);
    let proxy = in_front_of(&url).env("SSL_CERT_FILE", &upstream.certificate).start();
    let received = Arc::clone(&upstream.received);
    tokio::task::spawn_blocking(move || {
        let before = at_rest(&proxy);
        let target = "/upload/v1beta/files?upload_id=1";
        let answer = upload(&proxy, target, http2_size());
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(received.load(Ordering::SeqCst), http2_size());
        download(&proxy, http2_size());
        assert_little_memory(&proxy, before);
    })
    .await
    .unwrap();
}

#[test]
fn a_client_that_leaves_an_upload_resets_the_upstream_request() {
    let ended = Arc::new(AtomicBool::new(false));
    let got = Arc::new(AtomicU64::new(0));
    let (clean, count) = (Arc::clone(&ended), Arc::clone(&got));
    let upstream = ScriptedUpstream::raw(move |mut stream| {
        let mut last = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            count.fetch_add(read as u64, Ordering::SeqCst);
            last.extend_from_slice(&buffer[..read]);
            last.drain(..last.len().saturating_sub(5));
        }
        clean.store(last.ends_with(b"0\r\n\r\n"), Ordering::SeqCst);
        count.fetch_add(1 << 40, Ordering::SeqCst);
    });
    let proxy = in_front_of(&upstream.url()).start();
    for framing in ["Transfer-Encoding: chunked", "Content-Length: 10000000"] {
        got.store(0, Ordering::SeqCst);
        let mut client = proxy.connect();
        client.write(format!(
            "POST /upload/v1beta/files HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n"
        ));
        let piece = "x".repeat(1 << 16);
        let chunk = if framing.starts_with('T') { format!("10000\r\n{piece}\r\n") } else { piece };
        client.write(&chunk);
        until("the first bytes", || got.load(Ordering::SeqCst) > 1 << 16);
        drop(client);
        until("the end of the connection", || got.load(Ordering::SeqCst) > 1 << 40);
        assert!(!ended.load(Ordering::SeqCst), "{framing}: upstream saw a clean end");
        let lines = proxy.await_request_lines(1);
        assert_ne!(lines.last().unwrap()["outcome"], "ok", "{lines:?}");
    }
}

#[test]
fn an_upload_that_stops_is_ended_and_its_permit_is_free_again() {
    let google = gemini_api();
    let proxy = in_front_of(&google.url())
        .env("MAX_CONCURRENT_REQUESTS", "1")
        .env("QUEUE_TIMEOUT_MS", "200")
        .start();
    let target = begin_upload(&proxy);
    let mut stalled = proxy.connect();
    stalled.write(head(&target, 1 << 20));
    stalled.write(vec![b'x'; 1000]);
    until("in flight", || in_flight(&proxy) == 1);
    let busy = proxy.get("/v1beta/files");
    assert_eq!(busy.status(), 503, "{}", busy.text());
    drop(stalled);
    until("free again", || in_flight(&proxy) == 0);
    assert_eq!(proxy.get("/v1beta/files").status(), 200);
}

#[test]
fn a_download_whose_client_does_not_read_stops_upstream_and_takes_no_memory() {
    let written = Arc::new(AtomicU64::new(u64::MAX));
    let count = Arc::clone(&written);
    let upstream = ScriptedUpstream::new(move |_, connection| {
        connection.write("HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n");
        let piece = vec![b'x'; 100_000];
        let taken = connection.write_until_blocked(&piece, 5000, Duration::from_secs(1));
        count.store(taken, Ordering::SeqCst);
        connection.close();
    });
    let proxy = in_front_of(&upstream.url()).start();
    proxy.get("/health");
    let before = proxy.memory("VmRSS");
    let mut connection = proxy.connect();
    connection.write(get("/v1beta/files/x:download?alt=media", &[]));
    assert_eq!(connection.head().status, 200);
    until("stopped", || written.load(Ordering::SeqCst) != u64::MAX);
    // As much as the buffers of the sockets on both sides hold.
    assert!(written.load(Ordering::SeqCst) < 40 << 20, "{written:?} bytes were taken");
    assert_little_memory(&proxy, before);
}

#[test]
fn a_hundred_uploads_at_once_stay_within_a_small_memory_budget() {
    const EACH: u64 = 2 << 20;
    let google = gemini_api();
    let proxy = in_front_of(&google.url())
        .env("MEMORY_BUDGET_BYTES", "16MiB")
        .env("MAX_CONCURRENT_REQUESTS", "200")
        .env("QUEUE_TIMEOUT_MS", "60000")
        .start();
    let before = at_rest(&proxy);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let target = begin_upload(&proxy);
                let answer = upload(&proxy, &target, EACH);
                assert_eq!(answer.status(), 200, "{}", answer.text());
            });
        }
    });
    let peak = proxy.memory("VmHWM").saturating_sub(before);
    assert!(peak < 64 << 20, "{} MiB on top of the start", peak >> 20);
    until("at rest", || in_flight(&proxy) == 0);
}

#[test]
fn a_shutdown_ends_uploads_and_downloads_in_its_grace_time() {
    let google = gemini_api();
    google.set_gemini_api(json!({"make_file": {"name": "files/big", "bytes": 1 << 30}}));
    let mut proxy = in_front_of(&google.url()).env("SHUTDOWN_GRACE_MS", "500").start();
    let target = begin_upload(&proxy);
    let mut sending = proxy.connect();
    sending.write(head(&target, 1 << 20));
    sending.write(vec![b'x'; 1000]);
    let mut reading = proxy.connect();
    reading.write(get("/v1beta/files/big:download?alt=media", &[]));
    assert_eq!(reading.head().status, 200);
    until("in flight", || in_flight(&proxy) == 2);
    let began = Instant::now();
    proxy.signal("TERM");
    proxy.wait_for_exit(Duration::from_secs(10));
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// How many bytes the large transfers have. HTTP/2 with TLS is slow in a debug build.
fn http2_size() -> u64 {
    size() / 4
}

/// The same over HTTP/1.1.
fn size() -> u64 {
    let mebibytes = std::env::var("LARGE_TRANSFER_MIB").ok().and_then(|it| it.parse().ok());
    mebibytes.unwrap_or(1024_u64) << 20
}

fn gemini_api() -> GoogleEmulator {
    GoogleEmulator::start_with(Options { played: Played::GeminiApi, ..Options::default() })
}

fn in_front_of(url: &str) -> ProxyBuilder {
    ProxyBuilder::without_upstream()
        .env("UPSTREAMS", "gemini-api")
        .env("GEMINI_API_KEY", GEMINI_API_KEY)
        .env("GEMINI_API_ENDPOINT", url)
}

/// The path and query of the URL of a new upload.
fn begin_upload(proxy: &Proxy) -> String {
    let start = [
        "X-Goog-Upload-Protocol: resumable",
        "X-Goog-Upload-Command: start",
        "X-Goog-Upload-Header-Content-Type: text/plain",
    ];
    let answer = proxy.send(post("/upload/v1beta/files", &start, r#"{"file":{}}"#));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let url = answer.header("x-goog-upload-url");
    url.strip_prefix("http://localhost").expect("the client's host").to_owned()
}

fn head(target: &str, length: u64) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nX-Goog-Upload-Command: upload, finalize\r\n\
         X-Goog-Upload-Offset: 0\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Sends so many bytes in one step.
fn upload(proxy: &Proxy, target: &str, bytes: u64) -> code_assist_harness::Response {
    let mut connection = Connection::open(proxy.address());
    connection.write(head(target, bytes));
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..bytes >> 20 {
        connection.write(&piece);
    }
    connection.response()
}

/// Reads a file of so many bytes, whose content repeats each 251 bytes.
fn download(proxy: &Proxy, bytes: u64) {
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.write_all(&get("/v1beta/files/big:download?alt=media", &["Connection: close"])).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let pattern = pattern();
    let mut buffer = vec![0; 256 << 10];
    let mut got = 0;
    while got < bytes {
        let read = client.read(&mut buffer).unwrap();
        assert!(read > 0, "closed after {got} bytes");
        let at = (got % PERIOD) as usize;
        assert!(buffer[..read] == pattern[at..at + read], "other bytes after {got}");
        got += read as u64;
    }
    assert_eq!(client.read(&mut buffer).unwrap(), 0);
}

const PERIOD: u64 = 251;

fn pattern() -> Vec<u8> {
    (0..=250).cycle().take((512 << 10) + 251).collect()
}

/// The memory of a proxy that has served something, from which the peak is measured.
fn at_rest(proxy: &Proxy) -> u64 {
    proxy.get("/v1beta/files");
    proxy.get("/health");
    let resident = proxy.memory("VmRSS");
    proxy.reset_peak_memory();
    resident
}

#[track_caller]
fn assert_little_memory(proxy: &Proxy, before: u64) {
    let growth = proxy.memory("VmHWM").saturating_sub(before);
    assert!(growth < 24 << 20, "{} MiB on top of the start", growth >> 20);
}

fn in_flight(proxy: &Proxy) -> u64 {
    proxy.get("/health/detailed").json()["checks"]["queue"]["in_flight"].as_u64().unwrap()
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "never {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Google over HTTP/2 with TLS: it counts what is uploaded, and has one file.
struct Http2Google {
    port: u16,
    certificate: String,
    received: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Http2Google {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let folder = TempDir::new().unwrap();
        let acceptor = acceptor(&folder);
        let certificate = folder.path().join("ca.pem").display().to_string();
        let received = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, Arc::clone(&counted)));
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, certificate, received, _folder: folder }
    }
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<AtomicU64>,
) -> Result<Response<Repeated>, Infallible> {
    if request.uri().path().ends_with(":download") {
        return Ok(Response::new(Repeated::of(http2_size())));
    }
    let mut body = request.into_body();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let data = frame.unwrap().into_data().unwrap_or_default();
        received.fetch_add(data.len() as u64, Ordering::SeqCst);
    }
    Ok(Response::new(Repeated::of(0)))
}

/// A body of so many bytes.
struct Repeated {
    pattern: Bytes,
    at: u64,
    end: u64,
}

impl Repeated {
    fn of(end: u64) -> Self {
        Self { pattern: pattern().into(), at: 0, end }
    }
}

impl Body for Repeated {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let start = (self.at % PERIOD) as usize;
        let length = (self.end - self.at).min(64 << 10);
        self.at += length;
        let piece = self.pattern.slice(start..start + length as usize);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}
