//! Clients that hold a connection without using it, over real sockets. Tests of timeouts of a minute
//! run on tokio's paused clock.

use std::sync::atomic::{AtomicUsize, Ordering};

use code_assist_core::settings::{Layer, Settings, Source};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::yield_now;

use super::answering::after_others;
use super::*;
use crate::app::App;
use crate::store::Store;

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_head_is_disconnected_wherever_it_stops() {
    let listening = Listening::start(&[]).await;
    for sent in ["", "G", "PRI * HTT", "GET / HTTP/1.1\r\nhost: a", "GET / HTTP/1.1\r\nx: y\r\n"] {
        let begun = Instant::now();
        let received = listening.exchange(sent.as_bytes()).await;
        let took = begun.elapsed();
        let limit = if sent.is_empty() { FIRST_BYTE_TIMEOUT } else { HEAD_TIMEOUT };
        assert!(
            received.is_empty() || received.starts_with("HTTP/1.1 408"),
            "{sent:?}: {received}"
        );
        assert!(took >= limit && took < limit * 3, "{sent:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_in_both_http_versions() {
    let listening = Listening::start(&[]).await;
    let begun = Instant::now();
    let received = listening.exchange(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(received.starts_with("HTTP/1.1 200"), "{received}");
    assert!(begun.elapsed() >= HEAD_TIMEOUT, "{:?}", begun.elapsed());

    let mut hello = client_stream::PREFACE.to_vec();
    hello.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let begun = Instant::now();
    listening.exchange(&hello).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(20) && took < HEAD_TIMEOUT * 4, "{took:?}");
}

#[tokio::test]
async fn a_tls_hello_is_closed_at_once() {
    let listening = Listening::start(&[]).await;
    let begun = std::time::Instant::now();
    assert_eq!(listening.exchange(&[0x16, 3, 1, 2, 0]).await, "");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_huge_head_is_refused_and_not_buffered() {
    let listening = Listening::start(&[]).await;
    let huge = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(10_000_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for head in [huge, many] {
        let mut stream = TcpStream::connect(listening.address).await.unwrap();
        // It may close before it has read everything.
        let sent = stream.write_all(head.as_bytes()).await;
        let mut received = Vec::new();
        let read = stream.read_to_end(&mut received).await;
        let received = String::from_utf8_lossy(&received);
        let refused = received.starts_with("HTTP/1.1 431");
        assert!(refused || sent.is_err() || read.is_err(), "{received}");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_disconnected_and_its_upstream_request_cancelled() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", upstream.local_addr().unwrap());
    let flood = tokio::spawn(async move {
        let event = format!("data: {{\"response\":{{\"a\":\"{}\"}}}}\r\n\r\n", "x".repeat(60_000));
        let mut sent = 0;
        for _ in 0..2 {
            let (mut stream, _) = upstream.accept().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(event.as_bytes()).await.is_ok() {
                sent += event.len();
            }
        }
        sent
    });
    let idle = ("STREAM_IDLE_TIMEOUT_MS", "800");
    let listening = Listening::start(&[idle, ("CODE_ASSIST_ENDPOINT", &endpoint)]).await;

    let mut http1 = TcpStream::connect(listening.address).await.unwrap();
    http1.write_all(STREAM_REQUEST.as_bytes()).await.unwrap();
    listening.await_disconnect().await;

    let stream = TcpStream::connect(listening.address).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    // Answers PINGs like any living client.
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://localhost{STREAM_PATH}")).body(()).unwrap();
    let (response, mut body) = requests.send_request(request, false).unwrap();
    body.send_data("{\"contents\":[]}".into(), true).unwrap();
    let response = response.await.unwrap();
    listening.await_disconnect().await;
    let mut unread = response.into_body();
    let ended = loop {
        if let Err(ended) = unread.data().await.expect("the answer has no end") {
            break ended;
        }
    };
    assert_eq!(ended.reason(), Some(h2::Reason::CANCEL), "{ended}");
    // The connection goes on.
    let health = Request::get("http://localhost/health").body(()).unwrap();
    let (health, _) = requests.send_request(health, true).unwrap();
    assert_eq!(health.await.unwrap().status(), 200);
    assert!(!connection.is_finished());
    drop(http1);

    let sent = timeout(Duration::from_secs(5), flood)
        .await
        .expect("the upstream request is cancelled")
        .unwrap();
    assert!(sent < 40_000_000, "bounded by the sockets' own buffers: {sent}");
}

#[tokio::test]
async fn an_http1_client_that_leaves_ends_its_upstream_request_before_and_within_the_answer() {
    let event = "data: {\"response\":{\"a\":\"b\"}}\r\n\r\n";
    let begun = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{event}");
    for answer in ["", &begun] {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", upstream.local_addr().unwrap());
        let listening = Listening::start(&[("CODE_ASSIST_ENDPOINT", &endpoint)]).await;
        let mut client = TcpStream::connect(listening.address).await.unwrap();
        client.write_all(STREAM_REQUEST.as_bytes()).await.unwrap();
        let (mut asked, _) = upstream.accept().await.unwrap();
        asked.write_all(answer.as_bytes()).await.unwrap();
        if !answer.is_empty() {
            assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
        }
        assert_eq!(listening.proxy.metrics().in_flight(), 1);
        // A client that closes its own direction has left too.
        client.shutdown().await.unwrap();
        let ended = timeout(Duration::from_secs(5), asked.read_to_end(&mut Vec::new())).await;
        let _ = ended.expect("the upstream request is cancelled");
        assert_eq!(listening.proxy.metrics().in_flight(), 0);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_everything() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", upstream.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = upstream.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let event = format!("data: {{\"response\":{{\"a\":\"{}\"}}}}\r\n\r\n", "x".repeat(60_000));
        for _ in 0..100 {
            stream.write_all(event.as_bytes()).await.unwrap();
        }
    });
    let idle = ("STREAM_IDLE_TIMEOUT_MS", "800");
    let listening = Listening::start(&[idle, ("CODE_ASSIST_ENDPOINT", &endpoint)]).await;
    let mut stream = TcpStream::connect(listening.address).await.unwrap();
    let request = STREAM_REQUEST.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut taken, mut piece) = (0, vec![0; 1 << 20]);
    loop {
        let read = stream.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        taken += read;
        sleep(Duration::from_millis(200)).await;
    }
    assert!(taken > 6_000_000, "{taken}");
}

/// A proxy on a port of its own.
struct Listening {
    address: std::net::SocketAddr,
    proxy: Arc<Proxy>,
    _stop: (watch::Sender<bool>, watch::Receiver<bool>),
}

impl Listening {
    async fn start(more: &[(&str, &str)]) -> Self {
        let defaults = [
            ("GOOGLE_CLOUD_ACCESS_TOKEN", "ya29.test"),
            ("GEMINI_PROJECT_ID", "test-project"),
            ("VALIDATE_TOKENS_BEFORE_USE", "false"),
            ("HOME", "/nowhere"),
            ("KV_URL", "memory:"),
        ];
        let lookup = |name: &str| {
            let found = more.iter().chain(&defaults).find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let layers = [Layer { source: Source::Env, lookup: &lookup }];
        let (settings, _) = Settings::read(&layers).unwrap();
        let timeouts = Timeouts::of(&settings);
        let (abort, aborted) = watch::channel(false);
        let (store, _) = Store::open(&settings).await;
        let App { proxy, platform } = App::assemble(settings, store, aborted).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let served = Arc::clone(&proxy);
        let listeners = Listeners { main: listener, admin: None };
        tokio::spawn(serve(listeners, served, platform, stopped.clone(), abort, timeouts));
        Self { address, proxy, _stop: (stop, stopped) }
    }

    /// Waits until a request is in flight and until it has ended, which is not before the timeout.
    async fn await_disconnect(&self) {
        let begun = std::time::Instant::now();
        for wanted in [1, 0] {
            while self.proxy.metrics().in_flight() != wanted {
                assert!(begun.elapsed() < Duration::from_secs(10), "never {wanted} in flight");
                sleep(Duration::from_millis(5)).await;
            }
        }
        assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    }

    /// Sends some bytes, and returns what comes back until the connection ends.
    async fn exchange(&self, sent: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut received = Vec::new();
        let _ = stream.read_to_end(&mut received).await;
        String::from_utf8_lossy(&received).into_owned()
    }
}

const STREAM_PATH: &str = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
const STREAM_REQUEST: &str = "\
    POST /v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse HTTP/1.1\r\n\
    host: localhost\r\ncontent-length: 15\r\n\r\n{\"contents\":[]}";

#[tokio::test]
async fn an_answer_without_waiting_lets_other_tasks_run_first() {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = |who: &'static str| order.lock().unwrap().push(who);
    let other = {
        let order = Arc::clone(&order);
        tokio::spawn(async move { order.lock().unwrap().push("another task") })
    };
    after_others(std::future::ready(())).await;
    note("the answer");
    other.await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["another task", "the answer"]);
}

#[tokio::test]
async fn other_tasks_run_between_pipelined_requests_with_and_without_early_heads() {
    const REQUESTS: usize = 5000;
    for settings in [&[][..], &[("EARLY_HEARTBEAT_MS", "1000")]] {
        let listening = Listening::start(settings).await;
        let turns = Arc::new(AtomicUsize::new(0));
        let other = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
            }
        });
        let usual = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS - 1);
        let last = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let received = listening.exchange(format!("{usual}{last}").as_bytes()).await;
        other.abort();
        assert_eq!(received.matches("HTTP/1.1 ").count(), REQUESTS);
        let turns = turns.load(Ordering::Relaxed);
        // The first and the last requests may be served before the other task runs.
        assert!(turns >= REQUESTS - 100, "{turns} turns with {settings:?}");
    }
}
